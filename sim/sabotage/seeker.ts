// A process that runs one seed after another until one violates an invariant, and tells its parent
// of each. find.ts starts it with a bug in it, and without for comparison. Arguments: the first
// seed and the last.

import { planOf } from '../runner/plan.ts';
import { type FoundViolation, runSeed } from '../seed-run.ts';

const WANTED = { scenario: 'swarm' };

/** What a seeker tells after each seed; at the first violation it stops. */
export interface SeedTold {
  readonly seed: number;
  readonly violation: FoundViolation | undefined;
}

const [first, last] = process.argv.slice(2).map(Number);
let seed = first;

function seek(): void {
  if (seed > last) {
    process.disconnect();
    return;
  }
  const { violation } = runSeed(planOf(seed, WANTED));
  const told: SeedTold = { seed, violation };
  // It leaves before the next seed begins, so that the parent knows which one never ends.
  process.send?.(told, undefined, undefined, violation === undefined ? seek : undefined);
  seed += 1;
}

seek();
