// One UDP socket for a datagram core: the kernel on one side, `Port` of core.ts on the other. It
// sends without a promise or callback per datagram: Node hands a datagram to the kernel at once
// unless the socket is full; only then is a buffer kept until Node's queue is empty again. What the
// kernel refuses to send (no route, a firewall, too long) is loss: a few sends are watched for it.

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
  /** What the kernel said of a datagram or of the socket, which stays open. */
  readonly onError: (error: Error) => void;
  /**
   * `large`: as large a receive buffer as the kernel gives, from the start (the default). `later`:
   * once the socket is used for more than a few datagrams.
   */
  readonly receiveBuffer?: 'large' | 'later';
}

/** Of so many datagrams one is watched; while sending fails, all are. */
const WATCHED_EVERY = 32;
/** Datagrams after which a socket with the system's receive buffer is given a large one. */
const FEW_DATAGRAMS = 64;

/** An open socket on a port that the system chose. */
export class UdpSocket {
  readonly host: string;
  readonly port: number;
  /** Datagrams that found Node's queue full. */
  droppedDatagrams = 0;
  /** Datagrams that the kernel did not take, as far as they were watched. */
  refusedDatagrams = 0;
  readonly #socket: Socket;
  readonly #pool: BufferPool;
  readonly #view = new LastView();
  /** Buffers that Node still holds. */
  #queued: Uint8Array[] = [];
  #isClosed = false;
  /** Sends until one is watched again; the first one is. */
  #unwatched = 0;
  readonly #onSent: (error: Error | null) => void;

  /** `socket`: bound, handed over. */
  constructor(socket: Socket, { pool, onError }: Pick<UdpOptions, 'pool' | 'onError'>) {
    const { address, port } = socket.address();
    this.host = address;
    this.port = port;
    this.#socket = socket;
    this.#pool = pool;
    this.#onSent = (error) => {
      if (error === null || this.#isClosed) return;
      this.refusedDatagrams += 1;
      this.#unwatched = 0;
      onError(error);
    };
  }

  /** What the kernel gave, as it counts (on Linux twice what it lets us use). Of an open socket. */
  get receiveBufferBytes(): number {
    return this.#socket.getRecvBufferSize();
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
    if (this.#unwatched > 0) {
      this.#unwatched -= 1;
      this.#socket.send(bytes, path.port, path.host);
    } else {
      this.#unwatched = WATCHED_EVERY - 1;
      this.#socket.send(bytes, path.port, path.host, this.#onSent);
    }
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
 * Opens and binds a socket; an IPv6 one takes no IPv4.
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
      const enlarge = (): void => socket.setRecvBufferSize(IO_LIMITS.udpReceiveBufferBytes);
      if (options.receiveBuffer === 'later') afterFew(socket, enlarge);
      else enlarge();
      socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
        options.onDatagram(intern(from.address, from.port), bytes);
      });
      resolve(new UdpSocket(socket, options));
    });
  });
}

/** Once, as soon as more than a few datagrams have come. */
function afterFew(socket: Socket, then: () => void): void {
  let left = FEW_DATAGRAMS;
  const count = (): void => {
    left -= 1;
    if (left > 0) return;
    socket.off('message', count);
    then();
  };
  socket.on('message', count);
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
