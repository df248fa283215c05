// What a person sees of worlds: one with its options, its story and its verdict; many as a table;
// one that failed with its last lines, what it takes to fail, and the command to see it again.

import { OPTION_SPECS, optionsOn } from '../options.ts';
import { type SeedResult, runSeed } from '../seed-run.ts';
import { seconds } from '../../protocol/time.ts';
import { type Wanted, commandOf, planOf } from './plan.ts';
import type { SeedsReport, Tally } from './seeds.ts';
import { shrink } from './shrink.ts';
import type { Night } from './night.ts';
import { tracer } from './trace.ts';

const LAST_LINES = 30;
const NAME_COLUMNS = 20;
const FAILURES_SHOWN = 20;

/** A world as it is shown. */
interface Shown {
  readonly isWell: boolean;
  readonly words: string;
  readonly json: unknown;
}

/** Runs a seed, its options first; with a trace, each line as it happens. */
export function showSeed(
  seed: number,
  wanted: Wanted,
  { isTraced, write }: { readonly isTraced: boolean; readonly write: (line: string) => void },
): Shown {
  const plan = planOf(seed, wanted);
  write(headOf(seed, wanted));
  const watch: typeof plan.watch = (world) => [tracer(world, write)];
  const result = runSeed(isTraced ? { ...plan, watch } : plan);
  const isWell = result.violation === undefined;
  const words = isWell
    ? verdictOf(result)
    : `${verdictOf(result)}\n${explainFailure(seed, wanted)}`;
  const { options, terminals } = plan;
  return { isWell, words, json: { ...result, terminals, options } };
}

/** Why a seed fails: what it takes, the last lines of the smallest world, how to see it again. */
export function explainFailure(seed: number, wanted: Wanted): string {
  const whole = runSeed(planOf(seed, wanted));
  if (whole.violation === undefined) return `seed ${seed} does not fail by itself`;
  const { wanted: less, on, runs, result } = shrink(seed, wanted, whole);
  const lines: string[] = [];
  const plan = planOf(seed, less);
  runSeed({ ...plan, watch: (world) => [tracer(world, (line) => lines.push(line))] });
  const { violation } = result;
  return [
    ...lines.slice(-LAST_LINES),
    verdictOf(result),
    ...(violation?.stack === undefined ? [] : [violation.stack]),
    `still on after ${runs} tries: ${on.map((name) => `${name}=${plan.options[name]}`).join(' ')}`,
    `see it: ${commandOf(seed, less)}`,
  ].join('\n');
}

/** Many seeds as a table: what struck, what occurred, what failed. */
export function reportWords(report: SeedsReport, failures: Night['failures']): string {
  const { done, virtualSeconds, realSeconds, events, runTwice, faults, marks } = report;
  const ratio = (virtualSeconds / Math.max(realSeconds, 0.001)).toFixed(0);
  const perSecond = (done / Math.max(realSeconds, 0.001)).toFixed(1);
  const never = Object.keys(OPTION_SPECS).filter(
    (name) => !(name in faults) && !name.startsWith('work.'),
  );
  return [
    ...table('fault that struck', faults, done),
    ...(never.length > 0 ? [`not counted, or never: ${never.join(', ')}`] : []),
    '',
    ...table('occurred', marks, done),
    '',
    ...failures
      .slice(0, FAILURES_SHOWN)
      .map(({ seed, invariant, says }) => `seed ${seed} failed: ${invariant}: ${says}`),
    `${done} seeds, ${failures.length} failed, ${runTwice} run twice with the same hash: ` +
      `${virtualSeconds.toFixed(0)} virtual seconds in ${realSeconds.toFixed(1)} s ` +
      `(${ratio} times as fast, ${perSecond} seeds a second, ${events} events)`,
  ].join('\n');
}

function table(title: string, rows: Readonly<Record<string, Tally>>, worlds: number): string[] {
  const lines = Object.entries(rows)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { worlds: in_, times }]) => {
      const share = ((100 * in_) / Math.max(worlds, 1)).toFixed(0).padStart(4);
      return `${name.padEnd(NAME_COLUMNS)} ${share} % of worlds ${String(times).padStart(12)} times`;
    });
  return lines.length === 0 ? [] : [`${title}:`, ...lines];
}

function headOf(seed: number, wanted: Wanted): string {
  const { options, terminals, seconds: lasts } = planOf(seed, wanted);
  const on = optionsOn(options).map((name) => `${name}=${options[name]}`);
  return `seed ${seed}: ${terminals} terminals, ${lasts} s, ${on.join(' ')}`;
}

function verdictOf(result: SeedResult): string {
  const { seed, violation, events, virtualSeconds, hash } = result;
  const measured = `${events} events, ${virtualSeconds.toFixed(1)} virtual seconds, hash ${hash}`;
  if (violation === undefined) return `seed ${seed}: all is well: ${measured}`;
  const at = (violation.at / seconds(1)).toFixed(6);
  return `seed ${seed} failed at ${at} s: ${violation.invariant}: ${violation.says} (${measured})`;
}
