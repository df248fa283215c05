// Addresses as text (what sockets speak) and as bytes (what candidates carry); the way back is the
// core's candidates.ts.

import { isIPv4, isIPv6 } from 'node:net';

const IPV4_BYTES = 4;
const IPV6_GROUPS = 8;

/** The 4 or 16 bytes of a literal address (RFC 4291 §2.2), or undefined for any other text. */
export function addressBytes(host: string): Uint8Array | undefined {
  if (isIPv4(host)) return Uint8Array.from(host.split('.'), Number);
  const plain = host.replace(/%.*$/, '');
  if (!isIPv6(plain)) return undefined;
  const [head, tail] = plain.split('::');
  const first = groupsOf(head);
  const last = tail === undefined ? [] : groupsOf(tail);
  const zeros = Array.from({ length: IPV6_GROUPS - first.length - last.length }, () => 0);
  return Uint8Array.from(
    [...first, ...zeros, ...last].flatMap((group) => [group >> 8, group & 0xff]),
  );
}

function groupsOf(text: string): readonly number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const bytes = addressBytes(group) ?? new Uint8Array(IPV4_BYTES);
    return [(bytes[0] << 8) | bytes[1], (bytes[2] << 8) | bytes[3]];
  });
}
