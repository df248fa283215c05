// The UDP sockets of one terminal: one for each wanted session, closed with it (design §5,
// Silence). A socket that the core gave up while it was being opened is closed as soon as it is
// open.

import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import { errorCode } from '../../protocol/errors.ts';
import { type BufferPool, type UdpSocket, openUdp } from '../../protocol/io/udp.ts';
import type { SocketId, TerminalInput } from '../terminal-types.ts';
import { addressBytes } from './addresses.ts';
import { linkConfig, mtuOf } from './link-config.ts';

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
        const { host, receiveBufferBytes } = udp;
        const link = linkConfig({ host, receiveBufferBytes, mtu: () => mtuOf(host) });
        onInput({ kind: 'socketOpen', socket, candidates: [hostCandidate(udp)], link });
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

function hostCandidate(udp: UdpSocket): Candidate {
  const address = addressBytes(udp.host) ?? new Uint8Array();
  return { address, port: udp.port, type: 'host' };
}
