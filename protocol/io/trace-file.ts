// Traces of talks as files, `<session>-<role>.sqlog`, for qvis and other viewers of qlog. A trace
// never holds a talk up: events are put into words at once, written in pieces behind its back,
// dropped and counted while the disk is slow, and cut at a bound; the file says both.

import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Role } from '../data/connection-types.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import type { SessionId } from '../ids.ts';
import { QlogWriter } from '../trace/qlog.ts';
import type { Trace, TraceEvent } from '../trace/trace-event.ts';
import { makeFolder } from './files.ts';
import { IO_LIMITS } from './limits.ts';

const FILE_MODE = 0o600;
const { traceFilesMax, traceFileBytesMax, traceWaitingBytesMax } = IO_LIMITS;
const { traceFlushBytes, traceFlushMs } = IO_LIMITS;

interface TraceFolderOptions {
  readonly folder: string;
  /** Bytes of one file, the sentence that it was cut excepted. Default: IO_LIMITS. */
  readonly bytesMax?: number;
  /** A file that cannot be written; told once for each, the talk goes on without. */
  readonly onTrouble: (error: unknown) => void;
}

/** Where the traces of one agent go; as many files are open as it has talks. */
export class TraceFolder {
  readonly #options: TraceFolderOptions;
  readonly #files = new Set<TraceFile>();

  private constructor(options: TraceFolderOptions) {
    this.#options = options;
  }

  /**
   * Makes the folder if it is not there.
   * @throws NakodoError `no-permission`, `file-error` …
   */
  static async open(options: TraceFolderOptions): Promise<TraceFolder> {
    await makeFolder(options.folder);
    return new TraceFolder(options);
  }

  /**
   * What the connection of a talk tells its events to; the file closes a while after its end.
   * Undefined, and told as trouble, while `traceFilesMax` are open.
   */
  trace(session: SessionId, role: Role): Trace | undefined {
    const { folder, bytesMax = traceFileBytesMax, onTrouble } = this.#options;
    if (this.#files.size >= traceFilesMax) {
      onTrouble(new Error(`${traceFilesMax} traces are open: this talk has none`));
      return undefined;
    }
    const path = join(folder, `${session}-${role}.sqlog`);
    const onClosed = (): void => void this.#files.delete(file);
    const file = new TraceFile({ path, role, bytesMax, onTrouble, onClosed });
    this.#files.add(file);
    return (event) => file.hear(event);
  }

  /** Writes and closes whatever is open; what is told afterwards is lost. */
  async settled(): Promise<void> {
    await Promise.all([...this.#files].map((file) => file.close()));
  }
}

interface TraceFileOptions {
  readonly path: string;
  readonly role: Role;
  readonly bytesMax: number;
  readonly onTrouble: (error: unknown) => void;
  readonly onClosed: () => void;
}

/** The trace of one talk. */
class TraceFile {
  readonly #options: TraceFileOptions;
  readonly #writer: QlogWriter;
  #handle: FileHandle | undefined;
  #waiting: string[] = [];
  #waitingBytes = 0;
  /** Written or waiting. */
  #bytes = 0;
  #dropped = 0;
  /** Of the newest event. */
  #at = 0;
  /** Takes no more: cut, or not writable. */
  #isFull = false;
  #writing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #flushTimer: NodeJS.Timeout | undefined;
  #closeTimer: NodeJS.Timeout | undefined;

  constructor(options: TraceFileOptions) {
    this.#options = options;
    this.#writer = new QlogWriter(options.role);
    this.#wait(this.#writer.header());
  }

  hear(event: TraceEvent): void {
    if (event.kind === 'ended') {
      // A CLOSE and its answer are still to come.
      const close = (): void => void this.close();
      this.#closeTimer ??= setTimeout(close, DATA_LIMITS.closingMsMax).unref();
    }
    if (this.#isFull || this.#closing !== undefined) return;
    this.#at = event.at;
    this.#take(this.#writer.write(event));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #take(text: string): void {
    if (text === '') return;
    if (this.#bytes + text.length > this.#options.bytesMax) {
      this.#isFull = true;
      this.#warn(`the trace was cut at ${this.#options.bytesMax} bytes`);
    } else if (this.#waitingBytes + text.length > traceWaitingBytesMax) {
      this.#dropped++;
    } else {
      this.#tellDropped();
      this.#wait(text);
    }
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    this.#warn(`the disk was too slow: ${this.#dropped} events are missing`);
    this.#dropped = 0;
  }

  #warn(message: string): void {
    this.#wait(this.#writer.warning(this.#at, message));
  }

  /** Every word of ours is ASCII: as many bytes as characters. */
  #wait(text: string): void {
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    this.#bytes += text.length;
    if (this.#waitingBytes >= traceFlushBytes) this.#flush();
    else this.#flushTimer ??= setTimeout(() => this.#flush(), traceFlushMs).unref();
  }

  #flush(): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    if (this.#writing !== undefined || this.#waiting.length === 0) return;
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#writing = this.#write(text).then(() => {
      this.#writing = undefined;
      if (this.#waitingBytes >= traceFlushBytes) this.#flush();
    });
  }

  async #write(text: string): Promise<void> {
    try {
      // Never through a name that somebody else has put there.
      this.#handle ??= await open(this.#options.path, 'wx', FILE_MODE);
      await this.#handle.appendFile(text);
    } catch (error) {
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#isFull = true;
      this.#options.onTrouble(error);
    }
  }

  async #close(): Promise<void> {
    clearTimeout(this.#closeTimer);
    if (!this.#isFull) {
      this.#tellDropped();
      this.#wait(this.#writer.end());
    }
    for (this.#flush(); this.#writing !== undefined; this.#flush()) await this.#writing;
    await this.#handle?.close().catch(() => {});
    this.#options.onClosed();
  }
}
