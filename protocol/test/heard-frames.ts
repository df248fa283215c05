// What the other end of a talk has said: the frames of its packets, counted, and what an honest
// peer would have to acknowledge.

import type { FrameHandler } from '../data/frame.ts';
import { FRAME } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { Ranges } from '../data/ranges.ts';

/** Frames of the other end, counted by kind. */
export class Heard implements FrameHandler {
  largest = -1;
  /** The last number that the victim seems to have left out. */
  missing = -1;
  readonly unacknowledged = new Ranges();
  readonly kinds = new Map<number, number>();
  received = 0;
  maxStreams: number = DATA_LIMITS.streamsMax;
  closeCode: number | undefined;
  #count(kind: number): void {
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
  }
  onAck(): void {
    this.#count(FRAME.ack);
  }
  onReset(): void {
    this.#count(FRAME.reset);
  }
  onStop(): void {
    this.#count(FRAME.stop);
  }
  onStream(...[, offset, , start, end]: Parameters<FrameHandler['onStream']>): void {
    this.#count(FRAME.stream);
    this.received = Math.max(this.received, offset + end - start);
  }
  onMaxData(): void {
    this.#count(FRAME.maxData);
  }
  onMaxStreamData(): void {
    this.#count(FRAME.maxStreamData);
  }
  onMaxStreams(total: number): void {
    this.#count(FRAME.maxStreams);
    this.maxStreams = Math.max(this.maxStreams, total);
  }
  onPathChallenge(): void {
    this.#count(FRAME.pathChallenge);
  }
  onPathResponse(): void {
    this.#count(FRAME.pathResponse);
  }
  onDatagram(): void {
    this.#count(FRAME.datagram);
  }
  onClose(close: Parameters<FrameHandler['onClose']>[0]): void {
    this.#count(FRAME.close);
    this.closeCode = close.code;
  }
  onQuota(): void {
    this.#count(FRAME.quota);
  }
  onExpiry(): void {
    this.#count(FRAME.expiry);
  }
  of(kind: number): number {
    return this.kinds.get(kind) ?? 0;
  }
}
