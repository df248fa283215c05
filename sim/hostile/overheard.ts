// What an attacker has heard, to be said again: the newest, at most so many, and a few that stay
// for ever. Those who cannot make anything that is believed live on what others said.

import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';

const HEARD_MAX = 256;
/** Of so many that go by, one is kept from the beginning. */
const OLD_MAX = 64;
const JUNK_BYTES_MAX = 1_500;
const GROWTH_BYTES_MAX = 600;

/** A bounded memory of things with bytes. */
export class Overheard<T> {
  readonly #heard: T[] = [];
  readonly #old: T[] = [];
  #count = 0;

  hear(thing: T): void {
    this.#heard[this.#count % HEARD_MAX] = thing;
    if (this.#old.length < OLD_MAX) this.#old.push(thing);
    this.#count += 1;
  }

  /** One of them, a fourth of the time from long ago; undefined: nothing was heard yet. */
  recall(rng: Rng): T | undefined {
    const from = randomBelow(rng, 4) === 0 ? this.#old : this.#heard;
    return from.length === 0 ? undefined : from[randomBelow(rng, from.length)];
  }

  /** The newest one. */
  get newest(): T | undefined {
    return this.#count === 0 ? undefined : this.#heard[(this.#count - 1) % HEARD_MAX];
  }
}

/** What somebody without a key can make of bytes, of which kinds there are so many. */
export function distorted(rng: Rng, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  switch (randomBelow(rng, 6)) {
    case 0:
      if (copy.length > 0) copy[randomBelow(rng, copy.length)] ^= 1 << randomBelow(rng, 8);
      return copy;
    case 1:
      return copy.subarray(0, randomBelow(rng, copy.length + 1));
    case 2: {
      const longer = new Uint8Array(copy.length + 1 + randomBelow(rng, GROWTH_BYTES_MAX));
      longer.set(copy);
      return longer;
    }
    case 3:
      // Version and kind stand in the first bytes of everything that is said.
      if (copy.length > 0) copy[randomBelow(rng, Math.min(5, copy.length))] = randomBelow(rng, 256);
      return copy;
    case 4:
      return randomBytes(rng, randomBelow(rng, JUNK_BYTES_MAX));
    default:
      return copy;
  }
}
