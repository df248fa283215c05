// The processes of one measurement: each is started on a side of a place, says lines of JSON, and
// is ended by its id. What a process and its children cost is read from /proc, for all alike, so
// that a program in C and one in Node are weighed on the same scales.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { atExit } from './clean-up.ts';
import { type Side, commandOn } from './namespaces.ts';

/** Milliseconds for a driver to say what is waited for. */
const SAY_MS_MAX = 30_000;
/** Milliseconds between a polite end and a forced one. */
const END_MS_MAX = 2_000;
/** Characters of standard error that are kept. */
const STDERR_CHARACTERS_MAX = 2_000;
/** Seconds of a clock tick of /proc: 100 a second on every Linux that Node runs on. */
const TICK_SECONDS = 0.01;
/** Fields of /proc/PID/stat behind the name: user and system time, its own and its children's. */
const TIME_FIELDS = [11, 12, 13, 14] as const;
const PAGE_BYTES = 4_096;

/** A line that a driver said. */
type Said = Readonly<Record<string, unknown>>;

/** What is started. */
export interface Launch {
  readonly side: Side;
  readonly program: string;
  readonly args: readonly string[];
}

/** A driver that runs. */
export class Driver {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #name: string;
  #lines: Said[] = [];
  #wake: () => void = () => {};
  #stderr = '';
  #isGone = false;

  constructor(launch: Launch) {
    const [program, args] = commandOn(launch.side, launch.program, launch.args);
    this.#name = launch.args.find((word) => word.endsWith('.js')) ?? launch.program;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    const forget = atExit(() => void child.kill('SIGKILL'));
    child.stdin.on('error', () => {});
    child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_CHARACTERS_MAX);
    });
    createInterface(child.stdout).on('line', (line) => {
      const said = parsed(line);
      if (said === undefined) return;
      this.#lines.push(said);
      this.#wake();
    });
    this.#exited = new Promise((resolve) => {
      const onGone = (): void => {
        this.#isGone = true;
        forget();
        this.#wake();
        resolve();
      };
      child.once('close', onGone);
      child.once('error', onGone);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** One word on the driver's standard input. */
  tell(word: string): void {
    this.#child.stdin?.write(`${word}\n`);
  }

  /** The next line that has this key; those before it are forgotten. @throws Error at its end. */
  async next(key: string, msMax = SAY_MS_MAX): Promise<Said> {
    const until = performance.now() + msMax;
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) {
        if (key in line) return line;
        continue;
      }
      const left = until - performance.now();
      if (this.#isGone || left <= 0) {
        const why = this.#isGone ? 'ended early' : 'said nothing in time';
        throw new Error(`${this.#name} ${why}: ${this.#stderr.trim().slice(-300)}`);
      }
      await this.#somethingOr(left);
    }
  }

  /** The next line that has this key and is said from now on. */
  newest(key: string): Promise<Said> {
    this.#lines = [];
    return this.next(key);
  }

  /** Ends it and what it started; resolves when it is gone. */
  async end(): Promise<void> {
    if (this.#isGone) return;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS_MAX);
    await this.#exited;
    clearTimeout(timer);
  }

  #somethingOr(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Seconds of processor time of a process and of everything that it started; 0 if it is gone. */
export function cpuSeconds(pid: number): number {
  return tree(pid).reduce((sum, each) => {
    const fields = statOf(each);
    return sum + TIME_FIELDS.reduce((of, at) => of + Number(fields[at] ?? 0), 0) * TICK_SECONDS;
  }, 0);
}

/** The same of one process whose threads all live, without its children, to the microsecond. */
export function fineCpuSeconds(pid: number): number {
  const threads = existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : [];
  return threads.reduce((sum, thread) => {
    const [nanoseconds] = read(`/proc/${pid}/task/${thread}/schedstat`).split(' ');
    return sum + Number(nanoseconds) / 1e9;
  }, 0);
}

/** Resident bytes of a process and of everything that it started. */
export function residentBytes(pid: number): number {
  return tree(pid).reduce((sum, each) => {
    const pages = read(`/proc/${each}/statm`).split(' ')[1] ?? '0';
    return sum + Number(pages) * PAGE_BYTES;
  }, 0);
}

/** UDP datagrams that a side's namespace has received and sent, all sockets together. */
export function udpCounts(side: Side, pid: number): { received: number; sent: number } {
  // /proc/PID/net shows the namespace of that process.
  const rows = read(`/proc/${side.namespace === undefined ? 'self' : pid}/net/snmp`)
    .split('\n')
    .filter((row) => row.startsWith('Udp:'))
    .map((row) => row.split(' '));
  const [names, values] = rows;
  const valueOf = (name: string): number => Number(values?.[names?.indexOf(name) ?? -1] ?? 0);
  return { received: valueOf('InDatagrams'), sent: valueOf('OutDatagrams') };
}

function tree(pid: number): readonly number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
  return [pid, ...children.flatMap(tree)];
}

function statOf(pid: number): readonly string[] {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** A file of /proc, or nothing where it is not. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function parsed(line: string): Said | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as Said;
  } catch {
    // Words for people; not every line is for a program.
    return undefined;
  }
}
