// Deterministic CBOR (RFC 8949 §4.2) over cbor-x, which alone is lax: every decoded value is read
// by a declared type, written again and must come out byte for byte the same. That refuses
// duplicate and unknown keys, long integers, indefinite lengths, floats for integers, tags, keys
// out of order and trailing bytes. Depth and size are checked before the decoder sees a byte.

import { Encoder } from 'cbor-x';
import { assert } from '../assert.ts';
import { sameBytes } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import type { Type } from './schema.ts';

const encoder = new Encoder({
  useRecords: false,
  mapsAsObjects: false,
  variableMapSize: true,
  tagUint8Array: false,
});

/**
 * Encodes a value of a declared type; the result is the caller's.
 * @throws AssertionFailed for a value that its type does not accept or that is too long: the other
 * side would drop it without a word, so the bug must show here.
 */
export function encodeCbor<T>(type: Type<T>, value: T): Uint8Array {
  const written = type.write(value);
  assert(type.read(written) !== undefined, 'what is encoded fits its declared type');
  const encoded = new Uint8Array(encoder.encode(written));
  assert(encoded.length <= LIMITS.sealedBytesMax, 'what is encoded fits one message');
  return encoded;
}

/**
 * Decodes exactly one value of a declared type, or undefined for anything else.
 * The result shares no memory with `bytes`.
 */
export function decodeCbor<T>(type: Type<T>, bytes: Uint8Array): T | undefined {
  if (bytes.length > LIMITS.sealedBytesMax || !isShallow(bytes)) return undefined;
  const own = new Uint8Array(bytes);
  try {
    const value = type.read(encoder.decode(own));
    if (value === undefined) return undefined;
    const again = encoder.encode(type.write(value));
    return sameBytes(own, again) ? value : undefined;
  } catch {
    // cbor-x throws for what is not well-formed; that is an answer, not an accident.
    return undefined;
  }
}

/**
 * Walks the item heads without recursion: refuses nesting deeper than LIMITS.messageDepthMax, tags,
 * indefinite lengths, floats and lengths that run past the end, so that the decoder allocates
 * nothing for a lie.
 */
export function isShallow(bytes: Uint8Array): boolean {
  const remaining: number[] = [1];
  let at = 0;
  while (remaining.length > 0) {
    const top = remaining.length - 1;
    if (remaining[top] === 0) {
      remaining.pop();
      continue;
    }
    remaining[top] -= 1;
    const head = readHead(bytes, at);
    if (head === undefined) return false;
    at = head.next;
    if (head.major === 2 || head.major === 3) at += head.value;
    if (head.major === 4 || head.major === 5) {
      if (remaining.length > LIMITS.messageDepthMax) return false;
      remaining.push(head.major === 5 ? head.value * 2 : head.value);
    }
    if (head.major === 6 || at > bytes.length) return false;
  }
  return at === bytes.length;
}

/** One item head (RFC 8949 §3); undefined for what we do not speak. */
function readHead(
  bytes: Uint8Array,
  at: number,
): { major: number; value: number; next: number } | undefined {
  if (at >= bytes.length) return undefined;
  const major = bytes[at] >> 5;
  const info = bytes[at] & 31;
  // Major 7: only false (20) and true (21).
  if (major === 7)
    return info === 20 || info === 21 ? { major, value: 0, next: at + 1 } : undefined;
  if (info < 24) return { major, value: info, next: at + 1 };
  if (info > 27) return undefined;
  const length = 1 << (info - 24);
  if (at + 1 + length > bytes.length) return undefined;
  let value = 0;
  for (let i = 0; i < length; i++) value = value * 256 + bytes[at + 1 + i];
  return { major, value, next: at + 1 + length };
}
