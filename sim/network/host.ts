// One host of the modelled Internet: an address in some network, perhaps one of the other family as
// well, an access link, sockets. Ports of closed sockets rest for a long time, as a datagram for
// the old one may still be under way.

import type { Path } from '../../protocol/core.ts';
import type { Channel } from './channel.ts';
import type { Nat } from './nat.ts';
import { PORT_MAX, type Paths, isOneFamily } from './paths.ts';

/** Where a host is attached. */
export interface Attachment {
  /** IPv4 or IPv6 in its shortest form, in the network inside the first box. */
  readonly address: string;
  /** From the host outward. */
  readonly nats?: readonly Nat[];
  /** None: nothing in between, at once. Shared channels share their rate and queue. */
  readonly up?: Channel;
  readonly down?: Channel;
  /** An address of the other family, over the same link: every socket has its port there too. */
  readonly also?: { readonly address: string; readonly nats: readonly Nat[] } | undefined;
}

/** A host's place as it is now; another object after a move. */
export interface Place {
  readonly host: Host;
  readonly address: string;
  readonly nats: readonly Nat[];
  readonly up: Channel | undefined;
  readonly down: Channel | undefined;
}

/** What a host needs of the Internet that it is part of. */
export interface HostSurroundings {
  readonly paths: Paths;
  attach(place: Place): void;
  detach(place: Place): void;
  /** Ends the forwards of a socket, if it has any. */
  unforward(host: Host, socket: Path): void;
  /** Takes a copy of `bytes` along. */
  send(host: Host, socket: Path, to: Path, bytes: Uint8Array): void;
}

/** Lowest port that is given to sockets (RFC 6335 §6). */
const DYNAMIC_PORT_MIN = 49_152;
const DYNAMIC_PORTS = PORT_MAX - DYNAMIC_PORT_MIN + 1;
/** Sockets that one host may have open. */
const SOCKETS_MAX = 8_192;
/** One host. Sockets are named by the path that `bind` gave, also after a move. */
export class Host {
  readonly name: string;
  /** Called at the time of arrival; `bytes` are the receiver's, `to` is the socket's name. */
  onDatagram: (to: Path, from: Path, bytes: Uint8Array) => void = () => {};
  readonly #around: HostSurroundings;
  readonly #sockets = new Map<number, Path>();
  #nextPort: number;
  #place: Place;
  #also: Place | undefined;

  constructor(
    around: HostSurroundings,
    name: string,
    attachment: Attachment,
    random: () => number,
  ) {
    this.name = name;
    this.#around = around;
    this.#nextPort = DYNAMIC_PORT_MIN + Math.floor(random() * DYNAMIC_PORTS);
    [this.#place, this.#also] = placesOf(this, attachment);
    for (const place of this.places) around.attach(place);
  }

  get address(): string {
    return this.#place.address;
  }

  get nats(): readonly Nat[] {
    return this.#place.nats;
  }

  get up(): Channel | undefined {
    return this.#place.up;
  }

  get down(): Channel | undefined {
    return this.#place.down;
  }

  get place(): Place {
    return this.#place;
  }

  /** Both, if it has addresses of both families; the first is the one that names its sockets. */
  get places(): readonly Place[] {
    return this.#also === undefined ? [this.#place] : [this.#place, this.#also];
  }

  /** From where it sends to an address; undefined: it has none of that family. */
  placeFor(address: string): Place | undefined {
    return this.places.find((place) => isOneFamily(place.address, address));
  }

  /** Names of the open sockets, in the order of opening. */
  get sockets(): Iterable<Path> {
    return this.#sockets.values();
  }

  /** Opens a socket: on that port, or on the next one, which nobody had for 16,000 sockets. */
  bind(port?: number): Path {
    if (this.#sockets.size >= SOCKETS_MAX) throw new Error(`${this.name} has too many sockets`);
    if (port !== undefined && this.#sockets.has(port))
      throw new Error(`${this.name} has port ${port} open already`);
    const chosen = port ?? this.#freePort();
    const socket = this.#around.paths.of(this.address, chosen);
    this.#sockets.set(chosen, socket);
    return socket;
  }

  /** Closes a socket, and the forwards that lead to it; harmless if it is closed. */
  unbind(socket: Path): void {
    if (!this.isBound(socket)) return;
    this.#around.unforward(this, socket);
    this.#sockets.delete(socket.port);
  }

  isBound(socket: Path): boolean {
    return this.#sockets.get(socket.port) === socket;
  }

  /** The open socket on a port, if any. */
  socketOn(port: number): Path | undefined {
    return this.#sockets.get(port);
  }

  /** Where a socket is in its own network now: its name, until the host moves. */
  localPath(socket: Path): Path {
    return this.#around.paths.of(this.address, socket.port);
  }

  /** Sends a copy of `bytes`; `to` need not be interned. */
  send(from: Path, to: Path, bytes: Uint8Array): void {
    this.#around.send(this, from, to, bytes);
  }

  /**
   * Joins another network, with another address; what is on its way to the old one goes astray.
   * Boxes and channels that are not named stay those that were; sockets stay open, forwards end.
   */
  move(to: string | Attachment): void {
    for (const socket of this.#sockets.values()) this.#around.unforward(this, socket);
    for (const place of this.places) this.#around.detach(place);
    const attachment = typeof to === 'string' ? { address: to } : to;
    const { address, nats, up, down } = this.#place;
    const before: Attachment = {
      address,
      nats,
      ...(up && { up }),
      ...(down && { down }),
      also: this.#also,
    };
    [this.#place, this.#also] = placesOf(this, { ...before, ...attachment });
    for (const place of this.places) this.#around.attach(place);
  }

  #freePort(): number {
    for (let tries = 0; tries <= this.#sockets.size; tries++) {
      const port = this.#nextPort;
      this.#nextPort = port === PORT_MAX ? DYNAMIC_PORT_MIN : port + 1;
      if (!this.#sockets.has(port)) return port;
    }
    throw new Error(`${this.name} has no port left`);
  }
}

function placesOf(
  host: Host,
  { address, nats = [], up, down, also }: Attachment,
): readonly [Place, Place | undefined] {
  const place: Place = { host, address, nats, up, down };
  if (also === undefined) return [place, undefined];
  if (isOneFamily(address, also.address))
    throw new Error(`${host.name} has two addresses of one family`);
  return [place, { ...place, address: also.address, nats: also.nats }];
}
