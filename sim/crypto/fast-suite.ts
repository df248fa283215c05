// The CryptoSuite of most simulated seeds: keyed checksums instead of cryptography. It is NOT
// secure, and not meant to be: whoever knows a public key signs with it, whoever has a public
// agreement key computes what it agrees, and nothing here withstands arithmetic. Outside
// sim/ nobody may use it. It keeps what the protocols lean on, against faults and against attackers
// who do not calculate: agreement commutes, a signature fits one key and one message, what is
// sealed is really enciphered, and every changed bit, key, nonce or AAD is found.
// Four lanes of 32 bits, mixed as in the public-domain MurmurHash3: Math.imul and rotations.
// Words are in the machine's order (little endian wherever Node runs).

import { assert } from '../../protocol/assert.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import {
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  HASH_BYTES,
  KEY_BYTES,
  NONCE_BYTES,
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
  blake2s: (message) => checksum(LABEL.hash, HASH_BYTES, message),
  hmacBlake2s: (key, message) => checksum(LABEL.mac, HASH_BYTES, key, message),
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
const DH_LANES = KEY_BYTES / WORD_BYTES;
/** Bytes that are taken in at once: one word for each lane. */
const BLOCK_BYTES = 16;
const BLOCK_WORDS = BLOCK_BYTES / WORD_BYTES;
/** Odd numbers of xxHash32 and MurmurHash3 and the golden ratio: most odd ones would do. */
const P1 = 0x9e3779b1 | 0;
const P2 = 0x85ebca77 | 0;
const WEYL = 0x9e3779b9 | 0;
const MIX_1 = 0x85ebca6b | 0;
const MIX_2 = 0xc2b2ae35 | 0;
/** Where agreement starts: odd, so that every product can be divided again. */
const GENERATOR = 0x6a09e667;

/** The four lanes of the checksum that is under way; nothing here is ever interrupted. */
const lanes = new Int32Array(BLOCK_WORDS);

/** Where bytes become aligned words; as large as the largest message so far, and a block. */
let words = new Int32Array(512);
let bytesOfWords = new Uint8Array(words.buffer);
/** Up to here a loop is faster than `set`, which needs a view first. */
const SHORT_BYTES = 64;

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

function begin(label: number): void {
  for (let lane = 0; lane < BLOCK_WORDS; lane++) lanes[lane] = mix(label + Math.imul(lane, WEYL));
}

/** Copies bytes to `words`, filled up with zeros to whole blocks. */
function load(bytes: Uint8Array, start: number, length: number): void {
  if (length + BLOCK_BYTES > bytesOfWords.length) {
    words = new Int32Array((2 * (length + BLOCK_BYTES)) >>> 2);
    bytesOfWords = new Uint8Array(words.buffer);
  }
  const into = bytesOfWords;
  if (length <= SHORT_BYTES) for (let at = 0; at < length; at++) into[at] = bytes[start + at];
  else into.set(start === 0 && length === bytes.length ? bytes : view(bytes, start, length));
  fillUp(length);
}

function fillUp(length: number): void {
  for (let at = length; (at & (BLOCK_BYTES - 1)) !== 0; at++) bytesOfWords[at] = 0;
}

function view(bytes: Uint8Array, start: number, length: number): Uint8Array {
  return bytes.subarray(start, start + length);
}

/**
 * Takes in what `words` holds, and how many bytes that was, so that no two lists of parts are one.
 * Each block is a bijection of all lanes: two that differ in one word stay different for ever.
 */
function absorbWords(length: number): void {
  const from = words;
  let a = lanes[0];
  let b = lanes[1];
  let c = lanes[2];
  let d = lanes[3];
  const count = ((length + BLOCK_BYTES - 1) >>> 4) << 2;
  for (let at = 0; at < count; at += BLOCK_WORDS) {
    a = Math.imul(a ^ spread(from[at]), P1);
    a = (((a << 13) | (a >>> 19)) + d) | 0;
    b = Math.imul(b ^ spread(from[at + 1]), P1);
    b = (((b << 15) | (b >>> 17)) + a) | 0;
    c = Math.imul(c ^ spread(from[at + 2]), P1);
    c = (((c << 17) | (c >>> 15)) + b) | 0;
    d = Math.imul(d ^ spread(from[at + 3]), P1);
    d = (((d << 19) | (d >>> 13)) + c) | 0;
  }
  lanes[0] = mix(a ^ length);
  lanes[1] = b;
  lanes[2] = c;
  lanes[3] = d;
}

/** A bijection that makes one changed bit several, or two changes would cancel out too easily. */
function spread(word: number): number {
  const product = Math.imul(word, P2);
  return product ^ (product >>> 15);
}

function absorb(bytes: Uint8Array): void {
  load(bytes, 0, bytes.length);
  absorbWords(bytes.length);
}

/** Ends a checksum: each lane then hangs on all. A bijection too. Source: MurmurHash3. */
function finish(): void {
  let a = lanes[0];
  let b = lanes[1];
  let c = lanes[2];
  let d = lanes[3];
  a = (a + b + c + d + WEYL) | 0;
  b = mix(b + a);
  c = mix(c + a);
  d = mix(d + a);
  a = (mix(a) + b + c + d) | 0;
  lanes[0] = a;
  lanes[1] = mix(b + a);
  lanes[2] = mix(c + a);
  lanes[3] = mix(d + a);
}

/** The checksum as `length` bytes, a multiple of 16. */
function squeeze(length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let at = 0; at < length; at += BLOCK_BYTES) {
    finish();
    writeLanes(out, at);
  }
  return out;
}

