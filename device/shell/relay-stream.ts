// A connection to a relay, for networks that block UDP (RFC 8656 §2.1): messages of TURN go out
// padded, and come in cut from the stream, each as if it were a datagram. It is UDP inside: what
// does not fit into a short queue is lost, since a long one would only make everything late.

import { type Socket, connect } from 'node:net';
import type { Path } from '../../protocol/core.ts';
import { errorCode } from '../../protocol/errors.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { BufferPool } from '../../protocol/io/udp.ts';
import { TcpFrames, padForStream } from '../../protocol/stun/tcp-frames.ts';

interface RelayStreamOptions {
  readonly server: Path;
  /** Undefined: whichever the system takes. */
  readonly localAddress: string | undefined;
  readonly pool: BufferPool;
  readonly onOpen: () => void;
  /** `bytes`: the receiver's to keep or change. */
  readonly onDatagram: (path: Path, bytes: Uint8Array) => void;
  /** It could not be made, or has ended; once, and not after `close`. */
  readonly onEnd: (code: string) => void;
}

/** One connection, from the moment that it is wanted. */
export class RelayStream {
  /** Frames that found the queue full, or no connection. */
  droppedFrames = 0;
  readonly #options: RelayStreamOptions;
  readonly #socket: Socket;
  readonly #frames = new TcpFrames();
  /** What is sent in one turn of the event loop leaves together. */
  #batch = Buffer.allocUnsafe(0);
  #batched = 0;
  #isOver = false;

  constructor(options: RelayStreamOptions) {
    this.#options = options;
    const { server, localAddress, onOpen } = options;
    const { host, port } = server;
    const socket = connect({ host, port, localAddress, noDelay: true, keepAlive: true });
    this.#socket = socket;
    socket.setTimeout(IO_LIMITS.relayConnectMs, () => this.#end('ETIMEDOUT'));
    socket.once('connect', () => {
      // A talk has silences that are longer.
      socket.setTimeout(0);
      if (!this.#isOver) onOpen();
    });
    socket.on('data', (bytes) => this.#onBytes(bytes));
    socket.on('error', (error) => this.#end(errorCode(error)));
    socket.on('close', () => this.#end('ECONNRESET'));
  }

  /** Bytes that wait for the kernel. */
  get waitingBytes(): number {
    return this.#socket.writableLength + this.#batched;
  }

  /**
   * Sends the first `size` bytes of a pool buffer to the server; takes it over. Failure is loss.
   */
  send(_path: Path, size: number, buffer: Uint8Array): void {
    const total = padForStream(buffer, size);
    const { relayQueueBytesMax, relayBatchBytes } = IO_LIMITS;
    const isFull = this.waitingBytes + total > relayQueueBytesMax || total > relayBatchBytes;
    if (this.#isOver || this.#socket.connecting || isFull || total === 0) {
      this.droppedFrames += 1;
    } else {
      if (this.#batched + total > this.#batch.length) this.#flush();
      if (this.#batched === 0) process.nextTick(() => this.#flush());
      this.#batch.set(buffer.subarray(0, total), this.#batched);
      this.#batched += total;
    }
    this.#options.pool.release(buffer);
  }

  /** Closes, once what waits is sent or after IO_LIMITS.relayFlushMs; resolves when it is gone. */
  close(): Promise<void> {
    if (!this.#isOver) this.#flush();
    this.#isOver = true;
    const socket = this.#socket;
    if (socket.closed) return Promise.resolve();
    return new Promise((resolve) => {
      const late = setTimeout(() => socket.destroy(), IO_LIMITS.relayFlushMs);
      socket.once('close', () => {
        clearTimeout(late);
        resolve();
      });
      if (socket.connecting) socket.destroy();
      else socket.end(() => socket.destroy());
    });
  }

  #flush(): void {
    const bytes = this.#batch.subarray(0, this.#batched);
    this.#batched = 0;
    if (bytes.length > 0 && !this.#isOver) this.#socket.write(bytes);
    // The kernel has it all, or Node keeps the buffer.
    if (this.#socket.writableLength > 0 || this.#batch.length === 0)
      this.#batch = Buffer.allocUnsafe(IO_LIMITS.relayBatchBytes);
  }

  #onBytes(bytes: Uint8Array): void {
    for (const frame of this.#frames.push(bytes)) {
      if (!this.#isOver) this.#options.onDatagram(this.#options.server, frame);
    }
    if (this.#frames.isBroken) this.#end('EPROTO');
  }

  #end(code: string): void {
    this.#socket.destroy();
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.onEnd(code);
  }
}
