// The relay of one talk (RFC 8656): an allocation at the first TURN server that gives one, over a
// socket of its own. What passes is what the two ends have sealed for each other: the relay sees
// who and how much, and nothing else. Its credentials are the session's own and run out.

import type { RelayTerms } from '../../protocol/control/messages.ts';
import { addressText } from '../../protocol/address.ts';
import type { Path, Transmit } from '../../protocol/core.ts';
import type { Rng } from '../../protocol/random.ts';
import { TurnClient } from '../../protocol/stun/turn-client.ts';
import { type Micros, NEVER } from '../../protocol/time.ts';
import type { SocketId } from '../terminal-types.ts';

/** Bytes of UDP payload that every Ethernet link carries whole (RFC 8200 and RFC 768 headers). */
const PAYLOAD_BYTES_MAX = 1_452;

/** Where a relay stands. */
type RelayState = 'opening' | 'asked' | 'ready' | 'failed' | 'closed';

/** One talk's relay, from its socket on. */
export class Relay {
  readonly socket: SocketId;
  readonly #servers: readonly Path[];
  readonly #terms: RelayTerms;
  readonly #rng: Rng;
  readonly #paths = new Map<Path, Path>();
  #at = -1;
  #client: TurnClient | undefined;
  #state: RelayState = 'opening';
  #says: string | undefined;

  /** `socket`: asked for; `open` is called when it is there. */
  constructor(socket: SocketId, terms: RelayTerms, rng: Rng) {
    this.socket = socket;
    this.#terms = terms;
    this.#rng = rng;
    this.#servers = relayServers(terms);
  }

  get state(): RelayState {
    return this.#state;
  }

  /** Why it failed, in words. */
  get says(): string | undefined {
    return this.#says;
  }

  /** Where the peer reaches us through it; undefined until it is ready. */
  get relayed(): Path | undefined {
    return this.#state === 'ready' ? this.#client?.relayed : undefined;
  }

  /** The socket is there: the first server is asked. */
  open(now: Micros): void {
    if (this.#state === 'opening') this.#next(now);
  }

  /** The socket could not be opened. */
  fail(says: string): void {
    this.#state = 'failed';
    this.#says ??= says;
  }

  /** The peer may send to us from these hosts. */
  permit(now: Micros, hosts: readonly string[]): void {
    if (this.#state === 'ready') this.#client?.permit(now, hosts);
  }

  /** This is the path of the talk: fewer bytes for each datagram. */
  bind(now: Micros, peer: Path): void {
    if (this.#state === 'ready') this.#client?.bind(now, { host: peer.host, port: peer.port });
  }

  /**
   * Makes the datagram at the start of `buffer` one for the relay, in place; its new size, or 0 if
   * it may not go.
   */
  wrap(now: Micros, peer: Path, buffer: Uint8Array, size: number): number {
    if (this.#state !== 'ready' || this.#client === undefined) return 0;
    const wrapped = this.#client.wrap(now, { host: peer.host, port: peer.port }, buffer, size);
    return wrapped > PAYLOAD_BYTES_MAX ? 0 : wrapped;
  }

  /** Where wrapped datagrams go. */
  get server(): Path | undefined {
    return this.#servers[this.#at];
  }

  /** What came on its socket: a datagram of the peer's, or undefined for anything else. */
  handleDatagram(
    now: Micros,
    from: Path,
    bytes: Uint8Array,
  ): { readonly path: Path; readonly bytes: Uint8Array } | 'consumed' | 'stray' {
    const heard = this.#client?.handleDatagram(now, from, bytes) ?? false;
    this.#settle(now);
    if (heard === true) return 'consumed';
    if (heard === false) return 'stray';
    let path = this.#paths.get(heard.peer);
    if (path === undefined) {
      path = { host: heard.peer.host, port: heard.peer.port, via: this.socket };
      if (this.#paths.size >= PATHS_MAX) this.#paths.clear();
      this.#paths.set(heard.peer, path);
    }
    return { path, bytes: heard.bytes };
  }

  handleTimeout(now: Micros): void {
    this.#client?.handleTimeout(now);
    this.#settle(now);
  }

  nextTimeout(): Micros {
    return this.#client?.nextTimeout() ?? NEVER;
  }

  /** What is said to the server itself. */
  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined {
    return this.#client?.pollTransmit(now, into);
  }

  /** Gives the allocation back; what is still to be said of it waits for the last polls. */
  close(now: Micros): void {
    if (this.#state === 'ready' || this.#state === 'asked') this.#client?.close(now);
    this.#state = 'closed';
  }

  /** Follows the allocation; a server that gives none is followed by the next one. */
  #settle(now: Micros): void {
    if (this.#state !== 'asked' && this.#state !== 'ready') return;
    const client = this.#client;
    if (client?.state === 'ready') this.#state = 'ready';
    if (client?.state !== 'failed') return;
    this.#says = client.failure?.says ?? this.#says;
    if (this.#state === 'asked') this.#next(now);
    else this.#state = 'failed';
  }

  #next(now: Micros): void {
    this.#at += 1;
    const server = this.server;
    if (server === undefined) {
      this.fail('the server named no relay');
      return;
    }
    const { username, password } = this.#terms;
    this.#client = new TurnClient({ server, username, password, rng: this.#rng });
    this.#client.start(now);
    this.#state = 'asked';
  }
}

/** Senders through one relay whose paths are kept. */
const PATHS_MAX = 64;

/** The servers of the terms, as paths. */
export function relayServers({ servers }: RelayTerms): readonly Path[] {
  return servers.flatMap(({ address, port }) => {
    const host = addressText(address);
    return host === undefined || port === 0 ? [] : [{ host, port }];
  });
}
