// At most so many bytes a second, over all files of a command: whoever has read or written a piece
// waits until it was due.

import { setTimeout as delay } from 'node:timers/promises';
import { FILE_LIMITS } from '../device/services/file/limits.ts';
import { MS_PER_SECOND } from '../protocol/time.ts';

/** Parts of a second in which a limited rate is spent: finer than a person sees. */
const PACES_PER_SECOND = 20;

/** Keeps a rate. */
export class Pacer {
  /** Bytes of one piece at this rate. */
  readonly pieceBytes: number;
  readonly #bytesPerSecond: number;
  #startedMs = performance.now();
  #bytes = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
    const piece = Math.floor(bytesPerSecond / PACES_PER_SECOND);
    this.pieceBytes = Math.max(1, Math.min(FILE_LIMITS.chunkBytes, piece));
  }

  /** Resolves when so many bytes, and all before them, were due. */
  async spend(bytes: number): Promise<void> {
    const now = performance.now();
    const dueMs = (): number => (this.#bytes / this.#bytesPerSecond) * MS_PER_SECOND;
    // Time in which nothing was to be sent is not made up for.
    if (this.#startedMs + dueMs() < now - MS_PER_SECOND) {
      this.#startedMs = now;
      this.#bytes = 0;
    }
    this.#bytes += bytes;
    const earlyMs = this.#startedMs + dueMs() - now;
    if (earlyMs > 0) await delay(earlyMs);
  }
}
