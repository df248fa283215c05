// The slow twin of control/cbor.ts: cbor-x, which is lax, and what makes it strict. What is decoded
// is read by its type, written again and has to come out byte for byte the same; depth and lengths
// are looked at before. As it once was in earnest.

import { Encoder } from 'cbor-x';
import { sameBytes } from '../bytes.ts';
import type { Type } from '../control/schema.ts';
import { LIMITS } from '../limits.ts';

const encoder = new Encoder({
  useRecords: false,
  mapsAsObjects: false,
  variableMapSize: true,
  tagUint8Array: false,
});

/** Encodes a value of a declared type. */
export function slowEncode<T>(type: Type<T>, value: T): Uint8Array {
  return new Uint8Array(encoder.encode(widened(type.write(value))));
}

/** cbor-x makes a float of a number above 32 bits; only a bigint stays an integer. */
function widened(value: unknown): unknown {
  if (typeof value === 'number' && value > 0xffff_ffff) return BigInt(value);
  if (Array.isArray(value)) return value.map(widened);
  if (!(value instanceof Map)) return value;
  return new Map([...value].map(([key, item]) => [key as unknown, widened(item)]));
}

/** The same back: bigints that a number holds become numbers. */
function narrowed(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(narrowed);
  if (!(value instanceof Map)) return value;
  return new Map([...value].map(([key, item]) => [key as unknown, narrowed(item)]));
}

/**
 * Decodes exactly one value of a declared type, or undefined for anything else.
 * The result shares no memory with `bytes`.
 */
export function slowDecode<T>(type: Type<T>, bytes: Uint8Array): T | undefined {
  if (bytes.length > LIMITS.sealedBytesMax || !isShallow(bytes)) return undefined;
  const own = new Uint8Array(bytes);
  try {
    const value = type.read(narrowed(encoder.decode(own)));
    if (value === undefined) return undefined;
    const again = encoder.encode(widened(type.write(value)));
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
function isShallow(bytes: Uint8Array): boolean {
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
