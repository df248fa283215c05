// What a person sees of worlds: one with its options, its story and its verdict; many as a table;
// one that failed with its last lines, what it takes to fail, and the command to see it again.

import { seconds } from '../../protocol/time.ts';
import { OPTION_NAMES, type OptionName, optionsOn } from '../options.ts';
import type { SeedResult } from '../seed-run.ts';
import { planOf } from './plan.ts';
import type { SeedThread } from './seed-thread.ts';
import type { Failure, Tally, Totals } from './seeds.ts';
import { shrink } from './shrink.ts';
import { type TraceLine, traceWords } from './trace.ts';
import { type Wanted, commandOf, wordsOf } from './wanted.ts';

const LAST_LINES = 30;
const NAME_COLUMNS = 20;
const INVARIANT_COLUMNS = 12;
const COUNT_COLUMNS = 8;
/** Failing seeds that are named for each invariant. */
const SEEDS_SHOWN = 8;
const LEAST_SECONDS = 0.001;

/** What is said of a failing world, and the smallest one that fails in the same way. */
export interface Explained {
  readonly words: string;
  /** Undefined: there is nothing smaller to show. */
  readonly smallest: { readonly command: string; readonly wanted: Wanted } | undefined;
}

/** What a world is made of, before it runs. */
export function headOf(seed: number, wanted: Wanted): string {
  const { options, terminals, seconds: lasts, isReal } = planOf(seed, wanted);
  const on = optionsOn(options).map((name) => `${name}=${options[name]}`);
  const suite = isReal ? 'real' : 'fast';
  return `seed ${seed}: ${terminals} terminals, ${lasts} s, ${suite} cryptography, ${on.join(' ')}`;
}

/** How a world ended. */
export function verdictOf(result: SeedResult): string {
  const { seed, violation, events, virtualSeconds, hash } = result;
  const measured = `${events} events, ${virtualSeconds.toFixed(1)} virtual seconds, hash ${hash}`;
  if (violation === undefined) return `seed ${seed}: all is well: ${measured}`;
  const at = (violation.at / seconds(1)).toFixed(6);
  return `seed ${seed} failed at ${at} s: ${violation.invariant}: ${violation.says} (${measured})`;
}

/**
 * Why a seed fails: what it takes, the last lines of the smallest world, how to see it again.
 * @returns undefined if the thread was closed meanwhile.
 */
export async function explainFailure(
  thread: SeedThread,
  seed: number,
  wanted: Wanted,
): Promise<Explained | undefined> {
  const first = await thread.run({ seed, wanted });
  if (first === undefined) return undefined;
  const { result } = first;
  if (result.violation === undefined)
    return { words: `seed ${seed} does not fail when it is run alone`, smallest: undefined };
  // Whoever stands still takes long to be found out: that one is shown as it is.
  const isLost = result.hash === '';
  const attempt = async (less: Wanted): Promise<SeedResult | undefined> =>
    (await thread.run({ seed, wanted: less }))?.result;
  const shrunk = isLost
    ? { wanted, runs: 0, result }
    : await shrink(seed, wanted, { result, attempt });
  const lines: TraceLine[] = [];
  const keepLast = (line: TraceLine): void => {
    if (lines.push(line) > LAST_LINES) lines.shift();
  };
  const traced = { seed, wanted: shrunk.wanted, isTraced: true };
  if ((await thread.run(traced, keepLast)) === undefined) return undefined;
  const command = commandOf(seed, shrunk.wanted);
  const { violation } = shrunk.result;
  const { only = [] } = shrunk.wanted;
  const words = [
    ...lines.map(traceWords),
    verdictOf(shrunk.result),
    ...(violation?.stack === undefined ? [] : [violation.stack]),
    isLost ? 'not made smaller' : `still on after ${shrunk.runs} tries: ${only.join(' ') || '-'}`,
    `see it: ${command}`,
  ].join('\n');
  return { words, smallest: isLost ? undefined : { command, wanted: shrunk.wanted } };
}

