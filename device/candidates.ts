// A peer's candidates as paths to send to. They come from the peer, so what can only be meant to
// harm others (broadcast, multicast, nowhere) is left out; IPv6 text after RFC 5952 §4, as Node's
// sockets print it.

import type { Candidate } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';

const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
const IPV6_GROUPS = 8;
/**
 * First byte of IPv4 multicast and of everything reserved or broadcast behind it (RFC 5771, 6890).
 */
const IPV4_MULTICAST = 224;
/** First byte of IPv6 multicast (RFC 4291 §2.7). */
const IPV6_MULTICAST = 0xff;

/** The candidates that may be sent to, in their order; each path once. */
export function candidatePaths(candidates: readonly Candidate[]): readonly Path[] {
  const paths = new Map<string, Path>();
  for (const { address, port } of candidates) {
    const host = addressText(address);
    if (host !== undefined && port > 0) paths.set(`${port} ${host}`, { host, port });
  }
  return [...paths.values()];
}

/** Address bytes as text, or undefined for one that no terminal can be reached at. */
function addressText(address: Uint8Array): string | undefined {
  if (address.length === IPV4_BYTES) {
    return address[0] === 0 || address[0] >= IPV4_MULTICAST ? undefined : address.join('.');
  }
  if (address.length !== IPV6_BYTES || address[0] === IPV6_MULTICAST) return undefined;
  const view = new DataView(address.buffer, address.byteOffset, IPV6_BYTES);
  const groups = Array.from({ length: IPV6_GROUPS }, (_, at) => view.getUint16(at * 2));
  const first = groups.findIndex((group) => group !== 0);
  if (first < 0) return undefined;
  // An IPv4-mapped address (RFC 4291 §2.5.5.2) is the IPv4 address.
  if (first === 5 && groups[5] === 0xffff) return addressText(address.subarray(12));
  return groupsText(groups);
}

/** RFC 5952 §4: the longest run of two or more zero groups, the first of equals, becomes `::`. */
function groupsText(groups: readonly number[]): string {
  let start = -1;
  let length = 1;
  for (let at = 0; at < groups.length; at++) {
    let end = at;
    while (end < groups.length && groups[end] === 0) end += 1;
    if (end - at > length) {
      start = at;
      length = end - at;
    }
  }
  const hex = (part: readonly number[]): string =>
    part.map((group) => group.toString(16)).join(':');
  if (start < 0) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}
