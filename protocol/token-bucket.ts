// A bucket of tokens that fills with time, as one number: the instant at which it will be full
// again (the virtual scheduling of ITU-T I.371's generic cell rate algorithm). For whoever has one
// of them; session-manager/rates.ts keeps very many by key, in the same way.

import type { Micros } from './time.ts';

/** `burst` tokens at once, and another one every so many microseconds. */
export class TokenBucket {
  readonly #interval: number;
  readonly #depth: number;
  #fullAt = 0;

  /** `interval`: microseconds in which one token comes back. */
  constructor(burst: number, interval: number) {
    this.#interval = interval;
    this.#depth = burst * interval;
  }

  /** Whether there was a token; it is taken. */
  take(now: Micros): boolean {
    const fullAt = Math.max(this.#fullAt, now) + this.#interval;
    if (fullAt - now > this.#depth) return false;
    this.#fullAt = fullAt;
    return true;
  }
}
