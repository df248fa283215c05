// BLAKE2s-256 and its HMAC (RFC 7693, RFC 2104) for short messages: a handshake makes fifty of them
// at each end, and node:crypto's object for each costs ten times the hash. Additions, rotations and
// XOR of 32 bits only: no branch and no table depends on a secret. One state serves all calls,
// since none of them is interrupted. Slow twin: @noble/hashes, in test/.

import { assert } from './assert.ts';
import { HASH_BYTES } from './crypto.ts';

const BLOCK_BYTES = 64;
const WORD_BYTES = 4;
const WORDS = 8;
const ROUNDS = 10;
/** HMAC's paddings, in whole words (RFC 2104 §2). */
const INNER_PAD = 0x36363636;
const OUTER_PAD = 0x5c5c5c5c;
/** Lengths are counted in one word here: no message of a party comes near it. */
const LENGTH_MAX = 2 ** 31;

/** RFC 7693 §2.6. */
const IV = Int32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);
/** The first word of the parameter block: 32 bytes, no key, fanout and depth 1 (§2.5). */
const PARAMETERS = 0x01010020;
/** §2.7: which words of the message each round mixes. */
const SIGMA = Uint8Array.from(
  [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  ].flat(),
);

/** Chaining value, message words, working words. */
const h = new Int32Array(WORDS);
const m = new Int32Array(2 * WORDS);
const v = new Int32Array(2 * WORDS);

/** Mixes two message words into four working words (§3.1). */
function mix(a: number, b: number, c: number, d: number, x: number, y: number): void {
  let va = (v[a] + v[b] + x) | 0;
  let vd = v[d] ^ va;
  vd = (vd >>> 16) | (vd << 16);
  let vc = (v[c] + vd) | 0;
  let vb = v[b] ^ vc;
  vb = (vb >>> 12) | (vb << 20);
  va = (va + vb + y) | 0;
  vd ^= va;
  vd = (vd >>> 8) | (vd << 24);
  vc = (vc + vd) | 0;
  vb ^= vc;
  v[a] = va;
  v[b] = (vb >>> 7) | (vb << 25);
  v[c] = vc;
  v[d] = vd;
}

/** The compression of the words in `m` (§3.2); `length`: bytes so far, these included. */
function compress(length: number, isLast: boolean): void {
  for (let at = 0; at < WORDS; at++) {
    v[at] = h[at];
    v[at + WORDS] = IV[at];
  }
  v[12] ^= length;
  if (isLast) v[14] = ~v[14];
  for (let at = 0; at < ROUNDS * 2 * WORDS; at += 2 * WORDS) {
    mix(0, 4, 8, 12, m[SIGMA[at]], m[SIGMA[at + 1]]);
    mix(1, 5, 9, 13, m[SIGMA[at + 2]], m[SIGMA[at + 3]]);
    mix(2, 6, 10, 14, m[SIGMA[at + 4]], m[SIGMA[at + 5]]);
    mix(3, 7, 11, 15, m[SIGMA[at + 6]], m[SIGMA[at + 7]]);
    mix(0, 5, 10, 15, m[SIGMA[at + 8]], m[SIGMA[at + 9]]);
    mix(1, 6, 11, 12, m[SIGMA[at + 10]], m[SIGMA[at + 11]]);
    mix(2, 7, 8, 13, m[SIGMA[at + 12]], m[SIGMA[at + 13]]);
    mix(3, 4, 9, 14, m[SIGMA[at + 14]], m[SIGMA[at + 15]]);
  }
  for (let at = 0; at < WORDS; at++) h[at] ^= v[at] ^ v[at + WORDS];
}

function begin(): void {
  h.set(IV);
  h[0] ^= PARAMETERS;
}

/** Words of at most one block, zeros behind it. */
function load(bytes: Uint8Array, start: number, end: number): void {
  let at = start;
  for (let word = 0; word < 2 * WORDS; word++, at += WORD_BYTES) {
    if (at + WORD_BYTES <= end) {
      m[word] = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      continue;
    }
    let value = 0;
    for (let byte = at; byte < end; byte++) value |= bytes[byte] << (8 * (byte - at));
    m[word] = value;
  }
}

/** The rest of a hash that has `before` bytes; a last block that is whole is taken here, too. */
function finish(message: Uint8Array, before: number): void {
  let start = 0;
  for (; message.length - start > BLOCK_BYTES; start += BLOCK_BYTES) {
    load(message, start, start + BLOCK_BYTES);
    compress(before + start + BLOCK_BYTES, false);
  }
  load(message, start, message.length);
  compress(before + message.length, true);
}

function digest(): Uint8Array {
  const bytes = new Uint8Array(HASH_BYTES);
  for (let word = 0, at = 0; word < WORDS; word++) {
    const value = h[word];
    bytes[at++] = value;
    bytes[at++] = value >>> 8;
    bytes[at++] = value >>> 16;
    bytes[at++] = value >>> 24;
  }
  return bytes;
}

/** BLAKE2s-256 without a key (RFC 7693): 32 bytes, the caller's. */
export function blake2s(message: Uint8Array): Uint8Array {
  assert(message.length < LENGTH_MAX, 'a message is shorter than what is counted');
  begin();
  finish(message, 0);
  return digest();
}

/** HMAC-BLAKE2s (RFC 2104): 32 bytes, the caller's. */
export function hmacBlake2s(key: Uint8Array, message: Uint8Array): Uint8Array {
  assert(message.length < LENGTH_MAX, 'a message is shorter than what is counted');
  const short = key.length > BLOCK_BYTES ? blake2s(key) : key;
  load(short, 0, short.length);
  for (let word = 0; word < 2 * WORDS; word++) m[word] ^= INNER_PAD;
  begin();
  // An empty message leaves the padded key as the last block.
  compress(BLOCK_BYTES, message.length === 0);
  if (message.length > 0) finish(message, BLOCK_BYTES);
  const inner = digest();
  load(short, 0, short.length);
  for (let word = 0; word < 2 * WORDS; word++) m[word] ^= OUTER_PAD;
  begin();
  compress(BLOCK_BYTES, false);
  finish(inner, BLOCK_BYTES);
  m.fill(0);
  return digest();
}
