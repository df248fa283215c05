// STUN messages (RFC 8489 §5, §14): one strict decoder for whatever anybody sends, one encoder. A
// message is 20 bytes (type, length, magic cookie, transaction ID) and attributes, each padded to 4
// bytes. What is not exactly that is no STUN message; of two attributes of a kind the first counts,
// unless a reader wants them all; nothing after MESSAGE-INTEGRITY is believed but FINGERPRINT, and
// nothing may follow that.

import { assert } from '../assert.ts';
import { ATTRIBUTE, isKnown } from './attributes.ts';
import { INTEGRITY_BYTES, fingerprint, hmacSha1, sameAuthenticator } from './integrity.ts';
import { STUN_LIMITS } from './limits.ts';

/** Bytes before the attributes. */
export const STUN_HEADER_BYTES = 20;
/** Bytes before the value of an attribute: its type and its length. */
export const ATTRIBUTE_HEADER_BYTES = 4;
/** Bytes of a transaction ID: 96 random bits. */
export const TRANSACTION_BYTES = 12;

/** Bytes that so many take with their padding (RFC 8489 §14, RFC 8656 §12.5). */
export const padded = (length: number): number => (length + 3) & ~3;

/** Methods of STUN and TURN (RFC 8489 §18.2, RFC 8656 §17): 7 bits of the 12 are ever used. */
export const METHOD = {
  binding: 0x001,
  allocate: 0x003,
  refresh: 0x004,
  send: 0x006,
  data: 0x007,
  createPermission: 0x008,
  channelBind: 0x009,
} as const;

const CLASSES = ['request', 'indication', 'success', 'error'] as const;
/** What a message is to its transaction. */
type StunClass = (typeof CLASSES)[number];

/** One attribute to write: its type and its value without padding. */
export type Attribute = readonly [type: number, value: Uint8Array];

/** A message as it was read; all arrays are views of the datagram, borrowed like it. */
export interface StunMessage {
  readonly stunClass: StunClass;
  readonly method: number;
  readonly transaction: Uint8Array;
  /** The first of each type that stands before MESSAGE-INTEGRITY; that one is among them. */
  readonly attributes: ReadonlyMap<number, Uint8Array>;
  /** Those of a type that is there already, in their order. */
  readonly repeated: readonly Attribute[];
  /** Types that have to be understood (below 0x8000) and are not, each once, in their order. */
  readonly unknownRequired: readonly number[];
}

/** A message to write. */
export interface StunContent {
  readonly stunClass: StunClass;
  readonly method: number;
  readonly transaction: Uint8Array;
  readonly attributes: readonly Attribute[];
  /** Adds MESSAGE-INTEGRITY under this key. */
  readonly key?: Uint8Array | undefined;
  /** Adds FINGERPRINT; default false. */
  readonly hasFingerprint?: boolean;
}

const MAGIC_COOKIE = 0x2112a442;
const COOKIE_AT = 4;
const TRANSACTION_AT = 8;
const FINGERPRINT_BYTES = 4;
const LENGTH_MAX = 0xffff;

const readUint16 = (bytes: Uint8Array, at: number): number => (bytes[at] << 8) | bytes[at + 1];
const readUint32 = (bytes: Uint8Array, at: number): number =>
  ((readUint16(bytes, at) << 16) | readUint16(bytes, at + 2)) >>> 0;

/**
 * Whether a datagram is framed as a STUN message of a method that exists (all are below 0x80, so
 * that the first byte is 0 or 1), its length a multiple of 4 and told truly, with the magic cookie.
 * No packet of a talk ever is: of ours only an initiation begins with a byte below 2, and its 53
 * bytes are no multiple of 4. ChannelData begins with 0x40 to 0x4f.
 */
export function isStun(bytes: Uint8Array): boolean {
  const length = bytes.length;
  return (
    length >= STUN_HEADER_BYTES &&
    length % 4 === 0 &&
    bytes[0] <= 1 &&
    readUint16(bytes, 2) === length - STUN_HEADER_BYTES &&
    readUint32(bytes, COOKIE_AT) === MAGIC_COOKIE
  );
}

