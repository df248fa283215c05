// Many seeds, spread over worker threads; every hundredth is run twice, and its two hashes have to
// be the same. A long run writes down how far it has come, and goes on from there.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { FoundViolation, SeedResult } from '../seed-run.ts';
import type { Wanted } from './plan.ts';
import type { SeedAnswer, SeedOrder } from './seed-worker.ts';

/** One seed in so many is run twice. */
const TWICE_EVERY = 100;
const FAILURES_MAX = 1_000;

/** Which seeds, and how. */
export interface SeedsOptions {
  readonly from: number;
  readonly count: number;
  readonly wanted: Wanted;
  /** Threads; default: one for each core. */
  readonly workers?: number | undefined;
  /** After each seed. */
  readonly onProgress?: (progress: Progress) => void;
  /** No further seed is begun. */
  readonly signal?: AbortSignal | undefined;
  /** Stops at the first failure. */
  readonly untilFailure?: boolean;
}

/** How far a run has come. */
export interface Progress {
  readonly done: number;
  readonly count: number;
  /** Every seed below this one is done. */
  readonly next: number;
  readonly failures: readonly Failure[];
}

/** A seed that failed. */
export interface Failure {
  readonly seed: number;
  readonly violation: FoundViolation;
}

/** What many seeds came to. */
export interface SeedsReport {
  readonly done: number;
  readonly next: number;
  /** At most FAILURES_MAX are kept. */
  readonly failures: readonly Failure[];
  readonly events: number;
  readonly virtualSeconds: number;
  readonly realSeconds: number;
  readonly runTwice: number;
  /** In how many worlds a fault struck, and how often in all. */
  readonly faults: Readonly<Record<string, Tally>>;
  /** The same of the marks: rare things that should have occurred. */
  readonly marks: Readonly<Record<string, Tally>>;
}

/** In how many worlds, and how often in all. */
export interface Tally {
  worlds: number;
  times: number;
}

/** Runs them; resolves when all are done, or when it was told to stop. */
export async function runSeeds(options: SeedsOptions): Promise<SeedsReport> {
  const run = new Run(options);
  const threads = Math.min(options.workers ?? availableParallelism(), options.count);
  const begun = performance.now();
  await Promise.all(Array.from({ length: threads }, () => run.work()));
  return run.report((performance.now() - begun) / 1_000);
}

class Run {
  readonly #options: SeedsOptions;
  readonly #failures: Failure[] = [];
  readonly #faults: Record<string, Tally> = {};
  readonly #marks: Record<string, Tally> = {};
  /** Seeds that are done, above the first that is not. */
  readonly #doneAhead = new Set<number>();
  #next: number;
  #begun = 0;
  #done = 0;
  #runTwice = 0;
  #events = 0;
  #virtualSeconds = 0;

  constructor(options: SeedsOptions) {
    this.#options = options;
    this.#next = options.from;
  }

  /** One thread takes seed after seed. */
  async work(): Promise<void> {
    const { wanted } = this.#options;
    const worker = new Worker(new URL('seed-worker.js', import.meta.url), { workerData: wanted });
    try {
      for (let order = this.#order(); order !== undefined; order = this.#order()) {
        this.#take(order, await asked(worker, order));
      }
    } finally {
      await worker.terminate();
    }
  }

  report(realSeconds: number): SeedsReport {
    return {
      done: this.#done,
      next: this.#next,
      failures: this.#failures,
      events: this.#events,
      virtualSeconds: this.#virtualSeconds,
      realSeconds,
      runTwice: this.#runTwice,
      faults: this.#faults,
      marks: this.#marks,
    };
  }

  #order(): SeedOrder | undefined {
    const { from, count, signal, untilFailure } = this.#options;
    const isOver = signal?.aborted === true || (untilFailure === true && this.#failures.length > 0);
    if (isOver || this.#begun >= count) return undefined;
    const seed = from + this.#begun;
    this.#begun += 1;
    return { seed, isTwice: seed % TWICE_EVERY === 1 };
  }

  #take({ seed, isTwice }: SeedOrder, { result, differs }: SeedAnswer): void {
    const { onProgress, count } = this.#options;
    this.#done += 1;
    this.#events += result.events;
    this.#virtualSeconds += result.virtualSeconds;
    if (isTwice) this.#runTwice += 1;
    add(this.#faults, result.faults);
    add(this.#marks, result.marks);
    const violation = result.violation ?? different(result, differs);
    if (violation !== undefined && this.#failures.length < FAILURES_MAX) {
      this.#failures.push({ seed, violation });
    }
    this.#doneAhead.add(seed);
    while (this.#doneAhead.delete(this.#next)) this.#next += 1;
    onProgress?.({ done: this.#done, count, next: this.#next, failures: this.#failures });
  }
}

function different(result: SeedResult, differs: string | undefined): FoundViolation | undefined {
  if (differs === undefined) return undefined;
  const says = `the same seed gave ${result.hash} and then ${differs}`;
  return { invariant: 'repeatable', says, at: 0 as FoundViolation['at'], stack: undefined };
}

function add(tallies: Record<string, Tally>, counts: Readonly<Record<string, number>>): void {
  for (const [name, times] of Object.entries(counts)) {
    const tally = (tallies[name] ??= { worlds: 0, times: 0 });
    tally.worlds += 1;
    tally.times += times;
  }
}

function asked(worker: Worker, order: SeedOrder): Promise<SeedAnswer> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      worker.off('message', onMessage);
      worker.off('error', onError);
    };
    const onMessage = (answer: SeedAnswer): void => {
      settle();
      resolve(answer);
    };
    const onError = (error: unknown): void => {
      settle();
      reject(error instanceof Error ? error : new Error(String(error)));
    };
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.postMessage(order);
  });
}
