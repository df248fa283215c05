// The receiving half of a stream (RFC 9000 §3.2): puts bytes in order, holds the peer to what it
// was allowed, and to one final size. Memory is bounded by the window, bookkeeping by `gapsMax`.

import type { StreamId } from './connection-types.ts';
import { DATA_LIMITS } from './limits.ts';
import type { PagePool } from './paged-buffer.ts';
import { PagedBuffer } from './paged-buffer.ts';
import { PeerError } from './peer-error.ts';
import { Ranges } from './ranges.ts';
import type { TunedWindow } from './tuned-window.ts';

/** Bytes from the peer, in order. Offsets: read ≤ ready ≤ highest ≤ limit. */
export class ReceiveStream {
  readonly id: StreamId;
  readonly #window: TunedWindow;
  readonly #buffer: PagedBuffer;
  /** What arrived beyond `ready`. */
  readonly #ahead = new Ranges();
  #read = 0;
  #ready = 0;
  #highest = 0;
  #limit: number = DATA_LIMITS.initialMaxStreamData;
  #finalSize: number | undefined;
  #isReset = false;
  #stopCode: number | undefined;

  constructor(id: StreamId, pool: PagePool, window: TunedWindow) {
    this.id = id;
    this.#window = window;
    this.#buffer = new PagedBuffer(pool);
  }

  /** Bytes that read() would give now. */
  get readable(): number {
    return this.#ready - this.#read;
  }
  /** Everything was read, or nobody will read any more. */
  get isAtEnd(): boolean {
    return this.#isReset || (this.#finalSize !== undefined && this.#read === this.#finalSize);
  }
  /** Nothing will ever arrive that matters. */
  get isSettled(): boolean {
    return this.isAtEnd || (this.isStopped && this.#finalSize !== undefined);
  }
  get isStopped(): boolean {
    return this.#stopCode !== undefined;
  }
  get stopCode(): number {
    return this.#stopCode ?? 0;
  }
  /** All data came: STOP_SENDING would say nothing. */
  get isComplete(): boolean {
    return this.#finalSize !== undefined && this.#ready === this.#finalSize;
  }
  /** The MAX_STREAM_DATA to announce. */
  get limit(): number {
    return this.#limit;
  }

  /** False when another gap would be one too many: then the packet is not taken at all. */
  canTake(offset: number, length: number): boolean {
    if (this.#ahead.count < DATA_LIMITS.gapsMax || offset <= this.#ready || length === 0)
      return true;
    return this.#ahead.growth(offset, offset + length) <= 0;
  }

  /**
   * Takes `bytes[start, end)`; returns by how much the highest offset grew.
   * @throws PeerError for data beyond the limit or another final size (RFC 9000 §4.1, §4.5).
   */
  onData(offset: number, bytes: Uint8Array, start: number, end: number, fin: boolean): number {
    const last = offset + end - start;
    const growth = this.#onHighest(last, fin);
    if (this.#isReset) return growth;
    if (this.isStopped) {
      this.#read = this.#ready = this.#highest;
      return growth;
    }
    if (last <= this.#ready) return growth;
    const skip = Math.max(0, this.#ready - offset);
    this.#buffer.write(offset + skip, bytes, start + skip, end);
    if (offset > this.#ready) {
      this.#ahead.insert(offset, last);
      return growth;
    }
    this.#ready = last;
    let passed = 0;
    while (passed < this.#ahead.count && this.#ahead.start(passed) <= this.#ready) {
      this.#ready = Math.max(this.#ready, this.#ahead.end(passed++));
    }
    if (passed > 0) this.#ahead.dropFirst(passed);
    return growth;
  }

  /** RESET_STREAM: what was not read is gone; returns by how much the highest offset grew. */
  onReset(finalSize: number): number {
    // All data and its end came already: there is nothing left to give up (RFC 9000 §3.2).
    const { isComplete } = this;
    const growth = this.#onHighest(finalSize, true);
    if (isComplete) return growth;
    this.#isReset = true;
    this.#read = this.#ready = this.#highest;
    this.#forget();
    return growth;
  }

  /** Fills `into`; bytes read, 0 for none now, -1 at the end. */
  read(into: Uint8Array): number {
    const length = Math.min(into.length, this.readable);
    if (this.isStopped || length === 0) return this.isAtEnd || this.isStopped ? -1 : 0;
    this.#buffer.read(this.#read, into, 0, length);
    this.#read += length;
    this.#buffer.discard(this.#read);
    if (this.isAtEnd) this.#forget();
    return length;
  }

  /** Nobody will read: what is here is dropped, what comes is not kept; bytes dropped. */
  stop(code: number): number {
    if (this.isSettled) return 0;
    this.#stopCode = code;
    const dropped = this.#highest - this.#read;
    this.#read = this.#ready = this.#highest;
    this.#forget();
    return dropped;
  }

  /** Bytes taken off the peer's hands so far, read or dropped. */
  get consumed(): number {
    return this.#read;
  }

  /** Moves the limit when a good part of the window was read; true when there is news. */
  advanceLimit(): boolean {
    if (this.#finalSize !== undefined || this.isStopped) return false;
    this.#window.onConsumed(this.#read);
    const window = this.#window.bytes;
    const limit = this.#read + window;
    if (limit - this.#limit < window / 4) return false;
    this.#limit = limit;
    return true;
  }

  #onHighest(last: number, fin: boolean): number {
    if (last > this.#limit) throw new PeerError('stream data beyond its limit');
    const final = this.#finalSize;
    if (final !== undefined && (last > final || (fin && last !== final))) {
      throw new PeerError('final size changed');
    }
    if (fin && last < this.#highest) throw new PeerError('final size below what was sent');
    if (fin) this.#finalSize = last;
    const growth = Math.max(0, last - this.#highest);
    this.#highest += growth;
    return growth;
  }

  #forget(): void {
    this.#buffer.clear();
    this.#ahead.clear();
  }
}
