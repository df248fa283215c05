// Several senders that share one bottleneck, in virtual time: real recovery, round-trip times,
// pacer, controller and acknowledgement rules, but no packets' contents, so that a minute of
// 100 Mbit/s costs about a second. For questions of congestion control; `sim/pair.ts` drives whole
// connections.

import type { Controller } from '../congestion/controller.ts';
import { FRAME } from '../data/frame.ts';
import type { AckFrame } from '../data/frame.ts';
import { HEADER_BYTES } from '../data/packet.ts';
import { Pacer } from '../data/pacer.ts';
import { ReceivedPackets } from '../data/received-packets.ts';
import { Recovery } from '../data/recovery.ts';
import { Rtt } from '../data/rtt.ts';
import { Reader, Writer } from '../data/varint.ts';
import { seededRng } from '../random.ts';
import type { Micros } from '../time.ts';
import { NEVER, after, micros, ms, seconds } from '../time.ts';
import type { Trace } from '../trace/trace-event.ts';

/** How often an application with nothing to say is asked again, and what waits for it at most. */
const PRODUCE_EVERY = ms(1);
const WAITING_BYTES_MAX = 1_000_000;

/** The path that all flows share. */
export interface BottleneckOptions {
  readonly bytesPerSecond: number;
  /** Both ways together. */
  readonly rttMs: number;
  readonly queueBytes?: number;
  /** Random loss before the queue; a fraction of 1. */
  readonly loss?: number;
  readonly seed?: number;
}

/** One sender and its receiver. */
export interface FlowOptions {
  readonly controller: Controller;
  readonly datagramBytes?: number;
  readonly startMs?: number;
  /** Bytes per second that the application produces, by its age; default: always something. */
  readonly applicationRate?: (age: number) => number;
  /** Wakes no more often than so: a timer of the real world. */
  readonly timerMs?: number;
  readonly trace?: Trace;
}

/** A sender with its receiver. */
export class Flow {
  readonly controller: Controller;
  readonly rtt = new Rtt();
  readonly recovery: Recovery;
  readonly received = new ReceivedPackets();
  readonly datagramBytes: number;
  /** Bytes that arrived since `mark`. */
  arrivedBytes = 0;
  wakeAt: Micros;
  readonly #pacer: Pacer;
  readonly #startAt: Micros;
  readonly #applicationRate: ((age: number) => number) | undefined;
  #producedBytes = 0;
  #producedAt: Micros;
  readonly #timer: number;
  #sentBytes = 0;

  constructor(options: FlowOptions, now: Micros) {
    this.controller = options.controller;
    this.datagramBytes = options.datagramBytes ?? 1200;
    this.#startAt = after(now, ms(options.startMs ?? 0));
    this.#applicationRate = options.applicationRate;
    this.#producedAt = this.#startAt;
    this.#timer = ms(options.timerMs ?? 0);
    this.wakeAt = this.#startAt;
    this.#pacer = new Pacer(this.datagramBytes);
    const owner = {
      onPartAcked: () => {},
      onPartLost: () => {},
      onPartProbed: () => {},
      onLateDatagrams: () => {},
    };
    this.recovery = new Recovery(this.rtt, this.controller, owner, options.trace);
  }

  /** Sends what may leave now; `carry` takes each packet. */
  send(now: Micros, carry: (packetNumber: number, bytes: number) => void): void {
    this.wakeAt = NEVER;
    if (now < this.#startAt) {
      this.wakeAt = this.#startAt;
      return;
    }
    const bytes = this.datagramBytes;
    while (this.recovery.probes > 0 || this.recovery.hasRoom(bytes)) {
      const ready = this.#ready(now);
      if (ready < bytes && this.recovery.probes === 0) {
        this.recovery.onAppLimited();
        this.wakeAt = after(now, PRODUCE_EVERY);
        return;
      }
      this.#pacer.refill(now, this.controller, this.rtt.smoothed);
      const at = this.#pacer.next(now, bytes);
      if (at > now && this.recovery.probes === 0) {
        this.wakeAt = this.#timer > 0 ? micros(Math.ceil(at / this.#timer) * this.#timer) : at;
        return;
      }
      const packet = this.recovery.beginPacket();
      carry(packet.packetNumber, bytes);
      this.recovery.onPacketSent(now, packet, bytes, true);
      this.#pacer.spend(bytes);
      this.#sentBytes += bytes;
    }
  }

  /** Bytes that the application has produced and we have not sent; what waits is bounded. */
  #ready(now: Micros): number {
    if (this.#applicationRate === undefined) return Infinity;
    const rate = this.#applicationRate(now - this.#startAt) / 1e6;
    this.#producedBytes += (now - this.#producedAt) * rate;
    this.#producedAt = now;
    this.#producedBytes = Math.min(this.#producedBytes, this.#sentBytes + WAITING_BYTES_MAX);
    return this.#producedBytes - this.#sentBytes;
  }
}

interface Crossing {
  readonly at: Micros;
  readonly flow: Flow;
  readonly packetNumber: number;
  readonly ack: AckFrame | undefined;
}

/** First in, first out; both directions keep their order. */
class Line {
  #items: Crossing[] = [];
  #first = 0;

