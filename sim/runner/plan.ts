// From a seed and what was asked for on the command line to the plan of a world; and the other way
// round: the command that runs this very world again.

import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBelow, seededRng } from '../../protocol/random.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import {
  OPTION_NAMES,
  OPTION_SPECS,
  type OptionName,
  type Options,
  drawOptions,
} from '../options.ts';
import { SCENARIOS } from '../scenarios.ts';
import type { SeedPlan } from '../seed-run.ts';

/** One seed in so many is run with real cryptography. */
const REAL_EVERY = 50;
const TERMINALS_MIN = 3;
const TERMINALS_SPREAD = 6;

/** What may be asked for beside the seed; plain data, handed from process to process. */
export interface Wanted {
  readonly scenario: string;
  readonly terminals?: number | undefined;
  readonly seconds?: number | undefined;
  /** Faults that stay off. */
  readonly off?: readonly OptionName[] | undefined;
  /** Options with a given value. */
  readonly set?: Partial<Options> | undefined;
  /** Instead of what the seed says. */
  readonly suite?: 'fast' | 'real' | undefined;
}

/** The plan of one seed. `wanted.scenario` is one of SCENARIOS. */
export function planOf(seed: number, wanted: Wanted): SeedPlan {
  const scenario = SCENARIOS[wanted.scenario];
  const rng = seededRng(seed);
  const drawn = drawOptions(rng);
  const options: Record<OptionName, number> = { ...(scenario.options ?? drawn) };
  for (const name of wanted.off ?? []) options[name] = OPTION_SPECS[name].off;
  for (const name of OPTION_NAMES) options[name] = wanted.set?.[name] ?? options[name];
  const isReal = wanted.suite === undefined ? seed % REAL_EVERY === 0 : wanted.suite === 'real';
  return {
    seed,
    terminals:
      wanted.terminals ?? scenario.terminals ?? TERMINALS_MIN + randomBelow(rng, TERMINALS_SPREAD),
    seconds: wanted.seconds ?? scenario.seconds,
    options,
    suite: isReal ? nodeSuite : fastSuite,
  };
}

/** The command that runs it again, with a trace. */
export function commandOf(seed: number, wanted: Wanted): string {
  const { scenario, terminals, seconds, off = [], set = {}, suite } = wanted;
  const words = ['nakodo sim', `--seed ${seed}`];
  if (scenario !== 'swarm') words.push(`--scenario ${scenario}`);
  if (terminals !== undefined) words.push(`--terminals ${terminals}`);
  if (seconds !== undefined) words.push(`--until ${seconds}s`);
  if (off.length > 0) words.push(`--off ${off.join(',')}`);
  const given = Object.entries(set).map(([name, value]) => `${name}=${value}`);
  if (given.length > 0) words.push(`--set ${given.join(',')}`);
  if (suite !== undefined) words.push(`--suite ${suite}`);
  return [...words, '--trace'].join(' ');
}
