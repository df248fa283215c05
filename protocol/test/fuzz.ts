// One way to fuzz every decoder: valid bytes, seeded and spoiled (changed, cut, repeated, mixed,
// with lengths that lie), some left as they are, some made up. What a decoder reads is written
// again and has to be the very same bytes; all else it refuses. It throws nothing, changes nothing
// of what it was given, and takes no memory to speak of. The decoders and their doses:
// docs/proof.md.

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import type { Test } from 'tap';
import { concatBytes, sameBytes } from '../bytes.ts';
import { NakodoError } from '../errors.ts';
import { seededRng } from '../random.ts';
import { IS_PROOF } from './dose.ts';
import { hex } from './vectors.ts';

/** Cases of each decoder in `make test` and in `make prove`. */
const CASES = 2_000;
const PROOF_CASES = 100_000;
const SEED = 20_261_123;
const MIB = 1024 * 1024;
/** Bytes that a run may hold on top of what there was: a lie about a length would be far more. */
const HELD_BYTES_MAX = 256 * MIB;
/** Cases between two looks at the memory. */
const LOOK_EVERY = 64;
const MADE_UP_BYTES_MAX = 400;
const CHANGES_MAX = 3;
const EMPTY = new Uint8Array(0);
/** Bytes that begin, end or stretch something in CBOR, TLS, text and our frames. */
const TELLING = [0, 1, 0x0a, 0x20, 0x22, 0x3f, 0x40, 0x5b, 0x7b, 0x7f, 0x80, 0x9b, 0xbb, 0xff];

/** A decoder, and what goes into it when all is well. */
export interface Decoder {
  readonly what: string;
  /** Valid inputs, at least one. */
  readonly valid: readonly Uint8Array[];
  /** What was read, written again; undefined: refused. The bytes are borrowed. */
  readonly read: (bytes: Uint8Array) => Uint8Array | undefined;
  /**
   * `same` (default): what was read is written as it came. `settled`: there are several ways to
   * write one thing; written once by us it is read, and written, the same again.
   */
  readonly again?: 'same' | 'settled';
  /** For decoders that take milliseconds: this many in `make test`. */
  readonly cases?: number;
}

/** Fuzzes one decoder, and says what came of it. */
export function fuzz(t: Test, decoder: Decoder): void {
  const run = new Run(t, decoder);
  for (const bytes of run.cases()) {
    const kept = bytes.slice();
    const fault = faultOf(decoder, bytes, () => run.onRead());
    const found = fault ?? (sameBytes(bytes, kept) ? undefined : 'it changed what it was given');
    if (found !== undefined) return run.fail(found, kept);
  }
  run.finish();
}

/** A file of ours, and who reads it. */
export interface FuzzedFile {
  readonly path: string;
  /** Valid contents, at least one. */
  readonly valid: readonly Uint8Array[];
  /** Reads the file. @throws NakodoError that names it and says what to do. */
  readonly read: () => unknown;
  readonly cases?: number;
}

/** Writes all kinds of things into a file: it is read, or refused by name, never anything else. */
export async function fuzzFile(t: Test, { path, valid, read, cases }: FuzzedFile): Promise<void> {
  const what = basename(path);
  const run = new Run(t, { what, valid, ...(cases !== undefined && { cases }) });
  closeSync(openSync(path, 'a'));
  for (const bytes of run.cases()) {
    overwrite(path, bytes);
    try {
      await read();
      run.onRead();
    } catch (error) {
      const isSaid = error instanceof NakodoError && error.next !== '';
      if (!isSaid || !error.message.includes(what)) return run.fail(String(error), bytes);
    }
  }
  run.finish();
}

/** Never cuts to nothing first: a file system may write such a file to its disk each time. */
function overwrite(path: string, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0, bytes.length, 0);
  ftruncateSync(file, bytes.length);
  closeSync(file);
}

/** The cases of one decoder, and what came of them. */
class Run {
  readonly #t: Test;
  readonly #what: string;
  readonly #valid: readonly Uint8Array[];
  readonly #count: number;
  readonly #before = heldBytes();
  #most = this.#before;
  #at = 0;
  #parsed = 0;

  constructor(t: Test, { what, valid, cases }: Omit<Decoder, 'read'>) {
    this.#t = t;
    this.#what = what;
    this.#valid = valid;
    this.#count = IS_PROOF ? PROOF_CASES : (cases ?? CASES);
  }

