// A process that runs one seed after another until one violates an invariant, and tells its parent
// of each. find.ts starts it with a bug in it, and without for comparison. Arguments: the first
// seed and the last.

import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { seededRng } from '../../protocol/random.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { drawOptions } from '../options.ts';
import { type FoundViolation, type SeedPlan, runSeed } from '../seed-run.ts';

const TERMINALS = 6;
const SECONDS = 60;
/** Of so many seeds one has real crypto. */
const REAL_EVERY = 50;

const planOf = (seed: number): SeedPlan => ({
  seed,
  terminals: TERMINALS,
  seconds: SECONDS,
  options: drawOptions(seededRng(seed)),
  suite: seed % REAL_EVERY === 0 ? nodeSuite : fastSuite,
});

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
  const { violation } = runSeed(planOf(seed));
  const told: SeedTold = { seed, violation };
  // It leaves before the next seed begins, so that the parent knows which one never ends.
  process.send?.(told, undefined, undefined, violation === undefined ? seek : undefined);
  seed += 1;
}

seek();
