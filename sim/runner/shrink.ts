// A failing seed made small: one option after the other is switched off, then terminals and time
// are taken away, as long as the same invariant still fails. What remains is what it takes.

import { type OptionName, type Options, optionsOn } from '../options.ts';
import type { SeedResult } from '../seed-run.ts';
import { planOf } from './plan.ts';
import type { Wanted } from './wanted.ts';

const TERMINALS_MIN = 2;
const SECONDS_MIN = 2;
/** Most worlds that are tried. */
const RUNS_MAX = 200;

/** What is left of a failing world: `only` and `set` name every option that is on. */
interface Shrunk {
  readonly wanted: Wanted;
  readonly runs: number;
  readonly result: SeedResult;
}

/** Runs a world of the seed; undefined: no more of them. */
type Attempt = (wanted: Wanted) => Promise<SeedResult | undefined>;

/** Shrinks a world that fails; `result` is what it gave. */
export async function shrink(
  seed: number,
  wanted: Wanted,
  { result, attempt }: { readonly result: SeedResult; readonly attempt: Attempt },
): Promise<Shrunk> {
  const plan = planOf(seed, wanted);
  const isWork = (name: string): boolean => name.startsWith('work.');
  // From here on an option that is not named is off: what a seed draws may change, this world not.
  const on = optionsOn(plan.options);
  const whole: Wanted = {
    scenario: wanted.scenario,
    terminals: plan.terminals,
    seconds: plan.seconds,
    suite: wanted.suite ?? (plan.isReal ? 'real' : 'fast'),
    only: on,
    set: valuesOf(plan.options, on),
  };
  const attempts = new Attempts({ wanted: whole, result, attempt });
  const faults = on.filter((name) => !isWork(name));
  const half = Math.ceil(faults.length / 2);
  for (const part of [faults.slice(0, half), faults.slice(half)]) await attempts.without(part);
  // What one needs another one may have kept: until a whole round takes nothing away.
  for (let before = -1; before !== attempts.on.length;) {
    before = attempts.on.length;
    for (const name of [...faults, ...on.filter(isWork)]) await attempts.without([name]);
  }
  for (let count = plan.terminals - 1; count >= TERMINALS_MIN; count--) {
    if (!(await attempts.keep({ terminals: count }))) break;
  }
  for (let left = Math.floor(plan.seconds / 2); left >= SECONDS_MIN; left = Math.floor(left / 2)) {
    if (!(await attempts.keep({ seconds: left }))) break;
  }
  return { ...attempts.smallest, runs: attempts.runs };
}

const valuesOf = (options: Options, names: readonly OptionName[]): Partial<Options> =>
  Object.fromEntries(names.map((name) => [name, options[name]]));

class Attempts {
  runs = 0;
  smallest: { readonly wanted: Wanted; readonly result: SeedResult };
  readonly #attempt: Attempt;
  readonly #invariant: string | undefined;

  constructor(options: {
    readonly wanted: Wanted;
    readonly result: SeedResult;
    readonly attempt: Attempt;
  }) {
    const { wanted, result, attempt } = options;
    this.smallest = { wanted, result };
    this.#attempt = attempt;
    this.#invariant = result.violation?.invariant;
  }

  get on(): readonly OptionName[] {
    return this.smallest.wanted.only ?? [];
  }

  async without(names: readonly OptionName[]): Promise<void> {
    const only = this.on.filter((name) => !names.includes(name));
    if (only.length === this.on.length) return;
    const { set = {} } = this.smallest.wanted;
    await this.keep({ only, set: valuesOf(set as Options, only) });
  }

  /** Keeps a smaller world if it fails in the same way. */
  async keep(less: Partial<Wanted>): Promise<boolean> {
    if (this.runs >= RUNS_MAX) return false;
    this.runs += 1;
    const wanted = { ...this.smallest.wanted, ...less };
    const result = await this.#attempt(wanted);
    if (result?.violation === undefined || result.violation.invariant !== this.#invariant)
      return false;
    this.smallest = { wanted, result };
    return true;
  }
}
