// The UDP sockets of one terminal: an endpoint for each wanted session, closed with it (design §5,
// Silence), and those that a talk opens beside it to reach a relay or to search. An endpoint that
// the core gave up while it was being opened is closed as soon as it is open. The core bounds them:
// STUN, relays and searches are its own business, what is told here is where this machine is.

import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { ConnectionConfig } from '../../protocol/data/connection-types.ts';
import { errorCode } from '../../protocol/errors.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import type { BufferPool } from '../../protocol/io/udp.ts';
import type { SocketId, TerminalInput } from '../terminal-types.ts';
import { addressBytes, isIpv6Text } from '../../protocol/address.ts';
import { type Endpoint, type Place, bindsFor, isWildcard, openEndpoint } from './endpoint.ts';
import {
  type HostAddress,
  type Interfaces,
  hostAddresses,
  ownInterfaces,
} from './host-addresses.ts';
import { linkConfig, mtuOf, smallestMtu } from './link-config.ts';
import { RelayStream } from './relay-stream.ts';

interface SocketsOptions {
  readonly pool: BufferPool;
  /** Where to bind; asked at each opening. */
  readonly place: () => Place;
  /** The owner's STUN servers, as far as they are known now. */
  readonly stun: () => readonly Path[];
  readonly onDatagram: (socket: SocketId, path: Path, bytes: Uint8Array) => void;
  readonly onInput: (input: TerminalInput) => void;
  readonly onError: (error: Error) => void;
  /** Default: this machine's, asked at each opening. */
  readonly interfaces?: () => Interfaces;
}

/** All sockets of one terminal. */
export class Sockets {
  readonly #options: SocketsOptions;
  readonly #open = new Map<SocketId, Endpoint>();
  readonly #opening = new Set<SocketId>();
  /** Connections to relays, open or not yet. */
  readonly #streams = new Map<SocketId, RelayStream>();

  constructor(options: SocketsOptions) {
    this.#options = options;
  }

  /** None is open, nor being opened. */
  get isIdle(): boolean {
    return this.#open.size === 0 && this.#opening.size === 0 && this.#streams.size === 0;
  }

