// The attributes of STUN and TURN that nakodo reads or writes, and their values as bytes (RFC 8489
// §14, RFC 8656 §18). Addresses are hidden by XOR from routers that rewrite what looks like one. A
// reader returns undefined for a value that does not have its form.

import { utf8ToBytes } from '@noble/hashes/utils.js';
import { addressBytes, addressText, isIpv6Text } from '../address.ts';
import type { Path } from '../core.ts';

/** Attribute types; those from 0x8000 on may be ignored by who does not know them. */
export const ATTRIBUTE = {
  mappedAddress: 0x0001,
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  unknownAttributes: 0x000a,
  channelNumber: 0x000c,
  lifetime: 0x000d,
  xorPeerAddress: 0x0012,
  data: 0x0013,
  realm: 0x0014,
  nonce: 0x0015,
  xorRelayedAddress: 0x0016,
  requestedAddressFamily: 0x0017,
  requestedTransport: 0x0019,
  xorMappedAddress: 0x0020,
  /** RFC 5780 §7.6. Read over; we pad with one of our own, which nobody has to understand. */
  padding: 0x0026,
  additionalAddressFamily: 0x8000,
  /** The same in coturn before 4.7, which took the number from a draft of RFC 8656. */
  additionalAddressFamilyDraft: 0x8032,
  passwordAlgorithms: 0x8002,
  fingerprint: 0x8028,
  /** Ours (of the range that RFC 8489 §18.3 leaves to anybody): the record ID in ASCII. */
  record: 0xed4b,
  /** Ours: zero bytes, so that no answer is longer than its request. */
  filling: 0xed4c,
} as const;

/** Error codes that decide what comes next (RFC 8489 §14.8, RFC 8656 §19). */
export const ERROR = {
  badRequest: 400,
  unauthorized: 401,
  unknownAttribute: 420,
  allocationMismatch: 437,
  staleNonce: 438,
  versionUnsupported: 440,
  wrongCredentials: 441,
  insufficientCapacity: 508,
} as const;

/** Whether an error is the server's own trouble, which may pass (RFC 8489 §6.3.4). */
export const isServerError = (code: number): boolean => code >= 500 && code < 600;

/** 0x0003 to 0x0005 of RFC 3489: CHANGED-ADDRESS and the like, which old servers still send. */
const OLD_SOURCE_ADDRESS = 0x0004;
const OLD_CHANGED_ADDRESS = 0x0005;
const RESERVATION_TOKEN = 0x0022;
const OPTIONAL_FROM = 0x8000;
const KNOWN: ReadonlySet<number> = new Set<number>([
  ...Object.values(ATTRIBUTE),
  OLD_SOURCE_ADDRESS,
  OLD_CHANGED_ADDRESS,
  RESERVATION_TOKEN,
]);

/** Whether a type is understood, or need not be (RFC 8489 §14). */
export const isKnown = (type: number): boolean => type >= OPTIONAL_FROM || KNOWN.has(type);

const FAMILY_IPV4 = 1;
const FAMILY_IPV6 = 2;
const ADDRESS_AT = 4;
const IPV4_BYTES = 4;
/** The magic cookie, as bytes that addresses are hidden with. */
const COOKIE = [0x21, 0x12, 0xa4, 0x42] as const;
const TRANSPORT_UDP = 17;
const ERROR_CODE_AT = 4;
const HUNDRED = 100;

/**
 * The value of XOR-MAPPED-, XOR-PEER- or XOR-RELAYED-ADDRESS: 8 bytes for IPv4, 20 for IPv6;
 * undefined for a host that is no literal address. Source: RFC 8489 §14.2.
 */
