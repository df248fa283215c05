// A binary min-heap of things that fall due, with removal: whatever is dealt with in time leaves no
// trace that would pile up until its deadline. Used by the triggers and by the address queries.

import { type Micros, NEVER } from '../protocol/time.ts';

/** Something that falls due. `slot` belongs to the heap that holds it; −1 outside. */
export interface Due {
  readonly due: Micros;
  slot: number;
}

/** A heap of `T`, earliest first. Its size is bounded by whoever pushes. */
export class Deadlines<T extends Due> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** When the first falls due; NEVER if none does. */
  next(): Micros {
    return this.#heap.length === 0 ? NEVER : this.#heap[0].due;
  }

  push(item: T): void {
    this.#heap.push(item);
    this.#rise(item, this.#heap.length - 1);
  }

  /** Removes and returns the first one that is due at `now`, if any. */
  popDue(now: Micros): T | undefined {
    if (this.next() > now) return undefined;
    const first = this.#heap[0];
    this.remove(first);
    return first;
  }

  /** Removes an item that is in this heap. */
  remove(item: T): void {
    const slot = item.slot;
    const last = this.#heap.pop();
    item.slot = -1;
    if (last === undefined || last === item) return;
    this.#rise(last, slot);
    this.#sink(last, last.slot);
  }

  #rise(item: T, from: number): void {
    let slot = from;
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (this.#heap[parent].due <= item.due) break;
      this.#place(this.#heap[parent], slot);
      slot = parent;
    }
    this.#place(item, slot);
  }

  #sink(item: T, from: number): void {
    let slot = from;
    for (;;) {
      let child = 2 * slot + 1;
      if (child >= this.#heap.length) break;
      const right = child + 1;
      if (right < this.#heap.length && this.#heap[right].due < this.#heap[child].due) child = right;
      if (this.#heap[child].due >= item.due) break;
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
