// A connection from its accept until a whole CONNECT packet is there (design §4, Guard). Until then
// nothing is made for it but this: first a ClientHello is collected, where the port speaks TLS,
// then the CONNECT; either is 2 KiB at most, and at most that much is kept. OpenSSL comes after the
// first, the login after the second, and Aedes after the login.

import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type FirstBytes, judgeClientHello, judgeConnect } from '../first-bytes.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Handshakes } from './handshakes.ts';
import type { Secure } from './listener.ts';

/** Why a stranger was sent away. */
type ArrivalFault = Exclude<FirstBytes, 'whole' | 'more'>;

interface ArrivalOptions {
  /** Undefined where there is no TLS. */
  readonly secure: Secure | undefined;
  /** Where it waits for its turn, with its ClientHello. */
  readonly handshakes: Handshakes;
  /** So many bytes are kept of it. */
  readonly onHeld: (bytes: number) => void;
  readonly onFault: (fault: ArrivalFault) => void;
  /** A CONNECT is there, nothing more is read: `handOver` or `refuse` it. `first`: all bytes. */
  readonly onConnect: (first: Uint8Array) => void;
  /** The connection is gone before that; called once. */
  readonly onGone: () => void;
}

const NOTHING = new Uint8Array();

/** A stranger of whom we know nothing yet. */
export class Arrival {
  readonly #options: ArrivalOptions;
  readonly #inner: Duplex;
  #stream: Duplex;
  #held: Uint8Array = NOTHING;
  #isOver = false;

  /** Takes `inner` over. */
  constructor(inner: Duplex, options: ArrivalOptions) {
    this.#inner = inner;
    this.#stream = inner;
    this.#options = options;
    this.#watch(inner);
    const { secure } = options;
    if (secure === undefined || !(inner instanceof Socket)) this.#awaitConnect(inner);
    else this.#awaitHello(secure, inner);
  }

  /** Bytes kept of it now. */
  get heldBytes(): number {
    return this.#held.length;
  }

  /** The stream behind the CONNECT, paused; it is the caller's, and this one is over. */
  handOver(): Duplex {
    this.#over();
    return this.#stream;
  }

  /** Ends the connection when this was said. */
  refuse(answer: Uint8Array): void {
    this.#stream.end(answer, () => this.destroy());
  }

  /** Ends the connection, unless it was handed over. */
  destroy(): void {
    if (this.#isOver) return;
    this.#over();
    this.#stream.destroy();
    this.#inner.destroy();
    this.#options.onGone();
  }

  /** Errors of a stranger are its own trouble: what counts is that it is gone. */
  #watch(stream: Duplex): void {
    stream.on('error', () => this.destroy());
    stream.once('close', () => this.destroy());
    stream.once('end', () => this.destroy());
  }

  #awaitHello(secure: Secure, socket: Socket): void {
    this.#collect(socket, judgeClientHello, (stop) => {
      const begin = (): void => this.#secure(secure, socket, stop());
      this.#options.handshakes.add({ isOver: () => this.#isOver, begin });
    });
  }

  #secure(secure: Secure, socket: Socket, hello: Uint8Array): void {
    socket.unshift(hello);
    this.#held = NOTHING;
    secure(socket, (secured) => {
      if (this.#isOver) {
        secured.destroy();
        return;
      }
      this.#stream = secured;
      this.#watch(secured);
      this.#awaitConnect(secured);
    });
  }

  #awaitConnect(stream: Duplex): void {
    this.#collect(stream, judgeConnect, (stop) => this.#options.onConnect(stop()));
  }

  /**
   * Reads until `judge` sees the whole of it, and on, within the same bound, until `stop` is called
   * by whoever `onWhole` told; that gives all bytes so far, and `stream` is paused.
   */
  #collect(
    stream: Duplex,
    judge: (held: Uint8Array) => FirstBytes,
    onWhole: (stop: () => Uint8Array) => void,
  ): void {
    let isWhole = false;
    const stop = (): Uint8Array => {
      stream.off('data', read);
      stream.pause();
      return this.#held;
    };
    const read = (chunk: Uint8Array): void => {
      if (this.#isOver) return;
      if (this.#held.length + chunk.length > BROKER_LIMITS.strangerBytesMax) {
        // What it is, is said by its beginning; what is too much is not even joined.
        const start = this.#joined(chunk.subarray(0, BROKER_LIMITS.strangerBytesMax));
        this.#fault(judge(start) === 'malformed' ? 'malformed' : 'too-long');
        return;
      }
      this.#held = this.#joined(chunk);
      this.#options.onHeld(this.#held.length);
      if (isWhole) return;
      const verdict = judge(this.#held);
      if (verdict === 'more') return;
      if (verdict !== 'whole') {
        this.#fault(verdict);
        return;
      }
      isWhole = true;
      onWhole(stop);
    };
    stream.on('data', read);
  }

  #joined(chunk: Uint8Array): Uint8Array {
    return this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
  }

  #fault(fault: ArrivalFault): void {
    this.#options.onFault(fault);
    this.destroy();
  }

  #over(): void {
    this.#isOver = true;
    this.#held = NOTHING;
  }
}
