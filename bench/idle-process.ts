// A process that waits, and what that costs: resident memory, processor time by the scheduler's own
// statistics, bytes written to disk, and what its TCP connection has put on the wire, as the kernel
// counted it.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { atExit } from '../sim/lab/clean-up.ts';
import { fineCpuSeconds } from '../sim/lab/drivers.ts';

const KIB = 1_024;
/** IPv4 and TCP with timestamps, of each segment: what every Linux sends. */
const HEADER_BYTES = 52;
const READY_MS_MAX = 20_000;
const END_MS_MAX = 5_000;

/** How a process is started. */
export interface IdleCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The line by which it says that it is ready, on either output. */
  readonly ready: RegExp;
}

/** What a process has used up since it was started. */
export interface Spent {
  readonly cpuSeconds: number;
  /** To files on disks; pages, as the kernel counts them. */
  readonly diskBytes: number;
  /** Both directions, IP and TCP headers included; undefined without `ss` or a connection. */
  readonly wireBytes: number | undefined;
}

/** A process that is ready; ended by `end`, or with this one. */
export class IdleProcess {
  /** From the moment it was started until it said so, milliseconds. */
  readonly readyMs: number;
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  readonly #forget: () => void;

  private constructor(child: ChildProcess, readyMs: number) {
    this.#child = child;
    this.readyMs = readyMs;
    this.#closed = new Promise((resolve) => child.once('close', () => resolve()));
    this.#forget = atExit(() => void child.kill('SIGKILL'));
  }

  /** Starts it and waits until it is ready. @throws Error with what it said if it never is. */
  static start({ program, args, env, ready }: IdleCommand): Promise<IdleProcess> {
    const begun = performance.now();
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '', ...env },
    });
    return new Promise((resolve, reject) => {
      let said = '';
      const fail = (): void => {
        child.kill('SIGKILL');
        reject(new Error(`${program} ${args.join(' ')} is not ready: ${said.slice(-500)}`));
      };
      const timer = setTimeout(fail, READY_MS_MAX);
      child.once('error', fail);
      child.once('close', fail);
      for (const output of [child.stdout, child.stderr]) {
        createInterface(output).on('line', (line) => {
          said += `${line}\n`;
          if (!ready.test(line)) return;
          clearTimeout(timer);
          child.off('close', fail);
          resolve(new IdleProcess(child, performance.now() - begun));
        });
      }
    });
  }

  /** Resident bytes, shared pages included. */
  get residentBytes(): number {
    const kib = /^VmRSS:\s+(\d+) kB/m.exec(this.#proc('status'))?.[1];
    return Number(kib ?? 0) * KIB;
  }

  /** Of all its threads that live. */
  get cpuSeconds(): number {
    return fineCpuSeconds(this.#child.pid ?? 0);
  }

  /** Since its start. */
  spent(): Spent {
    const diskBytes = Number(/^write_bytes: (\d+)/m.exec(this.#proc('io'))?.[1] ?? 0);
    const wireBytes = wireBytesOf(this.#child.pid ?? 0);
    return { cpuSeconds: this.cpuSeconds, diskBytes, wireBytes };
  }

  /** SIGTERM, and SIGKILL for one that does not end. */
  async end(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS_MAX);
    this.#child.kill('SIGTERM');
    await this.#closed;
    clearTimeout(timer);
    this.#forget();
  }

  #proc(name: string): string {
    const path = `/proc/${this.#child.pid}/${name}`;
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }
}

/** Of all TCP connections of a process. */
function wireBytesOf(pid: number): number | undefined {
  let rows: readonly string[];
  try {
    rows = execFileSync('ss', ['-tinpHO'], { encoding: 'utf8' }).split('\n');
  } catch {
    return undefined;
  }
  const own = rows.filter((row) => row.includes(`pid=${pid},`));
  if (own.length === 0) return undefined;
  return own.reduce((sum, row) => {
    const count = (name: string): number => {
      return Number(new RegExp(`\\b${name}:(\\d+)`).exec(row)?.[1] ?? 0);
    };
    const payload = count('bytes_sent') + count('bytes_received');
    return sum + payload + (count('segs_out') + count('segs_in')) * HEADER_BYTES;
  }, 0);
}