  *cases(): Generator<Uint8Array> {
    for (this.#at = 0; this.#at < this.#count; this.#at++) {
      yield caseOf(this.#valid, this.#at);
      if (this.#at % LOOK_EVERY === 0) this.#most = Math.max(this.#most, heldBytes());
    }
  }

  onRead(): void {
    this.#parsed += 1;
  }

  fail(why: string, bytes: Uint8Array): void {
    this.#t.fail(`${this.#what}: ${why}; case ${this.#at}: ${hex(bytes)}`);
  }

  finish(): void {
    const what = this.#what;
    const refused = this.#count - this.#parsed;
    const held = this.#most - this.#before;
    const heldMib = Math.ceil(held / MIB);
    this.#t.comment(`${what}: ${this.#parsed} read, ${refused} refused, ${heldMib} MiB`);
    // A fuzz that reaches one outcome only would show nothing about the other.
    const few = this.#count / 100;
    this.#t.ok(this.#parsed > few, `${what}: ${this.#parsed} of ${this.#count} were read`);
    this.#t.ok(refused > few, `${what}: ${refused} of ${this.#count} were refused`);
    this.#t.ok(held <= HELD_BYTES_MAX, `${what}: held ${heldMib} MiB more`);
  }
}

/** What a decoder did wrong with one case, if anything. */
function faultOf(
  { read, again = 'same' }: Decoder,
  bytes: Uint8Array,
  onParsed: () => void,
): string | undefined {
  try {
    const first = read(bytes);
    if (first === undefined) return undefined;
    onParsed();
    if (again === 'same') {
      return sameBytes(first, bytes) ? undefined : `it was written again as ${hex(first)}`;
    }
    const second = read(first.slice());
    const isSettled = second !== undefined && sameBytes(second, first);
    return isSettled ? undefined : `written as ${hex(first)}, and then as ${second && hex(second)}`;
  } catch (error) {
    return `it threw ${String(error)}`;
  }
}

function heldBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Case number `at`, the same for ever. */
function caseOf(valid: readonly Uint8Array[], at: number): Uint8Array {
  const rng = seededRng(SEED + at);
  const below: Below = (bound) => Math.floor((rng.next() / 2 ** 32) * bound);
  const pick = (): Uint8Array => valid[below(valid.length)];
  const kind = below(32);
  if (kind === 0) return pick().slice();
  if (kind === 1) return madeUp(below(MADE_UP_BYTES_MAX), below);
  let bytes: Uint8Array = pick().slice();
  const changes = 1 + below(CHANGES_MAX);
  for (let change = 0; change < changes; change++) bytes = spoiled(bytes, below, pick);
  return bytes;
}

function madeUp(length: number, below: Below): Uint8Array {
  return Uint8Array.from({ length }, () => below(256));
}

/** A whole number from 0 up to, not including, `bound`. */
type Below = (bound: number) => number;
type Change = (bytes: Uint8Array, at: number, below: Below, pick: () => Uint8Array) => Uint8Array;

const CHANGES: readonly Change[] = [
  (bytes, at, below) => bytes.with(at, below(256)),
  (bytes, at, below) => bytes.with(at, bytes[at] ^ (1 << below(8))),
  (bytes, at, below) => bytes.with(at, (bytes[at] + (below(2) === 0 ? 1 : 255)) & 255),
  (bytes, at, below) => bytes.with(at, TELLING[below(TELLING.length)]),
  (bytes, at, below) => spliced(bytes, at, 0, Uint8Array.of(below(256))),
  (bytes, at, below) => spliced(bytes, at, 1 + below(4), EMPTY),
  (bytes, at) => bytes.slice(0, at),
  (bytes, at, below) => spliced(bytes, at, 0, bytes.subarray(at, at + below(16))),
  // A length of 4 or 8 bytes that nothing stands behind.
  (bytes, at, below) => spliced(bytes, at, 0, new Uint8Array(4 << below(2)).fill(0x7f)),
  (bytes, at, _, pick) => concatBytes(bytes.subarray(0, at), pick().subarray(at)),
];

function spliced(bytes: Uint8Array, at: number, cut: number, put: Uint8Array): Uint8Array {
  return concatBytes(bytes.subarray(0, at), put, bytes.subarray(at + cut));
}

function spoiled(bytes: Uint8Array, below: Below, pick: () => Uint8Array): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(below(256));
  return CHANGES[below(CHANGES.length)](bytes, below(bytes.length), below, pick);
}
