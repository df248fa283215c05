// One stream of a talk as a Node stream: what the application does not read stays in the talk's
// receive window and so stops the peer; what the talk does not take waits here, one chunk, and so
// stops the application. Works with pipeline().

import { Duplex } from 'node:stream';
import { assert } from '../../protocol/assert.ts';
import type { StreamId, Talk } from '../../protocol/data/connection-types.ts';
import { NakodoError } from '../../protocol/errors.ts';

/** Bytes read from the talk at a time: chosen by us, a few datagrams on loopback. */
const READ_BYTES = 64 * 1024;
/** Code of RESET_STREAM and STOP_SENDING when an application gives a stream up. */
const GIVEN_UP = 1;

/** What a stream needs of its session. */
interface StreamHost {
  /** Undefined when the talk is over. */
  talk(): Talk | undefined;
  /** To be called after every command to the talk. */
  drain(): void;
  /** The stream is gone for good. */
  forget(stream: StreamId): void;
}

interface Waiting {
  readonly chunk: Uint8Array;
  at: number;
  readonly done: (error?: Error) => void;
}

/** A bidirectional stream of a talk. */
export class TalkStream extends Duplex {
  readonly id: StreamId;
  /** The peer reads no more (STOP_SENDING): what is written goes nowhere, its answer may follow. */
  isStopped = false;
  readonly #host: StreamHost;
  #waiting: Waiting | undefined;
  #wantsMore = false;
  #hasFinished = false;
  #isDelivered = false;
  #delivery: ((error?: Error | null) => void) | undefined;
  #hasReadAll = false;

  constructor(id: StreamId, host: StreamHost) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_BYTES });
    this.id = id;
    this.#host = host;
  }

  override _read(): void {
    this.#wantsMore = true;
    this.#pull();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    assert(this.#waiting === undefined, 'Node writes one chunk at a time');
    this.#waiting = { chunk, at: 0, done };
    this.#push();
  }

  /** `finish` is emitted when everything is delivered: so pipeline() means what it says. */
  override _final(done: (error?: Error | null) => void): void {
    this.#hasFinished = true;
    if (this.isStopped) {
      done();
      return;
    }
    this.#delivery = done;
    this.#host.talk()?.finish(this.id);
    this.#host.drain();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const talk = this.#host.talk();
    if (!this.#hasFinished) talk?.reset(this.id, GIVEN_UP);
    if (!this.#hasReadAll) talk?.stop(this.id, GIVEN_UP);
    this.#host.forget(this.id);
    this.#host.drain();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.done(error ?? undefined);
    this.#settleDelivery(error);
    done(error);
  }

  /** Tells the peer that nothing more of this stream is read; writing goes on. */
  stopReading(): void {
    if (this.#hasReadAll) return;
    this.#hasReadAll = true;
    this.#host.talk()?.stop(this.id, GIVEN_UP);
    this.push(null);
    this.resume();
    this.#host.drain();
  }

  onReadable(): void {
    this.#pull();
  }

  onWritable(): void {
    this.#push();
  }

  onStopped(): void {
    this.isStopped = true;
    this.#push();
    this.#settleDelivery(null);
  }

  onDelivered(): void {
    this.#isDelivered = true;
    this.#settleDelivery(null);
  }

  onReset(): void {
    if (this.#hasReadAll) return;
    this.#hasReadAll = true;
    this.destroy(
      new NakodoError('stream-reset', 'the other terminal gave up this stream', 'try again'),
    );
  }

  /** The talk is over: what had arrived is still handed on, then the stream fails with `why`. */
  onTalkEnded(salvage: Talk | undefined, why: NakodoError): void {
    if (this.destroyed) return;
    if (salvage !== undefined && !this.#hasReadAll) this.#readAll(salvage);
    // A peer that ends the talk as done has what it wanted, even if its last word of it was lost.
    if (why.code === 'done' && this.#hasFinished) this.onDelivered();
    if (this.#hasReadAll && this.#isDelivered) return;
    this.destroy(why);
  }

  #pull(): void {
    while (this.#wantsMore && !this.#hasReadAll) {
      const talk = this.#host.talk();
      if (talk === undefined) return;
      const into = new Uint8Array(READ_BYTES);
      const length = talk.read(this.id, into);
      if (length === 0) return;
      if (length < 0) {
        this.#hasReadAll = true;
        this.push(null);
      } else if (!this.push(into.subarray(0, length))) {
        this.#wantsMore = false;
      }
      // Reading opens the window: the peer should hear of it.
      this.#host.drain();
    }
  }

  /** Bounded by the talk's receive window. */
  #readAll(talk: Talk): void {
    for (;;) {
      const into = new Uint8Array(READ_BYTES);
      const length = talk.read(this.id, into);
      if (length === 0) return;
      if (length < 0) {
        this.#hasReadAll = true;
        this.push(null);
        return;
      }
      this.push(into.subarray(0, length));
    }
  }

  #push(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const talk = this.#host.talk();
    if (talk === undefined) return;
    if (!this.isStopped) {
      waiting.at += talk.write(this.id, waiting.chunk.subarray(waiting.at));
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
