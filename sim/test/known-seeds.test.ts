// Worlds in which something was wrong once: nothing is, any more. Each is as small as it was made,
// and names all of its options.

import t from 'tap';
import { KNOWN_SEEDS, type KnownSeed } from '../known-seeds.ts';
import { OPTION_SPECS, type OptionName, optionsOn } from '../options.ts';
import { planOf } from '../runner/plan.ts';
import { type Wanted, commandOf } from '../runner/wanted.ts';
import { runSeed } from '../seed-run.ts';

const wantedOf = ({ terminals, seconds, suite, set }: KnownSeed): Wanted => ({
  scenario: 'swarm',
  terminals,
  seconds,
  suite,
  only: Object.keys(set) as OptionName[],
  set,
});

for (const known of KNOWN_SEEDS) {
  const { seed, set, invariant, cause } = known;
  t.test(`seed ${seed}: ${cause}`, async (t) => {
    const wanted = wantedOf(known);
    const plan = planOf(seed, wanted);
    const named = Object.keys(set) as OptionName[];
    t.same(new Set(optionsOn(plan.options)), new Set(named), 'all of its options are on');
    for (const name of named) t.equal(plan.options[name], set[name]);
    t.ok(named.every((name) => OPTION_SPECS[name].off !== set[name]));
    const { violation, events } = runSeed(plan);
    t.equal(violation?.says, undefined, `${invariant} failed once: ${commandOf(seed, wanted)}`);
    t.ok(events > 100);
  });
}
