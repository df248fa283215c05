// Turns for work of different weight: so much at the same time, the rest in the order in which it
// came. Nobody is overtaken, so that a large file gets its turn among small ones.

import type { Duplex } from 'node:stream';
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

  /**
   * Waits for a turn of this share, works, and gives it back, whatever became of the work.
   * `stream`: what the work is for, if anything; if it closes before, nothing is done, and nothing
   * of it is kept: a peer that opens and resets streams would else have us remember them all.
   */
  async run(share: number, work: () => Promise<unknown>, stream?: Duplex): Promise<void> {
    if (stream?.destroyed === true) return;
    const waiting = this.#wait(share);
    stream?.once('close', waiting.leave);
    const isMine = await waiting.came;
    stream?.off('close', waiting.leave);
    if (isMine) await work().finally(() => this.give(share));
  }

  /** Waits for a turn of this share; `give` has to follow. */
  async take(share: number): Promise<void> {
    await this.#wait(share).came;
  }

  /** Gives a share back. */
  give(share: number): void {
    this.#taken -= share;
    this.#next();
  }

  /** `came`: whether the turn came; not if whoever waited for it was told to `leave`. */
  #wait(share: number): { readonly came: Promise<boolean>; readonly leave: () => void } {
    assert(share <= this.#whole, 'nobody asks for more than there is');
    let settle: (isMine: boolean) => void = () => {};
    const came = new Promise<boolean>((resolve) => {
      settle = resolve;
    });
    const waiting: Waiting = { share, go: () => settle(true) };
    const leave = (): void => {
      const at = this.#waiting.indexOf(waiting);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      settle(false);
      this.#next();
    };
    this.#waiting.push(waiting);
    this.#next();
    return { came, leave };
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