  /**
   * Opens, after what waits to be written in this turn of the event loop: the question that needs
   * the socket leaves before it (ADR 0007). The answer comes as an input [S1000, 51]. `to`: for
   * this host alone.
   */
  open(socket: SocketId, to?: string): void {
    this.#opening.add(socket);
    setImmediate(() => void this.#bind(socket, to));
  }

  /** Connects to a relay where UDP is blocked; answered as the opening of a socket is. */
  connect(socket: SocketId, { host, port }: Path): void {
    const { onDatagram, onInput, place, pool } = this.#options;
    const [bind] = bindsFor(place(), host);
    if (bind === undefined) {
      onInput({ kind: 'socketFailed', socket, code: 'address-unusable' });
      return;
    }
    const stream = new RelayStream({
      server: { host, port },
      localAddress: isWildcard(bind) ? undefined : bind,
      pool,
      onOpen: () => onInput({ kind: 'socketOpen', socket, candidates: [] }),
      onDatagram: (path, bytes) => onDatagram(socket, path, bytes),
      onEnd: (code) => {
        if (this.#streams.delete(socket)) onInput({ kind: 'socketFailed', socket, code });
      },
    });
    this.#streams.set(socket, stream);
  }

  async #bind(socket: SocketId, to: string | undefined): Promise<void> {
    if (!this.#opening.has(socket)) return;
    const { place, pool, onDatagram, onError, onInput } = this.#options;
    let endpoint: Endpoint;
    try {
      endpoint = await openEndpoint({
        binds: bindsFor(place(), to),
        pool,
        receiveBuffer: to === undefined ? 'large' : 'later',
        onDatagram: (path, bytes) => onDatagram(socket, path, bytes),
        onError,
      });
    } catch (error) {
      if (!this.#opening.delete(socket)) return;
      onInput({ kind: 'socketFailed', socket, code: errorCode(error) });
      return;
    }
    if (!this.#opening.delete(socket)) {
      await endpoint.close();
      return;
    }
    this.#open.set(socket, endpoint);
    if (to === undefined) onInput({ kind: 'socketOpen', socket, ...this.#opened(endpoint) });
    else onInput({ kind: 'socketOpen', socket, candidates: [] });
  }

  /** Looks at this machine's addresses again; the answer comes as an input, if it is open. */
  gather(socket: SocketId): void {
    const endpoint = this.#open.get(socket);
    if (endpoint === undefined) return;
    const { candidates, stun } = this.#located(endpoint, this.#addressesOf(endpoint));
    this.#options.onInput({ kind: 'gathered', socket, candidates, stun });
  }

  /** Sends the first `size` bytes of a pool buffer and takes it over. */
  send(socket: SocketId, path: Path, size: number, buffer: Uint8Array): void {
    const endpoint = this.#open.get(socket) ?? this.#streams.get(socket);
    if (endpoint === undefined) this.#options.pool.release(buffer);
    else endpoint.send(path, size, buffer);
  }

  async close(socket: SocketId): Promise<void> {
    this.#opening.delete(socket);
    const endpoint = this.#open.get(socket) ?? this.#streams.get(socket);
    this.#open.delete(socket);
    this.#streams.delete(socket);
    await endpoint?.close();
  }

  async closeAll(): Promise<void> {
    const all = [...this.#open.keys(), ...this.#opening, ...this.#streams.keys()];
    await Promise.all(all.map((each) => this.close(each)));
  }

  /**
   * Of this machine, that it may be sent to at; one that is bound to a literal address knows its.
   */
  #addressesOf(endpoint: Endpoint): readonly HostAddress[] {
    if (!endpoint.sockets.some(({ host }) => isWildcard(host))) return [];
    const { interfaces, place } = this.#options;
    const all = hostAddresses((interfaces ?? ownInterfaces)(), place().link);
    return all.filter(({ host }) => endpoint.socketFor(host) !== undefined);
  }

  #opened(endpoint: Endpoint): Located & { readonly link: Partial<ConnectionConfig> } {
    const addresses = this.#addressesOf(endpoint);
    const located = this.#located(endpoint, addresses);
    const [{ host, receiveBufferBytes }] = endpoint.sockets;
    if (!isWildcard(host)) {
      const link = linkConfig({ host, receiveBufferBytes, mtu: () => mtuOf(host) });
      return { ...located, link };
    }
    const longest = addresses.some((one) => isIpv6Text(one.host)) ? '::' : '0.0.0.0';
    const mtu = (): number | undefined => smallestMtu(addresses.map((one) => one.interface));
    return { ...located, link: linkConfig({ host: longest, receiveBufferBytes, mtu }) };
  }

  /** [51, S1000]: where this machine is now, and whom to ask how others see it. */
  #located(endpoint: Endpoint, addresses: readonly HostAddress[]): Located {
    const isOnLoopback = endpoint.sockets.every(({ host }) => isLoopback(host));
    const stun = this.#options
      .stun()
      .filter(({ host }) => endpoint.socketFor(host) && isLoopback(host) === isOnLoopback);
    const candidates = endpoint.sockets.some(({ host }) => isWildcard(host))
      ? addresses.flatMap((one) => {
          const port = endpoint.socketFor(one.host)?.port;
          return port === undefined ? [] : [{ address: one.bytes, port, type: 'host' as const }];
        })
      : endpoint.sockets.map(({ host, port }) => {
          return { address: addressBytes(host) ?? new Uint8Array(), port, type: 'host' as const };
        });
    return { candidates: candidates.slice(0, IO_LIMITS.hostAddressesMax), stun, isOnLoopback };
  }
}

interface Located {
  readonly candidates: readonly Candidate[];
  readonly stun: readonly Path[];
  readonly isOnLoopback: boolean;
}
