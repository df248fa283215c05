// `make sabotage`: has the simulator find every deliberate bug. Each gets a process of its own that
// runs seeds until an invariant is violated; a seed counts only if it is sound without the bug.
// Prints the table (bug → core → seeds needed → invariant) and fails if one is missed.

import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Find, type Found } from './find.ts';
import { SABOTAGES, findSabotage } from './list.ts';
import type { Sabotage } from './sabotage.ts';

const SEEDS = 500;

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: String(SEEDS) },
    jobs: { type: 'string', default: String(availableParallelism()) },
    json: { type: 'string' },
  },
});

const wanted = chosen(values.only);
const seeds = Number(values.seeds);
const jobs = Number(values.jobs);
if (wanted === undefined || !(seeds >= 1) || !(jobs >= 1)) {
  process.exitCode = 2;
} else {
  await hunt(wanted);
}

/** The bugs that were asked for: all, or those named, separated by commas. */
function chosen(only: string): readonly Sabotage[] | undefined {
  const names = only.split(',').filter((name) => name !== '');
  const found = names.map((name) => findSabotage(name));
  const unknown = names.filter((_, at) => found[at] === undefined);
  if (unknown.length > 0) {
    console.error(`There is no deliberate bug of the name ${unknown.join(', ')}.`);
    console.error(`Next: one of ${SABOTAGES.map(({ name }) => name).join(' ')}`);
    return undefined;
  }
  return names.length === 0 ? SABOTAGES : found.filter((sabotage) => sabotage !== undefined);
}

async function hunt(bugs: readonly Sabotage[]): Promise<void> {
  const find = new Find(seeds);
  const results: Found[] = [];
  const queue = [...bugs];
  console.log(row('bug', 'core', 'seeds', 'found by'));
  const work = async (): Promise<void> => {
    for (let bug = queue.shift(); bug !== undefined; bug = queue.shift()) {
      const found = await find.seek(bug);
      results.push(found);
      console.log(rowOf(found));
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, bugs.length) }, work));
  report(bugs, results, find.unsound);
}

function report(
  bugs: readonly Sabotage[],
  results: readonly Found[],
  unsound: readonly string[],
): void {
  const inOrder = bugs.flatMap((bug) => results.find((one) => one.name === bug.name) ?? []);
  const missed = inOrder.filter(({ seed }) => seed === undefined);
  const most = Math.max(0, ...inOrder.map(({ seed }) => seed ?? 0));
  if (bugs.some(({ under }) => under !== undefined)) {
    console.log('* looked for with options of its own: a mixture that seeds draw too rarely');
  }
  console.log(`${bugs.length - missed.length} of ${bugs.length} found, within ${most} seeds`);
  if (unsound.length > 0) console.log(`fail without any bug: seeds ${unsound.join('; ')}`);
  if (missed.length > 0) console.log(`missed: ${missed.map(({ name }) => name).join(', ')}`);
  const { json } = values;
  if (json !== undefined) {
    const rows = inOrder.map((found) => {
      const { source, under } = findSabotage(found.name) ?? {};
      return { ...found, source, under };
    });
    writeFileSync(json, `${JSON.stringify({ seeds, bugs: rows, unsound }, undefined, 2)}\n`);
  }
  process.exitCode = missed.length > 0 ? 1 : 0;
}

function rowOf({ name, core, seed, invariant, says }: Found): string {
  if (seed === undefined) return row(name, core, 'missed', `none of ${seeds}`);
  const isUnder = findSabotage(name)?.under !== undefined;
  return row(name, core, `${seed}${isUnder ? '*' : ' '}`, `${invariant}: ${says}`);
}

function row(name: string, core: string, needed: string, by: string): string {
  return `${name.padEnd(44)} ${core.padEnd(15)} ${needed.padStart(6)}  ${by.slice(0, 90)}`;
}
