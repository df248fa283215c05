// A process that runs one seed after another until one violates an invariant, and tells its parent
// of each. find.ts starts it with a bug in it, and without for comparison. Arguments: the first
// seed, the last, and options with a given value, as JSON.

import type { Options } from '../options.ts';
import { planOf } from '../runner/plan.ts';
import { type FoundViolation, runSeed } from '../seed-run.ts';

/** What a seeker tells after each seed; at the first violation it stops. */
export interface SeedTold {
  readonly seed: number;
  readonly violation: FoundViolation | undefined;
}

const [first, last, options] = process.argv.slice(2);
const wanted = { scenario: 'swarm', set: JSON.parse(options) as Partial<Options> };
let seed = Number(first);

function seek(): void {
  if (seed > Number(last)) {
    process.disconnect();
    return;
  }
  const { violation } = runSeed(planOf(seed, wanted));
  const told: SeedTold = { seed, violation };
  // It leaves before the next seed begins, so that the parent knows which one never ends.
  process.send?.(told, undefined, undefined, violation === undefined ? seek : undefined);
  seed += 1;
}

seek();
