// Starts the delay line (delay-line.c): one process that carries any number of links between TUN
// devices, each with a rate, a delay, a queue and loss of its own; loss and delay may be changed
// while packets pass. The device of each end is in place, but not configured, once it has started.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { atExit } from './clean-up.ts';

const ROOT = dirname(dirname(dirname(import.meta.dirname)));
/** Packets that wait for the delay line to read them: 4 ms at 1 Gbit/s and more. */
export const TUN_PACKETS = 4_096;
const PPM = 1e6;

/** A link as the delay line makes it, the same both ways. */
export interface LinkShape {
  readonly mbit: number;
  /** Milliseconds of one way. */
  readonly oneWayMs: number;
  readonly queueBytes: number;
  /** Share of packets lost by chance, 0 to 1. */
  readonly loss: number;
  readonly seed: number;
}

/** One end of a link: a device that the line makes in a namespace. */
interface LineEnd {
  readonly namespace: string;
  readonly device: string;
}

/** A link to be. */
interface LineWish {
  readonly a: LineEnd;
  readonly b: LineEnd;
  readonly shape: LinkShape;
}

/** A running process with all its links. */
export class DelayLine {
  /** Ends it; its devices are gone. Repeated calls are harmless. */
  readonly close: () => void;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, close: () => void) {
    this.#child = child;
    this.close = close;
  }

  /** Compiles and starts it; resolves when all devices are there. @throws Error if it ends. */
  static async start(wishes: readonly LineWish[]): Promise<DelayLine> {
    const folder = mkdtempSync(join(tmpdir(), 'nk-line-'));
    let child: ChildProcess | undefined;
    const close = atExit(() => {
      child?.kill('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    });
    try {
      const program = join(folder, 'delay-line');
      const source = join(ROOT, 'sim', 'lab', 'delay-line.c');
      execFileSync('cc', ['-O2', '-o', program, source], { stdio: ['ignore', 'ignore', 'pipe'] });
      child = spawn(program, wishes.flatMap(words), { stdio: ['pipe', 'pipe', 'inherit'] });
      child.stdin?.on('error', () => {});
      await ready(child);
      return new DelayLine(child, close);
    } catch (error) {
      close();
      throw error;
    }
  }

  /** Another loss and delay for the link of that number, in the order of the wishes. */
  change(number: number, { loss, oneWayMs }: Pick<LinkShape, 'loss' | 'oneWayMs'>): void {
    const figures = [number, Math.round(loss * PPM), Math.round(oneWayMs * 1_000)];
    this.#child.stdin?.write(`${figures.join(' ')}\n`);
  }
}

function words({ a, b, shape }: LineWish): string[] {
  const { mbit, oneWayMs, queueBytes, loss, seed } = shape;
  const figures = [mbit, oneWayMs * 1_000, queueBytes, Math.round(loss * PPM), seed].map(String);
  return [a.namespace, a.device, b.namespace, b.device, ...figures];
}

/** Waits for the first word of the delay line. */
function ready(line: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    line.stdout?.once('data', () => {
      line.stdout?.resume();
      resolve();
    });
    line.once('error', reject);
    line.once('exit', () => reject(new Error('the delay line ended at once')));
  });
}
