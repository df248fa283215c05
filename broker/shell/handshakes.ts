// In which order TLS handshakes begin. When a fleet comes back at once, a server that begins all of
// them gets few done in time: the others are dropped, or given up, with their costs already paid.
// So one begins in a turn of the event loop, behind whatever is ready of those that were begun
// before; the newest first, as the oldest is the first that is dropped when strangers are too many.
// And it begins a turn later than it could: who has given up meanwhile is seen to be gone.

import { BROKER_LIMITS } from '../limits.ts';

/** Somebody who waits for its handshake. */
interface Waiting {
  /** Gone meanwhile: it is passed over. */
  isOver(): boolean;
  begin(): void;
}

/** Begins handshakes one by one. */
export class Handshakes {
  /** The newest last; those that are over are cleared before they can be more than the rest. */
  #waiting: Waiting[] = [];
  /** Of this turn. */
  #fresh: Waiting[] = [];
  #isTurning = false;

  /** Takes its place in the row. */
  add(one: Waiting): void {
    this.#fresh.push(one);
    this.#nextTurn();
  }

  #nextTurn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    setImmediate(() => this.#onTurn());
  }

  #onTurn(): void {
    this.#isTurning = false;
    let next = this.#waiting.pop();
    while (next?.isOver() === true) next = this.#waiting.pop();
    this.#waiting.push(...this.#fresh);
    this.#fresh = [];
    if (this.#waiting.length > 2 * BROKER_LIMITS.strangersMax) {
      this.#waiting = this.#waiting.filter((one) => !one.isOver());
    }
    if (this.#waiting.length > 0) this.#nextTurn();
    next?.begin();
  }
}
