// One flow of bytes from a sender to a receiver, measured: steady (what came before is skipped), or
// one whole transfer with its start-up. Times are the receiver's own, processor time and memory
// those of both processes while the bytes counted arrived.

import type { Plan } from '../peers/driver.ts';
import {
  Driver,
  type Launch,
  cpuSeconds,
  residentBytes,
  udpCounts,
} from '../../sim/lab/drivers.ts';
import type { Side } from '../../sim/lab/namespaces.ts';
import type { Place } from './places.ts';

/** Milliseconds in which what is skipped must have arrived. */
const SKIP_MS_MAX = 20_000;
/** Milliseconds that one transfer may take. */
const WHOLE_MS_MAX = 20_000;

/** How two drivers of one kind are started; the receiver first. */
export interface FlowKind {
  readonly launch: (role: 'receive' | 'send', plan: Plan, hello?: object) => Launch;
  /** Processes that serve the flow beside its ends, on the sender's and the receiver's side. */
  readonly servants?: readonly { readonly side: 'a' | 'b'; readonly pid: number }[];
  /** It cannot be watched while it sends, so that a whole transfer stands for the steady one. */
  readonly isWhole?: boolean;
}

/** What of a flow is measured. */
export interface Wanted {
  /** Skipped until both are over. */
  readonly skipMs: number;
  readonly skipBytes: number;
  readonly measureMs: number;
}

/** One measurement; CPU in seconds for 10⁹ delivered bytes, memory in bytes. */
export interface FlowFigures {
  readonly mbPerSecond: number;
  readonly senderCpu: number;
  readonly receiverCpu: number;
  /** Both ends together. */
  readonly cpuPerGb: number;
  readonly senderMemory: number;
  readonly receiverMemory: number;
  /** Delivered bytes for each UDP datagram that came; undefined where others' count too. */
  readonly bytesPerDatagram: number | undefined;
}

/** A flow that runs; `end` must follow. */
interface RunningFlow {
  readonly sender: Driver;
  readonly receiver: Driver;
  readonly end: () => Promise<void>;
}

/** Starts receiver and sender. */
export async function startFlow(place: Place, kind: FlowKind, bytes: number): Promise<RunningFlow> {
  const plan: Plan = { host: place.b.host, from: place.a.host, bytes };
  const receiver = new Driver(kind.launch('receive', plan));
  const drivers = [receiver];
  const end = async (): Promise<void> => {
    await Promise.all(drivers.map((driver) => driver.end()));
  };
  try {
    const hello = await receiver.next('ready');
    const sender = new Driver(kind.launch('send', plan, hello));
    drivers.unshift(sender);
    return { sender, receiver, end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** A flow in its steady state, and its end. */
export async function steady(place: Place, kind: FlowKind, wanted: Wanted): Promise<FlowFigures> {
  const flow = await startFlow(place, kind, 0);
  try {
    return await watch(place, kind, flow, wanted);
  } finally {
    await flow.end();
  }
}

/** The steady state of a flow that runs. */
export async function watch(
  place: Place,
  kind: FlowKind,
  flow: RunningFlow,
  wanted: Wanted,
): Promise<FlowFigures> {
  const { skipMs, skipBytes, measureMs } = wanted;
  let sample = await progress(flow);
  const begun = sample.at;
  while (sample.at - begun < skipMs * 1_000 || sample.bytes < skipBytes) {
    if (sample.at - begun > SKIP_MS_MAX * 1_000) throw new Error('the flow has come to a halt');
    sample = await progress(flow);
  }
  const first = sample;
  const before = readings(place, kind, flow);
  while (sample.at - first.at < measureMs * 1_000) sample = await progress(flow);
  const after = readings(place, kind, flow);
  return figures(before, after, sample.bytes - first.bytes, sample.at - first.at);
}

/**
 * One transfer of so many bytes, from its beginning to the last byte's arrival. One that takes too
 * long counts with what it moved until then.
 */
export async function whole(place: Place, kind: FlowKind, bytes: number): Promise<FlowFigures> {
  const flow = await startFlow(place, kind, bytes);
  try {
    const began = Number((await flow.sender.next('began')).began);
    const before = readings(place, kind, flow);
    for (;;) {
      const said = await flow.receiver.next('bytes', WHOLE_MS_MAX);
      const [at, arrived] = [Number(said.at), Number(said.bytes)];
      if (said.done !== true && at - began < WHOLE_MS_MAX * 1_000) continue;
      return figures(before, readings(place, kind, flow), Math.min(arrived, bytes), at - began);
    }
  } finally {
    await flow.end();
  }
}

interface Sample {
  readonly at: number;
  readonly bytes: number;
}

interface Readings {
  readonly senderCpu: number;
  readonly receiverCpu: number;
  readonly senderMemory: number;
  readonly receiverMemory: number;
  readonly datagrams: number | undefined;
}

async function progress({ receiver }: RunningFlow): Promise<Sample> {
  const { at, bytes } = await receiver.next('bytes');
  return { at: Number(at), bytes: Number(bytes) };
}

function readings(place: Place, kind: FlowKind, flow: RunningFlow): Readings {
  const { sender, receiver } = flow;
  const served = (side: 'a' | 'b'): number =>
    (kind.servants ?? [])
      .filter((servant) => servant.side === side)
      .reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
  return {
    senderCpu: cpuSeconds(sender.pid) + served('a'),
    receiverCpu: cpuSeconds(receiver.pid) + served('b'),
    senderMemory: residentBytes(sender.pid),
    receiverMemory: residentBytes(receiver.pid),
    datagrams: datagrams(place.b, receiver),
  };
}

function datagrams(side: Side, receiver: Driver): number | undefined {
  return side.namespace === undefined ? undefined : udpCounts(side, receiver.pid).received;
}

function figures(before: Readings, after: Readings, bytes: number, micros: number): FlowFigures {
  const gigabytes = bytes / 1e9;
  const senderCpu = (after.senderCpu - before.senderCpu) / gigabytes;
  const receiverCpu = (after.receiverCpu - before.receiverCpu) / gigabytes;
  const count = (after.datagrams ?? 0) - (before.datagrams ?? 0);
  return {
    mbPerSecond: bytes / micros,
    senderCpu,
    receiverCpu,
    cpuPerGb: senderCpu + receiverCpu,
    senderMemory: after.senderMemory,
    receiverMemory: after.receiverMemory,
    bytesPerDatagram: count > 0 ? bytes / count : undefined,
  };
}
