// How often a caller may ask in vain (design §4): one bucket of tokens for each caller, one for
// each caller and name, whether anybody has that name or not. A request takes a token of both; one
// that led to an introduction gives them back, so that only vain requests count. What a bucket
// holds depends on nothing that a caller does not know already: its own requests and outcomes.
//
// A bucket is one number: the instant at which it will be full again (the virtual scheduling of
// ITU-T I.371's generic cell rate algorithm). Taking a token moves it on by one interval.

import { UsageError } from '../protocol/errors.ts';
import type { DeviceId, Name } from '../protocol/ids.ts';
import { MICROS_PER_SECOND, type Micros } from '../protocol/time.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { Rate, RateLimits } from './manager-types.ts';

/** Buckets that a request looks at, to forget those that are full again: what it may add, twice. */
const FORGOTTEN_PER_REQUEST = 2;

/** The buckets of all callers, in whole microseconds. */
export class Rates {
  readonly #callers: Buckets;
  readonly #names: Buckets;

  /** @throws UsageError if a rate is not at least one token at once and more than 0 a second. */
  constructor(limits: RateLimits) {
    this.#callers = new Buckets(limits.perCaller, MANAGER_LIMITS.ratedCallersMax);
    this.#names = new Buckets(limits.perName, MANAGER_LIMITS.ratedNamesMax);
  }

  /** Buckets that are kept: of callers, and of callers and names. */
  get sizes(): { readonly callers: number; readonly names: number } {
    return { callers: this.#callers.size, names: this.#names.size };
  }

  /**
   * Takes a token of both buckets, or of neither: false is a request over the rate. A request that
   * is refused for it costs nothing, so that nobody who goes on asking is shut out for good.
   */
  take(now: Micros, caller: DeviceId, name: Name): boolean {
    const at = Math.floor(now);
    const named = key(caller, name);
    if (!this.#callers.has(at, caller) || !this.#names.has(at, named)) return false;
    this.#callers.take(at, caller);
    this.#names.take(at, named);
    return true;
  }

  /** Gives back what a request took that was not in vain. */
  giveBack(now: Micros, caller: DeviceId, name: Name): void {
    const at = Math.floor(now);
    this.#callers.giveBack(at, caller);
    this.#names.giveBack(at, key(caller, name));
  }
}

const key = (caller: DeviceId, name: Name): string => `${caller}/${name}`;

class Buckets {
  readonly #max: number;
  /** Microseconds in which one token comes back. */
  readonly #interval: number;
  /** Microseconds in which an empty bucket fills. */
  readonly #depth: number;
  /** When a bucket is full again; one that is full is not kept. Least recently used first. */
  readonly #fullAt = new Map<string, number>();

  constructor(rate: Rate, max: number) {
    const { burst, perSecond } = rate;
    if (!Number.isSafeInteger(burst) || burst < 1 || !(perSecond > 0)) {
      const got = `${String(burst)} at once, ${String(perSecond)} a second`;
      throw new UsageError('rates', `a rate is 1 or more at once and above 0 a second, not ${got}`);
    }
    this.#max = max;
    // Whole microseconds: sums of them are exact, so that a burst is exactly its number.
    this.#interval = Math.max(1, Math.round(MICROS_PER_SECOND / perSecond));
    this.#depth = burst * this.#interval;
  }

  get size(): number {
    return this.#fullAt.size;
  }

  has(at: number, bucket: string): boolean {
    const fullAt = this.#fullAt.get(bucket) ?? at;
    return Math.max(fullAt, at) + this.#interval - at <= this.#depth;
  }

  /** At the bound the bucket that was used longest ago is forgotten: a new burst for its caller. */
  take(at: number, bucket: string): void {
    const fullAt = Math.max(this.#fullAt.get(bucket) ?? at, at) + this.#interval;
    this.#fullAt.delete(bucket);
    this.#forget(at);
    this.#fullAt.set(bucket, fullAt);
  }

  giveBack(at: number, bucket: string): void {
    const fullAt = this.#fullAt.get(bucket);
    if (fullAt === undefined) return;
    if (fullAt - this.#interval <= at) this.#fullAt.delete(bucket);
    else this.#fullAt.set(bucket, fullAt - this.#interval);
  }

  #forget(at: number): void {
    let looked = 0;
    for (const [bucket, fullAt] of this.#fullAt) {
      const isFull = fullAt <= at;
      if (!isFull && this.#fullAt.size < this.#max) return;
      this.#fullAt.delete(bucket);
      if (++looked === FORGOTTEN_PER_REQUEST) return;
    }
  }
}
