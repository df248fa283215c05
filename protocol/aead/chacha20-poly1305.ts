// The kernel: ChaCha20-Poly1305 (RFC 8439 §2.8) as a WebAssembly module of one function, made here
// out of chacha20.ts and poly1305.ts (ADR 0012). The two run interleaved: while the vector units
// make the next blocks of key stream, the multipliers read ciphertext that is there already.
//
// Its memory, at the offsets of AEAD_MEMORY:
//   key, nonce     written by the caller; the key is zeroed before the function returns
//   authenticator  block 0 of the key stream: r, s (RFC 8439 §2.6); zeroed likewise
//   stream         what Poly1305 reads (§2.8): additional data, zeros up to a multiple of 16, the
//                  text, zeros likewise, and both lengths. Sealed in place; opened into `opened`
//   opened         plaintext, which counts only if the function says that it is authentic
// The tag lies right behind the ciphertext. Whoever calls keeps the lengths within their bounds and
// writes the zeros behind the additional data. What branches depend on is lengths, never a secret.

import { assert } from '../assert.ts';
import {
  type Code,
  FunctionWriter,
  type Local,
  encodeModule,
  i32,
  i32x4,
  i64,
  loopWhile,
  v128,
  when,
} from './assembler.ts';
import { BATCH_BLOCKS, BLOCK_BYTES, ChaChaBatch, DOUBLE_ROUNDS } from './chacha20.ts';
import { POLY_BLOCK_BYTES, Poly1305 } from './poly1305.ts';

const PAGE_BYTES = 65_536;
/** More than any datagram that the kernel is faster for; half a page for each of two texts. */
const TEXT_BYTES_MAX = 16_384;
/** Far more than a header or a handshake's hash. */
const AAD_BYTES_MAX = 4_096;

/** Where everything lies in the kernel's memory, and how much there may be of it; bytes. */
export const AEAD_MEMORY = {
  key: 0,
  nonce: 32,
  authenticator: 64,
  tag: 128,
  /** 64 bytes that stay zero. */
  zeros: 192,
  stream: 512,
  aadBytesMax: AAD_BYTES_MAX,
  textBytesMax: TEXT_BYTES_MAX,
  opened: PAGE_BYTES / 2,
} as const;

const M = AEAD_MEMORY;
const BATCH_BYTES = BATCH_BLOCKS * BLOCK_BYTES;
/** Batches are whole, whatever the text's length: so much is written behind it at most. */
const SLACK_BYTES = 2 * BATCH_BYTES + POLY_BLOCK_BYTES;
assert(M.zeros + BLOCK_BYTES <= M.stream - BLOCK_BYTES, 'the stream has a block before it');
assert(M.stream + M.aadBytesMax + M.textBytesMax + SLACK_BYTES < M.opened - BLOCK_BYTES, 'fits');
assert(M.opened + M.textBytesMax + SLACK_BYTES <= PAGE_BYTES, 'one page holds it');

/**
 * Blocks of Poly1305 beside a double round of eight and of four blocks of ChaCha20: found by
 * measuring, as many as cost next to nothing there (ADR 0012).
 */
const POLY_BESIDE_EIGHT = 3;
const POLY_BESIDE_FOUR = 2;

const ZERO = i32.const(0);
const FOUR_ON = v128.const(4, 4, 4, 4);
const ALL_ZERO = v128.const(0, 0, 0, 0);

/** What the module exports beside its memory. */
export interface AeadKernel {
  /**
   * Seals (`opening` 0) or opens (1) what lies in the stream: `aadLength` bytes up to aadBytesMax,
   * and behind their padding `textLength` bytes up to textBytesMax, the tag not counted. Returns 1
   * if the tag is right, compared in constant time; when sealing, a number without meaning.
   */
  readonly run: (aadLength: number, textLength: number, opening: 0 | 1) => number;
}

/** The bytes of the module, whose exports are an AeadKernel and `memory`; it imports nothing. */
export function encodeAeadKernel(): Uint8Array<ArrayBuffer> {
  return encodeModule(1, { run: new AeadFunction().writer });
}

const advance = (local: Local, count: number): Code =>
  local.set(i32.add(local.get, i32.const(count)));
/** Up to the next multiple of 16. */
const padded = (length: Code): Code => i32.and(i32.add(length, i32.const(15)), i32.const(-16));

/** `AeadKernel.run`, written out. */
class AeadFunction {
  readonly writer = new FunctionWriter(['i32', 'i32', 'i32'], 'i32');
  readonly #aadLength = this.writer.parameter(0);
  readonly #textLength = this.writer.parameter(1);
  readonly #opening = this.writer.parameter(2);
  /** Addresses: the text's start and end, and the end of the stream. */
  readonly #text = this.writer.local('i32');
  readonly #end = this.writer.local('i32');
  readonly #streamEnd = this.writer.local('i32');
  /** Where the batch in the making reads and writes; and the first of its blocks in particular. */
  readonly #from = this.writer.local('i32');
  readonly #to = this.writer.local('i32');
  readonly #fromHead = this.writer.local('i32');
  readonly #toHead = this.writer.local('i32');
  /** What Poly1305 has read of the stream, and how far it may read. */
  readonly #read = this.writer.local('i32');
  readonly #ready = this.writer.local('i32');
  readonly #roundsLeft = this.writer.local('i32');
  readonly #isWide = this.writer.local('i32');
  readonly #tag = this.writer.local('v128');
  readonly #counters = this.writer.local('v128');
  readonly #low = new ChaChaBatch(this.writer, M, this.#counters.get);
  readonly #high = new ChaChaBatch(this.writer, M, i32x4.add(this.#counters.get, FOUR_ON));
  readonly #poly = new Poly1305(this.writer);

