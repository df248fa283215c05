// The CryptoSuite of most simulated seeds: keyed checksums instead of cryptography. It is NOT
// secure, and not meant to be: whoever knows a public key signs with it, whoever has a public
// agreement key computes the private one, and 64 bits of state stand behind every tag. Outside
// sim/ nobody may use it. It keeps what the protocols lean on, against faults and against attackers
// who do not do arithmetic: agreement commutes, a signature fits one key and one message, what is
// sealed is really enciphered, and every changed bit, key, nonce or AAD is found.
// Mixing follows the public-domain MurmurHash3 (x86, 128 bits): words, Math.imul and rotations.

import { assert } from '../../protocol/assert.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import {
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  HASH_BYTES,
  KEY_BYTES,
  SIGNATURE_BYTES,
  type SigningKey,
  TAG_BYTES,
} from '../../protocol/crypto.ts';

/** Checksums behind the interface of cryptography: some twenty times as fast, worth nothing. */
export const fastSuite: CryptoSuite = {
  aead: { name: 'fast', importKey: (bytes) => new FastAeadKey(bytes) },
  dhKey,
  signingKey,
  verify(publicKey, message, signature) {
    if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
    return sameBytes(signature, signatureOf(publicKey, message));
  },
  blake2s(message) {
    begin(LABEL.hash);
    absorb(message);
    return squeeze(HASH_BYTES);
  },
  hmacBlake2s: (key, message) => keyed(LABEL.mac, key, message),
};

/** What a checksum is for: the same bytes give another one for each. */
const LABEL = {
  hash: 0x68617368,
  mac: 0x6d616320,
  aead: 0x61656164,
  secret: 0x73656372,
  verifying: 0x76657279,
  signature: 0x7369676e,
  agreed: 0x61677265,
} as const;

const WORD_BYTES = 4;
const LANES = KEY_BYTES / WORD_BYTES;
/** Odd multipliers and sums of MurmurHash3, xxHash32 and the golden ratio: any odd would do. */
const C1 = 0x239b961b;
const C2 = 0xab0e9789 | 0;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93 | 0;
const P1 = 0x9e3779b1 | 0;
const P2 = 0x85ebca77 | 0;
const WEYL = 0x9e3779b9 | 0;
const MIX_1 = 0x85ebca6b | 0;
const MIX_2 = 0xc2b2ae35 | 0;
/** Where agreement starts: odd, so that every product can be divided again. */
const GENERATOR = 0x6a09e667;

/** The four lanes of the checksum that is under way; nothing here is ever interrupted. */
const lanes = new Int32Array(4);

