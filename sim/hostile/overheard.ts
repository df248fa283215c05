// What an attacker has heard, to be said again: the newest of each kind, at most so many. Those who
// cannot make anything that is believed live on what others said.

import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';

const HEARD_MAX = 512;
const JUNK_BYTES_MAX = 1_500;

/** A bounded memory of things with bytes. */
export class Overheard<T> {
  readonly #heard: T[] = [];
  #next = 0;

  hear(thing: T): void {
    this.#heard[this.#next] = thing;
    this.#next = (this.#next + 1) % HEARD_MAX;
  }

  /** One of them; undefined: nothing was heard yet. */
  recall(rng: Rng): T | undefined {
    return this.#heard.length === 0 ? undefined : this.#heard[randomBelow(rng, this.#heard.length)];
  }
}

/** What somebody without a key can make of bytes: the same, a bit changed, cut, or nothing of it. */
export function distorted(rng: Rng, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  switch (randomBelow(rng, 5)) {
    case 0:
      if (copy.length > 0) copy[randomBelow(rng, copy.length)] ^= 1 << randomBelow(rng, 8);
      return copy;
    case 1:
      return copy.subarray(0, randomBelow(rng, copy.length + 1));
    case 2:
      return randomBytes(rng, randomBelow(rng, JUNK_BYTES_MAX));
    default:
      return copy;
  }
}
