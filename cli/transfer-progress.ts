// How far a transfer is: files, bytes, rate, and when it will be done; one line that is drawn again
// while a person waits. What a file that has to be sent again had counted is taken back.

import { MS_PER_SECOND } from '../protocol/time.ts';
import { formatDuration, formatSize } from '../protocol/units.ts';
import type { Output } from './output.ts';

/** Milliseconds between two drawings. */
const DRAW_MS = 100;
const BAR_CELLS = 20;
const PERCENT = 100;

/** Counts one file. */
export interface FileMeter {
  /** So many bytes more have passed, or need not. */
  readonly add: (bytes: number) => void;
  readonly done: () => void;
  /** What was counted of it does not count. */
  readonly undo: () => void;
}

/** The progress of one command. */
export class TransferProgress {
  readonly #output: Output;
  #started = performance.now();
  #drawn = 0;
  #files = 0;
  #bytes = 0;
  #ofFiles = 0;
  #ofBytes = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  /** What there is to pass, known now. */
  begin(files: number, bytes: number): void {
    this.#ofFiles = files;
    this.#ofBytes = bytes;
    this.#started = performance.now();
  }

  /** Whether it is known what there is to pass. */
  get hasBegun(): boolean {
    return this.#ofFiles > 0;
  }

  /** Seconds since it began. */
  get seconds(): number {
    return (performance.now() - this.#started) / MS_PER_SECOND;
  }

  /** Bytes that have passed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** `3 of 12 files, 20 MB of 1.5 GB`. */
  get words(): string {
    const sizes = `${formatSize(this.#bytes)} of ${formatSize(this.#ofBytes)}`;
    return this.#ofFiles === 1 ? sizes : `${this.#files} of ${this.#ofFiles} files, ${sizes}`;
  }

  /** A file begins. */
  file(): FileMeter {
    let counted = 0;
    const add = (bytes: number): void => {
      counted += bytes;
      this.#bytes += bytes;
      this.#draw();
    };
    const done = (): void => {
      this.#files += 1;
      this.#draw();
    };
    return { add, done, undo: () => add(-counted) };
  }

  #draw(): void {
    const now = performance.now();
    if (now - this.#drawn < DRAW_MS && this.#files < this.#ofFiles) return;
    this.#drawn = now;
    const { seconds } = this;
    const share = this.#ofBytes === 0 ? 1 : Math.min(1, this.#bytes / this.#ofBytes);
    const rate = this.#bytes / Math.max(seconds, 0.001);
    const left = rate > 0 ? Math.max(0, this.#ofBytes - this.#bytes) / rate : 0;
    const bar = '█'.repeat(Math.floor(share * BAR_CELLS)).padEnd(BAR_CELLS, '░');
    const count = this.#ofFiles === 1 ? '' : `${this.#files}/${this.#ofFiles} files, `;
    const sizes = `${formatSize(this.#bytes)} of ${formatSize(this.#ofBytes)}`;
    const end = left >= 1 ? `, ${formatDuration(Math.round(left) * MS_PER_SECOND)} left` : '';
    const percent = Math.floor(share * PERCENT);
    this.#output.progress(`${bar} ${percent} %  ${count}${sizes}, ${formatSize(rate)}/s${end}`);
  }
}
