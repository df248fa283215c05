// A peer's candidates as paths to send to [51]. They come from the peer, so what can only be meant
// to harm others (broadcast, multicast, nowhere) or this machine itself (loopback, link-local) is
// left out; whoever has a socket on loopback can reach nothing else, and takes loopback alone.

import {
  type PathClass,
  addressBytes,
  addressScope,
  addressText,
  isIpv6Text,
} from '../protocol/address.ts';
import type { Candidate } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';

/** One way to the peer, and what it would be. */
export interface PeerPath {
  readonly path: Path;
  readonly class: PathClass;
}

/**
 * The candidates that may be sent to, each path once: IPv6 and IPv4 by turns, IPv6 first (RFC 8305
 * §4), in their own order within a family. `isOnLoopback`: our own socket is.
 */
export function candidatePaths(
  candidates: readonly Candidate[],
  isOnLoopback = false,
): readonly PeerPath[] {
  const families: [PeerPath[], PeerPath[]] = [[], []];
  const seen = new Set<string>();
  for (const { address, port, type } of candidates) {
    const scope = addressScope(address);
    const host = addressText(address);
    if (host === undefined || scope === undefined || port === 0) continue;
    const isUsable =
      scope === 'global' || scope === 'private' || scope === 'shared'
        ? !isOnLoopback
        : scope === 'loopback' && isOnLoopback;
    if (!isUsable || seen.has(`${port} ${host}`)) continue;
    seen.add(`${port} ${host}`);
    const isNear = type === 'host' && scope !== 'global';
    const of: PathClass = type === 'relayed' ? 'relay' : isNear ? 'lan' : 'direct';
    families[isIpv6Text(host) ? 0 : 1].push({ path: { host, port }, class: of });
  }
  const [ipv6, ipv4] = families;
  return Array.from({ length: Math.max(ipv6.length, ipv4.length) }, (_, at) =>
    [ipv6[at], ipv4[at]].filter((one) => one !== undefined),
  ).flat();
}

/** A path as a candidate; undefined if its host is no address. */
export function candidateOf(path: Path, type: Candidate['type']): Candidate | undefined {
  const address = addressBytes(path.host);
  return address === undefined ? undefined : { address, port: path.port, type };
}
