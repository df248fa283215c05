// A small file of a home that is always written as a whole: changes that come close together are
// written once, and writes follow one another.

import { writeFileAtomic } from '../../protocol/io/files.ts';

/** Milliseconds in which changes are collected: a talk that begins is not to wait for a disk. */
const COLLECT_MS = 20;
const FILE_MODE = 0o600;

/** One such file; what it says is asked for when it is written. */
export class WholeFile {
  readonly #path: string;
  readonly #text: () => string;
  readonly #onError: (error: unknown) => void;
  readonly #onWritten: () => void;
  #timer: NodeJS.Timeout | undefined;
  #written: Promise<void> = Promise.resolve();

  /** `onError` is told what could not be written; the next change tries again. */
  constructor(
    path: string,
    text: () => string,
    onError: (error: unknown) => void,
    onWritten = (): void => {},
  ) {
    this.#path = path;
    this.#text = text;
    this.#onError = onError;
    this.#onWritten = onWritten;
  }

  /** Writes the file in a moment, 0600 and durable. */
  changed(): void {
    this.#timer ??= setTimeout(() => this.#write(), COLLECT_MS);
  }

  /** Resolves when everything that changed is on disk, or was said to be not. */
  async settled(): Promise<void> {
    if (this.#timer !== undefined) this.#write();
    await this.#written;
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#written = this.#written
      .then(() => writeFileAtomic(this.#path, this.#text(), FILE_MODE))
      .then(this.#onWritten, this.#onError);
  }
}
