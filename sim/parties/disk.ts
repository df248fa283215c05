// What a terminal's home holds over a restart: records that reach the disk a moment after they were
// wanted (device/shell/ends-store.ts, whole-file.ts). A crash forgets what was still on its way; a
// bad disk forgets what it had confirmed, or leaves a record that nobody can read.

import type { Micros } from '../../protocol/time.ts';

/** Writes kept so that a bad disk can forget the newest of them. */
const JOURNAL_MAX = 64;

interface Entry<V> {
  readonly key: string;
  readonly value: V | undefined;
  readonly at: Micros;
}

/** One folder or file of a home, by key; `V` is never changed once it is written. */
export class Disk<V> {
  readonly #base = new Map<string, V>();
  readonly #journal: Entry<V>[] = [];

  /** Wants a record there (or gone) at `at`; one of the same key that is not there yet is not
   * written at all. */
  put(now: Micros, key: string, value: V | undefined, at: Micros): void {
    for (let index = this.#journal.length - 1; index >= 0; index--) {
      const entry = this.#journal[index];
      if (entry.key === key && entry.at > now) this.#journal.splice(index, 1);
    }
    this.#journal.push({ key, value, at });
    while (this.#journal.length > JOURNAL_MAX) {
      const oldest = this.#journal.shift();
      if (oldest !== undefined) this.#keep(oldest);
    }
  }

  /** What is there after a crash; `lostMicros`: confirmed writes this young are lost too. */
  crash(now: Micros, lostMicros = 0): void {
    for (const entry of this.#journal) if (entry.at + lostMicros <= now) this.#keep(entry);
    this.#journal.length = 0;
  }

  /** What a start reads; only after `crash`. */
  rows(): ReadonlyMap<string, V> {
    return this.#base;
  }

  /** A record becomes another one, as a torn write leaves it. */
  damage(key: string, value: V): void {
    if (this.#base.has(key)) this.#base.set(key, value);
  }

  #keep({ key, value }: Entry<V>): void {
    if (value === undefined) this.#base.delete(key);
    else this.#base.set(key, value);
  }
}
