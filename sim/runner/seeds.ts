// Many seeds, spread over worker threads; every hundredth is run twice, and its two hashes have to
// be the same. What they came to is counted in the order of the seeds, whichever is done first, so
// that a run gives the same report each time, and one that was stopped goes on where it was.

import { availableParallelism } from 'node:os';
import { seconds } from '../../protocol/time.ts';
import type { FoundViolation, SeedResult } from '../seed-run.ts';
import type { Wanted } from './wanted.ts';
import { SeedThread, type ThreadOptions } from './seed-thread.ts';
import type { SeedAnswer } from './seed-worker.ts';

/** One seed in so many is run twice. */
const TWICE_EVERY = 100;
/** Failures that are kept one by one; all are counted. */
export const FAILURES_MAX = 1_000;
const MS_PER_SECOND = 1_000;

/** Which seeds, and how. */
interface SeedsOptions {
  readonly from: number;
  readonly count: number;
  readonly wanted: Wanted;
  /** Threads; default: one for each core. */
  readonly workers?: number | undefined;
  /** What the seeds before `from` came to. */
  readonly before?: Totals | undefined;
  /** After each seed. */
  readonly onProgress?: (progress: Progress) => void;
  readonly onFailure?: (failure: Failure) => void;
  /** Threads are ended, what is not done is not counted. */
  readonly signal?: AbortSignal | undefined;
  readonly thread?: ThreadOptions;
}

/** How far a run has come: every seed below `next` is counted in `totals`, no other is. */
export interface Progress {
  readonly next: number;
  readonly totals: Totals;
}

/** A seed that failed. */
export interface Failure {
  readonly seed: number;
  readonly invariant: string;
  readonly says: string;
  /** Virtual seconds. */
  readonly at: number;
}

/** What many seeds came to. */
export interface Totals {
  readonly done: number;
  readonly failed: number;
  readonly events: number;
  readonly virtualSeconds: number;
  readonly realSeconds: number;
  readonly runTwice: number;
  /** How many seeds failed by each. */
  readonly invariants: Readonly<Record<string, number>>;
  /** The first FAILURES_MAX. */
  readonly failures: readonly Failure[];
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

/** Before the first seed. */
export const NOTHING_YET: Totals = {
  done: 0,
  failed: 0,
  events: 0,
  virtualSeconds: 0,
  realSeconds: 0,
  runTwice: 0,
  invariants: {},
  failures: [],
  faults: {},
  marks: {},
};

/** Runs them; resolves when all are done, or when it was told to stop. */
export async function runSeeds(options: SeedsOptions): Promise<Progress> {
  const run = new Run(options);
  const count = Math.min(options.workers ?? availableParallelism(), options.count);
  const threads = Array.from({ length: count }, () => new SeedThread(options.thread));
  const close = (): Promise<unknown> => Promise.all(threads.map((thread) => thread.close()));
  const onAbort = (): void => void close();
  options.signal?.addEventListener('abort', onAbort);
  try {
    await Promise.all(threads.map((thread) => run.work(thread)));
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    await close();
  }
  return run.progress();
}

class Run {
  readonly #options: SeedsOptions;
  readonly #begunMs = performance.now();
  readonly #totals: { -readonly [K in keyof Totals]: Totals[K] };
  readonly #failures: Failure[];
  readonly #faults: Record<string, Tally>;
  readonly #marks: Record<string, Tally>;
  readonly #invariants: Record<string, number>;
  /** Answers above the first seed that is not done; as many as are done while one of them takes. */
  readonly #ahead = new Map<number, SeedAnswer>();
  #next: number;
  #begun = 0;

  constructor(options: SeedsOptions) {
    this.#options = options;
    this.#next = options.from;
    const before = structuredClone(options.before ?? NOTHING_YET);
    this.#totals = before;
    this.#failures = [...before.failures];
    this.#faults = { ...before.faults };
    this.#marks = { ...before.marks };
    this.#invariants = { ...before.invariants };
  }

  /** One thread takes seed after seed. */
  async work(thread: SeedThread): Promise<void> {
    const { from, count, signal, wanted } = this.#options;
    while (this.#begun < count && signal?.aborted !== true) {
      const seed = from + this.#begun;
      this.#begun += 1;
      const answer = await thread.run({ seed, wanted, isTwice: isRunTwice(seed) });
      if (answer === undefined) return;
      this.#ahead.set(seed, answer);
      this.#count();
    }
  }

  progress(): Progress {
    const realSeconds =
      (this.#options.before?.realSeconds ?? 0) +
      (performance.now() - this.#begunMs) / MS_PER_SECOND;
    const totals: Totals = {
      ...this.#totals,
      realSeconds,
      failures: this.#failures,
      faults: this.#faults,
      marks: this.#marks,
      invariants: this.#invariants,
    };
    return { next: this.#next, totals };
  }

  /** Counts what is done, in the order of the seeds. */
  #count(): void {
    for (
      let answer = this.#ahead.get(this.#next);
      answer !== undefined;
      answer = this.#ahead.get(this.#next)
    ) {
      this.#ahead.delete(this.#next);
      this.#take(this.#next, answer);
      this.#next += 1;
      this.#options.onProgress?.(this.progress());
    }
  }

  #take(seed: number, { result, differs }: SeedAnswer): void {
    const totals = this.#totals;
    totals.done += 1;
    totals.events += result.events;
    totals.virtualSeconds += result.virtualSeconds;
    if (isRunTwice(seed)) totals.runTwice += 1;
    add(this.#faults, result.faults);
    add(this.#marks, result.marks);
    const violation = result.violation ?? different(result, differs);
    if (violation === undefined) return;
    const { invariant, says, at } = violation;
    const failure = { seed, invariant, says, at: at / seconds(1) };
    totals.failed += 1;
    this.#invariants[invariant] = (this.#invariants[invariant] ?? 0) + 1;
    if (this.#failures.length < FAILURES_MAX) this.#failures.push(failure);
    this.#options.onFailure?.(failure);
  }
}

const isRunTwice = (seed: number): boolean => seed % TWICE_EVERY === 1;

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
