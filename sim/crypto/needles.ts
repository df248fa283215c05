// Looks for very many short pieces of bytes (keys, pieces of plaintext) in everything that leaves a
// party: datagrams, broker messages, logs, disk images. Every eighth position of the searched bytes
// is looked up by its word in one hash table; the words of each piece stand in it at all eight
// alignments, so that no place is missed. A bitmap in front answers for nearly all positions.
// A needle is found by any of its pieces of PIECE_BYTES: half a key is enough.

import { sameBytes } from '../../protocol/bytes.ts';

/** Bytes that must agree: chance finds 128 bits nowhere. */
export const PIECE_BYTES = 16;
/** Pieces of one needle that are looked for, spread over its length. */
const PIECES_MAX = 4;
/** Positions that are looked up: each this many bytes; a piece has as many entries. */
const STRIDE_BYTES = 8;
const WORD_BYTES = 4;
/** Different values of the low five bits in a piece, or it may be padding: random bytes have 13. */
const VALUES_MIN = 6;
/** Entries of the same word, so that needles which begin alike do not make every look-up slow. */
const SAME_WORD_MAX = 32;
/** Needles of each kind that are kept at least, the newest; at most twice as many. */
export const NEEDLES_KEPT = 10_000;

const ENTRIES_OF_A_NEEDLE = PIECES_MAX * STRIDE_BYTES;
const FIRST_TABLE_BITS = 14;
/** Bits of the bitmap for each place of the table, as a power of two. */
const FILTER_BITS_MORE = 3;
const GOLDEN = 0x9e3779b1 | 0;

interface Needle {
  readonly bytes: Uint8Array;
  readonly what: string;
}

/** What kinds of needles there are: many of one never push out the other. */
type NeedleKind = 'secret' | 'plain';

/** Needles, and a way to find the first of them in some bytes. */
export class Needles {
  readonly #kept = { secret: new Array<Needle>(), plain: new Array<Needle>() };
  /** Every needle in the table; its place here is its number. */
  #all: Needle[] = [];
  #tableBits = FIRST_TABLE_BITS;
  /**
   * Open addressing, two numbers a place: 0, or 1 + number * ENTRIES_OF_A_NEEDLE + piece *
   * STRIDE_BYTES + alignment; and the word.
   */
  #table = new Int32Array(2 << FIRST_TABLE_BITS);
  #filter = new Uint8Array(1 << (FIRST_TABLE_BITS + FILTER_BITS_MORE - 3));
  #used = 0;

