// What a command says: plain words for people, JSON for scripts (design §7). Results go to standard
// output, errors in words and progress to standard error, so that a pipe holds results only.

import { EXIT, type ExitCode, NakodoError, UsageError, errorMessage } from '../protocol/errors.ts';

/** Columns of a terminal that does not say how wide it is (a pseudo-terminal of a script). */
const WIDTH_UNKNOWN = 80;

/** The voice of one command run. */
export class Output {
  /** True when the user asked for `--json`. */
  readonly json: boolean;
  readonly #results: NodeJS.WritableStream;
  #progressShown = false;

  constructor(json: boolean, results: NodeJS.WritableStream = process.stdout) {
    this.json = json;
    this.#results = results;
  }

  /** The voice of a command whose standard output is content: it says all on standard error. */
  besideContent(): Output {
    return new Output(this.json, process.stderr);
  }

  /** Prints a result: `value` as one line of JSON, or `words` (one or more lines). */
  result(value: unknown, words: string): void {
    this.#clearProgress();
    this.#results.write(`${this.json ? JSON.stringify(value) : words}\n`);
  }

  /** Prints a remark that is no result: words only, never with `--json`. */
  remark(words: string): void {
    if (this.json) return;
    this.#clearProgress();
    this.#results.write(`${words}\n`);
  }

  /** Prints a warning in words on standard error. */
  warn(words: string): void {
    this.#clearProgress();
    process.stderr.write(`${words}\n`);
  }

  /** Redraws the progress line; nothing unless standard error is a terminal. */
  progress(line: string): void {
    if (!process.stderr.isTTY) return;
    const width = process.stderr.columns || WIDTH_UNKNOWN;
    process.stderr.write(`\r\u001b[K${line.slice(0, width - 1)}`);
    this.#progressShown = true;
  }

  #clearProgress(): void {
    if (this.#progressShown) process.stderr.write('\r\u001b[K');
    this.#progressShown = false;
  }

  /** Takes the progress line away; call it when the long work is over. */
  progressDone(): void {
    this.#clearProgress();
  }

  /**
   * Prints an error as two lines on standard error (what happened; what to do next), with `--json`
   * as one object where results go, beside what is known all the same (`fields`).
   * Returns the exit code that goes with it.
   */
  error(error: unknown, fields: Readonly<Record<string, unknown>> = {}): ExitCode {
    this.#clearProgress();
    const { code, message, next, exit } = explained(error);
    if (this.json) {
      this.#results.write(`${JSON.stringify({ ...fields, error: { code, message, next } })}\n`);
    } else {
      process.stderr.write(`nakodo: ${message}\nnext: ${next}\n`);
    }
    if (process.env.NAKODO_DEBUG && error instanceof Error) {
      process.stderr.write(`${error.stack ?? ''}\n`);
    }
    return exit;
  }
}

/** Turns anything thrown into what a person can act upon. */
function explained(error: unknown): {
  readonly code: string;
  readonly message: string;
  readonly next: string;
  readonly exit: ExitCode;
} {
  if (error instanceof NakodoError) {
    const { code, message, next, exit } = error;
    return { code, message, next, exit };
  }
  if (error instanceof UsageError) {
    const next = 'see the --help of the command for what it takes';
    return { code: error.code, message: error.message, next, exit: EXIT.usage };
  }
  const system = SYSTEM_ERRORS[systemCode(error)];
  if (system !== undefined) {
    return { code: systemCode(error).toLowerCase(), message: errorMessage(error), ...system };
  }
  return {
    code: 'unexpected',
    message: `something went wrong that should not: ${errorMessage(error)}`,
    next: 'run it again with NAKODO_DEBUG=1 in the environment and report what it prints',
    exit: EXIT.failed,
  };
}

const SYSTEM_ERRORS: Readonly<Record<string, { next: string; exit: ExitCode }>> = {
  EACCES: { next: 'check the owner and the mode of that file or folder', exit: EXIT.failed },
  EPERM: { next: 'check the owner and the mode of that file or folder', exit: EXIT.failed },
  ENOENT: { next: 'check the path', exit: EXIT.failed },
  EISDIR: { next: 'name a file, not a folder', exit: EXIT.usage },
  ENOTDIR: { next: 'name a folder, not a file', exit: EXIT.usage },
  ENOSPC: { next: 'free some space on that disk and try again', exit: EXIT.failed },
  EROFS: { next: 'choose a home on a disk that can be written: --home DIR', exit: EXIT.failed },
  EADDRINUSE: {
    next: 'choose another port, or 0 for any free one: --mqtt-port 0 --http-port 0',
    exit: EXIT.failed,
  },
  EADDRNOTAVAIL: { next: 'choose an address of this machine', exit: EXIT.failed },
  ECONNREFUSED: { next: 'check that the server runs, then try again', exit: EXIT.unreachable },
};

function systemCode(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** A table in words: `columns` name the fields; widths fit the content. */
export function table(rows: readonly Readonly<Record<string, string>>[]): string {
  if (rows.length === 0) return '';
  const columns = Object.keys(rows[0]);
  const widths = columns.map((column) =>
    rows.reduce((width, row) => Math.max(width, row[column].length), column.length),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => cell.padEnd(widths[at]))
      .join('  ')
      .trimEnd();
  const head = line(columns.map((column) => column.toUpperCase()));
  return [head, ...rows.map((row) => line(columns.map((column) => row[column])))].join('\n');
}

/** Ends the program quietly when the reader of a pipe went away (`nakodo log | head`). */
export function endOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed);
    });
  }
}
