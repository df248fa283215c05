// The replay window of a talk (RFC 6479): a ring of 32-bit words that slides without shifting. It
// moves only for packets that authenticated: the caller asks `isFresh` before it opens a packet and
// calls `accept` after.

import { CRYPTO_LIMITS } from './limits.ts';

const WORD_BITS = 32;
const WORDS = CRYPTO_LIMITS.replayWindowBits / WORD_BITS;
/** Packet numbers below the highest one that are still told apart: one word is being cleared. */
export const REPLAY_WINDOW = CRYPTO_LIMITS.replayWindowBits - WORD_BITS;

/** Remembers which packet numbers came. Numbers: 0 to 2^48 - 1. */
export class ReplayWindow {
  readonly #words = new Int32Array(WORDS);
  #highest = -1;

  /** Whether the number is neither seen nor too old to tell; changes nothing. */
  isFresh(packetNumber: number): boolean {
    if (packetNumber > this.#highest) return true;
    if (this.#highest - packetNumber >= REPLAY_WINDOW) return false;
    const word = Math.floor(packetNumber / WORD_BITS) % WORDS;
    return (this.#words[word] & (1 << (packetNumber % WORD_BITS))) === 0;
  }

  /** Marks a number that is fresh and whose packet authenticated. */
  accept(packetNumber: number): void {
    const block = Math.floor(packetNumber / WORD_BITS);
    if (packetNumber > this.#highest) {
      const from = this.#highest < 0 ? block : Math.floor(this.#highest / WORD_BITS) + 1;
      // Words between the old highest and the new one hold bits of numbers one ring ago.
      const clear = Math.min(block - from + 1, WORDS);
      for (let i = 0; i < clear; i++) this.#words[(block - i) % WORDS] = 0;
      this.#highest = packetNumber;
    }
    this.#words[block % WORDS] |= 1 << (packetNumber % WORD_BITS);
  }
}
