// Things that arrive one by one and are taken by `for await`: sessions of an agent, streams of a
// session. Bounded: whoever brings one more is told no. Leaving the loop gives back what waits.

interface ArrivalsOptions<T> {
  /** How many wait at most. */
  readonly max: number;
  /** Takes what waited when the last loop was left by its owner. */
  readonly onLeft: (waiting: readonly T[]) => void;
}

interface Taker<T> {
  resolve(result: IteratorResult<T, undefined>): void;
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** A bounded queue whose reading end is an async iterable; every value goes to one loop. */
export class Arrivals<T> {
  readonly #options: ArrivalsOptions<T>;
  #waiting: T[] = [];
  /** Loops that wait for a value; at most as many as there are calls of next(). */
  readonly #takers: Taker<T>[] = [];
  #loops = 0;
  #isEnded = false;

  constructor(options: ArrivalsOptions<T>) {
    this.#options = options;
  }

  /** Somebody loops over what arrives. */
  get isTaken(): boolean {
    return this.#loops > 0;
  }

  /** Hands a value to a loop, or lets it wait; false at the bound and after the end. */
  push(value: T): boolean {
    if (this.#isEnded) return false;
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      taker.resolve({ done: false, value });
      return true;
    }
    if (this.#waiting.length >= this.#options.max) return false;
    this.#waiting.push(value);
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
    for (const taker of this.#takers.splice(0)) taker.resolve(DONE);
  }

  /** A loop over what arrives from now on, and what waits already. */
  iterate(): AsyncIterableIterator<T, undefined> {
    let isOver = false;
    this.#loops += 1;
    const own: Taker<T>[] = [];
    const leave = (): void => {
      if (isOver) return;
      isOver = true;
      this.#loops -= 1;
      for (const taker of own.splice(0)) {
        const at = this.#takers.indexOf(taker);
        if (at < 0) continue;
        this.#takers.splice(at, 1);
        taker.resolve(DONE);
      }
      if (this.#loops === 0 && this.#waiting.length > 0) this.#options.onLeft(this.takeAll());
    };
    const next = (): Promise<IteratorResult<T, undefined>> => {
      if (isOver) return Promise.resolve(DONE);
      const [value] = this.#waiting.splice(0, 1);
      if (value !== undefined) return Promise.resolve({ done: false, value });
      if (this.#isEnded) return Promise.resolve(DONE);
      return new Promise((resolve) => {
        const taker: Taker<T> = {
          resolve: (result) => {
            own.splice(own.indexOf(taker) >>> 0, 1);
            resolve(result);
          },
        };
        own.push(taker);
        this.#takers.push(taker);
      });
    };
    const iterator: AsyncIterableIterator<T, undefined> = {
      next,
      return: () => {
        leave();
        return Promise.resolve(DONE);
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }
}
