// How fast one terminal is read: a burst, then a rate, as a bucket of tokens that fills with time.
// What is over it stays in the sender's own TCP buffers: nothing is lost, and a terminal that
// floods waits for itself, not the session manager and not the other terminals.

import { MICROS_PER_SECOND, type Micros } from '../protocol/time.ts';

/** One connection's pace. */
export class Pace {
  readonly #bytesPerSecond: number;
  readonly #burstBytes: number;
  #bytesLeft: number;
  #at: Micros | undefined;

  constructor(bytesPerSecond: number, burstBytes: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#burstBytes = burstBytes;
    this.#bytesLeft = burstBytes;
  }

  /** Counts bytes that were read at `now`; returns how many microseconds not to read any more. */
  take(now: Micros, bytes: number): number {
    const elapsed = this.#at === undefined ? 0 : Math.max(0, now - this.#at);
    const refilled = this.#bytesLeft + (elapsed * this.#bytesPerSecond) / MICROS_PER_SECOND;
    this.#at = now;
    this.#bytesLeft = Math.min(this.#burstBytes, refilled) - bytes;
    if (this.#bytesLeft >= 0) return 0;
    return Math.ceil((-this.#bytesLeft * MICROS_PER_SECOND) / this.#bytesPerSecond);
  }
}
