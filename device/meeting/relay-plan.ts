// In which order the servers of a relay are tried, and over what (RFC 8656 §2.1, RFC 8489 §6.2.2):
// UDP first, as it relays best; TCP for networks that let no UDP through; the next server while
// the former one is silent. Overlapped as happy eyeballs are (RFC 8305 §5): nobody is waited for.

import type { Path } from '../../protocol/core.ts';

/** What carries TURN between us and the relay; between relay and peer it is always UDP. */
export type RelayTransport = 'udp' | 'tcp';

/** One server to be tried over one transport. */
export interface RelayTry {
  readonly server: Path;
  readonly transport: RelayTransport;
}

/**
 * What is tried together, step after step: each step begins while the one before it has had no
 * answer. `isUdpSilent`: this network has answered nothing over UDP, so TCP need not wait.
 */
export function relaySteps(servers: readonly Path[], isUdpSilent: boolean): RelayTry[][] {
  const steps: RelayTry[][] = [];
  const delay = isUdpSilent ? 0 : 1;
  for (const [at, server] of servers.entries()) {
    for (const [step, transport] of [
      [at, 'udp'],
      [at + delay, 'tcp'],
    ] as const) {
      steps[step] ??= [];
      steps[step].push({ server, transport });
    }
  }
  return steps;
}
