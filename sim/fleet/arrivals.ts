// When calls begin: an open loop. Callers do not wait for one another, nor for answers, so the gaps
// between calls are drawn (exponential: the calls of many who know nothing of one another) and
// stand fast before anything is known of how the system fares. What cannot begin is counted.

import { MS_PER_SECOND } from '../../protocol/time.ts';
import { type Rng, randomFraction } from '../../protocol/random.ts';

/** The moments of calls, in milliseconds from the beginning. */
export class Arrivals {
  readonly #rng: Rng;
  readonly #meanMs: number;
  #nextMs: number;

  /** `perSecond`: above 0. */
  constructor(rng: Rng, perSecond: number) {
    this.#rng = rng;
    this.#meanMs = MS_PER_SECOND / perSecond;
    this.#nextMs = this.#gapMs();
  }

  /** When the next call begins. */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** Takes the next call; returns when it begins. */
  take(): number {
    const at = this.#nextMs;
    this.#nextMs += this.#gapMs();
    return at;
  }

  #gapMs(): number {
    return -Math.log(1 - randomFraction(this.#rng)) * this.#meanMs;
  }
}
