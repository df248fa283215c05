// An invariant that did not hold: the one way in which a world ends badly. Whoever sees it throws
// it, so that nothing more happens; `sim/seed-run.ts` catches it and makes it the verdict.

import type { Micros } from '../protocol/time.ts';

/** Which invariant, what was seen, in which world, when. */
export class Violation extends Error {
  readonly invariant: string;
  readonly says: string;
  readonly seed: number;
  readonly at: Micros;

  constructor(options: {
    readonly invariant: string;
    readonly says: string;
    readonly seed: number;
    readonly at: Micros;
  }) {
    const { invariant, says, seed, at } = options;
    super(`seed ${seed}: ${invariant}: ${says}`);
    this.name = 'Violation';
    this.invariant = invariant;
    this.says = says;
    this.seed = seed;
    this.at = at;
  }
}
