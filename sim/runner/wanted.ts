// What is asked for beside a seed: plain data, handed from process to process, and written out as
// the command that runs this very world again.

import { OPTION_NAMES, type OptionName, type Options } from '../options.ts';

/** The kind of world that is run unless another one is asked for. */
export const DEFAULT_SCENARIO = 'swarm';
/** Stands for no option at all in `--only`. */
export const NO_OPTION = 'none';

/** What may be asked for beside the seed; plain data, handed from process to process. */
export interface Wanted {
  readonly scenario: string;
  readonly terminals?: number | undefined;
  readonly seconds?: number | undefined;
  /** If given, whatever is not among these is off. */
  readonly only?: readonly OptionName[] | undefined;
  /** Options that stay off. */
  readonly off?: readonly OptionName[] | undefined;
  /** Options with a given value. */
  readonly set?: Partial<Options> | undefined;
  /** Instead of what the seed says. */
  readonly suite?: 'fast' | 'real' | undefined;
}

/** What was asked for beside the seed, as it stands in a command line. */
export function wordsOf(wanted: Wanted): string {
  const { scenario, terminals, seconds, only, off = [], set = {}, suite } = wanted;
  const words: string[] = [];
  if (scenario !== DEFAULT_SCENARIO) words.push(`--scenario ${scenario}`);
  if (terminals !== undefined) words.push(`--terminals ${terminals}`);
  if (seconds !== undefined) words.push(`--until ${durationOf(seconds)}`);
  const valued = (name: OptionName): string =>
    set[name] === undefined ? name : `${name}=${set[name]}`;
  if (only !== undefined) words.push(`--only ${only.map(valued).join(',') || NO_OPTION}`);
  if (off.length > 0) words.push(`--off ${off.join(',')}`);
  const given = OPTION_NAMES.filter((name) => set[name] !== undefined && !only?.includes(name));
  if (given.length > 0) words.push(`--set ${given.map(valued).join(',')}`);
  if (suite !== undefined) words.push(`--suite ${suite}`);
  return words.join(' ');
}

/** The command that runs this world again, with its story. */
export function commandOf(seed: number, wanted: Wanted): string {
  const words = wordsOf(wanted);
  return `nakodo sim --seed ${seed} ${words === '' ? '' : `${words} `}--trace`;
}

const MS_PER_SECOND = 1_000;

const durationOf = (seconds: number): string =>
  Number.isInteger(seconds) ? `${seconds}s` : `${seconds * MS_PER_SECOND}ms`;