/** MurmurHash3's finaliser: a bijection in which each bit moves every other. */
function mix(word: number): number {
  const once = Math.imul(word ^ (word >>> 16), MIX_1);
  const twice = Math.imul(once ^ (once >>> 13), MIX_2);
  return twice ^ (twice >>> 16);
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

function writeWord(into: Uint8Array, at: number, word: number): void {
  into[at] = word;
  into[at + 1] = word >>> 8;
  into[at + 2] = word >>> 16;
  into[at + 3] = word >>> 24;
}

/** The last one to three bytes as a word; 0 when there are none. */
function tailAt(bytes: Uint8Array, at: number, end: number): number {
  let word = 0;
  for (let i = at; i < end; i++) word |= bytes[i] << ((i - at) * 8);
  return word;
}

function begin(label: number): void {
  lanes[0] = mix(label);
  lanes[1] = mix(label ^ C1);
  lanes[2] = mix(label ^ C2);
  lanes[3] = mix(label ^ C3);
}

/** Takes in some bytes and how many they are, so that no two lists of parts give the same lanes. */
function absorb(bytes: Uint8Array): void {
  let [h1, h2, h3, h4] = [lanes[0], lanes[1], lanes[2], lanes[3]];
  const { length } = bytes;
  // The last round is for what is left of the message, if anything, and for its length.
  for (let at = 0; at <= length; at += 16) {
    const isWhole = at + 16 <= length;
    const k1 = isWhole ? wordAt(bytes, at) : partAt(bytes, at);
    const k2 = isWhole ? wordAt(bytes, at + 4) : partAt(bytes, at + 4);
    const k3 = isWhole ? wordAt(bytes, at + 8) : partAt(bytes, at + 8);
    const k4 = isWhole ? wordAt(bytes, at + 12) : partAt(bytes, at + 12) ^ mix(length);
    const m1 = Math.imul(k1, C1);
    h1 ^= Math.imul((m1 << 15) | (m1 >>> 17), C2);
    h1 = (Math.imul(((h1 << 19) | (h1 >>> 13)) + h2, 5) + 0x561ccd1b) | 0;
    const m2 = Math.imul(k2, C2);
    h2 ^= Math.imul((m2 << 16) | (m2 >>> 16), C3);
    h2 = (Math.imul(((h2 << 17) | (h2 >>> 15)) + h3, 5) + 0x0bcaa747) | 0;
    const m3 = Math.imul(k3, C3);
    h3 ^= Math.imul((m3 << 17) | (m3 >>> 15), C4);
    h3 = (Math.imul(((h3 << 15) | (h3 >>> 17)) + h4, 5) + 0x96cd1c35) | 0;
    const m4 = Math.imul(k4, C4);
    h4 ^= Math.imul((m4 << 18) | (m4 >>> 14), C1);
    h4 = (Math.imul(((h4 << 13) | (h4 >>> 19)) + h1, 5) + 0x32ac3b17) | 0;
  }
  lanes[0] = h1;
  lanes[1] = h2;
  lanes[2] = h3;
  lanes[3] = h4;
}

/** The word at `at`, with zeros for what lies behind the end. */
function partAt(bytes: Uint8Array, at: number): number {
  return tailAt(bytes, at, Math.min(at + WORD_BYTES, bytes.length));
}

/** Ends a checksum: `length` bytes (a multiple of 16), each of which hangs on every lane. */
function squeeze(length: number): Uint8Array {
  const out = new Uint8Array(length);
  let [h1, h2, h3, h4] = [lanes[0], lanes[1], lanes[2], lanes[3]];
  for (let at = 0; at < length; at += 16) {
    h1 = (h1 + h2 + h3 + h4 + WEYL) | 0;
    h2 = (h2 + h1) | 0;
    h3 = (h3 + h1) | 0;
    h4 = (h4 + h1) | 0;
    h1 = mix(h1);
    h2 = mix(h2);
    h3 = mix(h3);
    h4 = mix(h4);
    h1 = (h1 + h2 + h3 + h4) | 0;
    h2 = (h2 + h1) | 0;
    h3 = (h3 + h1) | 0;
    h4 = (h4 + h1) | 0;
    writeWord(out, at, h1);
    writeWord(out, at + 4, h2);
    writeWord(out, at + 8, h3);
    writeWord(out, at + 12, h4);
  }
  return out;
}

/** 32 bytes over a key and a message, for one purpose. */
function keyed(label: number, key: Uint8Array, message: Uint8Array): Uint8Array {
  begin(label);
  absorb(key);
  absorb(message);
  return squeeze(HASH_BYTES);
}

function hashFor(label: number, bytes: Uint8Array): Uint8Array {
  begin(label);
  absorb(bytes);
  return squeeze(HASH_BYTES);
}

/** A key, and for each message a stream of words and two lanes over what it enciphered. */
class FastAeadKey implements AeadKey {
  readonly #key = new Int32Array(4);
  /** The tag of the message that was run last. */
  readonly #tag = new Int32Array(4);

  constructor(bytes: Uint8Array) {
    assert(bytes.length === KEY_BYTES, 'an AEAD key has 32 bytes');
    const inside = hashFor(LABEL.aead, bytes);
    for (let lane = 0; lane < 4; lane++) this.#key[lane] = wordAt(inside, lane * WORD_BYTES);
  }

  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): void {
    this.#run(nonce, aad, { buffer, start, end: start + length, isSealing: true });
    for (let lane = 0; lane < 4; lane++)
      writeWord(buffer, start + length + lane * WORD_BYTES, this.#tag[lane]);
  }

  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): boolean {
    if (length < TAG_BYTES) return false;
    const end = start + length - TAG_BYTES;
    this.#run(nonce, aad, { buffer, start, end, isSealing: false });
    let different = 0;
    for (let lane = 0; lane < 4; lane++)
      different |= this.#tag[lane] ^ wordAt(buffer, end + lane * WORD_BYTES);
    return different === 0;
  }

  /** Enciphers or deciphers in place and leaves the tag. Each step is a bijection of its lane. */
  #run(
    nonce: Uint8Array,
    aad: Uint8Array,
    text: {
      readonly buffer: Uint8Array;
      readonly start: number;
      readonly end: number;
      readonly isSealing: boolean;
    },
  ): void {
    const { buffer, start, end, isSealing } = text;
    const key = this.#key;
    let stream = mix(key[0] ^ wordAt(nonce, 0));
    stream = mix((stream + key[1]) ^ wordAt(nonce, 4));
    stream = mix((stream + key[2]) ^ wordAt(nonce, 8));
    let a = mix(stream ^ key[3]);
    let b = mix((Math.imul(wordAt(nonce, 4), P1) ^ key[0]) + wordAt(nonce, 0));
    b = mix((b ^ key[1]) + wordAt(nonce, 8));
    for (let at = 0; at < aad.length; at += WORD_BYTES) {
      const word = at + WORD_BYTES <= aad.length ? wordAt(aad, at) : tailAt(aad, at, aad.length);
      a = Math.imul(a ^ word, P1);
      a = (a << 13) | (a >>> 19);
      b = Math.imul(((b << 15) | (b >>> 17)) + word, P2);
    }
    a = mix(a ^ aad.length);
    b = mix((b + (end - start)) | 0);
    const wholeEnd = end - ((end - start) % WORD_BYTES);
    for (let at = start; at < wholeEnd; at += WORD_BYTES) {
      stream = (stream + WEYL) | 0;
      const before = wordAt(buffer, at);
      const after = before ^ keystream(stream);
      writeWord(buffer, at, after);
      const sealed = isSealing ? after : before;
      a = Math.imul(a ^ sealed, P1);
      a = (a << 13) | (a >>> 19);
      b = Math.imul(((b << 15) | (b >>> 17)) + sealed, P2);
    }
    if (wholeEnd < end) {
      let pad = keystream((stream + WEYL) | 0);
      const before = tailAt(buffer, wholeEnd, end);
      for (let at = wholeEnd; at < end; at++, pad >>>= 8) buffer[at] ^= pad;
      const sealed = isSealing ? tailAt(buffer, wholeEnd, end) : before;
      a = Math.imul(a ^ sealed, P1);
      b = Math.imul(((b << 15) | (b >>> 17)) + sealed, P2);
    }
    const tag = this.#tag;
    tag[0] = mix((a + key[0]) | 0);
    tag[1] = mix((b ^ key[1]) + tag[0]);
    tag[2] = mix((tag[0] ^ key[2]) + ((tag[1] << 7) | (tag[1] >>> 25)));
    tag[3] = mix((tag[1] ^ key[3]) + tag[2]);
  }
}