/** Of all failures the one to look at first: of the invariant that fails most, the first seed. */
export function worstOf({ failures, invariants }: Totals): Failure | undefined {
  const [most] = byCount(invariants);
  return failures.find(({ invariant }) => invariant === most?.[0]);
}

/**
 * Many seeds as a table: what struck, what occurred, what failed; `story`: of the failure to look
 * at first. What matters most is at the end, where a screen stops.
 */
export function reportWords(totals: Totals, wanted: Wanted, story: string | undefined): string {
  const { done, failed, virtualSeconds, realSeconds, events, runTwice, faults, marks } = totals;
  const ratio = (virtualSeconds / Math.max(realSeconds, LEAST_SECONDS)).toFixed(0);
  const perSecond = (done / Math.max(realSeconds, LEAST_SECONDS)).toFixed(1);
  const never = OPTION_NAMES.filter((name) => !(name in faults) && !isShaping(name));
  const asked = wordsOf(wanted);
  return [
    ...table('fault', faults, done),
    ...(never.length > 0 && done > 0 ? [`never struck: ${never.join(', ')}`] : []),
    '',
    ...table('what occurred', marks, done),
    '',
    ...(story === undefined ? [] : [story, '']),
    ...failureTable(totals),
    ...(asked === '' ? [] : [`asked for: ${asked}`]),
    `${done} seeds, ${failed} failed, ${runTwice} run twice with the same hash: ` +
      `${virtualSeconds.toFixed(0)} virtual seconds in ${realSeconds.toFixed(1)} s ` +
      `(${ratio} times as fast, ${perSecond} seeds a second, ${events} events)`,
  ].join('\n');
}

/** What shapes a world and strikes nobody: it is not counted. */
const SHAPING: readonly string[] = [
  'udp.burst',
  'udp.delay',
  'udp.rate',
  'nat.share',
  'nat.carrier',
  'nat.timeout',
  'mqtt.delay',
  'mqtt.jitter',
  'manager.slow',
  'clock.drift',
  'owner.ask',
  'terminal.polling',
] satisfies readonly OptionName[];

const isShaping = (name: string): boolean => name.startsWith('work.') || SHAPING.includes(name);

const byCount = (
  counts: Readonly<Record<string, number>>,
): readonly (readonly [string, number])[] =>
  Object.entries(counts).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));

function failureTable({ failures, invariants, failed }: Totals): string[] {
  if (failed === 0) return [];
  const cells = (name: string, count: string): string =>
    `${name.padEnd(INVARIANT_COLUMNS)} ${count.padStart(COUNT_COLUMNS)}`;
  const rows = byCount(invariants).flatMap(([invariant, count]) => {
    const its = failures.filter((failure) => failure.invariant === invariant);
    const seeds = its.slice(0, SEEDS_SHOWN).map(({ seed }) => seed);
    const more = count > seeds.length ? ', …' : '';
    return [
      `${cells(invariant, String(count))}  ${seeds.join(', ')}${more}`,
      `${' '.repeat(4)}${its[0]?.says ?? ''}`,
    ];
  });
  return [`${cells('invariant', 'failed')}  seeds`, ...rows, ''];
}

function table(title: string, rows: Readonly<Record<string, Tally>>, worlds: number): string[] {
  const entries = Object.entries(rows).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return [];
  const wide = Math.max(NAME_COLUMNS, ...entries.map(([name]) => name.length));
  const line = (name: string, share: string, times: string): string =>
    `${name.padEnd(wide)} ${share.padStart(9)} ${times.padStart(12)}`;
  return [
    line(title, 'of worlds', 'times'),
    ...entries.map(([name, { worlds: in_, times }]) =>
      line(name, `${((100 * in_) / Math.max(worlds, 1)).toFixed(0)} %`, String(times)),
    ),
  ];
}
