// One end of our own transport as it is measured: an agent as any application starts it, and one
// talk through it; a driver as bench/peers/driver.ts says. It uses of a version only what every
// version has, so that an earlier commit can be measured by it (`root`: where that is built).
//
// Told `mark` on standard input it begins to watch the garbage collector, told `report` it says
// what was seen; told `sessions N` a sender opens talks until it has N.

import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { GCProfiler } from 'node:v8';
import { Arrivals, microseconds, pump, say, task } from './peers/driver.ts';

/** What our drivers are told beyond host and bytes. */
export interface OurPlan {
  readonly host: string;
  readonly bytes: number;
  /** A checkout with its `out/`. */
  readonly root: string;
  readonly home: string;
  /** Whom a sender calls. */
  readonly to?: string;
  /** Overrides of a talk's configuration. */
  readonly connection?: Readonly<Record<string, unknown>>;
  /** A folder for the sender's event traces (qlog); absent: none. */
  readonly traceFolder?: string;
  /** Bulk through one stream; or nothing at all. */
  readonly isIdle?: boolean;
  /** 160-byte datagrams a second beside it; needs a version that sends them. */
  readonly mediaPerSecond?: number;
}

/** The part of a talk that is used here; later versions have the last three. */
interface Talk {
  readonly ended: Promise<unknown>;
  onStream: ((stream: Duplex) => void) | undefined;
  readonly state?: { readonly transport?: { readonly datagramBytes: number } } | undefined;
  openStream(): Duplex;
  sendDatagram?(bytes: Uint8Array): boolean;
  on?(event: 'datagram', handler: (bytes: Uint8Array) => void): void;
}

/** The part of an agent that every version has. */
interface Running {
  readonly registered: Promise<void>;
  onIncoming(handler: (talk: Talk) => void): void;
  call(wish: {
    readonly to: string;
    readonly service: string;
    readonly onIntroduced?: () => void;
  }): Promise<Talk>;
}

const SERVICE = 'bulk';
const MEDIA_BYTES = 160;

const { role, plan: anyPlan } = task();
const plan = anyPlan as unknown as OurPlan;
const talks: Talk[] = [];
const delaysMs: number[] = [];
let profiler: GCProfiler | undefined;
const agent = await start();
listen();
if (role === 'receive') receive();
else await send();

async function start(): Promise<Running> {
  const load = (file: string): Promise<unknown> =>
    import(pathToFileURL(join(plan.root, 'out', file)).href);
  const [device, log] = await Promise.all([load('device/agent.js'), load('protocol/io/log.js')]);
  const { Agent } = device as { Agent: { start(options: object): Promise<Running> } };
  const { silentLog } = log as { silentLog: object };
  const { home, connection, traceFolder } = plan;
  const trace = role === 'send' && traceFolder !== undefined ? { traceFolder } : {};
  const options = { home, log: silentLog, connection: connection ?? {}, ...trace };
  const started = await Agent.start(options);
  await started.registered;
  return started;
}

function receive(): void {
  const arrivals = plan.isIdle === true ? undefined : new Arrivals(plan.bytes);
  agent.onIncoming((talk) => {
    talks.push(talk);
    talk.onStream = (stream) => {
      stream.on('data', (chunk: Buffer) => arrivals?.add(chunk.length));
      stream.on('error', () => {});
    };
    talk.on?.('datagram', (bytes) => {
      const sent = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0));
      delaysMs.push((microseconds() - sent) / 1_000);
    });
  });
  say({ ready: true });
}

async function send(): Promise<void> {
  // From the address on, as the peers' transfers begin with one: the handshake is part of it.
  const talk = await call(() => say({ began: microseconds() }));
  if (plan.mediaPerSecond !== undefined) sendMedia(talk, plan.mediaPerSecond);
  if (plan.isIdle !== true) pump(talk.openStream(), plan.bytes);
}

async function call(onIntroduced = (): void => {}): Promise<Talk> {
  const talk = await agent.call({ to: plan.to ?? '', service: SERVICE, onIntroduced });
  talks.push(talk);
  return talk;
}

function sendMedia(talk: Talk, perSecond: number): void {
  if (talk.sendDatagram === undefined) {
    say({ noDatagrams: true });
    return;
  }
  const bytes = new Uint8Array(MEDIA_BYTES);
  const view = new DataView(bytes.buffer);
  setInterval(() => {
    view.setBigUint64(0, BigInt(microseconds()));
    talk.sendDatagram?.(bytes);
  }, 1_000 / perSecond);
}

function listen(): void {
  createInterface(process.stdin).on('line', (line) => {
    const [word, count] = line.split(' ');
    if (word === 'mark') {
      delaysMs.length = 0;
      profiler = new GCProfiler();
      profiler.start();
      say({ marked: true });
    } else if (word === 'report') {
      const { heapBytes, externalBytes } = garbage();
      const datagramBytes = talks[0]?.state?.transport?.datagramBytes;
      const { heapUsed, external } = process.memoryUsage();
      const heap = { heapUsed, external };
      say({ report: true, heapBytes, externalBytes, datagramBytes, delaysMs, ...heap });
    } else if (word === 'sessions') {
      void openUpTo(Number(count));
    }
  });
}

async function openUpTo(count: number): Promise<void> {
  while (talks.length < count) await call();
  say({ sessions: talks.length });
}

/**
 * Bytes that collections freed since `mark`: of the heap; and of buffers outside of it, at least:
 * these are freed beside the program, so that only what is seen to fall counts.
 */
function garbage(): { heapBytes: number; externalBytes: number } {
  const collections = profiler?.stop()?.statistics ?? [];
  let [heapBytes, externalBytes] = [0, 0];
  let external = 0;
  for (const { beforeGC, afterGC } of collections) {
    const [before, after] = [beforeGC.heapStatistics, afterGC.heapStatistics];
    heapBytes += before.usedHeapSize - after.usedHeapSize;
    for (const next of [before.externalMemory, after.externalMemory]) {
      externalBytes += Math.max(0, external - next);
      external = next;
    }
  }
  return { heapBytes, externalBytes };
}