/** Reads a datagram; undefined for whatever is no STUN message to the letter. Never throws. */
export function decodeMessage(bytes: Uint8Array): StunMessage | undefined {
  if (!isStun(bytes)) return undefined;
  const attributes = new Map<number, Uint8Array>();
  const repeated: Attribute[] = [];
  const unknownRequired: number[] = [];
  let hasIntegrity = false;
  let count = 0;
  let next = 0;
  for (let at = STUN_HEADER_BYTES; at < bytes.length; at = next) {
    const type = readUint16(bytes, at);
    const length = readUint16(bytes, at + 2);
    const start = at + ATTRIBUTE_HEADER_BYTES;
    next = start + padded(length);
    count += 1;
    if (next > bytes.length || count > STUN_LIMITS.attributesMax) return undefined;
    if (type === ATTRIBUTE.fingerprint) {
      if (length !== FINGERPRINT_BYTES || next !== bytes.length) return undefined;
      if (readUint32(bytes, start) !== fingerprint(bytes, at)) return undefined;
      continue;
    }
    if (hasIntegrity) continue;
    if (type === ATTRIBUTE.messageIntegrity) {
      if (length !== INTEGRITY_BYTES) return undefined;
      hasIntegrity = true;
    }
    const value = bytes.subarray(start, start + length);
    if (attributes.has(type)) repeated.push([type, value]);
    else attributes.set(type, value);
    if (!isKnown(type) && !unknownRequired.includes(type)) unknownRequired.push(type);
  }
  const type = readUint16(bytes, 0);
  return {
    stunClass: CLASSES[((type >> 7) & 2) | ((type >> 4) & 1)],
    method: (type & 0x0f) | ((type >> 1) & 0x70) | ((type >> 2) & 0xf80),
    transaction: bytes.subarray(TRANSACTION_AT, STUN_HEADER_BYTES),
    attributes,
    repeated,
    unknownRequired,
  };
}

/**
 * Whether the message was made by somebody who has the key: MESSAGE-INTEGRITY is there and right.
 * `message` is what was read from `bytes`. Source: RFC 8489 §14.5.
 */
export function hasIntegrity(bytes: Uint8Array, message: StunMessage, key: Uint8Array): boolean {
  const value = message.attributes.get(ATTRIBUTE.messageIntegrity);
  if (value === undefined) return false;
  const length = value.byteOffset - bytes.byteOffset - ATTRIBUTE_HEADER_BYTES;
  // A copy, whatever the array is: the `slice` of a Buffer is a view.
  const signed = Uint8Array.from(bytes.subarray(0, length));
  // As if the message ended with this attribute.
  writeUint16(signed, 2, length + ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES - STUN_HEADER_BYTES);
  return sameAuthenticator(value, hmacSha1(key, signed));
}

/** Writes a message into an array of its own. Attributes of more than 64 KiB are our bug. */
export function encodeMessage(content: StunContent): Uint8Array {
  const { attributes, key, hasFingerprint = false } = content;
  let size = STUN_HEADER_BYTES;
  for (const [, value] of attributes) size += ATTRIBUTE_HEADER_BYTES + padded(value.length);
  if (key !== undefined) size += ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES;
  if (hasFingerprint) size += ATTRIBUTE_HEADER_BYTES + FINGERPRINT_BYTES;
  assert(size - STUN_HEADER_BYTES <= LENGTH_MAX, 'a STUN message fits its length field');
  const bytes = new Uint8Array(size);
  writeHeader(bytes, content);
  let at = STUN_HEADER_BYTES;
  const put = (type: number, value: Uint8Array): void => {
    writeUint16(bytes, at, type);
    writeUint16(bytes, at + 2, value.length);
    bytes.set(value, at + ATTRIBUTE_HEADER_BYTES);
    at += ATTRIBUTE_HEADER_BYTES + padded(value.length);
  };
  for (const [type, value] of attributes) put(type, value);
  if (key !== undefined) {
    const total = at + ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES;
    writeUint16(bytes, 2, total - STUN_HEADER_BYTES);
    put(ATTRIBUTE.messageIntegrity, hmacSha1(key, bytes.subarray(0, at)));
  }
  writeUint16(bytes, 2, size - STUN_HEADER_BYTES);
  if (hasFingerprint) {
    const sum = fingerprint(bytes, at);
    put(ATTRIBUTE.fingerprint, Uint8Array.of(sum >>> 24, sum >>> 16, sum >>> 8, sum));
  }
  return bytes;
}

/** Writes the 20 bytes of a header whose attributes take `length` bytes (0: filled in later). */
export function writeHeader(
  into: Uint8Array,
  { stunClass, method, transaction }: Omit<StunContent, 'attributes'>,
  length = 0,
): void {
  const kind = CLASSES.indexOf(stunClass);
  const methodBits = (method & 0x0f) | ((method & 0x70) << 1) | ((method & 0xf80) << 2);
  writeUint16(into, 0, methodBits | ((kind & 2) << 7) | ((kind & 1) << 4));
  writeUint16(into, 2, length);
  writeUint16(into, COOKIE_AT, MAGIC_COOKIE >>> 16);
  writeUint16(into, COOKIE_AT + 2, MAGIC_COOKIE);
  into.set(transaction, TRANSACTION_AT);
}

function writeUint16(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 8;
  into[at + 1] = value;
}
