// In which order the servers of a relay are tried, and over what (RFC 8656 §2.1, RFC 8489 §6.2.2):
// UDP first, as it relays best; TCP for networks that let no UDP through; the next server while
// the former one is silent; before all those of an IP version that this machine has. Overlapped as
// happy eyeballs are (RFC 8305 §5): nobody is waited for.

import { isIpv6Text } from '../../protocol/address.ts';
import type { Candidate } from '../../protocol/control/messages.ts';
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

const IPV4_BYTES = 4;

/**
 * The servers, those first whose IP version a STUN server has answered, then those of which we have
 * an address: a name's two addresses are told in one order to all. `own`: our candidates.
 */
export function reachedFirst(servers: readonly Path[], own: readonly Candidate[]): readonly Path[] {
  const rank = ({ host }: Path): number => {
    const same = own.filter(({ address }) => (address.length !== IPV4_BYTES) === isIpv6Text(host));
    if (same.some(({ type }) => type === 'reflexive')) return 0;
    return same.length > 0 ? 1 : 2;
  };
  return servers.toSorted((a, b) => rank(a) - rank(b));
}
