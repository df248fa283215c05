// Measurements of our own transport that are more than one flow: two of ours side by side, ours
// beside TCP, live media beside bulk, an idle talk, many talks, garbage. Each is one round.

import { ascending, quantile } from '../figures.ts';
import { Driver, fineCpuSeconds, residentBytes, udpCounts } from '../../sim/lab/drivers.ts';
import { type FlowKind, type Wanted, startFlow, watch } from './flow.ts';
import type { OurSystem } from './ours.ts';
import type { Place } from './places.ts';

/** Two flows are watched when both have been there for some time. */
const SHARED: Wanted = { skipMs: 5_000, skipBytes: 0, measureMs: 10_000 };
const MEDIA_PER_SECOND = 50;
const MEDIA_SETTLE_MS = 4_000;
const MEDIA_MS = 8_000;
/** Talks whose memory is compared: the first ones pay for what all share. */
const TALKS_FEW = 10;
const TALKS_MANY = 50;
const SETTLE_MS = 1_000;
/** What an agent and its collector do after the start is no part of its idleness. */
const IDLE_SETTLE_MS = 10_000;

/** MB/s of two flows that share a place at the same time. */
export async function sideBySide(
  place: Place,
  one: FlowKind,
  other: FlowKind,
): Promise<readonly [number, number]> {
  const first = await startFlow(place, one, 0);
  try {
    const second = await startFlow(place, other, 0);
    try {
      const [a, b] = await Promise.all([
        watch(place, one, first, SHARED),
        watch(place, other, second, SHARED),
      ]);
      return [a.mbPerSecond, b.mbPerSecond];
    } finally {
      await second.end();
    }
  } finally {
    await first.end();
  }
}

/** One-way delays of datagrams in milliseconds; undefined: this version sends none. */
export interface MediaDelays {
  readonly p50: number;
  readonly p99: number;
  readonly arrived: number;
  readonly sent: number;
}

/** 50 datagrams of 160 bytes a second, alone or beside a bulk stream of the same talk. */
export async function media(
  place: Place,
  ours: OurSystem,
  withBulk: boolean,
): Promise<MediaDelays | undefined> {
  const kind = ours.flows({ mediaPerSecond: MEDIA_PER_SECOND, isIdle: !withBulk });
  const flow = await startFlow(place, kind, 0);
  try {
    await flow.sender.next('began');
    await pause(MEDIA_SETTLE_MS);
    await mark(flow.receiver);
    await pause(MEDIA_MS);
    const { delaysMs } = await report(flow.receiver);
    const delays = ascending(delaysMs as readonly number[]);
    if (delays.length === 0) return undefined;
    const sent = (MEDIA_MS / 1_000) * MEDIA_PER_SECOND;
    return {
      p50: quantile(delays, 0.5),
      p99: quantile(delays, 0.99),
      arrived: delays.length,
      sent,
    };
  } finally {
    await flow.end();
  }
}

/** What a talk costs in which nothing is said. */
export interface Idleness {
  /** Share of one processor that one end takes, 0 to 1. */
  readonly callerCpu: number;
  readonly calleeCpu: number;
  /** UDP datagrams a minute on the wire, both ways; undefined where others' count too. */
  readonly datagramsPerMinute: number | undefined;
}

/** One idle talk for so many milliseconds. */
export async function idle(place: Place, ours: OurSystem, ms: number): Promise<Idleness> {
  const flow = await startFlow(place, ours.flows({ isIdle: true }), 0);
  try {
    await flow.sender.next('began');
    await pause(IDLE_SETTLE_MS);
    const look = (): readonly [number, number, number] => {
      const { received } = udpCounts(place.b, flow.receiver.pid);
      const back = udpCounts(place.a, flow.sender.pid).received;
      return [fineCpuSeconds(flow.sender.pid), fineCpuSeconds(flow.receiver.pid), received + back];
    };
    const before = look();
    await pause(ms);
    const after = look();
    const [caller, callee, datagrams] = after.map((value, at) => value - before[at]);
    const perMinute = (datagrams * 60_000) / ms;
    return {
      callerCpu: (caller * 1_000) / ms,
      calleeCpu: (callee * 1_000) / ms,
      datagramsPerMinute: place.b.namespace === undefined ? undefined : perMinute,
    };
  } finally {
    await flow.end();
  }
}

/** Resident bytes that one more idle talk costs the caller and the callee. */
export async function memoryPerTalk(
  place: Place,
  ours: OurSystem,
): Promise<{ readonly caller: number; readonly callee: number }> {
  const { sender, receiver, end } = await startFlow(place, ours.flows({ isIdle: true }), 0);
  try {
    const resident = async (talks: number): Promise<readonly [number, number]> => {
      sender.tell(`sessions ${talks}`);
      await sender.next('sessions');
      await pause(SETTLE_MS);
      // A report collects the garbage first, so that only what is kept counts.
      await Promise.all([report(sender), report(receiver)]);
      return [residentBytes(sender.pid), residentBytes(receiver.pid)];
    };
    await sender.next('began');
    const few = await resident(TALKS_FEW);
    const many = await resident(TALKS_MANY);
    const [caller, callee] = many.map((bytes, at) => (bytes - few[at]) / (TALKS_MANY - TALKS_FEW));
    return { caller, callee };
  } finally {
    await end();
  }
}

/** Bytes of garbage for each delivered byte. */
export interface Garbage {
  readonly senderHeap: number;
  readonly senderBuffers: number;
  readonly receiverHeap: number;
  readonly receiverBuffers: number;
  /** Of a talk's datagrams; undefined: this version does not say. */
  readonly datagramBytes: number | undefined;
}

/** What the collectors of both ends free while bulk flows. */
export async function garbage(place: Place, kind: FlowKind, wanted: Wanted): Promise<Garbage> {
  const flow = await startFlow(place, kind, 0);
  try {
    await watch(place, kind, flow, { ...wanted, measureMs: 0 });
    await Promise.all([mark(flow.sender), mark(flow.receiver)]);
    const before = Number((await flow.receiver.next('bytes')).bytes);
    const { mbPerSecond } = await watch(place, kind, flow, { ...wanted, skipMs: 0, skipBytes: 0 });
    const after = Number((await flow.receiver.next('bytes')).bytes);
    const [sender, receiver] = await Promise.all([report(flow.sender), report(flow.receiver)]);
    const bytes = mbPerSecond > 0 ? after - before : NaN;
    const size = sender.datagramBytes;
    return {
      senderHeap: Number(sender.heapBytes) / bytes,
      senderBuffers: Number(sender.externalBytes) / bytes,
      receiverHeap: Number(receiver.heapBytes) / bytes,
      receiverBuffers: Number(receiver.externalBytes) / bytes,
      datagramBytes: typeof size === 'number' ? size : undefined,
    };
  } finally {
    await flow.end();
  }
}

async function mark(driver: Driver): Promise<void> {
  driver.tell('mark');
  await driver.next('marked');
}

async function report(driver: Driver): Promise<Readonly<Record<string, unknown>>> {
  driver.tell('report');
  return driver.next('report');
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