/** A word to encipher with: any two states give different ones. */
function keystream(state: number): number {
  const once = Math.imul(state ^ (state >>> 15), MIX_1);
  return Math.imul(once ^ (once >>> 13), MIX_2);
}

/**
 * Eight lanes of multiplication modulo 2^32 by odd numbers, which commutes. A peer key with an even
 * lane is nobody's; it agrees with nothing that its neighbour agrees with.
 */
function dhKey(secret: Uint8Array): DhKey {
  assert(secret.length === KEY_BYTES, 'a private key has 32 bytes');
  const factors = hashFor(LABEL.secret, secret);
  const publicKey = new Uint8Array(KEY_BYTES);
  for (let lane = 0; lane < LANES; lane++) {
    const at = lane * WORD_BYTES;
    factors[at] |= 1;
    writeWord(publicKey, at, Math.imul(GENERATOR, wordAt(factors, at)));
  }
  return {
    publicKey,
    agree(peer) {
      if (peer.length !== KEY_BYTES || isOfLowOrder(peer)) return undefined;
      const product = new Uint8Array(KEY_BYTES + LANES);
      for (let lane = 0; lane < LANES; lane++) {
        const at = lane * WORD_BYTES;
        writeWord(product, at, Math.imul(wordAt(peer, at) | 1, wordAt(factors, at)));
        product[KEY_BYTES + lane] = peer[at] & 1;
      }
      return hashFor(LABEL.agreed, product);
    },
  };
}

const TOP_BYTES: readonly number[] = Array.from({ length: KEY_BYTES - 2 }, () => 0xff);
/** The encodings that X25519 refuses, below 2^255: an attacker knows them, so they do as little. */
const LOW_ORDER: readonly Uint8Array[] = [
  Uint8Array.of(0, ...TOP_BYTES.map(() => 0), 0),
  Uint8Array.of(1, ...TOP_BYTES.map(() => 0), 0),
  Uint8Array.of(0xec, ...TOP_BYTES, 0x7f),
  Uint8Array.of(0xed, ...TOP_BYTES, 0x7f),
  Uint8Array.of(0xee, ...TOP_BYTES, 0x7f),
];

function isOfLowOrder(publicKey: Uint8Array): boolean {
  return LOW_ORDER.some((key) => sameBytes(key, publicKey));
}

function signingKey(seed: Uint8Array): SigningKey {
  assert(seed.length === KEY_BYTES, 'a private key has 32 bytes');
  const publicKey = hashFor(LABEL.verifying, seed);
  return { publicKey, sign: (message) => signatureOf(publicKey, message) };
}

function signatureOf(publicKey: Uint8Array, message: Uint8Array): Uint8Array {
  begin(LABEL.signature);
  absorb(publicKey);
  absorb(message);
  return squeeze(SIGNATURE_BYTES);
}
