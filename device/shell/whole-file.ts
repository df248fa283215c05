// A small file of a home that is always written as a whole: changes that come close together are
// written once, and writes follow one another. What a full disk refuses is tried again: a start
// must not find less than was known before.

import { writeFileAtomic } from '../../protocol/io/files.ts';

/** Milliseconds in which changes are collected: a talk that begins is not to wait for a disk. */
const COLLECT_MS = 20;
/** Milliseconds until what could not be written is tried again. */
const RETRY_MS = 60_000;
const FILE_MODE = 0o600;

interface WholeFileOptions {
  readonly path: string;
  /** What it says; asked for when it is written. */
  readonly text: () => string;
  /** Told what could not be written. */
  readonly onError: (error: unknown) => void;
  /** Told of everything that was. */
  readonly onWritten?: (() => void) | undefined;
  /** Default: a minute. */
  readonly retryMs?: number | undefined;
}

/** One such file. */
export class WholeFile {
  readonly #options: WholeFileOptions;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #written: Promise<void> = Promise.resolve();

  constructor(options: WholeFileOptions) {
    this.#options = options;
  }

  /** Writes the file in a moment, 0600 and durable; again later if that fails. */
  changed(): void {
    this.#timer ??= setTimeout(() => this.#write(), COLLECT_MS);
  }

  /** Resolves when everything that changed is on disk, or was said to be not. The last call. */
  async settled(): Promise<void> {
    if (this.#timer !== undefined || this.#retry !== undefined) this.#write();
    await this.#written;
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  #write(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#timer = undefined;
    this.#retry = undefined;
    const { path, text, onError, onWritten, retryMs = RETRY_MS } = this.#options;
    this.#written = this.#written
      .then(() => writeFileAtomic(path, text(), FILE_MODE))
      .then(onWritten, (error: unknown) => {
        this.#retry ??= setTimeout(() => this.#write(), retryMs);
        onError(error);
      });
  }
}
