// `make bench-scale`: what a terminal costs in memory, how many consented set-ups a second this
// machine carries, and where their processor time goes. Server and terminals are processes of
// their own (`scale-process.ts`) on loopback; the server's store lies on the disk, the terminals'
// homes in memory, since in earnest each has a disk of its own. Prints tables; `--json` one object.

import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ascending, machine, quantile } from './figures.ts';
import type { Gauges, LoadReport, ScaleOrder, StageReport, Usage } from './scale-orders.ts';
import {
  type LoadResult,
  type MemoryRow,
  type SoakRow,
  type StageResult,
  printLoad,
  printMemory,
  printSoak,
  printStages,
} from './scale-report.ts';
import { LMDB_STAGE } from './scale-stages.ts';

const MEMORY_FOLDER = '/dev/shm';
const KIB = 1_024;
/** Terminals that load and compile everything before memory is looked at. */
const WARM_UP_TERMINALS = 50;
const STAGES_SHOWN = 30;
/** Looks at memory in one soak. */
const SOAK_LOOKS = 30;

const { values } = parseArgs({
  options: {
    terminals: { type: 'string', default: '9000' },
    'tls-terminals': { type: 'string', default: '1000' },
    'load-terminals': { type: 'string', default: '1000' },
    processes: { type: 'string', default: '2' },
    rate: { type: 'string', default: '400' },
    seconds: { type: 'string', default: '60' },
    'warm-up-seconds': { type: 'string', default: '10' },
    'stage-seconds': { type: 'string', default: '8' },
    'soak-minutes': { type: 'string', default: '30' },
    peers: { type: 'string', default: '4' },
    only: { type: 'string', default: '' },
    tls: { type: 'boolean', default: false },
    functions: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const only = values.only === '' ? ['memory', 'tls', 'load', 'stages'] : values.only.split(',');
const disk = mkdtempSync(join(tmpdir(), 'nk-scale-'));
const memory = mkdtempSync(join(existsSync(MEMORY_FOLDER) ? MEMORY_FOLDER : tmpdir(), 'nk-scale-'));
const children = new Set<ScaleChild>();

/** A process of ours; one order at a time. */
class ScaleChild {
  readonly #process: ChildProcess;

  constructor() {
    const path = join(import.meta.dirname, 'scale-process.js');
    this.#process = fork(path, {
      execArgv: ['--expose-gc', ...process.execArgv],
      stdio: 'inherit',
    });
    children.add(this);
  }

  ask<Answer>(order: ScaleOrder): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error(`the process of ${order.kind} ended`));
      this.#process.once('exit', onExit);
      this.#process.once('message', (answer: Answer & { readonly failed?: unknown }) => {
        this.#process.off('exit', onExit);
        if (typeof answer.failed === 'string') reject(new Error(answer.failed));
        else resolve(answer);
      });
      this.#process.send(order);
    });
  }

  end(): Promise<void> {
    children.delete(this);
    return new Promise((resolve) => {
      this.#process.once('exit', () => resolve());
      this.#process.kill('SIGKILL');
    });
  }
}

/** A server and the processes of its terminals. */
interface Place {
  readonly name: string;
  readonly server: ScaleChild;
  readonly crowds: readonly ScaleChild[];
}

async function open(name: string, isPlain: boolean, crowds: number): Promise<Place> {
  const server = new ScaleChild();
  await server.ask({ kind: 'serve', home: join(disk, name), isPlain });
  return { name, server, crowds: Array.from({ length: crowds }, () => new ScaleChild()) };
}

/** Enrols and starts more terminals, shared out evenly over the processes. */
async function grow(place: Place, from: number, count: number): Promise<void> {
  const { server, crowds } = place;
  const { ticket } = await server.ask<{ readonly ticket: string }>({ kind: 'ticket', uses: count });
  const folder = join(memory, place.name);
  const share = Math.ceil(count / crowds.length);
  await Promise.all(
    crowds.map(async (crowd, at) => {
      const first = from + at * share;
      const range = { folder, from: first, count: Math.min(share, from + count - first) };
      await crowd.ask({ kind: 'enrol', ...range, ticket });
      await crowd.ask({ kind: 'start', ...range });
    }),
  );
}

const gaugesOf = (child: ScaleChild): Promise<Gauges> => child.ask<Gauges>({ kind: 'gauges' });
const usageOf = (child: ScaleChild): Promise<Usage> => child.ask<Usage>({ kind: 'usage' });