function writeLanes(into: Uint8Array, at: number): void {
  for (let lane = 0; lane < BLOCK_WORDS; lane++)
    writeWord(into, at + lane * WORD_BYTES, lanes[lane]);
}

/** `length` bytes over one or two parts, for one purpose. */
function checksum(label: number, length: number, first: Uint8Array, then?: Uint8Array): Uint8Array {
  begin(label);
  absorb(first);
  if (then !== undefined) absorb(then);
  return squeeze(length);
}

/** A key, and for each message a stream of words and a checksum over what it enciphered. */
class FastAeadKey implements AeadKey {
  readonly #key = new Int32Array(BLOCK_WORDS);

  constructor(bytes: Uint8Array) {
    assert(bytes.length === KEY_BYTES, 'an AEAD key has 32 bytes');
    begin(LABEL.aead);
    absorb(bytes);
    finish();
    this.#key.set(lanes);
  }

  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): void {
    const stream = this.#beginMessage(nonce, aad);
    load(buffer, start, length);
    encipher(stream, length);
    store(buffer, start, length);
    fillUp(length);
    absorbWords(length);
    finish();
    writeLanes(buffer, start + length);
  }

  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): boolean {
    if (length < TAG_BYTES) return false;
    const textLength = length - TAG_BYTES;
    const stream = this.#beginMessage(nonce, aad);
    load(buffer, start, textLength);
    absorbWords(textLength);
    finish();
    for (let lane = 0; lane < BLOCK_WORDS; lane++)
      if (lanes[lane] !== wordAt(buffer, start + textLength + lane * WORD_BYTES)) return false;
    encipher(stream, textLength);
    store(buffer, start, textLength);
    return true;
  }

  /** Starts the checksum with key, nonce and AAD; gives where the stream of words begins. */
  #beginMessage(nonce: Uint8Array, aad: Uint8Array): number {
    assert(nonce.length === NONCE_BYTES, 'a nonce has 12 bytes');
    const key = this.#key;
    const first = mix(key[0] ^ wordAt(nonce, 0));
    const second = mix((key[1] ^ wordAt(nonce, 4)) + first);
    const third = mix((key[2] ^ wordAt(nonce, 8)) + second);
    lanes[0] = first;
    lanes[1] = second;
    lanes[2] = third;
    lanes[3] = key[3] ^ third;
    absorb(aad);
    return mix(third ^ key[3]) ^ second;
  }
}

/** Enciphers `words`, or deciphers them: it is the same. Any two states give different words. */
function encipher(stream: number, length: number): void {
  const into = words;
  const count = (length + WORD_BYTES - 1) >>> 2;
  // V8 keeps it in a register only if it is sure of 32 bits: four times as fast.
  let state = stream | 0;
  for (let at = 0; at < count; at++) {
    state = (state + WEYL) | 0;
    const once = Math.imul(state ^ (state >>> 15), MIX_1);
    into[at] ^= once ^ (once >>> 16);
  }
}

/** Copies bytes back from `words`. */
function store(into: Uint8Array, start: number, length: number): void {
  if (length > SHORT_BYTES) into.set(view(bytesOfWords, 0, length), start);
  else for (let at = 0; at < length; at++) into[start + at] = bytesOfWords[at];
}

/**
 * Eight lanes of multiplication modulo 2^32 by odd numbers, which commutes. A peer key with an even
 * lane is nobody's; it agrees with nothing that its neighbour agrees with.
 */
function dhKey(secret: Uint8Array): DhKey {
  assert(secret.length === KEY_BYTES, 'a private key has 32 bytes');
  const factors = checksum(LABEL.secret, HASH_BYTES, secret);
  const publicKey = new Uint8Array(KEY_BYTES);
  for (let lane = 0; lane < DH_LANES; lane++) {
    const at = lane * WORD_BYTES;
    factors[at] |= 1;
    writeWord(publicKey, at, Math.imul(GENERATOR, wordAt(factors, at)));
  }
  return {
    publicKey,
    agree(peer) {
      if (peer.length !== KEY_BYTES || isOfLowOrder(peer)) return undefined;
      const product = new Uint8Array(KEY_BYTES + DH_LANES);
      for (let lane = 0; lane < DH_LANES; lane++) {
        const at = lane * WORD_BYTES;
        writeWord(product, at, Math.imul(wordAt(peer, at) | 1, wordAt(factors, at)));
        product[KEY_BYTES + lane] = peer[at] & 1;
      }
      return checksum(LABEL.agreed, HASH_BYTES, product);
    },
  };
}

const TOP = 'ff'.repeat(30);
/** The encodings that X25519 refuses, below 2^255: attackers know them, so they do as little. */
const LOW_ORDER: readonly Uint8Array[] = [
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `ec${TOP}7f`,
  `ed${TOP}7f`,
  `ee${TOP}7f`,
  // The points of order 8.
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
].map((text) => new Uint8Array(Buffer.from(text, 'hex')));

function isOfLowOrder(publicKey: Uint8Array): boolean {
  return LOW_ORDER.some((key) => sameBytes(key, publicKey));
}

function signingKey(seed: Uint8Array): SigningKey {
  assert(seed.length === KEY_BYTES, 'a private key has 32 bytes');
  const publicKey = checksum(LABEL.verifying, HASH_BYTES, seed);
  return { publicKey, sign: (message) => signatureOf(publicKey, message) };
}

function signatureOf(publicKey: Uint8Array, message: Uint8Array): Uint8Array {
  return checksum(LABEL.signature, SIGNATURE_BYTES, publicKey, message);
}
