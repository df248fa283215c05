// Turns for work of different weight: so much at the same time, the rest in the order in which it
// came. Nobody is overtaken, so that a large file gets its turn among small ones.

import { assert } from '../../../protocol/assert.ts';

interface Waiting {
  readonly share: number;
  readonly go: () => void;
}

/** Shares of one whole that are given out and come back. */
export class Turns {
  readonly #whole: number;
  readonly #waiting: Waiting[] = [];
  #taken = 0;

  constructor(whole: number) {
    this.#whole = whole;
  }

  /** Waits for a turn of this share, works, and gives it back, whatever became of the work. */
  async run<T>(share: number, work: () => Promise<T>): Promise<T> {
    await this.take(share);
    return work().finally(() => this.give(share));
  }

  /** Waits for a turn of this share; `give` has to follow. */
  take(share: number): Promise<void> {
    assert(share <= this.#whole, 'nobody asks for more than there is');
    return new Promise((go) => {
      this.#waiting.push({ share, go });
      this.#next();
    });
  }

  /** Gives a share back. */
  give(share: number): void {
    this.#taken -= share;
    this.#next();
  }

  #next(): void {
    for (;;) {
      const first = this.#waiting.at(0);
      if (first === undefined || this.#taken + first.share > this.#whole) return;
      this.#waiting.shift();
      this.#taken += first.share;
      first.go();
    }
  }
}
