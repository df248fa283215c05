// `node out/bench/congestion.js [--out DIR]`: what the two congestion controllers do on a link of
// 100 Mbit/s and 50 ms, without loss and with 1 %, told by their own event trace: one SVG for each
// (bench/plots, committed) and the traces as qlog. In virtual time: the same on every machine.

import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionConfig } from '../protocol/data/connection-types.ts';
import { Pair } from '../sim/pair.ts';
import { MICROS_PER_MS, MICROS_PER_SECOND, type Micros, after, seconds } from '../protocol/time.ts';
import { QlogWriter } from '../protocol/trace/qlog.ts';
import type { TraceEvent } from '../protocol/trace/trace-event.ts';
import { type Figure, ascending, quantile } from './figures.ts';
import { type Band, type Column, type Panel, type Point, svg } from '../sim/plot.ts';

const CONTROLLERS = ['bbr', 'cubic'] as const;
const LOSSES = [0, 0.01];
const LINK = { bytesPerSecond: 12_500_000, delayMs: 25, queueBytes: 625_000 };
/** Of virtual time; the figures leave out what start-up takes. */
const RUN_SECONDS = 12;
const START_SECONDS = 2;
/** One point of a line for so many microseconds. */
const BUCKET_MICROS = 50_000;
const WINDOWS = 8 * 1024 * 1024;
const CHUNK = new Uint8Array(64 * 1024);
const SEED = 1;
const BITS = 8;

type Controller = ConnectionConfig['congestionControl'];
type Metrics = Extract<TraceEvent, { kind: 'metrics' }>;

interface Run {
  readonly controller: Controller;
  readonly loss: number;
  readonly startedAt: Micros;
  readonly metrics: readonly Metrics[];
  readonly bands: readonly Band[];
  /** Bytes of the stream that arrived after START_SECONDS. */
  readonly steadyBytes: number;
  readonly qlog: string;
}

/**
 * Runs both controllers, writes `<controller>.svg` to `folder`, and a `.sqlog` for each run to
 * `traces` if that is given. Share of the link: payload that arrived, of what the link carries.
 */
export async function congestionPlots(folder: string, traces?: string): Promise<readonly Figure[]> {
  await mkdir(folder, { recursive: true });
  const figures: Figure[] = [];
  for (const controller of CONTROLLERS) {
    const runs = LOSSES.map((loss) => run(controller, loss));
    await writeFile(join(folder, `${controller}.svg`), plotOf(controller, runs));
    for (const each of runs) {
      figures.push(...figuresOf(each));
      if (traces === undefined) continue;
      await writeFile(join(traces, `${controller}-${each.loss * 100}.sqlog`), each.qlog);
    }
  }
  return figures;
}

function run(controller: Controller, loss: number): Run {
  const writer = new QlogWriter('caller');
  const records = [writer.header()];
  const metrics: Metrics[] = [];
  const phases: Extract<TraceEvent, { kind: 'phase' }>[] = [];
  const pair = new Pair({
    seed: SEED,
    keepsSent: false,
    faults: { ...LINK, loss },
    config: {
      congestionControl: controller,
      // Windows that never limit: what is shown is the controller.
      windowBytes: WINDOWS,
      windowBytesMax: WINDOWS,
      streamWindowBytes: WINDOWS,
      sendBufferBytes: WINDOWS,
    },
    trace: (event) => {
      records.push(writer.write(event));
      if (event.kind === 'metrics') metrics.push(event);
      if (event.kind === 'phase') phases.push(event);
    },
  });
  const startedAt = pair.now;
  const passTo = (second: number): number => {
    pair.pass((after(startedAt, seconds(second)) - pair.now) / MICROS_PER_MS);
    return pair.callee.connection.counts(pair.now).receivedBytes;
  };
  pair.open();
  fill(pair);
  const before = passTo(START_SECONDS);
  const steadyBytes = passTo(RUN_SECONDS) - before;
  records.push(writer.end());
  const since = (at: number): number => (at - startedAt) / MICROS_PER_SECOND;
  const bands = phases.map(({ at, to }, index) => ({
    from: since(at),
    to: index + 1 < phases.length ? since(phases[index + 1].at) : RUN_SECONDS,
    label: to,
  }));
  return { controller, loss, startedAt, metrics, bands, steadyBytes, qlog: records.join('') };
}

/** The caller writes to one stream without end, the callee reads at once. */
function fill(pair: Pair): void {
  const { connection } = pair.caller;
  const stream = connection.openStream();
  if (stream === undefined) throw new Error('no stream');
  const write = (): void => {
    while (connection.write(stream, CHUNK) === CHUNK.length);
  };
  const into = new Uint8Array(CHUNK.length);
  pair.callee.onEvent = (event) => {
    if (event.kind !== 'readable') return;
    while (pair.callee.connection.read(event.stream, into) > 0);
  };
  pair.caller.onEvent = ({ kind }) => {
    if (kind === 'writable') write();
  };
  write();
  pair.drain();
}

