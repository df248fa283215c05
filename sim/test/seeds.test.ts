// Two hundred worlds, all parties with their real cores, all faults, all invariants: the part of
// `make sim` that every run of the tests has. A failure names the seed and the command to see it.

import t from 'tap';
import { OPTION_NAMES } from '../options.ts';
import { runSeeds } from '../runner/seeds.ts';
import { commandOf } from '../runner/wanted.ts';

const SEEDS = 200;
const WANTED = { scenario: 'swarm' };
/** A world lasts at least this long on average, or it shows little. */
const VIRTUAL_SECONDS = 60;
/** Twenty seconds on two idle cores. */
const TIMEOUT_MS = 115_000;
/** What has to occur in some of them. */
const FAULTS = OPTION_NAMES.filter((name) =>
  /\.(loss|replay|corrupt|hole|partition|rebind|kick|restart|crash|lost|edit|clone|jump)$/.test(
    name,
  ),
);

t.test('two hundred seeds: every invariant holds', { timeout: TIMEOUT_MS }, async (t) => {
  const { totals } = await runSeeds({ from: 1, count: SEEDS, wanted: WANTED });
  for (const { seed, invariant, says } of totals.failures)
    t.fail(`seed ${seed}: ${invariant}: ${says}: ${commandOf(seed, WANTED)}`);
  t.equal(totals.failed, 0);
  t.equal(totals.done, SEEDS);
  t.equal(totals.runTwice, 2, 'some are run twice');
  t.ok(totals.virtualSeconds > VIRTUAL_SECONDS * SEEDS, `${totals.virtualSeconds} s`);
  t.ok(FAULTS.length > 10);
  for (const name of FAULTS)
    t.ok((totals.faults[name]?.worlds ?? 0) > SEEDS / 50, `${name} struck`);
});
