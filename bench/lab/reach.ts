// The figures that are to be reached (issue C, "Reach"), each beside what was measured; and the
// tables of a run.

import { median } from '../figures.ts';
import { type Alone, addedDelay } from './alone.ts';
import { type Entry, medianOf, ratioOf } from './rounds.ts';

/** One line of the table. */
export interface Goal {
  readonly name: string;
  readonly must: number;
  readonly aim: number;
  readonly isLowerBetter: boolean;
  /** Undefined: not measured in this run. */
  readonly value: number | undefined;
}

const LINK_MB_PER_SECOND = 12.5;
const KIB = 1024;

/** All goals, with what this run says of them. */
export function goals(entries: readonly Entry[], alone: Alone): readonly Goal[] {
  const at = (place: string, contestant: string): Entry | undefined =>
    entries.find((entry) => entry.place === place && entry.contestant === contestant);
  const rates = (place: string, other: string): number | undefined =>
    ratioOf(at(place, 'ours'), at(place, other), ({ mbPerSecond }) => mbPerSecond);
  const work = ratioOf(at('veth', 'ours'), at('veth', 'udx'), ({ cpuPerGb }) => cpuPerGb);
  const lossy = medianOf(at('lossy', 'ours'), ({ mbPerSecond }) => mbPerSecond);
  const keepsBbr = middle(alone.besideBbr);
  const keepsCubic = middle(alone.besideCubic);
  const { memory, garbage, idle } = alone;
  const higher = (name: string, must: number, aim: number, value: number | undefined): Goal => ({
    name,
    must,
    aim,
    isLowerBetter: false,
    value,
  });
  const lower = (name: string, must: number, aim: number, value: number | undefined): Goal => ({
    ...higher(name, must, aim, value),
    isLowerBetter: true,
  });
  return [
    higher('loopback bulk / UDX + secret-stream', 2.5, 3.2, rates('loopback', 'udx')),
    higher('veth bulk / UDX + secret-stream', 0.7, 1, rates('veth', 'udx')),
    higher('veth bulk / libdatachannel', 1.1, 1.6, rates('veth', 'datachannel')),
    higher('veth bulk / ngtcp2 in C', 0.85, 1.2, rates('veth', 'ngtcp2')),
    lower('veth CPU s/GB, both ends / UDX + secret-stream', 1.4, 1, work),
    higher(
      'lossy link: share of it, steady',
      0.88,
      0.92,
      lossy === undefined ? undefined : lossy / LINK_MB_PER_SECOND,
    ),
    higher(
      'lossy link: 16 MB with start-up / TCP BBR',
      0.95,
      1.1,
      rates('lossy, 16 MB', 'tcp-bbr'),
    ),
    higher("two of ours: Jain's fairness", 0.9, 0.95, middle(alone.fairness)),
    higher('TCP BBR beside ours: share of its half', 0.6, 0.8, keepsBbr),
    higher('TCP CUBIC beside ours: share of its half', 0.6, 0.8, keepsCubic),
    lower('datagrams beside bulk at 10 Mbit/s: added p99, ms', 60, 25, addedDelay(alone)),
    lower(
      'memory of one more talk, KiB',
      1024,
      256,
      memory === undefined ? undefined : Math.max(memory.caller, memory.callee) / KIB,
    ),
    lower(
      'idle talk: CPU of one end, %',
      0.2,
      0.05,
      idle === undefined ? undefined : Math.max(idle.callerCpu, idle.calleeCpu) * 100,
    ),
    lower('idle talk: datagrams a minute, both ways', 6, 0, idle?.datagramsPerMinute),
    lower(
      'garbage for each delivered MB, both ends, MB',
      NaN,
      0,
      garbage === undefined
        ? undefined
        : garbage.senderHeap +
            garbage.senderBuffers +
            garbage.receiverHeap +
            garbage.receiverBuffers,
    ),
  ];
}

/** A table of all contests, medians over the rounds. */
export function printEntries(entries: readonly Entry[]): void {
  console.log(
    'MB/s: 10⁶ delivered bytes a second · share: of the link · CPU: seconds for 10⁹ bytes, both\n' +
      'memory: resident MB of sender / receiver · B/datagram: delivered for each that came',
  );
  const head = ['place', 'who', 'MB/s', 'least–most', 'share', 'CPU', 'memory', 'B/datagram'];
  console.log(row(head));
  for (const entry of entries) {
    const rates = entry.rounds.flatMap((one) => (one === undefined ? [] : [one.mbPerSecond]));
    const rate = medianOf(entry, (one) => one.mbPerSecond);
    if (rate === undefined) {
      console.log(row([entry.place, entry.contestant, 'failed:', entry.failure ?? '']));
      continue;
    }
    const memory = [
      medianOf(entry, (one) => one.senderMemory),
      medianOf(entry, (one) => one.receiverMemory),
    ].map((bytes) => ((bytes ?? 0) / 1e6).toFixed(0));
    const onLink = entry.place.startsWith('l') && entry.place !== 'loopback';
    console.log(
      row([
        entry.place,
        entry.contestant,
        rate.toFixed(1),
        `${Math.min(...rates).toFixed(1)}–${Math.max(...rates).toFixed(1)}`,
        onLink ? (rate / LINK_MB_PER_SECOND).toFixed(2) : '',
        medianOf(entry, (one) => one.cpuPerGb)?.toFixed(2) ?? '',
        memory.join(' / '),
        medianOf(entry, (one) => one.bytesPerDatagram)?.toFixed(0) ?? '',
      ]),
    );
  }
}

/** The goals, with what was reached. */
export function printGoals(all: readonly Goal[]): void {
  console.log(`\n${'measure'.padEnd(52)}   here   must    aim`);
  for (const { name, must, aim, isLowerBetter, value } of all) {
    if (value === undefined) continue;
    const passes = (wanted: number): boolean => (isLowerBetter ? value <= wanted : value >= wanted);
    const word = passes(aim) ? 'aim' : passes(must) ? 'must' : Number.isNaN(must) ? '' : 'below';
    const figures = [value, must, aim].map((figure) =>
      (Number.isNaN(figure) ? '–' : figure.toFixed(2)).padStart(6),
    );
    console.log(`${name.padEnd(52)} ${figures.join(' ')}  ${word}`);
  }
}

function middle(values: readonly number[] | undefined): number | undefined {
  return values === undefined || values.length === 0 ? undefined : median(values);
}

function row(cells: readonly string[]): string {
  const widths = [15, 12, 8, 14, 6, 7, 11, 10];
  return cells
    .map((cell, at) => (at < 2 ? cell.padEnd(widths[at]) : cell.padStart(widths[at])))
    .join(' ');
}
