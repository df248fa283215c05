// `make bench`: our own figures, each with its meaning. Broker and session manager run in one
// process (`nakodo serve`), the callee in a second (`nakodo agent`), the caller is this one; all
// as a user would start them, on loopback. Writes the plots of congestion control; `--json` prints
// one object, `--only footprint,aead` measures parts. Timing decides nothing here.

import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Children } from '../cli/demo/children.ts';
import { Agent } from '../device/agent.ts';
import { giveFile } from '../device/services/file/source.ts';
import { StreamReader } from '../device/services/file/stream-reader.ts';
import { encodeOffer } from '../device/services/file/wire.ts';
import { silentLog } from '../protocol/io/log.ts';
import { aeads } from './aead.ts';
import { congestionPlots } from './congestion.ts';
import { type Figure, WARM_UP_CALLS, ascending, machine, quantile } from './figures.ts';
import { footprintFigures } from './footprint.ts';
import { forwardFigures } from './forward.ts';
import { openServants } from './servants.ts';
import { transportFigures } from './transport.ts';
import { enrolments, seals, signatures } from './trust.ts';

const CALLS = 300;
const PAUSE_MS = 10;
const BULK_BYTES = 128_000_000;
const CHUNK_BYTES = 65_536;
const FLUSHES = 200;

interface SetUp {
  readonly introducedMs: number;
  readonly provenMs: number;
}

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    'idle-seconds': { type: 'string', default: '300' },
  },
});
const root = dirname(dirname(import.meta.dirname));
const folder = mkdtempSync(join(tmpdir(), 'nk-bench-'));
const children = new Children(join(dirname(import.meta.dirname), 'cli', 'main.js'));

/** What can be measured by itself, in the order in which all of it is. */
const PARTS: Readonly<Record<string, () => Promise<readonly Figure[]>>> = {
  'set-up': setUpFigures,
  trust: async () => [
    ...(await enrolments(children, { server: await server(), folder })),
    ...seals(),
    ...signatures(),
  ],
  transport: () => transportFigures(root),
  aead: async () => aeads(),
  congestion: () => congestionPlots(join(root, 'bench', 'plots')),
  footprint: async () =>
    footprintFigures({
      children,
      server: await server(),
      folder: join(folder, 'footprint'),
      root,
      idleSeconds: Number(options['idle-seconds']),
    }),
  forward: async () =>
    forwardFigures({
      children,
      server: await server(),
      folder: join(folder, 'forward'),
      root,
    }),
};

let servants: ReturnType<typeof openServants> | undefined;
const opened = (): ReturnType<typeof openServants> => (servants ??= openServants(children, folder));

try {
  const figures = await measure();
  if (options.json) console.log(JSON.stringify({ machine: machine(), figures }));
  else print(figures);
} finally {
  await children.endAll();
  rmSync(folder, { recursive: true, force: true });
}

async function measure(): Promise<readonly Figure[]> {
  const wanted = options.only.split(',').filter(Boolean);
  for (const name of wanted) {
    if (PARTS[name] === undefined) {
      throw new Error(`there is no part ${name}; there are ${Object.keys(PARTS).join(', ')}`);
    }
  }
  const figures: Figure[] = [];
  for (const [name, part] of Object.entries(PARTS)) {
    if (wanted.length === 0 || wanted.includes(name)) figures.push(...(await part()));
  }
  return figures;
}

/** The home of a server that runs. */
async function server(): Promise<string> {
  await opened();
  return join(folder, 's');
}

async function setUpFigures(): Promise<readonly Figure[]> {
  const flush = flushes();
  const { callerHome } = await opened();
  const caller = await Agent.start({ home: callerHome, log: silentLog });
  await caller.registered;
  const calls = await setUps(caller, WARM_UP_CALLS + CALLS);
  const warm = calls.slice(WARM_UP_CALLS);
  const introduced = ascending(warm.map((call) => call.introducedMs));
  const proven = ascending(warm.map((call) => call.provenMs));
  const rate = await bulk(caller);
  await caller.stop();
  const consent = 'from asking by name to the address notice: consent, grant on disk';
  const meaning = 'from asking by name to a proven talk: the same, and the handshake';
  const first = calls[0].provenMs;
  return [
    { name: 'consent p50', value: quantile(introduced, 0.5), unit: 'ms', meaning: consent },
    { name: 'set-up p50', value: quantile(proven, 0.5), unit: 'ms', meaning: `${meaning}; aim 3` },
    { name: 'set-up p99', value: quantile(proven, 0.99), unit: 'ms', meaning },
    { name: 'set-up first', value: first, unit: 'ms', meaning: `${meaning}; all processes cold` },
    {
      name: 'disk flush p50',
      value: quantile(flush, 0.5),
      unit: 'ms',
      meaning: 'one fdatasync on this disk; the commit of a grant makes two',
    },
    {
      name: 'file transfer',
      value: rate,
      unit: 'MB/s',
      meaning: `${BULK_BYTES / 1e6} MB, hashed at both ends, on the callee's disk, acknowledged`,
    },
  ];
}

/** The times of `count` calls, one after another, each talk over before the next. */
async function setUps(caller: Agent, count: number): Promise<readonly SetUp[]> {
  const times: SetUp[] = [];
  for (let at = 0; at < count; at++) {
    const begun = performance.now();
    let introducedMs = 0;
    const onIntroduced = (): void => {
      introducedMs = performance.now() - begun;
    };
    const session = await caller.call({ to: 'CALLEE', service: 'file', onIntroduced });
    times.push({ introducedMs, provenMs: performance.now() - begun });
    session.finish('done');
    await session.ended;
    // The end of this talk, at the callee and in the log, is no part of the next one's set-up.
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return times;
}

/** MB/s of one large file. */
async function bulk(caller: Agent): Promise<number> {
  const session = await caller.call({ to: 'CALLEE', service: 'file' });
  const begun = performance.now();
  const stream = session.openStream(undefined, encodeOffer(BULK));
  const bulkContent = { size: BULK_BYTES, chunks: content, check: async () => {} };
  await giveFile(stream, new StreamReader(stream), bulkContent, BULK);
  const tookMs = performance.now() - begun;
  session.finish('done');
  await session.ended;
  return BULK_BYTES / 1e6 / (tookMs / 1e3);
}

const BULK = {
  kind: 'file',
  path: 'bulk.bin',
  size: BULK_BYTES,
  modified: 0,
  isExecutable: false,
  resumes: false,
  replaces: false,
} as const;

async function* content(): AsyncGenerator<Uint8Array> {
  const chunk = new Uint8Array(CHUNK_BYTES).fill(0x6e);
  for (let left = BULK_BYTES; left > 0; left -= chunk.length) {
    yield left < chunk.length ? chunk.subarray(0, left) : chunk;
  }
}

/** Milliseconds of one small write and its flush, ascending. */
function flushes(): readonly number[] {
  const file = openSync(join(folder, 'flush'), 'w');
  const times = Array.from({ length: FLUSHES }, () => {
    writeSync(file, new Uint8Array(CHUNK_BYTES / 16));
    const begun = performance.now();
    fdatasyncSync(file);
    return performance.now() - begun;
  });
  closeSync(file);
  return ascending(times);
}

function print(figures: readonly Figure[]): void {
  console.log(machine());
  for (const { name, value, unit, meaning } of figures) {
    console.log(`${name.padEnd(32)} ${value.toFixed(2).padStart(9)} ${unit.padEnd(7)} ${meaning}`);
  }
}
