// Writes what arrives in small pieces to a file in large ones: a datagram's worth at a time would
// cost a call of the system each. One piece is filled while the other is written.

import type { FileHandle } from 'node:fs/promises';
import { FILE_LIMITS } from './limits.ts';

/** Writes one file from some place on; its handle is its owner's. */
export class FileWriter {
  readonly #handle: FileHandle;
  #at: number;
  #filling: Buffer;
  #filled = 0;
  #other: Buffer | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** `at`: where to begin; `left`: bytes that are expected, so that a small file takes little. */
  constructor(handle: FileHandle, { at, left }: { readonly at: number; readonly left: number }) {
    this.#handle = handle;
    this.#at = at;
    this.#filling = Buffer.allocUnsafe(Math.max(1, Math.min(left, FILE_LIMITS.pieceBytes)));
  }

  /** Bytes from the file's beginning to what was taken last. */
  get end(): number {
    return this.#at + this.#filled;
  }

  /** Takes the content, which is copied; a promise if the next has to wait for the disk. */
  write(content: Uint8Array): Promise<void> | undefined {
    const room = this.#filling.length - this.#filled;
    if (content.length > room) return this.#writeOn(content);
    this.#filling.set(content, this.#filled);
    this.#filled += content.length;
    return undefined;
  }

  /** Everything that was taken is the system's now. @throws what a write failed of. */
  async flush(): Promise<void> {
    await this.#writing;
    await writeAll(this.#handle, this.#filling.subarray(0, this.#filled), this.#at);
    this.#at += this.#filled;
    this.#filled = 0;
  }

  async #writeOn(content: Uint8Array): Promise<void> {
    for (let taken = 0; taken < content.length;) {
      if (this.#filled === this.#filling.length) await this.#turn();
      const piece = content.subarray(taken, taken + this.#filling.length - this.#filled);
      this.#filling.set(piece, this.#filled);
      this.#filled += piece.length;
      taken += piece.length;
    }
  }

  /** The full piece is written, the other one is filled. */
  async #turn(): Promise<void> {
    await this.#writing;
    const full = this.#filling;
    this.#writing = writeAll(this.#handle, full, this.#at);
    // Whoever goes on, or flushes, hears of it.
    this.#writing.catch(() => {});
    this.#at += full.length;
    this.#filling = this.#other ?? Buffer.allocUnsafe(full.length);
    this.#other = full;
    this.#filled = 0;
  }
}

async function writeAll(handle: FileHandle, content: Uint8Array, place: number): Promise<void> {
  for (let at = 0; at < content.length;) {
    const { bytesWritten } = await handle.write(content, at, content.length - at, place + at);
    at += bytesWritten;
  }
}
