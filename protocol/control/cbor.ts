// Deterministic CBOR (RFC 8949 §4.2), no more than we speak: whole numbers from 0 to 2^53 − 1, byte
// strings, texts, arrays, maps with ascending whole numbers for keys, false and true. The decoder
// takes an item only in the one way in which the encoder writes it, so nothing has to be written
// again to see that it was well written: no long integers, indefinite lengths, floats, tags, keys
// out of order or twice, bad UTF-8, trailing bytes; and it goes no deeper than its bound. Its slow
// twin, cbor-x, is in test/.

import { assert } from '../assert.ts';
import { LIMITS } from '../limits.ts';
import type { Type } from './schema.ts';

/** Major types (§3.1). */
const MAJOR = { uint: 0, bytes: 2, text: 3, list: 4, map: 5, simple: 7 } as const;
const FALSE = 0xf4;
const TRUE = 0xf5;
/** Additional information: the value itself below, then 1, 2, 4 and 8 bytes of it. */
const ONE_BYTE = 24;
const EIGHT_BYTES = 27;
const INFO_MASK = 0x1f;
const UINT32_VALUES = 2 ** 32;
const ASCII_VALUES = 0x80;
/** Texts up to so many bytes are looked at byte by byte. */
const SHORT_TEXT = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What is being written; one for all, since nothing interrupts an encoding. */
const out = new Uint8Array(LIMITS.sealedBytesMax);
let outAt = 0;

/** What is being read, and where. */
let input: Uint8Array = out;
let at = 0;
/** Thrown for what is not ours, and caught below: a decoder of nested items gives up at once. */
const REFUSED = new Error('refused');

/**
 * Encodes a value of a declared type; the result is the caller's.
 * @throws AssertionFailed for a value that its type does not accept or that is too long: the other
 * side would drop it without a word, so the bug must show here.
 */
export function encodeCbor<T>(type: Type<T>, value: T): Uint8Array {
  const written = type.write(value);
  assert(type.read(written) !== undefined, 'what is encoded fits its declared type');
  outAt = 0;
  writeItem(written);
  return out.slice(0, outAt);
}

/**
 * Decodes exactly one value of a declared type, or undefined for anything else.
 * The result shares no memory with `bytes`.
 */
export function decodeCbor<T>(type: Type<T>, bytes: Uint8Array): T | undefined {
  if (bytes.length > LIMITS.sealedBytesMax) return undefined;
  // A Buffer's slice is a view.
  input = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  at = 0;
  try {
    const item = readItem(0);
    return at === bytes.length ? type.read(item) : undefined;
  } catch (error) {
    // A TypeError is the text decoder's, for what is not UTF-8.
    if (error === REFUSED || error instanceof TypeError) return undefined;
    throw error;
  } finally {
    input = out;
  }
}

function writeItem(value: unknown): void {
  if (typeof value === 'number') writeHead(MAJOR.uint, value);
  else if (typeof value === 'string') writeText(value);
  else if (value instanceof Uint8Array) writeBytes(MAJOR.bytes, value);
  else if (typeof value === 'boolean') out[reserve(1)] = value ? TRUE : FALSE;
  else if (value instanceof Map) {
    writeHead(MAJOR.map, value.size);
    // A record writes its fields in the order of their keys.
    for (const [key, item] of value as Map<unknown, unknown>) {
      writeItem(key);
      writeItem(item);
    }
  } else {
    assert(Array.isArray(value), 'what is written is of a kind that CBOR has here');
    writeHead(MAJOR.list, value.length);
    for (const item of value as readonly unknown[]) writeItem(item);
  }
}

/** Makes room for so many bytes and returns where they begin. */
function reserve(bytes: number): number {
  const start = outAt;
  outAt += bytes;
  assert(outAt <= out.length, 'what is encoded fits one message');
  return start;
}

/** The shortest head of a value (§4.2.1). */
function writeHead(major: number, value: number): void {
  const kind = major << 5;
  if (value < ONE_BYTE) {
    out[reserve(1)] = kind | value;
    return;
  }
  const step = value < 2 ** 8 ? 0 : value < 2 ** 16 ? 1 : value < UINT32_VALUES ? 2 : 3;
  const size = 1 << step;
  const start = reserve(1 + size);
  out[start] = kind | (ONE_BYTE + step);
  let rest = value;
  for (let index = start + size; index > start; index--) {
    out[index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

function writeBytes(major: number, bytes: Uint8Array): void {
  writeHead(major, bytes.length);
  out.set(bytes, reserve(bytes.length));
}

function writeText(text: string): void {
  const { length } = text;
  for (let index = 0; index < length; index++) {
    if (text.charCodeAt(index) < ASCII_VALUES) continue;
    writeBytes(MAJOR.text, encoder.encode(text));
    return;
  }
  writeHead(MAJOR.text, length);
  const start = reserve(length);
  for (let index = 0; index < length; index++) out[start + index] = text.charCodeAt(index);
}

/** One item, `depth` containers deep. @throws REFUSED, or TypeError for what is not UTF-8 */
function readItem(depth: number): unknown {
  if (at >= input.length) throw REFUSED;
  const head = input[at];
  if (head === FALSE || head === TRUE) {
    at += 1;
    return head === TRUE;
  }
  const value = readValue();
  switch (head >> 5) {
    case MAJOR.uint:
      return value;
    case MAJOR.bytes:
      return input.slice(at, skip(value));
    case MAJOR.text:
      return textOf(at, skip(value));
    case MAJOR.list: {
      enter(depth, value);
      const items: unknown[] = [];
      for (let index = 0; index < value; index++) items.push(readItem(depth + 1));
      return items;
    }
    case MAJOR.map: {
      enter(depth, 2 * value);
      return readMap(depth, value);
    }
    default:
      throw REFUSED;
  }
}

function readMap(depth: number, size: number): ReadonlyMap<number, unknown> {
  const map = new Map<number, unknown>();
  let last = -1;
  for (let index = 0; index < size; index++) {
    if (at >= input.length || input[at] >> 5 !== MAJOR.uint) throw REFUSED;
    const key = readValue();
    if (key <= last) throw REFUSED;
    last = key;
    map.set(key, readItem(depth + 1));
  }
  return map;
}

/** A container of so many items begins: each has a byte at least, so none is made for a lie. */
function enter(depth: number, items: number): void {
  if (depth >= LIMITS.messageDepthMax || items > input.length - at) throw REFUSED;
}

/** The value in the head at `at`, in its shortest form; `at` is behind it then. */
function readValue(): number {
  const info = input[at] & INFO_MASK;
  at += 1;
  if (info < ONE_BYTE) return info;
  if (info > EIGHT_BYTES) throw REFUSED;
  const size = 1 << (info - ONE_BYTE);
  const end = skip(size);
  let value = 0;
  for (let index = end - size; index < end; index++) value = value * 256 + input[index];
  const least = size === 1 ? ONE_BYTE : 2 ** (4 * size);
  if (value < least || value > Number.MAX_SAFE_INTEGER) throw REFUSED;
  return value;
}

/** Goes on behind so many bytes, and returns where that is. */
function skip(bytes: number): number {
  if (bytes > input.length - at) throw REFUSED;
  at += bytes;
  return at;
}

function textOf(start: number, end: number): string {
  if (end - start > SHORT_TEXT) return decoder.decode(input.subarray(start, end));
  for (let index = start; index < end; index++) {
    if (input[index] >= ASCII_VALUES) return decoder.decode(input.subarray(start, end));
  }
  return String.fromCharCode(...input.subarray(start, end));
}
