// The sending half of a stream (RFC 9000 §3.1): bytes the owner wrote, until they are acknowledged.
// Metered is the highest offset ever sent; sending again is free.

import type { StreamId } from './connection-types.ts';
import { streamRoom } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import type { PagePool } from './paged-buffer.ts';
import { PagedBuffer } from './paged-buffer.ts';
import { Ranges } from './ranges.ts';

/** What the next STREAM frame of a stream carries; filled by `plan`, one object per stream. */
interface Chunk {
  offset: number;
  length: number;
  fin: boolean;
  /** Bytes of it that were never sent before: these are metered. */
  fresh: number;
}

/** What one stream may hold; all streams of a connection share the figure. */
interface SendCapacity {
  readonly bytes: number;
}

type Fate = 'none' | 'queued' | 'sent' | 'acknowledged';

/** Bytes on their way to the peer. Offsets: base ≤ next ≤ written. */
export class SendStream {
  readonly id: StreamId;
  readonly chunk: Chunk = { offset: 0, length: 0, fin: false, fresh: 0 };
  readonly #buffer: PagedBuffer;
  readonly #capacity: SendCapacity;
  readonly #acked = new Ranges();
  readonly #lost = new Ranges();
  /** All below is acknowledged. */
  #base = 0;
  /** All below was sent at least once. */
  #next = 0;
  #written = 0;
  /** The peer's MAX_STREAM_DATA. */
  #limit: number = DATA_LIMITS.initialMaxStreamData;
  #fin: Fate = 'none';
  #reset: Fate = 'none';
  #resetCode = 0;
  /** write() took less than it was offered. */
  wantsRoom = false;

  constructor(id: StreamId, pool: PagePool, capacity: SendCapacity) {
    this.id = id;
    this.#buffer = new PagedBuffer(pool);
    this.#capacity = capacity;
  }

  get isReset(): boolean {
    return this.#reset !== 'none';
  }
  get isFinished(): boolean {
    return this.#fin !== 'none';
  }
  get resetCode(): number {
    return this.#resetCode;
  }
  /** The highest offset sent: what was metered; the final size of a reset. */
  get sentOffset(): number {
    return this.#next;
  }
  /** Written and never sent. */
  get unsent(): number {
    return this.isReset ? 0 : this.#written - this.#next;
  }
  /** Sent and not acknowledged. */
  get unacked(): number {
    return this.isReset ? 0 : this.#next - this.#base - this.#acked.size;
  }
  /** Sent and perhaps not counted by the peer: all that is not acknowledged, or no RESET yet. */
  get uncertain(): number {
    return this.isReset && !this.isSettled ? this.#next - this.#base : this.unacked;
  }
  /** Never sent and allowed by the peer's stream window. */
  get sendable(): number {
    return this.isReset ? 0 : Math.min(this.#written, this.#limit) - this.#next;
  }
  /** Something that costs no credit is to be sent: lost bytes, or the end alone. */
  get hasRepair(): boolean {
    return (
      !this.isReset &&
      (this.#lost.count > 0 || (this.#fin === 'queued' && this.#next === this.#written))
    );
  }
  /** Its end was sent, and neither acknowledged nor lost. */
  get isEndUnderWay(): boolean {
    return !this.isReset && this.#fin === 'sent';
  }
  get isDelivered(): boolean {
    return this.#fin === 'acknowledged' && this.#base === this.#written;
  }
  /** Nothing will ever leave this half again. */
  get isSettled(): boolean {
    return this.isDelivered || this.#reset === 'acknowledged';
  }
  /** Bytes that write() takes now. */
  get room(): number {
    if (this.isReset || this.isFinished) return 0;
    return Math.max(0, this.#capacity.bytes - (this.#written - this.#base));
  }

  write(bytes: Uint8Array): number {
    const length = Math.min(bytes.length, this.room);
    this.#buffer.write(this.#written, bytes, 0, length);
    this.#written += length;
    if (length < bytes.length && !this.isReset && !this.isFinished) this.wantsRoom = true;
    return length;
  }

  finish(): void {
    if (this.#fin === 'none') this.#fin = 'queued';
  }

  /** Gives up what was not delivered; false when there is nothing left to give up. */
  reset(code: number): boolean {
    if (this.isReset || this.isDelivered) return false;
    this.#reset = 'queued';
    this.#resetCode = code;
    this.#forget();
    return true;
  }

  get resetQueued(): boolean {
    return this.#reset === 'queued';
  }
  onResetSent(): void {
    if (this.#reset === 'queued') this.#reset = 'sent';
  }
  onResetAcked(): void {
    this.#reset = 'acknowledged';
  }
  onResetLost(): void {
    if (this.#reset === 'sent') this.#reset = 'queued';
  }

  /** True when the limit grew: totals are cumulative, an older one changes nothing. */
  onLimit(limit: number): boolean {
    if (limit <= this.#limit) return false;
    this.#limit = limit;
    return true;
  }

  /**
   * Fills `chunk` with what to send next into `room` bytes of a packet: lost bytes first, then at
   * most `credit` new ones. False when there is nothing, or no room.
   */
  plan(room: number, credit: number): boolean {
    const repair = this.#lost.count > 0;
    const offset = repair ? this.#lost.start(0) : this.#next;
    const most = streamRoom(room, this.id, offset);
    if (most < 0) return false;
    const wanted = repair ? this.#lost.end(0) - offset : Math.min(this.sendable, credit);
    const length = Math.min(wanted, most);
    const fin = this.#fin !== 'none' && offset + length === this.#written;
    if (length <= 0 && !(fin && this.#fin === 'queued')) return false;
    const chunk = this.chunk;
    chunk.offset = offset;
    chunk.length = length;
    chunk.fin = fin;
    chunk.fresh = repair ? 0 : length;
    return true;
  }

  /** Copies the planned chunk to `into[at…]` and counts it as sent. */
  take(into: Uint8Array, at: number): void {
    const { offset, length, fin, fresh } = this.chunk;
    this.#buffer.read(offset, into, at, length);
    if (fresh > 0) this.#next += fresh;
    else this.#lost.remove(offset, offset + length);
    if (fin && this.#fin === 'queued') this.#fin = 'sent';
  }

  onAcked(offset: number, length: number, fin: boolean): void {
    if (this.isReset) return;
    const end = offset + length;
    if (fin) this.#fin = 'acknowledged';
    this.#lost.remove(offset, end);
    if (end <= this.#base) return;
    if (offset <= this.#base && this.#acked.count === 0) {
      this.#base = end;
    } else {
      this.#acked.insert(Math.max(offset, this.#base), end);
      if (this.#acked.start(0) <= this.#base) {
        this.#base = this.#acked.end(0);
        this.#acked.dropFirst();
      }
    }
    this.#buffer.discard(this.#base);
    if (this.isDelivered) this.#buffer.clear();
  }

  onLost(offset: number, length: number, fin: boolean): void {
    if (this.isReset) return;
    if (fin && this.#fin === 'sent') this.#fin = 'queued';
    const start = Math.max(offset, this.#base);
    this.#lost.insertExcept(start, offset + length, this.#acked);
  }

  /** True once when a writer that was refused may come back: a good part of the buffer is free. */
  takeWritable(): boolean {
    const least = Math.min(this.#capacity.bytes / 4, DATA_LIMITS.pageBytes);
    if (!this.wantsRoom || this.room < least) return false;
    this.wantsRoom = false;
    return true;
  }

  #forget(): void {
    this.#buffer.clear();
    this.#acked.clear();
    this.#lost.clear();
    this.wantsRoom = false;
  }
}
