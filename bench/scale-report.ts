// What `scale.ts` found: rows for programs, tables for people. Bytes are given in KiB and MiB,
// times in milliseconds or in microseconds of processor time.

import type { StageReport } from './scale-orders.ts';

/** Takes a line. */
type Say = (line: string) => void;

/** KiB that each terminal adds to a process. */
export interface MemoryRow {
  readonly what: string;
  readonly terminals: number;
  readonly rssKib: number;
  readonly heapKib: number;
  readonly externalKib: number;
}

/** What became of a load, and what one of its set-ups cost. */
export interface LoadResult {
  readonly wantedPerSecond: number;
  readonly setUpsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
  readonly refused: number;
  readonly wrong: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly ends: Readonly<Record<string, number>>;
  readonly skipped: number;
  /** Of all set-ups, microseconds of processor time for one: by process and together. */
  readonly serverMicros: number;
  readonly terminalMicros: number;
  readonly kernelMicros: number;
  readonly micros: number;
}

/** Memory of one process over a soak; slopes of a straight line through the later half of it. */
export interface SoakRow {
  readonly who: string;
  readonly looks: readonly {
    readonly minute: number;
    readonly rssMib: number;
    readonly heapMib: number;
  }[];
  readonly rssMibPerTenMinutes: number;
  readonly heapMibPerTenMinutes: number;
}

/** Microseconds of one set-up. */
interface StageRow {
  readonly stage: string;
  readonly serverMicros: number;
  readonly terminalMicros: number;
}

/** The stages of a set-up, dearest first. */
export interface StageResult {
  readonly setUps: number;
  readonly rows: readonly StageRow[];
  readonly functions: Readonly<Record<'server' | 'terminal', StageReport['functions']>>;
}

/** Prints memory by terminal. */
export function printMemory(say: Say, rows: readonly MemoryRow[]): void {
  say('KiB a terminal                              resident     heap  buffers');
  for (const { what, rssKib, heapKib, externalKib } of rows) {
    const numbers = [rssKib, heapKib, externalKib].map((each) => each.toFixed(1).padStart(8));
    say(`${what.padEnd(44)}${numbers.join(' ')}`);
  }
}

/** Prints a load, a line for each figure. */
export function printLoad(say: Say, result: LoadResult): void {
  for (const [name, value] of Object.entries(result) as [string, unknown][]) {
    const text = typeof value === 'number' ? value.toFixed(1) : JSON.stringify(value);
    say(`${name.padEnd(20)} ${text}`);
  }
}

/** Prints the stages of a set-up; `isWhole`: the dearest functions, too. */
export function printStages(say: Say, result: StageResult, isWhole: boolean): void {
  const { rows, functions, setUps } = result;
  say(`${setUps.toFixed(0)} set-ups; µs of one           server terminals`);
  const line = ({ stage, serverMicros, terminalMicros }: StageRow): string =>
    stage.padEnd(36) + serverMicros.toFixed(0).padStart(7) + terminalMicros.toFixed(0).padStart(10);
  for (const row of rows) say(line(row));
  const total = (key: 'serverMicros' | 'terminalMicros'): number =>
    rows.reduce((all, row) => all + row[key], 0);
  say(
    line({
      stage: 'together',
      serverMicros: total('serverMicros'),
      terminalMicros: total('terminalMicros'),
    }),
  );
  if (!isWhole) return;
  for (const [who, list] of Object.entries(functions)) {
    say(`dearest functions of the ${who}, µs of one set-up in one process`);
    for (const [place, micros] of list) say(`${(micros / setUps).toFixed(0).padStart(7)} ${place}`);
  }
}

/** Prints a soak. */
export function printSoak(say: Say, rows: readonly SoakRow[]): void {
  for (const { who, looks, rssMibPerTenMinutes, heapMibPerTenMinutes } of rows) {
    const slopes = [rssMibPerTenMinutes, heapMibPerTenMinutes].map((each) => each.toFixed(2));
    say(`${who}: MiB in ten minutes ${slopes[0]} resident, ${slopes[1]} heap`);
    const line = ({ minute, rssMib, heapMib }: SoakRow['looks'][number]): string =>
      `${minute.toFixed(1)} min ${rssMib.toFixed(1)}/${heapMib.toFixed(1)}`;
    say(`  ${looks.map(line).join(' · ')}`);
  }
}
