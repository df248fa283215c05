// What stands between a connection and Aedes (design §4, Guard): packet lengths are checked before
// a byte is kept, a login has three seconds, and the moment a connection is gone is told at once.
// One stream in front of TCP and of an in-process duplex alike; writes of one tick leave as one.

import { Duplex } from 'node:stream';
import { BROKER_LIMITS } from '../limits.ts';
import { type LengthVerdict, PacketLengths } from '../packet-lengths.ts';

/** Why the guard ended a connection. */
type GuardFault = Exclude<LengthVerdict, 'ok'> | 'no-login';

interface GuardOptions {
  /** Milliseconds until the login must be proven. */
  readonly loginMs: number;
  readonly onFault: (fault: GuardFault) => void;
  /** The connection is gone, for whatever reason; called once, before anything waits. */
  readonly onGone: () => void;
}

/** A connection as Aedes sees it. */
export class GuardedConnection extends Duplex {
  readonly #inner: Duplex;
  readonly #options: GuardOptions;
  readonly #lengths = new PacketLengths(BROKER_LIMITS.strangerPacketBytesMax);
  readonly #deadline: NodeJS.Timeout;
  #isGone = false;

  /** Takes `inner` over. */
  constructor(inner: Duplex, options: GuardOptions) {
    super({ writableHighWaterMark: BROKER_LIMITS.unansweredBytesMax });
    this.#inner = inner;
    this.#options = options;
    this.#deadline = setTimeout(() => this.#fault('no-login'), options.loginMs);
    inner.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    inner.once('end', () => {
      this.#gone();
      this.push(null);
    });
    inner.once('error', (error) => this.destroy(error));
    inner.once('close', () => this.destroy());
  }

  /** The login is proven: the deadline is off, and packets may be as long as our messages. */
  admit(): void {
    clearTimeout(this.#deadline);
    this.#lengths.setPacketBytesMax(BROKER_LIMITS.packetBytesMax);
  }

  /** It leaves unread what it is sent. */
  get isSlow(): boolean {
    return this.writableLength > BROKER_LIMITS.unreadBytesMax;
  }

  override _read(): void {
    this.#inner.resume();
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
    const verdict = this.#lengths.feed(chunk);
    if (verdict !== 'ok') this.#fault(verdict);
    else if (!this.push(chunk)) this.#inner.pause();
  }

  #fault(fault: GuardFault): void {
    this.#options.onFault(fault);
    this.destroy();
  }

  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    clearTimeout(this.#deadline);
    this.#options.onGone();
  }
}
