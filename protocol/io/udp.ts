// One UDP socket for a datagram core: the kernel on one side, `Port` of core.ts on the other. It
// sends without a promise or callback per datagram: Node hands a datagram to the kernel at once
// unless the socket is full; only then is a buffer kept until Node's queue is empty again.

import { type RemoteInfo, type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Path, Transmit } from '../core.ts';
import { NakodoError } from '../errors.ts';
import { LastView } from './last-view.ts';
import { IO_LIMITS } from './limits.ts';

/** Buffers that the sockets of one owner share. */
export class BufferPool {
  readonly #bufferBytes: number;
  readonly #free: Uint8Array[] = [];

  /** `bufferBytes`: length of each buffer. */
  constructor(bufferBytes: number) {
    this.#bufferBytes = bufferBytes;
  }

  /** A buffer to fill and to give to `UdpSocket.send` or back. */
  borrow(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(this.#bufferBytes);
  }

  /** Takes a buffer back that nobody uses any more. */
  release(buffer: Uint8Array): void {
    if (this.#free.length < IO_LIMITS.udpQueuedMax) this.#free.push(buffer);
  }
}

interface UdpOptions {
  /** A literal address of this host. */
  readonly bind: string;
  /** Where the buffers given to `send` come from and go back to. */
  readonly pool: BufferPool;
  /** `path` is interned, `bytes` are the receiver's to keep or change. */
  readonly onDatagram: (path: Path, bytes: Uint8Array) => void;
  readonly onError: (error: Error) => void;
}

/** An open socket on a port that the system chose. */
export class UdpSocket {
  readonly host: string;
  readonly port: number;
  /** What the kernel gave, as it counts (on Linux twice what it lets us use). */
  readonly receiveBufferBytes: number;
  /** Datagrams that found Node's queue full. */
  droppedDatagrams = 0;
  readonly #socket: Socket;
  readonly #pool: BufferPool;
  readonly #view = new LastView();
  /** Buffers that Node still holds. */
  #queued: Uint8Array[] = [];
  #isClosed = false;

  /** `socket`: bound, handed over. */
  constructor(socket: Socket, pool: BufferPool) {
    const { address, port } = socket.address();
    this.host = address;
    this.port = port;
    this.receiveBufferBytes = socket.getRecvBufferSize();
    this.#socket = socket;
    this.#pool = pool;
  }

  /** Sends the first `transmit.size` bytes and takes the buffer over. Failure is loss. */
  send(transmit: Transmit, buffer: Uint8Array): void {
    if (this.#queued.length > 0) this.#reclaim();
    if (this.#isClosed || this.#queued.length >= IO_LIMITS.udpQueuedMax) {
      this.droppedDatagrams += 1;
      this.#pool.release(buffer);
      return;
    }
    const { path, size } = transmit;
    const bytes = this.#view.of(buffer.buffer, buffer.byteOffset, size);
    this.#socket.send(bytes, path.port, path.host);
    if (this.#socket.getSendQueueCount() === 0) this.#pool.release(buffer);
    else this.#queued.push(buffer);
  }

  /** Closes; resolves when the port is free again. Repeated calls are harmless. */
  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    // What Node still holds is left to it.
    this.#queued = [];
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }

  #reclaim(): void {
    if (this.#isClosed || this.#socket.getSendQueueCount() > 0) return;
    for (const buffer of this.#queued) this.#pool.release(buffer);
    this.#queued = [];
  }
}

/**
 * Opens and binds a socket, with as large a receive buffer as the kernel gives.
 * @throws NakodoError `address-unusable`.
 */
export function openUdp(options: UdpOptions): Promise<UdpSocket> {
  const type = isIPv6(options.bind) ? 'udp6' : 'udp4';
  const lookup = literalLookup(type === 'udp6' ? 6 : 4);
  const socket = createSocket({ type, ipv6Only: type === 'udp6', lookup });
  const intern = internedPaths(IO_LIMITS.udpPathsMax);
  return new Promise((resolve, reject) => {
    const onBindError = (error: Error): void => {
      socket.close();
      reject(bindError(error, options.bind));
    };
    socket.once('error', onBindError);
    socket.bind({ address: options.bind, port: 0, exclusive: true }, () => {
      socket.off('error', onBindError);
      socket.on('error', options.onError);
      socket.setRecvBufferSize(IO_LIMITS.udpReceiveBufferBytes);
      socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
        options.onDatagram(intern(from.address, from.port), bytes);
      });
      resolve(new UdpSocket(socket, options.pool));
    });
  });
}

/** Same host and port, same object, for the `max` most recently seen paths. */
function internedPaths(max: number): (host: string, port: number) => Path {
  const paths = new Map<string, Path>();
  let last: Path = { host: '', port: 0 };
  return (host, port) => {
    if (port === last.port && host === last.host) return last;
    const key = `${port} ${host}`;
    last = paths.get(key) ?? { host, port };
    paths.delete(key);
    paths.set(key, last);
    if (paths.size > max) {
      for (const oldest of paths.keys()) {
        paths.delete(oldest);
        break;
      }
    }
    return last;
  };
}

type LookupDone = (error: Error | null, address: string, family: number) => void;

/**
 * Answers at once, for every datagram: our addresses are literal and of the socket's own family, so
 * that nothing is ever asked of DNS and no text is parsed twice.
 */
function literalLookup(family: 4 | 6): (host: string, options: unknown, done: LookupDone) => void {
  return (host, _options, done) => done(null, host, family);
}

function bindError(error: Error, bind: string): NakodoError {
  return new NakodoError(
    'address-unusable',
    `cannot open a UDP socket on ${bind}: ${error.message}`,
    'give an address of this host',
  );
}
