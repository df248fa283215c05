// One stream of a talk as a Node stream: what the application does not read stays in the talk's
// receive window and so stops the peer; what the talk does not take waits here, one chunk, and so
// stops the application. Works with pipeline(). Docs: docs/sessions.md.

import { Duplex } from 'node:stream';
import { assert } from '../../protocol/assert.ts';
import type { StreamId, Talk } from '../../protocol/data/connection-types.ts';
import type { NakodoError } from '../../protocol/errors.ts';
import { resetError } from './call-error.ts';
import type { ReadSlab } from './read-slab.ts';
import { STREAM_CODE } from './stream-opening.ts';

/**
 * Bytes that wait in Node's own buffers before the application is told to pause, in either
 * direction: chosen by us, a turn's worth. What lies beneath is the talk's: its send buffer and
 * the receive window (data/limits.ts).
 */
const HIGH_WATER_BYTES = 64 * 1024;

/** What a stream needs of its session. */
interface StreamHost {
  /** Undefined when the talk is over. */
  talk(): Talk | undefined;
  /** To be called after every command to the talk. */
  drain(): void;
  /** The stream is gone for good. */
  forget(stream: TalkStream): void;
  readonly slab: ReadSlab;
}

interface Waiting {
  readonly chunk: Uint8Array;
  at: number;
  readonly done: (error?: Error) => void;
}

type Done = (error?: Error | null) => void;

/**
 * A bidirectional stream of a talk: reliable, in order, encrypted.
 * `end()` half-closes; `finish` is emitted when the peer has acknowledged every byte.
 * `destroy()` gives both directions up: the peer's stream fails with `stream-reset`.
 * Its errors are NakodoErrors: `stream-reset`, `stream-refused`, or the reason of the talk's end.
 * One that nobody listens for ends nothing but the stream.
 */
export class TalkStream extends Duplex {
  readonly id: StreamId;
  /** What its opener sent along: the service's own, 0 to 1024 bytes. */
  readonly parameters: Uint8Array;
  readonly #host: StreamHost;
  #isStopped = false;
  #waiting: Waiting | undefined;
  #wantsMore = false;
  #hasFinished = false;
  #isDelivered = false;
  #delivery: Done | undefined;
  #hasReadAll = false;
  /** Why the talk ended, once it has. */
  #over: NakodoError | undefined;
  #code: number = STREAM_CODE.givenUp;

