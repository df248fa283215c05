// What the streams put into a packet: control frames, then lost bytes, then new ones, each stream
// in its turn. New bytes need three credits: the stream's, the connection's and the meter's.

import type { StreamId } from './connection-types.ts';
import { FRAME, writeNumbers, writeStreamHead } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import type { ReceiveStream } from './receive-stream.ts';
import type { SendStream } from './send-stream.ts';
import type { SentPacket } from './sent-packets.ts';
import { PART } from './sent-packets.ts';
import type { StreamFlow } from './stream-flow.ts';
import type { Writer } from './varint.ts';

/** What of the meter streams and messages touch; bytes. */
export interface StreamMeter {
  available(): number;
  spend(bytes: number): void;
  onReceived(bytes: number): void;
}

/** Both halves of a stream, and what of it waits where. */
export interface Stream {
  readonly id: StreamId;
  readonly send: SendStream;
  readonly receive: ReceiveStream;
  isQueued: boolean;
  /** Chunks that it sends in a row, and how many of them are left in this turn. */
  weight: number;
  turnLeft: number;
  isControlQueued: boolean;
  limitDue: boolean;
  stopDue: boolean;
}

/** Fair turns among the streams that have something to send. */
export class StreamSender {
  readonly #streams: ReadonlyMap<number, Stream>;
  readonly #flow: StreamFlow;
  readonly #meter: StreamMeter;
  /** Streams with lost bytes or new ones; each at most once. */
  readonly #turns: Stream[] = [];
  readonly #control: Stream[] = [];
  #sentBytes = 0;
  #unsentBytes = 0;

  constructor(streams: ReadonlyMap<number, Stream>, flow: StreamFlow, meter: StreamMeter) {
    this.#streams = streams;
    this.#flow = flow;
    this.#meter = meter;
  }

  /** Metered: highest offsets sent. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Written by the owner and never sent. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  onWritten(stream: Stream, bytes: number): void {
    this.#unsentBytes += bytes;
    this.enqueue(stream);
  }

  onReset(stream: Stream, unsent: number): void {
    this.#unsentBytes -= unsent;
    this.#enqueueControl(stream);
  }

  /** Gives the stream a turn if it has something to send by itself. */
  enqueue(stream: Stream): void {
    if (stream.isQueued || !(stream.send.hasRepair || stream.send.sendable > 0)) return;
    stream.isQueued = true;
    this.#turns.push(stream);
  }

  limitDue(stream: Stream): void {
    stream.limitDue = true;
    this.#enqueueControl(stream);
  }

  stopDue(stream: Stream): void {
    stream.stopDue = true;
    this.#enqueueControl(stream);
  }

  onMaxDataLost(): void {
    this.#flow.maxDataDue = true;
  }

  onMaxStreamsLost(): void {
    this.#flow.maxStreamsDue = true;
  }

  onControlLost(kind: number, id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (kind === PART.reset) stream.send.onResetLost();
    else if (kind === PART.stop) stream.stopDue = !stream.receive.isSettled;
    else stream.limitDue = !stream.receive.isSettled;
    this.#enqueueControl(stream);
  }

  /** Writes as many control frames as fit. */
  writeControl(writer: Writer, packet: SentPacket): void {
    const flow = this.#flow;
    if (flow.maxDataDue && writeNumbers(writer, FRAME.maxData, flow.receiveMax)) {
      flow.maxDataDue = false;
      packet.add(PART.maxData);
    }
    if (flow.maxStreamsDue && writeNumbers(writer, FRAME.maxStreams, flow.acceptMax)) {
      flow.maxStreamsDue = false;
      packet.add(PART.maxStreams);
    }
    while (this.#control.length > 0) {
      const stream = this.#control[0];
      if (!this.#writeStreamControl(stream, writer, packet)) return;
      stream.isControlQueued = false;
      this.#control.shift();
    }
  }

  /** Fills the packet with stream data; new bytes only if `fresh`. */
  writeData(writer: Writer, packet: SentPacket, fresh: boolean): void {
    // Streams at the head of the queue that have something to send and could not: each is asked
    // once for this packet. One that leaves the queue is none of them.
    let barren = 0;
    while (barren < this.#turns.length && writer.room >= DATA_LIMITS.streamRoomLeast) {
      const stream = this.#turns[0];
      const credit = fresh ? Math.min(this.#flow.sendCredit, this.#meter.available()) : 0;
      const did = this.#writeChunk(stream, writer, packet, credit);
      const hasMore = stream.send.hasRepair || stream.send.sendable > 0;
      if (!(did && hasMore && --stream.turnLeft > 0)) this.#endTurn(stream, hasMore);
      if (did) barren = 0;
      else if (hasMore) barren++;
    }
  }

  /** The first of the queue goes to its end, or leaves it. */
  #endTurn(stream: Stream, hasMore: boolean): void {
    stream.turnLeft = stream.weight;
    this.#turns.shift();
    if (hasMore) this.#turns.push(stream);
    else stream.isQueued = false;
  }

  #writeChunk(stream: Stream, writer: Writer, packet: SentPacket, credit: number): boolean {
    const { send } = stream;
    if (!send.plan(writer.room, credit)) return false;
    const { offset, length, fin, fresh } = send.chunk;
    writeStreamHead(writer, stream.id, offset, length, fin);
    send.take(writer.bytes, writer.at);
    writer.at += length;
    packet.add(fin ? PART.streamEnd : PART.stream, stream.id, offset, length);
    if (fresh > 0) {
      this.#flow.onSent(fresh);
      this.#meter.spend(fresh);
      this.#sentBytes += fresh;
      this.#unsentBytes -= fresh;
    }
    return true;
  }

  #writeStreamControl(stream: Stream, writer: Writer, packet: SentPacket): boolean {
    const { id, send, receive } = stream;
    if (send.resetQueued) {
      if (!writeNumbers(writer, FRAME.reset, id, send.resetCode, send.sentOffset)) return false;
      send.onResetSent();
      packet.add(PART.reset, id);
    }
    if (stream.stopDue) {
      if (!writeNumbers(writer, FRAME.stop, id, receive.stopCode)) return false;
      stream.stopDue = false;
      packet.add(PART.stop, id);
    }
    if (stream.limitDue) {
      if (!writeNumbers(writer, FRAME.maxStreamData, id, receive.limit)) return false;
      stream.limitDue = false;
      packet.add(PART.maxStreamData, id);
    }
    return true;
  }

  #enqueueControl(stream: Stream): void {
    if (stream.isControlQueued) return;
    stream.isControlQueued = true;
    this.#control.push(stream);
  }
}
