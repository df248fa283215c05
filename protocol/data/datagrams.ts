// Unreliable messages (RFC 9221): never sent again, never kept in order, before bulk. Both queues
// are bounded: the sender is told no, the reader loses the oldest.

import { datagramRoom, writeDatagram } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import type { SentPacket } from './sent-packets.ts';
import { PART } from './sent-packets.ts';
import type { StreamMeter } from './stream-sender.ts';
import type { Writer } from './varint.ts';

/** DATAGRAM frames of one talk, and their share of the counts. */
export class Datagrams {
  readonly #meter: StreamMeter;
  readonly #outgoing: Uint8Array[] = [];
  readonly #incoming: Uint8Array[] = [];
  #waitingBytes = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #inFlightBytes = 0;
  #lostBytes = 0;
  #dropped = 0;
  #tooLarge = 0;

  constructor(meter: StreamMeter) {
    this.#meter = meter;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }
  get receivedBytes(): number {
    return this.#receivedBytes;
  }
  get lostBytes(): number {
    return this.#lostBytes;
  }
  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }
  get waitingBytes(): number {
    return this.#waitingBytes;
  }
  /** Payload of the next one to leave; 0: none waits. */
  get nextBytes(): number {
    return this.#outgoing.length === 0 ? 0 : this.#outgoing[0].length;
  }
  /** Arrived and not read before the queue was full. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Taken from the owner, and given up before they were sent: the path carries them no more. */
  get tooLarge(): number {
    return this.#tooLarge;
  }

  /**
   * Datagrams have another size: what no longer fits into `room` bytes of frames is given up. It
   * was never sent, so it was never metered and is not among the lost.
   */
  onRoom(room: number): void {
    const most = datagramRoom(room);
    const kept = this.#outgoing.filter((payload) => payload.length <= most);
    if (kept.length === this.#outgoing.length) return;
    this.#tooLarge += this.#outgoing.length - kept.length;
    this.#outgoing.splice(0, this.#outgoing.length, ...kept);
    this.#waitingBytes = kept.reduce((sum, { length }) => sum + length, 0);
  }

  /** Copies `bytes`; false when the queue is full, or it is empty or larger than `room` allows. */
  send(bytes: Uint8Array, room: number): boolean {
    if (bytes.length === 0 || bytes.length > datagramRoom(room)) return false;
    if (this.#outgoing.length >= DATA_LIMITS.datagramsSendMax) return false;
    this.#outgoing.push(bytes.slice());
    this.#waitingBytes += bytes.length;
    return true;
  }

  read(): Uint8Array | undefined {
    return this.#incoming.shift();
  }

  onReceived(payload: Uint8Array): void {
    this.#receivedBytes += payload.length;
    this.#meter.onReceived(payload.length);
    if (this.#incoming.length >= DATA_LIMITS.datagramsReceiveMax) {
      this.#incoming.shift();
      this.#dropped++;
    }
    this.#incoming.push(payload);
  }

  /** One of `bytes` came and is pushed out by others of the same packet: counted, never kept. */
  onPushedOut(bytes: number): void {
    this.#receivedBytes += bytes;
    this.#meter.onReceived(bytes);
    this.#dropped++;
  }

  /** Writes as many as fit and as the meter has credit for. */
  write(writer: Writer, packet: SentPacket): void {
    while (this.#outgoing.length > 0) {
      const payload = this.#outgoing[0];
      if (payload.length > this.#meter.available() || !writeDatagram(writer, payload)) return;
      this.#outgoing.shift();
      this.#waitingBytes -= payload.length;
      this.#sentBytes += payload.length;
      this.#inFlightBytes += payload.length;
      this.#meter.spend(payload.length);
      packet.add(PART.datagram, payload.length);
    }
  }

  onAcked(bytes: number): void {
    this.#inFlightBytes -= bytes;
  }

  onLost(bytes: number): void {
    this.#inFlightBytes -= bytes;
    this.#lostBytes += bytes;
  }

  /** Declared lost, then acknowledged. */
  onLate(bytes: number): void {
    this.#lostBytes -= bytes;
  }
}
