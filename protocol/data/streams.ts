// All streams of one talk: who opened which, what the owner does with them, what the peer's frames
// do to them (RFC 9000 §2–4). What leaves and when is `stream-sender.ts`.

import type { ConnectionConfig, Role, StreamId } from './connection-types.ts';
import type { Events } from './events.ts';
import { DATA_LIMITS } from './limits.ts';
import { UsageError } from '../errors.ts';
import { PagePool } from './paged-buffer.ts';
import { PeerError } from './peer-error.ts';
import { ReceiveStream } from './receive-stream.ts';
import { SendStream } from './send-stream.ts';
import { StreamFlow } from './stream-flow.ts';
import type { Stream, StreamMeter } from './stream-sender.ts';
import { StreamSender } from './stream-sender.ts';
import type { PathClock } from './tuned-window.ts';
import { TunedWindow } from './tuned-window.ts';

/** Streams by id, both directions. */
export class Streams {
  readonly sender: StreamSender;
  readonly #flow: StreamFlow;
  readonly #config: ConnectionConfig;
  readonly #events: Events;
  readonly #meter: StreamMeter;
  readonly #clock: PathClock;
  readonly #pool = new PagePool();
  readonly #capacity: { bytes: number };
  readonly #streams = new Map<number, Stream>();
  /** Lowest bit of the ids that we open. */
  readonly #ourBit: number;
  #opened = 0;
  #accepted = 0;
  #receivedBytes = 0;

  constructor(
    role: Role,
    config: ConnectionConfig,
    events: Events,
    meter: StreamMeter,
    clock: PathClock,
  ) {
    this.#ourBit = role === 'caller' ? 0 : 1;
    this.#config = config;
    this.#events = events;
    this.#meter = meter;
    this.#clock = clock;
    this.#capacity = { bytes: config.sendBufferBytes };
    this.#flow = new StreamFlow(config.windowBytes, config.windowBytesMax, clock);
    this.sender = new StreamSender(this.#streams, this.#flow, meter);
  }

  /** Bytes that the peer may send beyond what was read. */
  get receiveWindow(): number {
    return this.#flow.window;
  }

  /**
   * A stream holds what is under way and, while one lost packet is sent again, what follows it:
   * half a window more than the window, or the path runs dry behind every loss.
   */
  onCongestionWindow(bytes: number): void {
    const { sendBufferBytes, sendBufferBytesMax } = this.#config;
    // Whole bytes: a window that a model computed has fractions.
    const wanted = Math.floor(bytes * DATA_LIMITS.sendBufferWindows);
    this.#capacity.bytes = Math.max(sendBufferBytes, Math.min(wanted, sendBufferBytesMax));
  }

  /** Metered: highest offsets received. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Every stream's bytes that were sent are acknowledged, and every end and reset. */
  get isAllAcked(): boolean {
    for (const { send } of this.#streams.values()) {
      if (send.unacked > 0 || send.hasRepair || send.isEndUnderWay) return false;
      if (send.isReset && !send.isSettled) return false;
    }
    return true;
  }

  /** Sent stream bytes without acknowledgement; for the final counts. */
  get unackedBytes(): number {
    let sum = 0;
    for (const { send } of this.#streams.values()) sum += send.uncertain;
    return sum;
  }

  open(): StreamId | undefined {
    if (this.#opened >= this.#flow.openMax) return undefined;
    const id = (this.#opened++ * 2 + this.#ourBit) as StreamId;
    this.#add(id);
    return id;
  }

  write(id: StreamId, bytes: Uint8Array): number {
    const stream = this.#streams.get(id);
    if (stream === undefined) return 0;
    const length = stream.send.write(bytes);
    this.sender.onWritten(stream, length);
    return length;
  }

  finish(id: StreamId): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.send.finish();
    this.sender.enqueue(stream);
  }

  setWeight(id: StreamId, weight: number): void {
    const { streamWeightMax } = DATA_LIMITS;
    if (!(Number.isInteger(weight) && weight >= 1 && weight <= streamWeightMax)) {
      const range = `a whole number from 1 to ${streamWeightMax}`;
      throw new UsageError('stream-weight', `weight must be ${range}, got ${weight}`);
    }
    const stream = this.#streams.get(id);
    if (stream !== undefined) stream.weight = weight;
  }

  read(id: StreamId, into: Uint8Array): number {
    const stream = this.#streams.get(id);
    if (stream === undefined) return -1;
    const length = stream.receive.read(into);
    if (length > 0) this.#onConsumed(stream, length);
    return length;
  }

  reset(id: StreamId, code: number): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#reset(stream, code);
  }

  stop(id: StreamId, code: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.receive.isStopped || stream.receive.isSettled) return;
    const isComplete = stream.receive.isComplete;
    const dropped = stream.receive.stop(code);
    if (!isComplete) this.sender.stopDue(stream);
    this.#onConsumed(stream, dropped);
  }

  /** False when a gap too many would be needed: nothing was taken. */
  onStream(
    id: number,
    offset: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    fin: boolean,
  ): boolean {
    const stream = this.#find(id);
    if (stream === undefined) return true;
    const { receive } = stream;
    if (!receive.canTake(offset, end - start)) return false;
    const before = receive.readable;
    const wasAtEnd = receive.isSettled;
    const consumed = receive.consumed;
    this.#onGrowth(receive.onData(offset, bytes, start, end, fin));
    if (receive.consumed > consumed) this.#flow.onConsumed(receive.consumed - consumed);
    if (receive.readable > before || (receive.isAtEnd && !wasAtEnd)) {
      this.#events.ready('readable', stream.id);
    }
    if (receive.advanceLimit()) this.sender.limitDue(stream);
    this.#removeIfSettled(stream);
    return true;
  }

  onReset(id: number, code: number, finalSize: number): void {
    const stream = this.#find(id);
    if (stream === undefined) return;
    const { receive } = stream;
    const consumed = receive.consumed;
    const wasOver = receive.isAtEnd;
    this.#onGrowth(receive.onReset(finalSize));
    this.#flow.onConsumed(receive.consumed - consumed);
    if (receive.isAtEnd && !wasOver) this.#events.push({ kind: 'reset', stream: stream.id, code });
    this.#removeIfSettled(stream);
  }

  onStop(id: number, code: number): void {
    const stream = this.#find(id);
    if (stream === undefined || stream.send.isReset || stream.send.isDelivered) return;
    this.#events.push({ kind: 'stopped', stream: stream.id, code });
    this.#reset(stream, code);
  }

  onMaxData(total: number): void {
    this.#flow.onMaxData(total);
  }

  onMaxStreams(total: number): void {
    this.#flow.onMaxStreams(total);
  }

  onMaxStreamData(id: number, total: number): void {
    const stream = this.#find(id);
    if (stream?.send.onLimit(total) === true) this.sender.enqueue(stream);
  }

  onAcked(id: number, offset: number, length: number, fin: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const wasDelivered = stream.send.isDelivered;
    stream.send.onAcked(offset, length, fin);
    if (stream.send.isDelivered && !wasDelivered) {
      this.#events.push({ kind: 'delivered', stream: stream.id });
    }
    if (stream.send.takeWritable()) this.#events.ready('writable', stream.id);
    this.#removeIfSettled(stream);
  }

  onLost(id: number, offset: number, length: number, fin: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.send.onLost(offset, length, fin);
    this.sender.enqueue(stream);
  }

  onResetAcked(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.send.onResetAcked();
    this.#removeIfSettled(stream);
  }

  #reset(stream: Stream, code: number): void {
    const unsent = stream.send.unsent;
    if (!stream.send.reset(code)) return;
    this.sender.onReset(stream, unsent);
  }

