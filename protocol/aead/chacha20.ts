// ChaCha20 (RFC 8439 §2.3) as WebAssembly, four blocks at a time: vector i holds word i of the
// state of four blocks, one in each lane, so that a quarter round is sixteen instructions without
// a shuffle between words. Constant time by construction: additions, exclusive ors and rotations
// by fixed amounts, no table and no branch that depends on what is secret.

import { type Code, type FunctionWriter, type Local, i32, i32x4, v128 } from './assembler.ts';

/** Blocks of a batch, and bytes of a block (RFC 8439 §2.3). */
export const BATCH_BLOCKS = 4;
export const BLOCK_BYTES = 64;
/** Double rounds of a block: 20 rounds. */
export const DOUBLE_ROUNDS = 10;

const STATE_WORDS = 16;
const COUNTER_WORD = 12;
/** "expand 32-byte k" (RFC 8439 §2.3). */
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;

/** Byte orders of a vector whose 32-bit lanes are rotated left by 16 and by 8. */
const ROTATE_16 = v128.const(0x01000302, 0x05040706, 0x09080b0a, 0x0d0c0f0e);
const ROTATE_8 = v128.const(0x02010003, 0x06050407, 0x0a09080b, 0x0e0d0c0f);

/** Where the words of a key and a nonce lie in memory: 32 and 12 bytes. */
interface ChaChaInput {
  readonly key: number;
  readonly nonce: number;
}

/** Four blocks in the making, as code. */
export class ChaChaBatch {
  readonly #x: readonly Local[];
  readonly #input: ChaChaInput;
  readonly #counters: Code;
  readonly #spare: readonly Local[];

  constructor(f: FunctionWriter, input: ChaChaInput, counters: Code) {
    this.#x = f.locals('v128', STATE_WORDS);
    this.#spare = f.locals('v128', 4);
    this.#input = input;
    this.#counters = counters;
  }

  /** Sets the state of the next four blocks. */
  load(): Code {
    return this.#x.map((word, index) => word.set(this.#initial(index)));
  }

  /** Half a double round of all four blocks: columns (0) or diagonals (1), RFC 8439 §2.3.1. */
  half(which: 0 | 1): Code {
    const word = (row: number, i: number): number => 4 * row + ((i + row * which) % 4);
    return this.#quarterRounds([0, 1, 2, 3].map((i) => [0, 1, 2, 3].map((row) => word(row, i))));
  }

  /**
   * Adds the initial state to the words 4 × group to 4 × group + 3, and turns them: what was word
   * by word is then block by block, in the order of the blocks.
   */
  turn(group: number): { readonly code: Code; readonly blocks: readonly Local[] } {
    const words = this.#x.slice(4 * group, 4 * group + 4);
    const sums = words.map((word, i) =>
      word.set(i32x4.add(word.get, this.#initial(4 * group + i))),
    );
    return { code: [sums, transpose(words, this.#spare)], blocks: words };
  }

  /** Word `index` of the state that a block starts from, in every lane. */
  #initial(index: number): Code {
    if (index < 4) {
      const constant = CONSTANTS[index];
      return v128.const(constant, constant, constant, constant);
    }
    if (index < COUNTER_WORD)
      return v128.load32Splat(i32.const(0), this.#input.key + 4 * (index - 4));
    if (index === COUNTER_WORD) return this.#counters;
    return v128.load32Splat(i32.const(0), this.#input.nonce + 4 * (index - COUNTER_WORD - 1));
  }

  /** Four quarter rounds step by step side by side: none waits for another. */
  #quarterRounds(quarters: readonly (readonly number[])[]): Code {
    const step = (sum: number, addend: number, turned: number, rotate: (at: Local) => Code): Code =>
      quarters.map((words) => {
        const [a, b, d] = [sum, addend, turned].map((at) => this.#x[words[at]]);
        return [a.set(i32x4.add(a.get, b.get)), d.set(v128.xor(d.get, a.get)), d.set(rotate(d))];
      });
    return [
      step(0, 1, 3, (word) => v128.swizzle(word.get, ROTATE_16)),
      step(2, 3, 1, (word) => rotateLeft(word, 12)),
      step(0, 1, 3, (word) => v128.swizzle(word.get, ROTATE_8)),
      step(2, 3, 1, (word) => rotateLeft(word, 7)),
    ];
  }
}

const rotateLeft = (word: Local, count: number): Code =>
  v128.or(i32x4.shl(word.get, count), i32x4.shrU(word.get, 32 - count));

/** Indexes of bytes, from indexes of `size` bytes each. */
const lanes = (size: number, picked: readonly number[]): readonly number[] =>
  picked.flatMap((lane) => Array.from({ length: size }, (_, byte) => lane * size + byte));

const LOW_WORDS = lanes(4, [0, 4, 1, 5]);
const HIGH_WORDS = lanes(4, [2, 6, 3, 7]);
const LOW_HALVES = lanes(8, [0, 2]);
const HIGH_HALVES = lanes(8, [1, 3]);

/** Turns rows into columns; `spare`: four locals that are overwritten. */
function transpose(rows: readonly Local[], spare: readonly Local[]): Code {
  const [a, b, c, d] = rows;
  const [p, q, r, s] = spare;
  return [
    p.set(v128.shuffle(a.get, b.get, LOW_WORDS)),
    q.set(v128.shuffle(c.get, d.get, LOW_WORDS)),
    r.set(v128.shuffle(a.get, b.get, HIGH_WORDS)),
    s.set(v128.shuffle(c.get, d.get, HIGH_WORDS)),
    a.set(v128.shuffle(p.get, q.get, LOW_HALVES)),
    b.set(v128.shuffle(p.get, q.get, HIGH_HALVES)),
    c.set(v128.shuffle(r.get, s.get, LOW_HALVES)),
    d.set(v128.shuffle(r.get, s.get, HIGH_HALVES)),
  ];
}
