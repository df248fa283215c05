// Round-trip time estimate (RFC 9002 §5) and what follows from it: probe timeout, loss delay.
// Microseconds throughout.

import { ms } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';

/** Smoothed round-trip time of one path. */
export class Rtt {
  #smoothed = ms(DATA_LIMITS.initialRttMs);
  #variance = ms(DATA_LIMITS.initialRttMs) / 2;
  #minimum = Infinity;
  #latest = 0;
  #sampled = false;

  get smoothed(): number {
    return this.#smoothed;
  }
  get latest(): number {
    return this.#latest;
  }
  get minimum(): number {
    return this.#minimum;
  }
  get hasSample(): boolean {
    return this.#sampled;
  }

  /** Another path: nothing is known (RFC 9000 §9.4). */
  reset(): void {
    this.#smoothed = ms(DATA_LIMITS.initialRttMs);
    this.#variance = ms(DATA_LIMITS.initialRttMs) / 2;
    this.#minimum = Infinity;
    this.#latest = 0;
    this.#sampled = false;
  }

  /** Takes one sample; `delay` is what the peer says it held the acknowledgement back. */
  update(sample: number, delay: number): void {
    this.#latest = sample;
    if (!this.#sampled) {
      this.#sampled = true;
      this.#minimum = sample;
      this.#smoothed = sample;
      this.#variance = sample / 2;
      return;
    }
    if (sample < this.#minimum) this.#minimum = sample;
    const held = Math.min(delay, ms(DATA_LIMITS.peerAckDelayMs));
    const adjusted = sample >= this.#minimum + held ? sample - held : sample;
    this.#variance = (3 * this.#variance + Math.abs(this.#smoothed - adjusted)) / 4;
    this.#smoothed = (7 * this.#smoothed + adjusted) / 8;
  }

  /** RFC 9002 §6.2.1, before backoff. */
  get pto(): number {
    const spread = Math.max(4 * this.#variance, ms(DATA_LIMITS.granularityMs));
    return this.#smoothed + spread + ms(DATA_LIMITS.peerAckDelayMs);
  }

  /**
   * Within what a path that works has answered: the PTO, and at most the one that its shortest
   * round trip gives, or that of a path of which nothing is known. A path that stood still and then
   * answered has a PTO of many seconds, and what it does when it dies must not wait for that.
   */
  get patience(): number {
    const shortest = this.#sampled ? this.#minimum : 0;
    const first = 3 * Math.max(shortest, ms(DATA_LIMITS.initialRttMs));
    return Math.min(this.pto, first + ms(DATA_LIMITS.peerAckDelayMs));
  }

  /** RFC 9002 §6.1.2. `eighths`: of the longest round trip, 9 or more. */
  lossDelay(eighths: number): number {
    const longest = Math.max(this.#smoothed, this.#latest);
    return Math.max((longest * eighths) / 8, ms(DATA_LIMITS.granularityMs));
  }
}