  #onGrowth(growth: number): void {
    if (growth === 0) return;
    this.#flow.onReceived(growth);
    this.#receivedBytes += growth;
    this.#meter.onReceived(growth);
  }

  #onConsumed(stream: Stream, bytes: number): void {
    this.#flow.onConsumed(bytes);
    if (stream.receive.advanceLimit()) this.sender.limitDue(stream);
    this.#removeIfSettled(stream);
  }

  /**
   * The stream a frame names; a new one of the peer's opens it and all below (RFC 9000 §3.2);
   * undefined for one that is over.
   */
  #find(id: number): Stream | undefined {
    const stream = this.#streams.get(id);
    if (stream !== undefined) return stream;
    const index = Math.floor(id / 2);
    if (id % 2 === this.#ourBit) {
      if (index >= this.#opened) throw new PeerError('frame for a stream that was not opened');
      return undefined;
    }
    if (index < this.#accepted) return undefined;
    if (index >= this.#flow.acceptMax) throw new PeerError('too many streams');
    // At most streamsMax turns: acceptMax runs ahead of the streams that are over by no more.
    while (this.#accepted <= index) {
      const opened = this.#add((this.#accepted++ * 2 + 1 - this.#ourBit) as StreamId);
      this.#events.push({ kind: 'stream', stream: opened.id });
    }
    return this.#streams.get(id);
  }

  #add(id: StreamId): Stream {
    const send = new SendStream(id, this.#pool, this.#capacity);
    const bytes = Math.max(this.#config.streamWindowBytes, DATA_LIMITS.initialMaxStreamData);
    const window = new TunedWindow(
      bytes,
      () => Math.floor(this.#flow.window * DATA_LIMITS.streamWindowShare),
      this.#clock,
    );
    const receive = new ReceiveStream(id, this.#pool, window);
    const stream: Stream = {
      id,
      send,
      receive,
      isQueued: false,
      weight: 1,
      turnLeft: 1,
      isControlQueued: false,
      limitDue: false,
      stopDue: false,
    };
    this.#streams.set(id, stream);
    return stream;
  }

  #removeIfSettled(stream: Stream): void {
    if (!stream.send.isSettled || !stream.receive.isSettled) return;
    if (!this.#streams.delete(stream.id)) return;
    if (stream.id % 2 !== this.#ourBit) this.#flow.onPeerStreamClosed(this.#accepted);
  }

  /** Streams that are open now. */
  get count(): number {
    return this.#streams.size;
  }
}
