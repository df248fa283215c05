// Poly1305 (RFC 8439 §2.5) as WebAssembly, one block at a time, in 64-bit multiplications of 32-bit
// limbs. That a clamped r has four zero bits on top of each limb and two at the bottom of the
// upper three (§2.5) does two things: 5/4 of such a limb is whole, so what passes 2^130 comes back
// as one product, and four products fit into 64 bits with room to spare. Constant time by
// construction: every carry is taken, whether there is one or not.
//
//   accumulator = Σ h[i] 2^(32 i), i = 0…4      key r = Σ r[i] 2^(32 i), i = 0…3
//   s[i] = r[i] × 5/4, since 2^128 × r[i] = 2^130 × r[i]/4 ≡ 5 × r[i]/4  (mod 2^130 − 5)
//
// Products of h and r stay as they come until the next block is added; then each limb hands what
// exceeds 32 bits to the next one, all at once, so that no carry waits for another. Bounds:
//   h[0] < 2^32 + 5 × (2^30 + 2^28) < 11 × 2^30, h[1…3] < 2^33, h[4] < 4, r < 2^28, s < 5 × 2^26,
//   and so a sum of products and a limb of a block < 11 × 2^58 + 30 × 2^58 + 2^33 < 2^64.

import { type Code, type FunctionWriter, type Local, i64 } from './assembler.ts';

/** Bytes of a block, and of r followed by s (RFC 8439 §2.5). */
export const POLY_BLOCK_BYTES = 16;

const LOW_32 = i64.const(0xffff_ffffn);
/** The bits of r that stay (RFC 8439 §2.5), by limb. */
const CLAMP = [0x0fff_ffffn, 0x0fff_fffcn, 0x0fff_fffcn, 0x0fff_fffcn] as const;

/** An accumulator and its key, as code. */
export class Poly1305 {
  readonly #h: readonly Local[];
  readonly #r: readonly Local[];
  /** Of r[1…3]: `s[0]` is not used. */
  readonly #s: readonly Local[];
  readonly #d: readonly Local[];

  constructor(f: FunctionWriter) {
    this.#h = f.locals('i64', 5);
    this.#r = f.locals('i64', 4);
    this.#s = f.locals('i64', 4);
    this.#d = f.locals('i64', 4);
  }

  /** Takes r from memory and clamps it; the accumulator is 0. */
  begin(address: Code, offset = 0): Code {
    const limbs = this.#r.map((limb, i) => [
      limb.set(i64.and(i64.load32U(address, offset + 4 * i), i64.const(CLAMP[i]))),
      i === 0 ? [] : this.#s[i].set(i64.add(limb.get, i64.shrU(limb.get, i64.const(2n)))),
    ]);
    return [limbs, this.#h.map((limb) => limb.set(i64.const(0n)))];
  }

  /** Adds the 16 bytes at `address` with a one bit behind them, and multiplies by r. */
  block(address: Code, offset = 0): Code {
    const [h0, , , , h4] = this.#h;
    const sums = this.#h
      .slice(0, 4)
      .map((limb, i) => this.#d[i].set(i64.add(limb.get, i64.load32U(address, offset + 4 * i))));
    const over = this.#d.map((limb) => i64.shrU(limb.get, i64.const(32n)));
    const low = this.#d.map((limb) => i64.and(limb.get, LOW_32));
    return [
      sums,
      h4.set(i64.add(i64.add(h4.get, i64.const(1n)), over[3])),
      [1, 2, 3].map((i) => this.#h[i].set(i64.add(low[i], over[i - 1]))),
      h0.set(i64.add(low[0], i64.mul(i64.shrU(h4.get, i64.const(2n)), i64.const(5n)))),
      h4.set(i64.and(h4.get, i64.const(3n))),
      this.#multiply(),
    ];
  }

  /** Writes (accumulator mod 2^130 − 5) + s mod 2^128 to `target`; `s` lies at `address`. */
  finish(target: Code, address: Code, offset = 0): Code {
    const [h0, h1, h2, h3, h4] = this.#h;
    const [carry] = this.#d;
    const step = (sum: Code): Code => carry.set(i64.add(sum, i64.shrU(carry.get, i64.const(32n))));
    return [
      this.#settle(),
      // Now h[0] < 2^34, h[1…3] < 2^32 and h[4] < 4: less than 2^130 + 2^34, and so less than 2p.
      // If it is p or more, adding 5 passes 2^130: the carry out of that is one, else nothing.
      carry.set(i64.add(h0.get, i64.const(5n))),
      [h1, h2, h3, h4].map((limb) => step(limb.get)),
      carry.set(i64.shrU(carry.get, i64.const(2n))),
      // Minus p is plus 5 without the bits from 2^130 on, and only 128 bits are wanted.
      carry.set(i64.mul(carry.get, i64.const(5n))),
      [h0, h1, h2, h3].map((limb, i) => {
        const sum = i64.add(limb.get, i64.load32U(address, offset + 4 * i));
        return [
          i === 0 ? carry.set(i64.add(sum, carry.get)) : step(sum),
          i64.store32(target, carry.get, 4 * i),
        ];
      }),
    ];
  }

  /** Carries from limb to limb, each after the other; from the top five times to the bottom. */
  #settle(): Code {
    const [h0, h1, h2, h3, h4] = this.#h;
    const carry = (from: Local, to: Local): Code => [
      to.set(i64.add(to.get, i64.shrU(from.get, i64.const(32n)))),
      from.set(i64.and(from.get, LOW_32)),
    ];
    return [
      [carry(h0, h1), carry(h1, h2), carry(h2, h3), carry(h3, h4)],
      h0.set(i64.add(h0.get, i64.mul(i64.shrU(h4.get, i64.const(2n)), i64.const(5n)))),
      h4.set(i64.and(h4.get, i64.const(3n))),
    ];
  }

  /** h × r, not carried. */
  #multiply(): Code {
    const h4 = this.#h[4];
    const r0 = this.#r[0];
    const row = (k: number): Code => {
      const factor = (i: number): Local => (i <= k ? this.#r[k - i] : this.#s[4 + k - i]);
      // h[0] is known last: what it is multiplied to comes last in the sum.
      const products = [3, 2, 1, 0].map((i) => i64.mul(this.#h[i].get, factor(i).get));
      // 2^128 h[4] × 2^(32 k) r[k] comes back k limbs above the bottom; with r[0] it stays on top.
      if (k > 0) products.unshift(i64.mul(h4.get, this.#s[k].get));
      return products.reduce((sum, product) => i64.add(sum, product));
    };
    return [
      this.#d.map((limb, k) => limb.set(row(k))),
      h4.set(i64.mul(h4.get, r0.get)),
      this.#d.map((limb, k) => this.#h[k].set(limb.get)),
    ];
  }
}
