// IP addresses as bytes (what candidates carry) and as text (what sockets speak), and what an
// address is good for. Pure: also what a peer wrote passes here. IPv6 text after RFC 5952 §4, as
// Node's sockets print it; an IPv4-mapped address (RFC 4291 §2.5.5.2) is the IPv4 address.

const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
const IPV6_GROUPS = 8;
const OCTET = /^(0|[1-9][0-9]{0,2})$/;
const GROUP = /^[0-9a-fA-F]{1,4}$/;
/** Characters of the longest address in text, scope aside (RFC 4291 §2.2). */
const TEXT_MAX = 45;

/**
 * What an address can be used for: `shared` is a carrier's (RFC 6598), `private` RFC 1918 or a
 * unique local one (RFC 4193); `none` is broadcast, reserved or 0.0.0.0/8 (RFC 6890).
 */
export type AddressScope =
  | 'global'
  | 'private'
  | 'shared'
  | 'link-local'
  | 'loopback'
  | 'multicast'
  | 'unspecified'
  | 'none';

/** How a talk reaches the peer; the best first. `lan`: by addresses that only a site knows. */
export const PATH_CLASSES = ['lan', 'direct', 'relay'] as const;
/** One of PATH_CLASSES. */
export type PathClass = (typeof PATH_CLASSES)[number];

/** Whether a terminal lets its datagrams pass through a relay [RFC 8656]. */
export const RELAY_POLICIES = ['never', 'if-needed', 'only'] as const;
/** One of RELAY_POLICIES. */
export type RelayPolicy = (typeof RELAY_POLICIES)[number];

/** Which family an address in text is of. */
export const isIpv6Text = (host: string): boolean => host.includes(':');

/** The bytes with an IPv4-mapped address folded to its 4 bytes; undefined for no address. */
export function foldedAddress(address: Uint8Array): Uint8Array | undefined {
  if (address.length === IPV4_BYTES) return address;
  if (address.length !== IPV6_BYTES) return undefined;
  const isMapped =
    address.subarray(0, 10).every((byte) => byte === 0) &&
    address[10] === 0xff &&
    address[11] === 0xff;
  return isMapped ? address.subarray(12) : address;
}

/** The scope of 4 or 16 address bytes; undefined for another length. */
export function addressScope(address: Uint8Array): AddressScope | undefined {
  const folded = foldedAddress(address);
  if (folded === undefined) return undefined;
  return folded.length === IPV4_BYTES ? ipv4Scope(folded) : ipv6Scope(folded);
}

function ipv4Scope([a, b, c, d]: Uint8Array): AddressScope {
  if (a === 0) return b === 0 && c === 0 && d === 0 ? 'unspecified' : 'none';
  if (a === 127) return 'loopback';
  if (a === 169 && b === 254) return 'link-local';
  if (a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)) return 'private';
  if (a === 100 && b >= 64 && b < 128) return 'shared';
  if (a >= 224 && a < 240) return 'multicast';
  return a >= 240 ? 'none' : 'global';
}

function ipv6Scope(address: Uint8Array): AddressScope {
  const [a, b] = address;
  if (a === 0xff) return 'multicast';
  if (a === 0xfe && b >= 0x80 && b < 0xc0) return 'link-local';
  if ((a & 0xfe) === 0xfc) return 'private';
  if (address.subarray(0, 15).every((byte) => byte === 0)) {
    if (address[15] === 0) return 'unspecified';
    if (address[15] === 1) return 'loopback';
  }
  // IPv4-compatible addresses are deprecated (RFC 4291 §2.5.5.1): nobody has one.
  return address.subarray(0, 12).every((byte) => byte === 0) ? 'none' : 'global';
}

/** 4 or 16 address bytes as text; undefined for another length. */
export function addressText(address: Uint8Array): string | undefined {
  const folded = foldedAddress(address);
  if (folded === undefined) return undefined;
  if (folded.length === IPV4_BYTES) return folded.join('.');
  const view = new DataView(folded.buffer, folded.byteOffset, IPV6_BYTES);
  return groupsText(Array.from({ length: IPV6_GROUPS }, (_, at) => view.getUint16(at * 2)));
}

/**
 * The 4 or 16 bytes of a literal address (RFC 4291 §2.2), a scope (`%eth0`) left out and an
 * IPv4-mapped one folded; undefined for any other text.
 */
export function addressBytes(host: string): Uint8Array | undefined {
  const plain = host.replace(/%.*$/, '');
  if (plain.length > TEXT_MAX) return undefined;
  if (!isIpv6Text(plain)) return ipv4Bytes(plain);
  const halves = plain.split('::');
  if (halves.length > 2) return undefined;
  const isWhole = halves.length === 1;
  const head = groupsOf(halves[0], isWhole);
  const tail = isWhole ? [] : groupsOf(halves[1], true);
  if (head === undefined || tail === undefined) return undefined;
  const missing = IPV6_GROUPS - head.length - tail.length;
  if (isWhole ? missing !== 0 : missing < 1) return undefined;
  const zeros = Array.from({ length: missing }, () => 0);
  const bytes = [...head, ...zeros, ...tail].flatMap((group) => [group >> 8, group & 0xff]);
  return foldedAddress(Uint8Array.from(bytes));
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== IPV4_BYTES || !parts.every((part) => OCTET.test(part))) return undefined;
  const numbers = parts.map(Number);
  return numbers.every((byte) => byte <= 255) ? Uint8Array.from(numbers) : undefined;
}

/** The groups of one side of `::`; the last of all may be written as IPv4. */
function groupsOf(text: string, isEnd: boolean): readonly number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [at, part] of parts.entries()) {
    const isLast = isEnd && at === parts.length - 1;
    const quad = isLast && part.includes('.') ? ipv4Bytes(part) : undefined;
    if (quad !== undefined) groups.push((quad[0] << 8) | quad[1], (quad[2] << 8) | quad[3]);
    else if (GROUP.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
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
