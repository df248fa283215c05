// Loops (`for await`) over what comes one by one: talks of an agent, streams and messages of a
// session. Nothing is kept here: values wait where they are taken from, which has its own bound.

interface Source<T> {
  /** The next value that waits. */
  readonly take: () => T | undefined;
  /** The last loop was left by its owner. */
  readonly onLeft?: () => void;
}

interface Taker<T> {
  readonly loop: object;
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** The loops over one source; every value goes to one of them. */
export class Loops<T> {
  readonly #source: Source<T>;
  /** Loops that wait for a value; at most as many as there are calls of next(). */
  readonly #takers = new Set<Taker<T>>();
  #loops = 0;
  #isEnded = false;

  constructor(source: Source<T>) {
    this.#source = source;
  }

  /** Somebody loops. */
  get isTaken(): boolean {
    return this.#loops > 0;
  }

  /** Something may lie ready. */
  arrived(): void {
    for (const taker of this.#takers) {
      const value = this.#source.take();
      if (value === undefined) return;
      this.#takers.delete(taker);
      taker.resolve({ done: false, value });
    }
  }

  /** Nothing more will come: loops take what lies ready, then they end. */
  end(): void {
    this.arrived();
    this.#isEnded = true;
    for (const taker of this.#takers) taker.resolve(DONE);
    this.#takers.clear();
  }

  /** A loop over what lies ready and what comes. */
  iterate(): AsyncIterableIterator<T, undefined> {
    let isOver = false;
    this.#loops += 1;
    const next = (): Promise<IteratorResult<T, undefined>> => {
      if (isOver) return Promise.resolve(DONE);
      const value = this.#source.take();
      if (value !== undefined) return Promise.resolve({ done: false, value });
      if (this.#isEnded) return Promise.resolve(DONE);
      return new Promise((resolve) => this.#takers.add({ loop: iterator, resolve }));
    };
    const leave = (): void => {
      if (isOver) return;
      isOver = true;
      this.#loops -= 1;
      for (const taker of this.#takers) {
        if (taker.loop !== iterator) continue;
        this.#takers.delete(taker);
        taker.resolve(DONE);
      }
      if (this.#loops === 0) this.#source.onLeft?.();
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
