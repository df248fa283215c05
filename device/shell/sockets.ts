// The UDP sockets of one terminal: one for each wanted session, closed with it (design §5,
// Silence). A socket that the core gave up while it was being opened is closed as soon as it is
// open.

import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import { CONNECTION_DEFAULTS } from '../../protocol/data/limits.ts';
import type { ConnectionConfig } from '../../protocol/data/connection-types.ts';
import { errorCode } from '../../protocol/errors.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import { BufferPool, type UdpSocket, openUdp } from '../../protocol/io/udp.ts';
import type { SocketId, TerminalInput } from '../terminal-types.ts';
import { addressBytes } from './addresses.ts';

/** Bytes of a datagram on loopback: chosen by us, a tenth of the least receive buffer of Linux. */
const LOOPBACK_DATAGRAM_BYTES = 16 * 1024;
/** A receive buffer below this holds too few of those to be worth it. */
const LOOPBACK_BUFFER_BYTES_MIN = 256 * 1024;
/** What the kernel charges for a datagram's bytes above 1472 (speed.md §6). */
const KERNEL_CHARGE = 1.25;

interface SocketsOptions {
  readonly pool: BufferPool;
  /** A literal address of this host to bind to; asked at each opening. */
  readonly bind: () => string;
  readonly onDatagram: (socket: SocketId, path: Path, bytes: Uint8Array) => void;
  readonly onInput: (input: TerminalInput) => void;
  readonly onError: (error: Error) => void;
}

/** All sockets of one terminal. */
export class Sockets {
  readonly #options: SocketsOptions;
  readonly #open = new Map<SocketId, UdpSocket>();
  readonly #opening = new Set<SocketId>();

  constructor(options: SocketsOptions) {
    this.#options = options;
  }

  /**
   * Opens, after what waits to be written in this turn of the event loop: the question that needs
   * the socket leaves before it (ADR 0007). The answer comes as an input.
   */
  open(socket: SocketId): void {
    this.#opening.add(socket);
    setImmediate(() => this.#bind(socket));
  }

  #bind(socket: SocketId): void {
    if (!this.#opening.has(socket)) return;
    const { bind, pool, onDatagram, onError, onInput } = this.#options;
    openUdp({
      bind: bind(),
      pool,
      onDatagram: (path, bytes) => onDatagram(socket, path, bytes),
      onError,
    }).then(
      (udp) => {
        if (!this.#opening.delete(socket)) {
          void udp.close();
          return;
        }
        this.#open.set(socket, udp);
        onInput({ kind: 'socketOpen', socket, candidates: [hostCandidate(udp)] });
      },
      (error: unknown) => {
        if (!this.#opening.delete(socket)) return;
        onInput({ kind: 'socketFailed', socket, code: errorCode(error) });
      },
    );
  }

  /** Sends the first `size` bytes of a pool buffer and takes it over. */
  send(socket: SocketId, path: Path, size: number, buffer: Uint8Array): void {
    const udp = this.#open.get(socket);
    if (udp === undefined) this.#options.pool.release(buffer);
    else udp.send({ path, size }, buffer);
  }

  async close(socket: SocketId): Promise<void> {
    this.#opening.delete(socket);
    const udp = this.#open.get(socket);
    this.#open.delete(socket);
    await udp?.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#open.keys(), ...this.#opening].map((each) => this.close(each)));
  }
}

/**
 * What a talk bound to this address may be configured with: on loopback larger datagrams, and a
 * window that the kernel's real receive buffer holds; elsewhere the defaults.
 * @throws NakodoError `address-unusable`
 */
export async function configFor(bind: string): Promise<Partial<ConnectionConfig>> {
  if (!isLoopback(bind)) return {};
  const nothing = (): void => {};
  const pool = new BufferPool(1);
  const probe = await openUdp({ bind, pool, onDatagram: nothing, onError: nothing });
  const { receiveBufferBytes } = probe;
  await probe.close();
  if (receiveBufferBytes < LOOPBACK_BUFFER_BYTES_MIN) return {};
  const windowBytes = Math.floor(receiveBufferBytes / KERNEL_CHARGE);
  return {
    datagramBytes: LOOPBACK_DATAGRAM_BYTES,
    windowBytes: Math.min(windowBytes, CONNECTION_DEFAULTS.windowBytes),
    streamWindowBytes: Math.min(windowBytes, CONNECTION_DEFAULTS.streamWindowBytes),
  };
}

function hostCandidate(udp: UdpSocket): Candidate {
  const address = addressBytes(udp.host) ?? new Uint8Array();
  return { address, port: udp.port, type: 'host' };
}
