// The datagram messages of a talk as an async iterable. There is no queue here: what nobody has
// taken stays in the talk's own, which is bounded and counts what it drops.

import type { Talk } from '../../protocol/data/connection-types.ts';

type Result = IteratorResult<Uint8Array, undefined>;

interface Taker {
  readonly resolve: (result: Result) => void;
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** Loops over the messages of one talk; each message goes to one of them. */
export class Messages {
  readonly #talk: () => Talk | undefined;
  /** Loops that wait; at most as many as there are calls of next(). */
  #takers: Taker[] = [];
  #isEnded = false;

  /** `talk`: where messages are read from, also after the end. */
  constructor(talk: () => Talk | undefined) {
    this.#talk = talk;
  }

  /** Something may lie ready. */
  arrived(): void {
    while (this.#takers.length > 0) {
      const value = this.#talk()?.readDatagram();
      if (value === undefined) return;
      this.#takers.shift()?.resolve({ done: false, value });
    }
  }

  /** Nothing more will come: loops take what lies ready, then they end. */
  end(): void {
    this.arrived();
    this.#isEnded = true;
    for (const taker of this.#takers.splice(0)) taker.resolve(DONE);
  }

  /** A loop over what lies ready and what comes. */
  iterate(): AsyncIterableIterator<Uint8Array, undefined> {
    let isOver = false;
    let own: Taker[] = [];
    const next = (): Promise<Result> => {
      if (isOver) return Promise.resolve(DONE);
      const value = this.#talk()?.readDatagram();
      if (value !== undefined) return Promise.resolve({ done: false, value });
      if (this.#isEnded) return Promise.resolve(DONE);
      return new Promise((resolve) => {
        const taker = { resolve };
        own = [...own.filter((other) => this.#takers.includes(other)), taker];
        this.#takers.push(taker);
      });
    };
    const leave = (): Promise<Result> => {
      isOver = true;
      this.#takers = this.#takers.filter((taker) => !own.includes(taker));
      for (const taker of own) taker.resolve(DONE);
      own = [];
      return Promise.resolve(DONE);
    };
    const iterator: AsyncIterableIterator<Uint8Array, undefined> = {
      next,
      return: leave,
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }
}