function figuresOf({ controller, loss, startedAt, metrics, steadyBytes }: Run): readonly Figure[] {
  const link = `100 Mbit/s, 50 ms, ${loss * 100} % loss, virtual time`;
  const from = after(startedAt, seconds(START_SECONDS));
  const steady = metrics.filter(({ at }) => at >= from);
  const rtts = ascending(steady.map(({ latestRtt }) => latestRtt / MICROS_PER_MS));
  const share = steadyBytes / (LINK.bytesPerSecond * (RUN_SECONDS - START_SECONDS));
  const name = `${controller} ${loss * 100} % loss`;
  return [
    { name: `${name} share`, value: share, unit: 'of link', meaning: `payload; ${link}` },
    { name: `${name} rtt p50`, value: quantile(rtts, 0.5), unit: 'ms', meaning: link },
    {
      name: `${name} rtt p99`,
      value: quantile(rtts, 0.99),
      unit: 'ms',
      meaning: `${link}; the queue alone holds 50 ms`,
    },
  ];
}

function plotOf(controller: Controller, runs: readonly Run[]): string {
  return svg({
    title: `${controller === 'bbr' ? 'BBR' : 'CUBIC'}: 100 Mbit/s, 50 ms, queue of 50 ms`,
    xTitle: 'seconds',
    columns: runs.map((each): Column => {
      const { bands } = each;
      return { title: `${each.loss * 100} % loss`, panels: panelsOf(each), bands };
    }),
  });
}

function panelsOf({ metrics, startedAt }: Run): readonly Panel[] {
  const line = (value: (event: Metrics) => number | undefined): readonly Point[] =>
    thinned(metrics, startedAt, value);
  const mbits = (rate: number | undefined): number | undefined =>
    rate === undefined ? undefined : rate * BITS;
  const pacing = line(({ pacingRate }) => mbits(pacingRate));
  const delivery = line(({ deliveryRate }) => mbits(deliveryRate));
  return [
    {
      title: 'Mbit/s',
      mark: { at: (LINK.bytesPerSecond * BITS) / MICROS_PER_SECOND, label: 'link' },
      lines: [
        ...(pacing.length === 0 ? [] : [{ label: 'pacing', colour: '#c0392b', points: pacing }]),
        { label: 'delivery', colour: '#1f5fa8', points: delivery },
      ],
    },
    {
      title: 'round trip, ms',
      mark: { at: LINK.delayMs * 2, label: 'empty queue' },
      lines: [
        {
          label: 'latest',
          colour: '#1f5fa8',
          points: line(({ latestRtt }) => latestRtt / MICROS_PER_MS),
        },
      ],
    },
    {
      title: 'kB',
      mark: { at: (LINK.bytesPerSecond * LINK.delayMs * 2) / 1e6, label: 'one rtt of the link' },
      lines: [
        {
          label: 'window',
          colour: '#c0392b',
          points: line(({ congestionWindow }) => congestionWindow / 1_000),
        },
        {
          label: 'in flight',
          colour: '#1f5fa8',
          points: line(({ bytesInFlight }) => bytesInFlight / 1_000),
        },
      ],
    },
  ];
}

/** The mean of each bucket. */
function thinned(
  metrics: readonly Metrics[],
  startedAt: Micros,
  value: (event: Metrics) => number | undefined,
): readonly Point[] {
  const sums = new Map<number, { sum: number; count: number }>();
  for (const event of metrics) {
    const y = value(event);
    if (y === undefined) continue;
    const bucket = Math.floor((event.at - startedAt) / BUCKET_MICROS);
    const entry = sums.get(bucket) ?? { sum: 0, count: 0 };
    entry.sum += y;
    entry.count++;
    sums.set(bucket, entry);
  }
  return [...sums].map(([bucket, { sum, count }]) => [
    ((bucket + 0.5) * BUCKET_MICROS) / MICROS_PER_SECOND,
    sum / count,
  ]);
}

if (process.argv[1] === import.meta.filename) {
  const at = process.argv.indexOf('--out');
  const folder = at > 0 ? process.argv[at + 1] : join(import.meta.dirname, '../../bench/plots');
  const traces = await mkdtemp(join(tmpdir(), 'nakodo-congestion-'));
  for (const { name, value, unit, meaning } of await congestionPlots(folder, traces)) {
    console.log(`${name.padEnd(22)} ${value.toFixed(3).padStart(9)} ${unit.padEnd(8)} ${meaning}`);
  }
  console.log(`plots: ${folder}; traces for viewers of qlog: ${traces}`);
}
