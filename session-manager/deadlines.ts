// The manager's timers: an indexed binary heap, so that arming, moving and disarming one of a
// hundred thousand deadlines costs a few comparisons and a deadline that is no longer wanted leaves
// at once.

import { type Micros, NEVER } from '../protocol/time.ts';

/** One deadline: what to do, and when; owned by whoever made it. */
export interface Deadline {
  readonly fire: (now: Micros) => void;
  /** NEVER while disarmed. */
  at: Micros;
  /** Which of two of the same instant was armed first; the heap's own. */
  order: number;
  /** Position in the heap, -1 while disarmed; the heap's own. */
  slot: number;
}

/** All deadlines of one manager; at most one entry for each intro, session and extension. */
export class Deadlines {
  readonly #heap: Deadline[] = [];
  #armed = 0;

  /** Makes a disarmed deadline. */
  make(fire: (now: Micros) => void): Deadline {
    return { fire, at: NEVER, order: 0, slot: -1 };
  }

  /** Arms or moves a deadline; NEVER disarms it. */
  set(deadline: Deadline, at: Micros): void {
    if (at === NEVER) {
      this.stop(deadline);
      return;
    }
    deadline.at = at;
    deadline.order = ++this.#armed;
    if (deadline.slot < 0) {
      deadline.slot = this.#heap.length;
      this.#heap.push(deadline);
    }
    this.#down(this.#up(deadline.slot));
  }

  /** Disarms; harmless when disarmed already. */
  stop(deadline: Deadline): void {
    const { slot } = deadline;
    if (slot < 0) return;
    deadline.slot = -1;
    deadline.at = NEVER;
    const last = this.#heap.pop();
    if (last === undefined || last === deadline) return;
    this.#place(last, slot);
    this.#down(this.#up(slot));
  }

  /** The earliest instant, or NEVER. */
  next(): Micros {
    return this.#heap.length > 0 ? this.#heap[0].at : NEVER;
  }

  /** Fires what is due, earliest first, at most `firesMax` of them. */
  run(now: Micros, firesMax: number): void {
    for (let fired = 0; fired < firesMax && this.next() <= now; fired++) {
      const deadline = this.#heap[0];
      this.stop(deadline);
      deadline.fire(now);
    }
  }

  #place(deadline: Deadline, slot: number): void {
    this.#heap[slot] = deadline;
    deadline.slot = slot;
  }

  #up(from: number): number {
    let slot = from;
    const deadline = this.#heap[slot];
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (!isBefore(deadline, this.#heap[parent])) break;
      this.#place(this.#heap[parent], slot);
      slot = parent;
    }
    this.#place(deadline, slot);
    return slot;
  }

  #down(from: number): void {
    let slot = from;
    const deadline = this.#heap[slot];
    for (;;) {
      let child = 2 * slot + 1;
      if (child >= this.#heap.length) break;
      const sibling = child + 1;
      if (sibling < this.#heap.length && isBefore(this.#heap[sibling], this.#heap[child])) {
        child = sibling;
      }
      if (!isBefore(this.#heap[child], deadline)) break;
      this.#place(this.#heap[child], slot);
      slot = child;
    }
    this.#place(deadline, slot);
  }
}

function isBefore(a: Deadline, b: Deadline): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
