// A binary min-heap of things that fall due, with removal: whatever is dealt with in time leaves at
// once, and leaves no trace that would pile up until its deadline. The broker's triggers and
// address queries and all of the manager's timers stand in one; two of the same instant come out
// in the order in which they were armed.

import { type Micros, NEVER } from './time.ts';

/** Something that falls due; owned by whoever made it, these three fields kept by the heap. */
export interface Due {
  /** When it falls due, or fell due last. */
  at: Micros;
  /** Which of two of the same instant was armed first. */
  order: number;
  /** Position in the heap that holds it; −1 outside. */
  slot: number;
}

/** The heap's own fields of something that is in no heap yet. */
export const notArmed = (at: Micros = NEVER): Due => ({ at, order: 0, slot: -1 });

/** A heap of `T`, earliest first. Its size is bounded by whoever arms. */
export class DeadlineHeap<T extends Due> {
  readonly #heap: T[] = [];
  #armed = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest instant; NEVER if nothing falls due. */
  next(): Micros {
    return this.#heap.length === 0 ? NEVER : this.#heap[0].at;
  }

  /** Arms or moves an item of this heap or of none; NEVER disarms it. */
  set(item: T, at: Micros): void {
    if (at === NEVER) {
      this.stop(item);
      return;
    }
    item.at = at;
    item.order = ++this.#armed;
    if (item.slot < 0) {
      item.slot = this.#heap.length;
      this.#heap.push(item);
    }
    this.#sink(item, this.#rise(item, item.slot));
  }

  /** Takes an item out; harmless when it is not armed. `at` stays as it was. */
  stop(item: T): void {
    const { slot } = item;
    if (slot < 0) return;
    item.slot = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === item) return;
    this.#sink(last, this.#rise(last, slot));
  }

  /** Takes out and returns the first one that is due at `now`, if any. */
  popDue(now: Micros): T | undefined {
    const first = this.#heap.at(0);
    if (first === undefined || first.at > now) return undefined;
    this.stop(first);
    return first;
  }

  #rise(item: T, from: number): number {
    let slot = from;
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (!isBefore(item, this.#heap[parent])) break;
      this.#place(this.#heap[parent], slot);
      slot = parent;
    }
    this.#place(item, slot);
    return slot;
  }

  #sink(item: T, from: number): void {
    let slot = from;
    for (;;) {
      let child = 2 * slot + 1;
      if (child >= this.#heap.length) break;
      const right = child + 1;
      if (right < this.#heap.length && isBefore(this.#heap[right], this.#heap[child]))
        child = right;
      if (!isBefore(this.#heap[child], item)) break;
      this.#place(this.#heap[child], slot);
      slot = child;
    }
    this.#place(item, slot);
  }

  #place(item: T, slot: number): void {
    this.#heap[slot] = item;
    item.slot = slot;
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
