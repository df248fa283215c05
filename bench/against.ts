// `make bench-against REF=<commit>`: set-up by consent and bulk of this checkout against those of
// an earlier commit. Both run side by side and make their calls in turn, a few each, so that
// whatever else the machine does meets both alike; what counts is the ratio of the medians.
// `ONLY=bulk`, `ONLY=set-up`: one of them; `--json`: one object.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { NakodoError } from '../protocol/errors.ts';
import { type BulkComparison, bulkLines, compareBulk } from './bulk-against.ts';
import { PRESENT, checkOut, commitOf, remove } from './earlier.ts';
import { WARM_UP_CALLS, ascending, machine, median, quantile } from './figures.ts';
import { type Measured, Version } from './version.ts';

/** Calls that one version makes before it is the other one's turn. */
const TURN_CALLS = 20;
const TURNS = 30;
/** Measurements of bulk of each version and kind, four seconds each. */
const BULK_ROUNDS = 5;

/** One version's figures. */
interface Figures {
  readonly commit: string;
  readonly calls: number;
  readonly consentMs: number;
  readonly setUpMs: number;
  readonly setUpP99Ms: number;
  /** Of all three processes. */
  readonly cpuMs: number;
}

/** What is printed. */
interface Comparison {
  readonly machine: string;
  readonly setUp: SetUpComparison | undefined;
  readonly bulk: readonly BulkComparison[];
}

interface SetUpComparison {
  /** `present` over `base`; and the median over the turns, each over the turn beside it. */
  readonly ratio: number;
  readonly ratioOfTurns: number;
  readonly ratioOfCpu: number;
  readonly base: Figures;
  readonly present: Figures;
}

// Whoever loses patience leaves no process and no worktree behind.
let isInterrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    isInterrupted = true;
  });

const { values } = parseArgs({
  options: {
    ref: { type: 'string' },
    json: { type: 'boolean', default: false },
    turns: { type: 'string', default: `${TURNS}` },
    rounds: { type: 'string', default: `${BULK_ROUNDS}` },
    only: { type: 'string', default: '' },
  },
});
try {
  if (values.ref === undefined || values.ref === '') {
    const next = 'name the commit to compare with: make bench-against REF=main';
    throw new NakodoError('no-commit', 'there is nothing to compare with', next);
  }
  const comparison = await compare(values.ref);
  if (values.json) console.log(JSON.stringify(comparison));
  else print(comparison);
} catch (error) {
  if (!(error instanceof NakodoError)) throw error;
  console.error(`${error.message}: ${error.next}`);
  process.exitCode = error.exit;
}

async function compare(ref: string): Promise<Comparison> {
  const commit = commitOf(ref);
  const folder = mkdtempSync(join(tmpdir(), 'nk-against-'));
  const base = join(folder, 'base');
  try {
    checkOut(commit, base);
    const turns = Number(values.turns);
    const wants = (name: string): boolean => values.only === '' || values.only === name;
    const setUp = wants('set-up') ? await measure({ base, commit, folder, turns }) : undefined;
    const rounds = wants('bulk') ? Number(values.rounds) : 0;
    const isOver = (): boolean => isInterrupted;
    const bulk = await compareBulk({ base, present: PRESENT, rounds, isOver });
    return { machine: machine(), setUp, bulk };
  } finally {
    remove(base);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(what: {
  readonly base: string;
  readonly commit: string;
  readonly folder: string;
  readonly turns: number;
}): Promise<SetUpComparison> {
  const { base, commit, folder, turns } = what;
  const versions: Version[] = [];
  try {
    versions.push(await Version.start(base, join(folder, 'b')));
    versions.push(await Version.start(PRESENT, join(folder, 'p')));
    for (let at = 0; at < WARM_UP_CALLS; at += TURN_CALLS) await turn(versions);
    const all: Measured[][] = [];
    for (let at = 0; at < turns; at++) all.push(await turn(versions));
    const [before, after] = versions.map((_, at) => all.map((measured) => measured[at]));
    const ofTurns = all.map(([one, other]) => median(other.provenMs) / median(one.provenMs));
    const [of, here] = [figures(commit, before), figures('HEAD', after)];
    return {
      ratio: here.setUpMs / of.setUpMs,
      ratioOfTurns: median(ofTurns),
      ratioOfCpu: here.cpuMs / of.cpuMs,
      base: of,
      present: here,
    };
  } finally {
    for (const version of versions) await version.stop();
  }
}

/** Each version's calls, one version after the other. */
async function turn(versions: readonly Version[]): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (const version of versions) {
    if (isInterrupted) throw new NakodoError('interrupted', 'interrupted', 'start it again');
    measured.push(await version.measure(TURN_CALLS));
  }
  return measured;
}

function figures(ref: string, measured: readonly Measured[]): Figures {
  const proven = ascending(measured.flatMap(({ provenMs }) => provenMs));
  const cpuMicros = measured.reduce((sum, { allCpuMicros }) => sum + allCpuMicros, 0);
  return {
    commit: commitOf(ref),
    calls: proven.length,
    consentMs: median(measured.flatMap(({ introducedMs }) => introducedMs)),
    setUpMs: quantile(proven, 0.5),
    setUpP99Ms: quantile(proven, 0.99),
    cpuMs: cpuMicros / 1_000 / proven.length,
  };
}

function print(comparison: Comparison): void {
  console.log(comparison.machine);
  if (comparison.setUp !== undefined) printSetUp(comparison.setUp);
  for (const line of bulkLines(comparison.bulk)) console.log(line);
}

function printSetUp(comparison: SetUpComparison): void {
  const { ratio, ratioOfTurns, ratioOfCpu, base, present } = comparison;
  console.log('commit   calls  consent p50  set-up p50  set-up p99  processor time');
  for (const { commit, calls, consentMs, setUpMs, setUpP99Ms, cpuMs } of [base, present]) {
    const times = [consentMs, setUpMs, setUpP99Ms, cpuMs].map((ms) => `${ms.toFixed(2)} ms`);
    const [consent, setUp, p99, cpu] = times;
    console.log(
      `${commit.slice(0, 7)}  ${String(calls).padStart(5)}  ${consent.padStart(11)}  ` +
        `${setUp.padStart(10)}  ${p99.padStart(10)}  ${cpu.padStart(14)}`,
    );
  }
  console.log(
    `ratio    set-up ${ratio.toFixed(2)} (median of turns ${ratioOfTurns.toFixed(2)}), ` +
      `processor time ${ratioOfCpu.toFixed(2)}`,
  );
}
