// What stands between a connection that proved its login and Aedes (design §4, Guard): packet
// lengths are checked before a byte is kept, a terminal is read at its pace, and the moment a
// connection is gone is told at once. One stream in front of TCP, of TLS and of an in-process
// duplex alike; writes of one tick leave as one.

import { Duplex } from 'node:stream';
import type { Clock } from '../../protocol/io/clock.ts';
import { MICROS_PER_MS } from '../../protocol/time.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Pace } from '../pace.ts';
import { type LengthVerdict, PacketLengths } from '../packet-lengths.ts';

/** Why the guard ended a connection. */
type GuardFault = Exclude<LengthVerdict, 'ok'>;

interface GuardOptions {
  readonly clock: Clock;
  /** A terminal is read at its pace; a session manager speaks for all, and is not. */
  readonly pace: Pace | undefined;
  readonly onFault: (fault: GuardFault) => void;
  /** The connection is gone, for whatever reason; called once, before anything waits. */
  readonly onGone: () => void;
}

/** A connection as Aedes sees it. */
export class GuardedConnection extends Duplex {
  readonly #inner: Duplex;
  readonly #options: GuardOptions;
  readonly #lengths = new PacketLengths(BROKER_LIMITS.packetBytesMax);
  /** Set while it is not read for its pace. */
  #rest: NodeJS.Timeout | undefined;
  #isGone = false;

  /** Takes `inner`, paused, over; `start` lets it go on. */
  constructor(inner: Duplex, options: GuardOptions) {
    super({ writableHighWaterMark: BROKER_LIMITS.unansweredBytesMax });
    this.#inner = inner;
    this.#options = options;
    inner.once('end', () => {
      this.#gone();
      this.push(null);
    });
    inner.on('error', (error) => this.destroy(error));
    inner.once('close', () => this.destroy());
  }

  /** Reads; `first`: what was read of `inner` before, handed over. */
  start(first: Uint8Array): void {
    this.#receive(first);
    this.#inner.on('data', (chunk: Uint8Array) => this.#receive(chunk));
  }

  /** It leaves unread what it is sent. */
  get isSlow(): boolean {
    return this.writableLength > BROKER_LIMITS.unreadBytesMax;
  }

  override _read(): void {
    if (this.#rest === undefined) this.#inner.resume();
  }

  override _write(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    this.#inner.write(chunk, done);
  }

  override _writev(
    writes: readonly { readonly chunk: Buffer }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#inner.write(Buffer.concat(writes.map((write) => write.chunk)), done);
  }

  override _final(done: () => void): void {
    this.#inner.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#gone();
    this.#inner.destroy();
    done(error);
  }

  #receive(chunk: Uint8Array): void {
    if (this.destroyed) return;
    const before = this.#lengths.packets;
    const verdict = this.#lengths.feed(chunk);
    if (verdict !== 'ok') {
      this.#fault(verdict);
      return;
    }
    const packets = this.#lengths.packets - before;
    const cost = chunk.length + packets * BROKER_LIMITS.terminalPacketBytes;
    const restMicros = this.#options.pace?.take(this.#options.clock.now(), cost) ?? 0;
    if (restMicros > 0) this.#pauseFor(Math.ceil(restMicros / MICROS_PER_MS));
    if (!this.push(chunk)) this.#inner.pause();
  }

  #pauseFor(restMs: number): void {
    this.#inner.pause();
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#inner.resume();
    }, restMs);
  }

  #fault(fault: GuardFault): void {
    this.#options.onFault(fault);
    this.destroy();
  }

  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    clearTimeout(this.#rest);
    this.#options.onGone();
  }
}
