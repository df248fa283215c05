// One worker thread, seen from its parent: it is given seeds and answers. A thread in which nothing
// happens any more (a loop in a core) is ended, one that dies is replaced; both are findings about
// the seed it had. What it has used is told in processor time, as the machine may be busy.

import { Worker } from 'node:worker_threads';
import type { Micros } from '../../protocol/time.ts';
import type { FoundViolation, SeedResult } from '../seed-run.ts';
import { PULSE_BYTES, type SeedAnswer, type SeedOrder, type WorkerWord } from './seed-worker.ts';
import type { TraceLine } from './trace.ts';

/** Processor time in which an event ends, unless there is a loop: the longest ones take 50 ms. */
const SILENCE_SECONDS_MAX = 20;
const LOOK_EVERY_MS = 500;
const MICROS_PER_SECOND = 1_000_000;

/** How long a world may be silent, and with what it is run; for tests. */
export interface ThreadOptions {
  /** Seconds of processor time without an event. */
  readonly silenceSeconds?: number;
  /** The worker's module. */
  readonly module?: URL;
}

/** Threads at work; what the process uses is theirs, in equal parts. */
let busy = 0;

/** A thread for one seed after the other; `close` it. */
export class SeedThread {
  readonly #silenceSeconds: number;
  readonly #module: URL;
  readonly #pulse = new Float64Array(new SharedArrayBuffer(PULSE_BYTES));
  #worker: Worker | undefined;
  #isClosed = false;
  #stop: (() => void) | undefined;

  constructor(options: ThreadOptions = {}) {
    this.#silenceSeconds = options.silenceSeconds ?? SILENCE_SECONDS_MAX;
    this.#module = options.module ?? new URL('seed-worker.js', import.meta.url);
  }

  /**
   * Runs a seed; undefined if the thread was closed meanwhile. A world that never comes to its end
   * is a violation of `time`, a thread that dies one of `process`.
   * @throws whatever keeps a worker from starting at all.
   */
  async run(order: SeedOrder, onLine?: (line: TraceLine) => void): Promise<SeedAnswer | undefined> {
    if (this.#isClosed) return undefined;
    this.#worker ??= await started(new Worker(this.#module, { workerData: this.#pulse.buffer }));
    const worker = this.#worker;
    busy += 1;
    try {
      return await this.#ask(worker, order, onLine);
    } finally {
      busy -= 1;
    }
  }

  /** Ends the thread, whatever it does. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stop?.();
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  #ask(
    worker: Worker,
    order: SeedOrder,
    onLine: ((line: TraceLine) => void) | undefined,
  ): Promise<SeedAnswer | undefined> {
    return new Promise((resolve) => {
      this.#pulse.fill(0);
      const looking = setInterval(() => look(), LOOK_EVERY_MS);
      const settle = (answer: SeedAnswer | undefined): void => {
        clearInterval(looking);
        forget(worker);
        // What comes of a thread that is being ended is nobody's concern.
        worker.on('error', () => {});
        this.#stop = undefined;
        resolve(answer);
      };
      const lost = (invariant: string, says: string): void => {
        this.#worker = undefined;
        settle(this.#lostAnswer(order.seed, invariant, says));
        void worker.terminate();
      };
      const look = this.#watch(lost);
      this.#stop = () => settle(undefined);
      worker.on('message', (word: WorkerWord) => {
        if (word.kind === 'line') onLine?.(word.line);
        else if (word.kind === 'answer') settle(word.answer);
      });
      worker.once('error', (error) => lost('process', `the thread died: ${String(error)}`));
      worker.once('exit', (code) => lost('process', `the thread ended with ${code}`));
      worker.postMessage(order);
    });
  }

  #watch(lost: (invariant: string, says: string) => void): () => void {
    let [events] = this.#pulse;
    let before = process.cpuUsage();
    let silence = 0;
    return () => {
      const used = process.cpuUsage(before);
      before = process.cpuUsage();
      silence += (used.user + used.system) / MICROS_PER_SECOND / busy;
      if (events !== this.#pulse[0]) silence = 0;
      [events] = this.#pulse;
      if (silence < this.#silenceSeconds) return;
      lost('time', `no event ended in ${silence.toFixed(0)} s of processor time: a loop`);
    };
  }

  #lostAnswer(seed: number, invariant: string, says: string): SeedAnswer {
    const [events, now] = this.#pulse;
    const violation: FoundViolation = { invariant, says, at: now as Micros, stack: undefined };
    const result: SeedResult = {
      seed,
      violation,
      hash: '',
      events,
      virtualSeconds: now / MICROS_PER_SECOND,
      faults: {},
      marks: {},
    };
    return { result, differs: undefined };
  }
}

function started(worker: Worker): Promise<Worker> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', () => {
      forget(worker);
      resolve(worker);
    });
  });
}

/** Ours only: the class has listeners of its own. */
function forget(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event);
}
