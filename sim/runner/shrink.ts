// A failing seed made small: one fault after the other is switched off, then terminals and time are
// taken away, as long as the same invariant still fails. What remains is what it takes.

import { type OptionName, optionsOn } from '../options.ts';
import { type SeedResult, runSeed } from '../seed-run.ts';
import { type Wanted, planOf } from './plan.ts';

const TERMINALS_MIN = 2;
const SECONDS_MIN = 2;
/** Most worlds that are tried. */
const RUNS_MAX = 200;

/** What is left of a failing world. */
export interface Shrunk {
  readonly wanted: Wanted;
  /** The options that are still on. */
  readonly on: readonly OptionName[];
  readonly runs: number;
  readonly result: SeedResult;
}

/** Shrinks a world that fails; `result` is what it gave. */
export function shrink(seed: number, wanted: Wanted, result: SeedResult): Shrunk {
  const invariant = result.violation?.invariant;
  const attempts = new Attempts(seed, invariant, { wanted, result });
  // Off first what is most: half of them, then each by itself.
  const all = optionsOn(planOf(seed, wanted).options).filter((name) => !name.startsWith('work.'));
  for (const part of [all.slice(0, all.length / 2), all.slice(all.length / 2)]) {
    attempts.tryOff(part);
  }
  for (const name of all) attempts.tryOff([name]);
  const { terminals, seconds } = planOf(seed, wanted);
  for (let count = terminals - 1; count >= TERMINALS_MIN; count--) {
    if (!attempts.tryWith({ terminals: count })) break;
  }
  for (let left = seconds / 2; left >= SECONDS_MIN; left = Math.floor(left / 2)) {
    if (!attempts.tryWith({ seconds: left })) break;
  }
  const { smallest, runs } = attempts;
  const on = optionsOn(planOf(seed, smallest.wanted).options);
  return { wanted: smallest.wanted, on, runs, result: smallest.result };
}

class Attempts {
  runs = 0;
  smallest: { readonly wanted: Wanted; readonly result: SeedResult };
  readonly #seed: number;
  readonly #invariant: string | undefined;

  constructor(
    seed: number,
    invariant: string | undefined,
    smallest: { readonly wanted: Wanted; readonly result: SeedResult },
  ) {
    this.#seed = seed;
    this.#invariant = invariant;
    this.smallest = smallest;
  }

  tryOff(names: readonly OptionName[]): boolean {
    const off = new Set([...(this.smallest.wanted.off ?? []), ...names]);
    if (names.length === 0 || off.size === this.smallest.wanted.off?.length) return false;
    return this.tryWith({ off: [...off] });
  }

  /** Keeps a smaller world if it fails in the same way. */
  tryWith(less: Partial<Wanted>): boolean {
    if (this.runs >= RUNS_MAX) return false;
    this.runs += 1;
    const wanted = { ...this.smallest.wanted, ...less };
    const result = runSeed(planOf(this.#seed, wanted));
    if (result.violation === undefined || result.violation.invariant !== this.#invariant)
      return false;
    this.smallest = { wanted, result };
    return true;
  }
}
