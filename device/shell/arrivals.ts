// Things that arrive one by one and are taken by loops: talks of an agent, streams of a session.
// Bounded: whoever brings one more is told no. Leaving the last loop gives back what waits.

import { Loops } from './loops.ts';

interface ArrivalsOptions<T> {
  /** How many wait at most. */
  readonly max: number;
  /** Takes what waited when the last loop was left by its owner. */
  readonly onLeft: (waiting: readonly T[]) => void;
}

/** A bounded queue whose reading end is an async iterable; every value goes to one loop. */
export class Arrivals<T> {
  readonly #max: number;
  readonly #loops: Loops<T>;
  #waiting: T[] = [];
  #isEnded = false;

  constructor({ max, onLeft }: ArrivalsOptions<T>) {
    this.#max = max;
    this.#loops = new Loops({
      take: () => this.#waiting.shift(),
      onLeft: () => {
        if (this.#waiting.length > 0) onLeft(this.takeAll());
      },
    });
  }

  /** Somebody loops over what arrives. */
  get isTaken(): boolean {
    return this.#loops.isTaken;
  }

  /** Hands a value to a loop, or lets it wait; false at the bound and after the end. */
  push(value: T): boolean {
    if (this.#isEnded || this.#waiting.length >= this.#max) return false;
    this.#waiting.push(value);
    this.#loops.arrived();
    return true;
  }

  /** Lets go of a value that waits in vain. */
  drop(value: T): void {
    this.#waiting = this.#waiting.filter((other) => other !== value);
  }

  /** Takes everything that waits. */
  takeAll(): readonly T[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  /** Nothing more will come: loops take what waits, then they end. */
  end(): void {
    this.#isEnded = true;
    this.#loops.end();
  }

  /** A loop over what arrives from now on, and what waits already. */
  iterate(): AsyncIterableIterator<T, undefined> {
    return this.#loops.iterate();
  }
}