export function encodeXorAddress(
  { host, port }: Path,
  transaction: Uint8Array,
): Uint8Array | undefined {
  const address = addressBytes(host);
  if (address === undefined) return undefined;
  const value = new Uint8Array(ADDRESS_AT + address.length);
  value[1] = address.length === IPV4_BYTES ? FAMILY_IPV4 : FAMILY_IPV6;
  value[2] = (port >> 8) ^ COOKIE[0];
  value[3] = port ^ COOKIE[1];
  value.set(hidden(address, transaction), ADDRESS_AT);
  return value;
}

/** The address in such a value, IPv4-mapped ones folded; the port may be 0. */
export function decodeXorAddress(
  value: Uint8Array | undefined,
  transaction: Uint8Array,
): Path | undefined {
  if (value === undefined) return undefined;
  const address = value.subarray(ADDRESS_AT);
  const family = address.length === IPV4_BYTES ? FAMILY_IPV4 : FAMILY_IPV6;
  const host = addressText(hidden(address, transaction));
  if (value.length < ADDRESS_AT || value[1] !== family || host === undefined) return undefined;
  return { host, port: ((value[2] ^ COOKIE[0]) << 8) | (value[3] ^ COOKIE[1]) };
}

/** The addresses in XOR-RELAYED-ADDRESSes, IPv4 first, one of each IP version (RFC 8656 §7.2). */
export function relayedAddresses(
  values: readonly (Uint8Array | undefined)[],
  transaction: Uint8Array,
): readonly Path[] {
  const all = values
    .map((value) => decodeXorAddress(value, transaction))
    .filter((one) => one !== undefined)
    .filter(({ port }) => port > 0);
  const ofFamily = (isIpv6: boolean): Path | undefined =>
    all.find((one) => isIpv6Text(one.host) === isIpv6);
  return [ofFamily(false), ofFamily(true)].filter((one) => one !== undefined);
}

/** Address bytes hidden, or shown again: the cookie, then the transaction ID. */
function hidden(address: Uint8Array, transaction: Uint8Array): Uint8Array {
  return address.map((byte, at) => byte ^ (at < COOKIE.length ? COOKIE[at] : transaction[at - 4]));
}

/** The value of ERROR-CODE. `code`: 300 to 699; `reason`: words for a person, ASCII. */
export function encodeErrorCode(code: number, reason: string): Uint8Array {
  const words = utf8ToBytes(reason);
  const value = new Uint8Array(ERROR_CODE_AT + words.length);
  value[2] = Math.floor(code / HUNDRED);
  value[3] = code % HUNDRED;
  value.set(words, ERROR_CODE_AT);
  return value;
}

/** The code in ERROR-CODE: 300 to 699. What the server says in words is not for our users. */
export function decodeErrorCode(value: Uint8Array | undefined): number | undefined {
  if (value === undefined || value.length < ERROR_CODE_AT) return undefined;
  const hundreds = value[2] & 7;
  const rest = value[3];
  if (hundreds < 3 || hundreds > 6 || rest >= HUNDRED) return undefined;
  return hundreds * HUNDRED + rest;
}

/** The value of LIFETIME, in seconds: 32 bits. */
export const lifetimeValue = (seconds: number): Uint8Array =>
  Uint8Array.of(seconds >>> 24, seconds >>> 16, seconds >>> 8, seconds);

/** The seconds in LIFETIME. */
export function lifetimeSeconds(value: Uint8Array | undefined): number | undefined {
  if (value?.length !== 4) return undefined;
  return ((value[0] << 24) | (value[1] << 16) | (value[2] << 8) | value[3]) >>> 0;
}

/** The values of REQUESTED-TRANSPORT (UDP), …-ADDRESS-FAMILY and CHANNEL-NUMBER. */
export const transportValue = (): Uint8Array => Uint8Array.of(TRANSPORT_UDP, 0, 0, 0);
export const familyValue = (family: 4 | 6): Uint8Array =>
  Uint8Array.of(family === 4 ? FAMILY_IPV4 : FAMILY_IPV6, 0, 0, 0);
export const channelValue = (channel: number): Uint8Array =>
  Uint8Array.of(channel >> 8, channel, 0, 0);