  /** For the session. */
  constructor(id: StreamId, parameters: Uint8Array, host: StreamHost) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: HIGH_WATER_BYTES,
      writableHighWaterMark: HIGH_WATER_BYTES,
    });
    this.id = id;
    this.parameters = parameters;
    this.#host = host;
    // Whoever uses the stream hears of its failure by its own means; nobody must die of it.
    this.on('error', () => {});
  }

  /** The peer reads no more (STOP_SENDING): what is written goes nowhere, its answer may follow. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  override _read(): void {
    this.#wantsMore = true;
    this.#pull();
  }

  /** Node's read(); after the end of the talk it also notices that all that was left is read. */
  override read(size?: number): ReturnType<Duplex['read']> {
    const chunk: unknown = super.read(size);
    const why = this.#over;
    // A moment later: whoever has just taken the last of it comes first.
    if (why !== undefined && !this.#hasReadAll && this.#isRead) {
      process.nextTick(() => this.destroy(why));
    }
    return chunk;
  }

  /** The chunk is copied before `done`: its owner may use it again then. */
  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    assert(this.#waiting === undefined, 'Node writes one chunk at a time');
    if (this.#over !== undefined) {
      done(this.#over);
      return;
    }
    this.#waiting = { chunk, at: 0, done };
    this.#push();
  }

  /** `finish` is emitted when everything is delivered: so pipeline() means what it says. */
  override _final(done: Done): void {
    this.#hasFinished = true;
    if (this.isStopped || this.#over !== undefined) {
      done(this.isStopped ? null : this.#over);
      return;
    }
    this.#delivery = done;
    this.#host.talk()?.finish(this.id);
    this.#host.drain();
  }

  override _destroy(error: Error | null, done: Done): void {
    const talk = this.#host.talk();
    // What was ended is still delivered, unless something failed.
    const isWanted = this.#hasFinished && (error === null || this.#isDelivered);
    if (!isWanted) talk?.reset(this.id, this.#code);
    if (!this.#hasReadAll) talk?.stop(this.id, this.#code);
    this.#host.forget(this);
    this.#host.drain();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.done(error ?? undefined);
    this.#settleDelivery(error);
    done(error);
  }

  /** Tells the peer that nothing more of this stream is read (STOP_SENDING); writing goes on. */
  stopReading(): void {
    if (this.#hasReadAll) return;
    this.#hasReadAll = true;
    this.#host.talk()?.stop(this.id, this.#code);
    this.push(null);
    this.resume();
    this.#host.drain();
  }

  /** Gives the stream up with another code: nobody takes it here, or its target is not there. */
  refuse(code: number = STREAM_CODE.refused): void {
    this.#code = code;
    this.destroy();
  }

  /** For the session, as all below. */
  onReadable(): void {
    this.#pull();
  }

  onWritable(): void {
    this.#push();
  }

  onStopped(): void {
    this.#isStopped = true;
    this.#push();
    this.#settleDelivery(null);
  }

  onDelivered(): void {
    this.#isDelivered = true;
    this.#settleDelivery(null);
  }

  onReset(code: number): void {
    if (this.#hasReadAll) return;
    this.#hasReadAll = true;
    this.destroy(resetError(code));
  }

  /** The talk is over: what had arrived can still be read, then the stream fails with `why`. */
  onTalkEnded(salvage: Talk | undefined, why: NakodoError): void {
    if (this.destroyed) return;
    if (salvage !== undefined) this.#readAll(salvage);
    this.#over = why;
    // A peer that ends the talk as done has what it wanted, even if its last word of it was lost.
    if (why.code === 'done' && this.#hasFinished) this.onDelivered();
    // A stream whose both directions are through just ends.
    if (this.#hasReadAll && this.#isDelivered) return;
    const isWriting = this.writableLength > 0 || this.#delivery !== undefined;
    if (isWriting || this.#isRead) this.destroy(why);
    // A moment later: whoever hears of the end of what there is to read comes first.
    else this.once('end', () => process.nextTick(() => this.destroy(why)));
  }

  /** Nothing is left to read; of a whole stream its reader knows it. */
  get #isRead(): boolean {
    return this.#hasReadAll ? this.readableEnded : this.readableLength === 0;
  }

  #pull(): void {
    while (this.#wantsMore && !this.#hasReadAll) {
      const talk = this.#host.talk();
      if (talk === undefined) return;
      if (!this.#handOn(talk)) return;
      // Reading opens the window: the peer should hear of it.
      this.#host.drain();
    }
  }

  /** Bounded by the talk's receive window. */
  #readAll(talk: Talk): void {
    while (!this.#hasReadAll && this.#handOn(talk));
  }

  /** Hands the next piece on, or the end; false when neither is there now. */
  #handOn(talk: Talk): boolean {
    const { slab } = this.#host;
    const length = talk.read(this.id, slab.room);
    if (length === 0) return false;
    if (length < 0) {
      this.#hasReadAll = true;
      this.push(null);
    } else if (!this.push(slab.take(length))) {
      this.#wantsMore = false;
    }
    return true;
  }

  #push(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const talk = this.#host.talk();
    if (talk === undefined) return;
    if (!this.isStopped) {
      const { chunk, at } = waiting;
      waiting.at += talk.write(this.id, at === 0 ? chunk : chunk.subarray(at));
      this.#host.drain();
    }
    if (this.#waiting !== waiting) return;
    if (waiting.at < waiting.chunk.length && !this.isStopped) return;
    this.#waiting = undefined;
    waiting.done();
  }

  #settleDelivery(error: Error | null): void {
    const delivery = this.#delivery;
    this.#delivery = undefined;
    delivery?.(error);
  }
}