/** What each of `count` terminals adds, in their process and in the server's. */
async function memoryOf(name: string, isPlain: boolean, count: number): Promise<MemoryRow[]> {
  const place = await open(name, isPlain, 1);
  const [crowd] = place.crowds;
  await grow(place, 0, WARM_UP_TERMINALS);
  const both = async (): Promise<readonly [Gauges, Gauges]> => [
    await gaugesOf(crowd),
    await gaugesOf(place.server),
  ];
  const half = Math.floor(count / 2);
  const states: (readonly [Gauges, Gauges])[] = [await both()];
  await grow(place, WARM_UP_TERMINALS, half - WARM_UP_TERMINALS);
  states.push(await both());
  await grow(place, half, count - half);
  states.push(await both());
  await Promise.all([crowd.end(), place.server.end()]);
  const row = (what: string, side: 0 | 1, a: number, b: number): MemoryRow => {
    const terminals = [WARM_UP_TERMINALS, half, count];
    const more = terminals[b] - terminals[a];
    const each = (key: 'rssBytes' | 'heapBytes' | 'externalBytes'): number =>
      (states[b][side][key] - states[a][side][key]) / more / KIB;
    return {
      what: `${name}, ${what}, ${terminals[a]} to ${terminals[b]}`,
      terminals: terminals[b],
      rssKib: each('rssBytes'),
      heapKib: each('heapBytes'),
      externalKib: each('externalBytes'),
    };
  };
  return [
    row('terminal', 0, 0, 1),
    row('terminal', 0, 0, 2),
    row('terminal', 0, 1, 2),
    row('server', 1, 0, 2),
  ];
}

/** A load from all processes at once. */
async function load(place: Place, rate: number, seconds: number): Promise<LoadResult> {
  const terminals = Number(values['load-terminals']);
  const everybody = [place.server, ...place.crowds];
  const before = await Promise.all(everybody.map(usageOf));
  const begun = performance.now();
  const reports = await Promise.all(
    place.crowds.map((crowd, seed) =>
      crowd.ask<LoadReport>({
        kind: 'load',
        rate: rate / place.crowds.length,
        seconds,
        seed: seed + 1,
        terminals,
        peers: Number(values.peers),
      }),
    ),
  );
  const took = (performance.now() - begun) / 1e3;
  const after = await Promise.all(everybody.map(usageOf));
  const setUpMs = ascending(reports.flatMap((report) => report.setUpMs));
  const sum = (of: (report: LoadReport) => number): number =>
    reports.reduce((all, report) => all + of(report), 0);
  const spent = (key: 'userMicros' | 'systemMicros', of: readonly number[]): number =>
    of.reduce((all, at) => all + after[at][key] - before[at][key], 0) / setUpMs.length;
  const crowds = everybody.map((_, at) => at).slice(1);
  const all = [0, ...crowds];
  const wronglyCalled = crowds.map((at) => after[at].wronglyCalled - before[at].wronglyCalled);
  return {
    wantedPerSecond: rate,
    setUpsPerSecond: setUpMs.length / Math.max(seconds, took),
    p50Ms: quantile(setUpMs, 0.5),
    p99Ms: quantile(setUpMs, 0.99),
    mostMs: setUpMs.at(-1) ?? Number.NaN,
    refused: sum((report) => report.refused),
    wrong: sum((report) => report.wrong) + wronglyCalled.reduce((a, b) => a + b, 0),
    failed: merged(reports.map((report) => report.failed)),
    ends: merged(reports.map((report) => report.ends)),
    skipped: sum((report) => report.skipped),
    serverMicros: spent('userMicros', [0]) + spent('systemMicros', [0]),
    terminalMicros: spent('userMicros', crowds) + spent('systemMicros', crowds),
    kernelMicros: spent('systemMicros', all),
    micros: spent('userMicros', all) + spent('systemMicros', all),
  };
}

function merged(tables: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const [key, value] of tables.flatMap((table) => Object.entries(table))) {
    all[key] = (all[key] ?? 0) + value;
  }
  return all;
}

/** A load under V8's profiler: main threads by stage, the other threads as a row of their own. */
async function stagesOf(place: Place, rate: number, seconds: number): Promise<StageResult> {
  const everybody = [place.server, ...place.crowds];
  await Promise.all(everybody.map((child) => child.ask({ kind: 'profile' })));
  const { setUpsPerSecond } = await load(place, rate, seconds);
  const reports = await Promise.all(
    everybody.map((child) => child.ask<StageReport>({ kind: 'stages' })),
  );
  const setUps = Math.max(1, setUpsPerSecond * seconds);
  const server = scaled(reports.slice(0, 1), setUps);
  const terminal = scaled(reports.slice(1), setUps);
  const names = [...new Set([...Object.keys(server), ...Object.keys(terminal)])];
  const rows = names
    .map((stage) => ({
      stage,
      serverMicros: server[stage] ?? 0,
      terminalMicros: terminal[stage] ?? 0,
    }))
    .sort((a, b) => b.serverMicros + b.terminalMicros - a.serverMicros - a.terminalMicros);
  const functions = { server: reports[0].functions, terminal: reports[1].functions };
  return { setUps, rows: rows.slice(0, STAGES_SHOWN), functions };
}

