// From a seed and what was asked for on the command line to the plan of a world. All is drawn in
// one order, whatever was asked for, so that this never shifts what the seed says of the rest.

import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBelow, seededRng } from '../../protocol/random.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { OPTION_NAMES, OPTION_SPECS, type OptionName, drawOptions } from '../options.ts';
import { SCENARIOS } from '../scenarios.ts';
import type { SeedPlan } from '../seed-run.ts';
import type { Wanted } from './wanted.ts';

/** One seed in so many is run with real cryptography. */
const REAL_EVERY = 50;
const TERMINALS_MIN = 3;
const TERMINALS_SPREAD = 6;

/** The plan of one seed. `wanted.scenario` is one of SCENARIOS. */
export function planOf(seed: number, wanted: Wanted): SeedPlan & { readonly isReal: boolean } {
  const scenario = SCENARIOS[wanted.scenario];
  const rng = seededRng(seed);
  const drawn = drawOptions(rng);
  const options: Record<OptionName, number> = { ...(scenario.options ?? drawn) };
  const { only } = wanted;
  const isOff = (name: OptionName): boolean =>
    (only !== undefined && !only.includes(name)) || wanted.off?.includes(name) === true;
  for (const name of OPTION_NAMES.filter(isOff)) options[name] = OPTION_SPECS[name].off;
  for (const name of OPTION_NAMES) options[name] = wanted.set?.[name] ?? options[name];
  const isReal = wanted.suite === undefined ? seed % REAL_EVERY === 0 : wanted.suite === 'real';
  return {
    seed,
    terminals:
      wanted.terminals ?? scenario.terminals ?? TERMINALS_MIN + randomBelow(rng, TERMINALS_SPREAD),
    seconds: wanted.seconds ?? scenario.seconds,
    options,
    suite: isReal ? nodeSuite : fastSuite,
    isReal,
  };
}