  get next(): Micros {
    return this.#first < this.#items.length ? this.#items[this.#first].at : NEVER;
  }
  push(item: Crossing): void {
    this.#items.push(item);
  }
  shift(): Crossing {
    const item = this.#items[this.#first++];
    if (this.#first > 4096) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }
}

/** The world: a rate, a queue, a delay. */
export class Bottleneck {
  now: Micros = micros(seconds(1));
  bytesPerSecond: number;
  readonly flows: Flow[] = [];
  /** Milliseconds that each packet waited in the queue since `mark`. */
  queueDelays: number[] = [];
  droppedPackets = 0;
  readonly #options: BottleneckOptions;
  readonly #random: () => number;
  readonly #forth = new Line();
  readonly #back = new Line();
  #lineFreeAt = 0;
  #markAt = this.now;

  constructor(options: BottleneckOptions) {
    this.#options = options;
    this.bytesPerSecond = options.bytesPerSecond;
    const rng = seededRng(options.seed ?? 1);
    this.#random = () => rng.next() / 2 ** 32;
  }

  add(options: FlowOptions): Flow {
    const flow = new Flow(options, this.now);
    this.flows.push(flow);
    return flow;
  }

  /** Counting starts anew. */
  mark(): void {
    this.#markAt = this.now;
    this.queueDelays = [];
    this.droppedPackets = 0;
    for (const flow of this.flows) flow.arrivedBytes = 0;
  }

  /** What arrived since `mark`, as a share of what the bottleneck carries now. */
  share(flow?: Flow): number {
    const flows = flow === undefined ? this.flows : [flow];
    const bytes = flows.reduce((sum, { arrivedBytes }) => sum + arrivedBytes, 0);
    return bytes / ((this.bytesPerSecond * (this.now - this.#markAt)) / 1e6);
  }

  /** Milliseconds in the queue that a share `quantile` of the packets did not exceed. */
  queueDelay(quantile: number): number {
    const sorted = Float64Array.from(this.queueDelays).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))] ?? 0;
  }

  /** Lets time pass; false when `done` never came. */
  run(milliseconds: number, done: () => boolean = () => false): boolean {
    const until = after(this.now, ms(milliseconds));
    while (!done()) {
      const next = this.#next();
      if (next > until) {
        this.now = until;
        return done();
      }
      if (next > this.now) this.now = next;
      this.#step();
    }
    return true;
  }

  #next(): Micros {
    let next = Math.min(this.#forth.next, this.#back.next);
    for (const { wakeAt, recovery, received } of this.flows) {
      next = Math.min(next, wakeAt, recovery.nextTimeout(), received.deadline);
    }
    return micros(next);
  }

  #step(): void {
    const { now } = this;
    while (this.#forth.next <= now) {
      const { flow, packetNumber } = this.#forth.shift();
      flow.received.onPacket(now, packetNumber, true, flow.datagramBytes);
      flow.arrivedBytes += flow.datagramBytes;
      if (flow.received.isDue(now)) this.#acknowledge(flow);
    }
    for (const flow of this.flows) if (flow.received.isDue(now)) this.#acknowledge(flow);
    while (this.#back.next <= now) {
      const { flow, ack } = this.#back.shift();
      if (ack !== undefined) flow.recovery.onAck(now, ack);
      this.#send(flow);
    }
    for (const flow of this.flows) {
      if (flow.recovery.nextTimeout() <= now) flow.recovery.handleTimeout(now);
      if (flow.wakeAt <= now || flow.recovery.probes > 0) this.#send(flow);
    }
  }

  #send(flow: Flow): void {
    flow.send(this.now, (packetNumber, bytes) => {
      if (this.#random() < (this.#options.loss ?? 0)) return;
      const { now } = this;
      const wait = Math.max(0, this.#lineFreeAt - now);
      const rate = this.bytesPerSecond / 1e6;
      if (wait * rate + bytes > (this.#options.queueBytes ?? Infinity)) {
        this.droppedPackets++;
        return;
      }
      this.queueDelays.push(wait / 1e3);
      this.#lineFreeAt = now + wait + bytes / rate;
      const at = micros(this.#lineFreeAt + ms(this.#options.rttMs) / 2);
      this.#forth.push({ at, flow, packetNumber, ack: undefined });
    });
  }

  #acknowledge(flow: Flow): void {
    const ack = written(flow.received, this.now);
    const at = after(this.now, ms(this.#options.rttMs) / 2);
    this.#back.push({ at, flow, packetNumber: -1, ack });
  }
}

const buffer = new Uint8Array(1200);

/** The ACK as it crosses the wire. */
function written(received: ReceivedPackets, now: Micros): AckFrame {
  const writer = new Writer();
  writer.reset(buffer, HEADER_BYTES, buffer.length);
  received.write(now, writer);
  received.onWritten();
  return parsed(buffer.subarray(HEADER_BYTES, writer.at));
}

function parsed(bytes: Uint8Array): AckFrame {
  const reader = new Reader();
  reader.reset(bytes, 0, bytes.length);
  if (reader.bytes[reader.at++] !== FRAME.ack) throw new Error('not an ACK');
  const largest = reader.varint();
  const delayMicros = reader.varint();
  const more = reader.varint();
  let smallest = largest - reader.varint();
  const edges = [smallest, largest];
  for (let i = 0; i < more; i++) {
    const end = smallest - reader.varint() - 2;
    smallest = end - reader.varint();
    edges.push(smallest, end);
  }
  return { largest, delayMicros, edges, ranges: more + 1 };
}
