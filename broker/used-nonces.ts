// Login tokens that were used: a broker takes each once (design §3), so that one which somebody
// recorded is of no use while it is still fresh. Times are monotonic: a wall clock that steps back
// brings no token to life again.

import { base32 } from '../protocol/base32.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, seconds } from '../protocol/time.ts';
import { BROKER_LIMITS } from './limits.ts';

/** A token is fresh for its own time, from before it was made to after its end by skewed clocks. */
const LIFE_SECONDS = LIMITS.tokenSeconds + 2 * LIMITS.clockSkewSeconds;

/** The nonces of the tokens that let somebody in. */
export class UsedNonces {
  /** When each may be forgotten; oldest first: all live equally long. */
  readonly #forgetAt = new Map<string, Micros>();
  readonly #byParty = new Map<string, Set<string>>();

  get size(): number {
    return this.#forgetAt.size;
  }

  /** Takes a nonce; false if this party's token was taken before. `party`: the proven client ID. */
  take(now: Micros, party: string, nonce: Uint8Array): boolean {
    for (const [key, at] of this.#forgetAt) {
      if (at > now) break;
      this.#forget(key);
    }
    const key = `${party}/${base32(nonce)}`;
    if (this.#forgetAt.has(key)) return false;
    const own = this.#byParty.get(party) ?? new Set<string>();
    this.#byParty.set(party, own.add(key));
    this.#forgetAt.set(key, after(now, seconds(LIFE_SECONDS)));
    if (own.size > BROKER_LIMITS.noncesPerPartyMax) this.#forgetFirst(own);
    if (this.#forgetAt.size > BROKER_LIMITS.noncesMax) this.#forgetFirst(this.#forgetAt.keys());
    return true;
  }

  #forgetFirst(keys: Iterable<string>): void {
    for (const oldest of keys) {
      this.#forget(oldest);
      return;
    }
  }

  #forget(key: string): void {
    this.#forgetAt.delete(key);
    const party = key.slice(0, key.indexOf('/'));
    const own = this.#byParty.get(party);
    own?.delete(key);
    if (own?.size === 0) this.#byParty.delete(party);
  }
}