  /**
   * Adds a needle of at least PIECE_BYTES (copied). False if it cannot be looked for: too short, or
   * of too few different bytes to be told from padding. The same bytes twice are one needle.
   */
  add(kind: NeedleKind, bytes: Uint8Array, what: string): boolean {
    const piece = firstPiece(bytes);
    if (piece === undefined) return false;
    if (this.#has(bytes, piece)) return true;
    const kept = this.#kept[kind];
    const needle = { bytes: bytes.slice(), what };
    if (kept.length === 2 * NEEDLES_KEPT) {
      kept.splice(0, NEEDLES_KEPT);
      kept.push(needle);
      this.#rebuild();
      return true;
    }
    kept.push(needle);
    // Half full at most, so that probing stays short.
    if ((this.#used + ENTRIES_OF_A_NEEDLE) * 4 > this.#table.length) {
      this.#tableBits += 2;
      this.#rebuild();
    } else {
      this.#index(needle);
    }
    return true;
  }

  /** The newest secrets, oldest first; views that must not be changed. */
  *secrets(): Iterable<Uint8Array> {
    for (const needle of this.#kept.secret.slice(-NEEDLES_KEPT)) yield needle.bytes;
  }

  /** What stands in these bytes and is not allowed to; undefined: nothing. */
  find(bytes: Uint8Array, isAllowed?: (what: string) => boolean): string | undefined {
    const filter = this.#filter;
    const shift = 32 - this.#tableBits - FILTER_BITS_MORE;
    const end = bytes.length - WORD_BYTES;
    for (let at = 0; at <= end; at += STRIDE_BYTES) {
      const word = wordAt(bytes, at);
      const bit = Math.imul(word, GOLDEN) >>> shift;
      if ((filter[bit >>> 3] & (1 << (bit & 7))) === 0) continue;
      const what = this.#findAt(bytes, at, word, isAllowed);
      if (what !== undefined) return what;
    }
    return undefined;
  }

  #findAt(
    bytes: Uint8Array,
    at: number,
    word: number,
    isAllowed: ((what: string) => boolean) | undefined,
  ): string | undefined {
    const table = this.#table;
    const mask = table.length - 1;
    for (let slot = this.#slotOf(word); table[slot] !== 0; slot = (slot + 2) & mask) {
      if (table[slot + 1] !== word) continue;
      const entry = table[slot] - 1;
      const needle = this.#all[Math.floor(entry / ENTRIES_OF_A_NEEDLE)];
      const from = pieceStart(needle.bytes.length, (entry % ENTRIES_OF_A_NEEDLE) >>> 3);
      const start = at - (entry % STRIDE_BYTES);
      if (!isSamePiece(bytes, start, needle.bytes, from)) continue;
      if (isAllowed?.(needle.what) !== true) return needle.what;
    }
    return undefined;
  }

  /** Whether this very needle is known; `piece`: its first that is in the table. */
  #has(bytes: Uint8Array, piece: number): boolean {
    const table = this.#table;
    const mask = table.length - 1;
    const word = wordAt(bytes, pieceStart(bytes.length, piece));
    for (let slot = this.#slotOf(word); table[slot] !== 0; slot = (slot + 2) & mask) {
      if (table[slot + 1] !== word) continue;
      const number = Math.floor((table[slot] - 1) / ENTRIES_OF_A_NEEDLE);
      if (sameBytes(this.#all[number].bytes, bytes)) return true;
    }
    return false;
  }

  #slotOf(word: number): number {
    return (Math.imul(word, GOLDEN) >>> (32 - this.#tableBits)) << 1;
  }

  #index(needle: Needle): void {
    const number = this.#all.push(needle) - 1;
    const { bytes } = needle;
    for (let piece = 0; piece < piecesOf(bytes.length); piece++) {
      const from = pieceStart(bytes.length, piece);
      if (isTooPlain(bytes, from)) continue;
      for (let alignment = 0; alignment < STRIDE_BYTES; alignment++) {
        const entry = number * ENTRIES_OF_A_NEEDLE + piece * STRIDE_BYTES + alignment;
        this.#insert(wordAt(bytes, from + alignment), entry);
      }
    }
  }

  #insert(word: number, entry: number): void {
    const table = this.#table;
    const mask = table.length - 1;
    let slot = this.#slotOf(word);
    for (let same = 0; table[slot] !== 0; slot = (slot + 2) & mask) {
      if (table[slot + 1] === word && ++same === SAME_WORD_MAX) return;
    }
    table[slot] = entry + 1;
    table[slot + 1] = word;
    this.#used++;
    const bit = Math.imul(word, GOLDEN) >>> (32 - this.#tableBits - FILTER_BITS_MORE);
    this.#filter[bit >>> 3] |= 1 << (bit & 7);
  }

  /** Makes the table anew, of the size that is set, from what is kept. */
  #rebuild(): void {
    const { secret, plain } = this.#kept;
    this.#all = [];
    this.#used = 0;
    this.#table = new Int32Array(2 << this.#tableBits);
    this.#filter = new Uint8Array(1 << (this.#tableBits + FILTER_BITS_MORE - 3));
    for (const needle of secret) this.#index(needle);
    for (const needle of plain) this.#index(needle);
  }
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

function piecesOf(length: number): number {
  return Math.min(PIECES_MAX, Math.floor(length / PIECE_BYTES));
}

function pieceStart(length: number, piece: number): number {
  const pieces = piecesOf(length);
  return pieces < 2 ? 0 : Math.floor((piece * (length - PIECE_BYTES)) / (pieces - 1));
}

/** The first piece that can be looked for. */
function firstPiece(bytes: Uint8Array): number | undefined {
  for (let piece = 0; piece < piecesOf(bytes.length); piece++)
    if (!isTooPlain(bytes, pieceStart(bytes.length, piece))) return piece;
  return undefined;
}

function isTooPlain(bytes: Uint8Array, from: number): boolean {
  let seen = 0;
  let values = 0;
  for (let at = from; at < from + PIECE_BYTES; at++) {
    const bit = 1 << (bytes[at] & 31);
    if ((seen & bit) !== 0) continue;
    seen |= bit;
    if (++values === VALUES_MIN) return false;
  }
  return true;
}

function isSamePiece(bytes: Uint8Array, at: number, needle: Uint8Array, from: number): boolean {
  if (at < 0 || at + PIECE_BYTES > bytes.length) return false;
  for (let i = 0; i < PIECE_BYTES; i++) if (bytes[at + i] !== needle[from + i]) return false;
  return true;
}