/**
 * Samples of main threads → microseconds of processor time of one set-up. Where a store waits for
 * its disk, its stage is what the others leave of the processor time.
 */
function scaled(reports: readonly StageReport[], setUps: number): Record<string, number> {
  const all: Record<string, number> = {};
  const add = (stage: string, micros: number): void => {
    all[stage] = (all[stage] ?? 0) + micros / setUps;
  };
  for (const { stages, userMicros, systemMicros } of reports) {
    const { idle: _, [LMDB_STAGE]: waiting, ...busy } = stages;
    const sampled = Object.values(busy).reduce((a, b) => a + b, 0);
    const spent = userMicros + systemMicros;
    // More samples than processor time: the machine was busy with others meanwhile.
    const factor = Math.min(1, spent / sampled);
    for (const [stage, micros] of Object.entries(busy)) add(stage, micros * factor);
    add(waiting === undefined ? 'other threads' : LMDB_STAGE, Math.max(0, spent - sampled));
  }
  return all;
}

/** A long load in pieces, with a look at everybody's memory after each. */
async function soak(place: Place, rate: number, minutes: number): Promise<readonly SoakRow[]> {
  const everybody = [place.server, ...place.crowds];
  const looks: Gauges[][] = [];
  const at: number[] = [];
  const begun = performance.now();
  const minute = (): number => (performance.now() - begun) / 60e3;
  while (minute() < minutes) {
    await load(place, rate, Math.max(5, (minutes * 60) / SOAK_LOOKS));
    looks.push(await Promise.all(everybody.map(gaugesOf)));
    at.push(minute());
  }
  return everybody.map((_, who) => {
    const mine = looks.map((look, index) => ({
      minute: at[index],
      rssMib: look[who].rssBytes / KIB ** 2,
      heapMib: look[who].heapBytes / KIB ** 2,
    }));
    return {
      who: who === 0 ? 'server' : `terminals ${who}`,
      looks: mine,
      rssMibPerTenMinutes: 10 * slope(mine.map((look) => [look.minute, look.rssMib])),
      heapMibPerTenMinutes: 10 * slope(mine.map((look) => [look.minute, look.heapMib])),
    };
  });
}

/** Of the straight line of least squares through the second half: the first one fills tables. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const late = points.slice(Math.floor(points.length / 2));
  const mean = (of: 0 | 1): number => late.reduce((sum, point) => sum + point[of], 0) / late.length;
  const [x, y] = [mean(0), mean(1)];
  const above = late.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return above / late.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

async function measure(): Promise<object> {
  const memoryRows: MemoryRow[] = [];
  if (only.includes('memory')) {
    memoryRows.push(...(await memoryOf('plain', true, Number(values.terminals))));
    printMemory(say, memoryRows);
  }
  if (only.includes('tls')) {
    const rows = await memoryOf('tls', false, Number(values['tls-terminals']));
    printMemory(say, rows);
    memoryRows.push(...rows);
  }
  if (!['load', 'stages', 'soak'].some((each) => only.includes(each))) {
    return { memory: memoryRows };
  }
  const place = await open('load', !values.tls, Number(values.processes));
  const rate = Number(values.rate);
  await grow(place, 0, Number(values['load-terminals']));
  await load(place, rate / 2, Number(values['warm-up-seconds']));
  let loaded: LoadResult | undefined;
  if (only.includes('load')) {
    loaded = await load(place, rate, Number(values.seconds));
    printLoad(say, loaded);
    // A wrong introduction is no figure but a fault.
    if (loaded.wrong > 0) process.exitCode = 1;
  }
  let stages: StageResult | undefined;
  if (only.includes('stages')) {
    stages = await stagesOf(place, rate, Number(values['stage-seconds']));
    printStages(say, stages, values.functions);
  }
  let soaked: readonly SoakRow[] | undefined;
  if (only.includes('soak')) {
    soaked = await soak(place, rate, Number(values['soak-minutes']));
    printSoak(say, soaked);
  }
  return { memory: memoryRows, load: loaded, stages, soak: soaked };
}

function say(line: string): void {
  if (!values.json) console.log(line);
}

try {
  say(machine());
  const begun = performance.now();
  const figures = await measure();
  const seconds = (performance.now() - begun) / 1e3;
  if (values.json) console.log(JSON.stringify({ machine: machine(), seconds, ...figures }));
  else say(`${seconds.toFixed(0)} s in all`);
} finally {
  await Promise.all([...children].map((child) => child.end()));
  rmSync(disk, { recursive: true, force: true });
  rmSync(memory, { recursive: true, force: true });
}
