// The log's view of refusals: the first of a caller, a name and an hour is entered at once, the
// rest of that hour as one number, so that strangers who knock all day cannot fill the log. A
// caller that tries many names, and many callers together, share one entry beyond the bounds.

import type { DeviceId, Name } from '../protocol/ids.ts';
import { type Micros, after, ms } from '../protocol/time.ts';
import type { Context } from './context.ts';
import { MANAGER_LIMITS } from './limits.ts';

interface Fold {
  readonly caller: DeviceId | undefined;
  readonly calleeName: Name | undefined;
  /** Refusals that are not in the log yet. */
  times: number;
}

/** Counts refusals into the log. */
export class Refusals {
  readonly #context: Context;
  readonly #folds = new Map<string, Fold>();
  readonly #namesOf = new Map<DeviceId, number>();
  readonly #hour;

  constructor(context: Context) {
    this.#context = context;
    this.#hour = context.deadlines.make((now) => this.#close(now));
  }

  /** One refusal of `caller`, who asked for `calleeName`. */
  count(now: Micros, caller: DeviceId, calleeName: Name): void {
    this.#context.counts.refused += 1;
    if (this.#hour.slot < 0) {
      this.#context.deadlines.set(this.#hour, after(now, ms(MANAGER_LIMITS.foldMs)));
    }
    const own = this.#folds.get(`${caller}/${calleeName}`);
    if (own !== undefined) {
      own.times += 1;
      return;
    }
    const full = this.#folds.size >= MANAGER_LIMITS.foldsMax;
    const names = this.#namesOf.get(caller) ?? 0;
    if (full) this.#open(now, '', undefined, undefined);
    else if (names < MANAGER_LIMITS.foldedNamesPerCallerMax) {
      this.#namesOf.set(caller, names + 1);
      this.#open(now, `${caller}/${calleeName}`, caller, calleeName);
    } else this.#open(now, `${caller}/`, caller, undefined);
  }

  #open(
    now: Micros,
    key: string,
    caller: DeviceId | undefined,
    calleeName: Name | undefined,
  ): void {
    const fold = this.#folds.get(key);
    if (fold !== undefined) {
      fold.times += 1;
      return;
    }
    const opened = { caller, calleeName, times: 1 };
    this.#folds.set(key, opened);
    this.#enter(now, opened);
  }

  /** What is counted and not in the log yet goes in: the manager is about to stop. */
  settle(now: Micros): void {
    for (const fold of this.#folds.values()) if (fold.times > 0) this.#enter(now, fold);
  }

  /** The hour is over: what is not in the log yet goes in, and folding starts anew. */
  #close(now: Micros): void {
    this.settle(now);
    this.#folds.clear();
    this.#namesOf.clear();
  }

  #enter(now: Micros, fold: Fold): void {
    const { caller, calleeName, times } = fold;
    fold.times = 0;
    this.#context.ledger.add(now, {
      entries: [{ kind: 'refused', caller, calleeName, times }],
      writes: () => [],
      persisted: () => {},
      // The refusals of this hour are counted with the next entry, if there is one.
      failed: () => {
        fold.times += times;
      },
    });
  }
}
