// The demo's own processes: this same program, started as a user would start it, each with a home
// of its own. Every child is ended by its id, whatever happens to the demo.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { NakodoError } from '../../protocol/errors.ts';

/** Milliseconds for a server or an agent to become ready, on a slow machine. */
const READY_MS_MAX = 15_000;
/** Milliseconds for one command to finish. */
const COMMAND_MS_MAX = 45_000;
/** Bytes a millisecond that even a very slow machine moves: 1 MB/s. */
const SLOWEST_BYTES_PER_MS = 1_000;
/** Milliseconds between a polite end and a forced one. */
const END_MS_MAX = 3_000;
/** Characters that are kept of what one child says, the last ones. */
const STDOUT_CHARACTERS_MAX = 4_000_000;
const STDERR_CHARACTERS_MAX = 4_000;

/** What a finished command said. */
export interface Finished {
  readonly exit: number;
  /** Its last line of JSON; an empty object if it said none. */
  readonly said: unknown;
  readonly stderr: string;
}

/** A command that runs until it is ended. */
export interface Running {
  /** Its ready line. */
  readonly ready: Readonly<Record<string, unknown>>;
  readonly pid: number | undefined;
  end(): Promise<void>;
}

/** Starts children and ends them. */
export class Children {
  readonly #program: string;
  readonly #children = new Set<ChildProcess>();
  readonly #onExit = (): void => {
    for (const child of this.#children) child.kill('SIGKILL');
  };

  /** `program`: the path of main.js. */
  constructor(program: string) {
    this.#program = program;
    process.on('exit', this.#onExit);
  }

  /**
   * Runs a command to its end. `showProgress`: its standard error is ours, so that its progress
   * line shows if that is a terminal. `bytes`: what it has to move, for which it gets more time.
   */
  run(
    args: readonly string[],
    how: { readonly showProgress?: boolean; readonly bytes?: number } = {},
  ): Promise<Finished> {
    const child = this.#spawn(args, how.showProgress === true ? 'inherit' : 'pipe');
    const msMax = COMMAND_MS_MAX + (how.bytes ?? 0) / SLOWEST_BYTES_PER_MS;
    let stdout = '';
    let stderr = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), msMax);
    child.stdout?.on('data', (chunk: Buffer) => {
      stdout = (stdout + chunk.toString()).slice(-STDOUT_CHARACTERS_MAX);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr = (stderr + chunk.toString()).slice(-STDERR_CHARACTERS_MAX);
    });
    return new Promise<Finished>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        clearTimeout(timer);
        const last = stdout.trimEnd().split('\n').slice(-1)[0];
        resolve({ exit: code ?? 1, said: parsed(last), stderr });
      });
    });
  }

  /** Starts a server or an agent and waits for its ready line. @throws NakodoError `not-ready`. */
  async serve(args: readonly string[]): Promise<Running> {
    const child = this.#spawn(args, 'pipe');
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr = (stderr + chunk.toString()).slice(-STDERR_CHARACTERS_MAX);
    });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const ready = await new Promise<Record<string, unknown>>((resolve, reject) => {
      const failed = (why: string): void => {
        clearTimeout(timer);
        const said = stderr.trim().split('\n').slice(-2).join(' ');
        const message = `nakodo ${args[0]} ${why}: ${said}`;
        reject(new NakodoError('not-ready', message, 'free some memory and ports, and try again'));
      };
      const timer = setTimeout(() => failed('was not ready in time'), READY_MS_MAX);
      child.once('error', (error) => failed(error.message));
      child.once('close', () => failed('ended at once'));
      if (child.stdout === null) return;
      createInterface(child.stdout).on('line', (line) => {
        const value = parsed(line) as Record<string, unknown>;
        if (value.ready !== true) {
          stderr += `${line}\n`;
          return;
        }
        clearTimeout(timer);
        resolve(value);
      });
    });
    return { ready, pid: child.pid, end: () => endChild(child, ended) };
  }

  /** Ends every child that still runs. */
  async endAll(): Promise<void> {
    await Promise.all(
      [...this.#children].map((child) =>
        endChild(child, new Promise((resolve) => child.once('close', () => resolve()))),
      ),
    );
    process.off('exit', this.#onExit);
  }

  #spawn(args: readonly string[], stderr: 'pipe' | 'inherit'): ChildProcess {
    const child = spawn(process.execPath, [this.#program, ...args], {
      stdio: ['ignore', 'pipe', stderr],
    });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    child.once('error', () => this.#children.delete(child));
    return child;
  }
}

async function endChild(child: ChildProcess, ended: Promise<void>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
  await ended;
  clearTimeout(timer);
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    // Words for people; not every line is for a program.
    return {};
  }
}