  constructor() {
    this.writer.write(
      this.#begin(),
      loopWhile(i32.ltU(this.#from.get, this.#end.get), this.#batch()),
      when(i32.eqz(this.#opening.get), this.#closeStream()),
      loopWhile(i32.ltU(this.#read.get, this.#streamEnd.get), this.#absorb(1)),
      this.#finish(),
    );
  }

  #begin(): Code {
    return [
      this.#text.set(i32.add(i32.const(M.stream), padded(this.#aadLength.get))),
      this.#end.set(i32.add(this.#text.get, this.#textLength.get)),
      this.#streamEnd.set(padded(this.#end.get)),
      this.#read.set(i32.const(M.stream)),
      this.#ready.set(i32.const(M.stream)),
      // Block 0 is no part of the text: it lies before it, so to speak, and goes elsewhere.
      this.#from.set(i32.sub(this.#text.get, i32.const(BLOCK_BYTES))),
      this.#to.set(this.#from.get),
      this.#fromHead.set(i32.const(M.zeros)),
      this.#toHead.set(i32.const(M.authenticator)),
      this.#counters.set(v128.const(0, 1, 2, 3)),
      when(this.#opening.get, [
        this.#to.set(i32.const(M.opened - BLOCK_BYTES)),
        this.#tag.set(v128.load(this.#end.get)),
        this.#closeStream(),
      ]),
    ];
  }

  /** Zeros behind the ciphertext, and the lengths (RFC 8439 §2.8). */
  #closeStream(): Code {
    return [
      v128.store(this.#end.get, ALL_ZERO),
      i64.store(this.#streamEnd.get, i64.extendI32U(this.#aadLength.get)),
      i64.store(this.#streamEnd.get, i64.extendI32U(this.#textLength.get), 8),
      advance(this.#streamEnd, POLY_BLOCK_BYTES),
    ];
  }

  /** The next eight blocks of key stream, or four where no more are needed, and their use. */
  #batch(): Code {
    const [low, high] = [this.#low, this.#high];
    const countOn = this.#counters.set(i32x4.add(this.#counters.get, FOUR_ON));
    const isFirst = i32.leU(this.#toHead.get, i32.const(M.authenticator));
    return [
      this.#isWide.set(i32.ltU(i32.add(this.#from.get, i32.const(BATCH_BYTES)), this.#end.get)),
      this.#roundsLeft.set(i32.const(DOUBLE_ROUNDS)),
      low.load(),
      when(
        this.#isWide.get,
        [high.load(), this.#rounds([low, high], POLY_BESIDE_EIGHT)],
        this.#rounds([low], POLY_BESIDE_FOUR),
      ),
      this.#use(low, this.#fromHead, this.#toHead),
      when(this.#isWide.get, [this.#use(high, this.#from, this.#to), countOn]),
      countOn,
      when(isFirst, this.#poly.begin(ZERO, M.authenticator)),
      this.#fromHead.set(this.#from.get),
      this.#toHead.set(this.#to.get),
      this.#ready.set(this.#from.get),
      when(this.#opening.get, this.#ready.set(this.#streamEnd.get)),
    ];
  }

  /** All double rounds; with `blocks` of Poly1305 beside each as long as there are so many. */
  #rounds(batches: readonly ChaChaBatch[], blocks: number): Code {
    const doubleRound = [
      batches.map((batch) => batch.half(0)),
      batches.map((batch) => batch.half(1)),
      advance(this.#roundsLeft, -1),
    ];
    const after = i32.add(this.#read.get, i32.const(blocks * POLY_BLOCK_BYTES));
    const isReady = i32.leU(after, this.#ready.get);
    return [
      loopWhile(i32.and(i32.ltU(ZERO, this.#roundsLeft.get), isReady), [
        doubleRound,
        this.#absorb(blocks),
      ]),
      loopWhile(this.#roundsLeft.get, doubleRound),
    ];
  }

  #absorb(blocks: number): Code {
    return [
      Array.from({ length: blocks }, (_, at) =>
        this.#poly.block(this.#read.get, at * POLY_BLOCK_BYTES),
      ),
      advance(this.#read, blocks * POLY_BLOCK_BYTES),
    ];
  }

  /** Encrypts or decrypts with four finished blocks; `fromHead`, `toHead`: for the first one. */
  #use(batch: ChaChaBatch, fromHead: Local, toHead: Local): Code {
    const sixteenBytes = (key: Local, block: number, group: number): Code => {
      const at = block * BLOCK_BYTES + group * 16;
      const [from, to] = block === 0 ? [fromHead, toHead] : [this.#from, this.#to];
      return v128.store(to.get, v128.xor(key.get, v128.load(from.get, at)), at);
    };
    return [
      [0, 1, 2, 3].map((group) => {
        const { code, blocks } = batch.turn(group);
        return [code, blocks.map((key, block) => sixteenBytes(key, block, group))];
      }),
      advance(this.#from, BATCH_BYTES),
      advance(this.#to, BATCH_BYTES),
    ];
  }

  /** Writes the tag, or compares it; leaves no key behind. */
  #finish(): Code {
    const wipe = (start: number, bytes: number): Code =>
      Array.from({ length: bytes / 16 }, (_, i) => v128.store(ZERO, ALL_ZERO, start + 16 * i));
    const tag = v128.load(ZERO, M.tag);
    return [
      this.#poly.finish(i32.const(M.tag), ZERO, M.authenticator + POLY_BLOCK_BYTES),
      wipe(M.key, 2 * 16),
      wipe(M.authenticator, BLOCK_BYTES),
      when(i32.eqz(this.#opening.get), v128.store(this.#end.get, tag)),
      i32.eqz(v128.anyTrue(v128.xor(this.#tag.get, tag))),
    ];
  }
}
