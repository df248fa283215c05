// The Internet in virtual time: hosts with sockets, behind no, one or several boxes (nat.ts), each
// on an access link of two channels (channel.ts). Networks nest: a host stands in the network
// inside its first box, that box in the network inside the next, the last one in the public
// network; who shares a box shares the network inside it. A datagram goes
//
//   up channel → boxes outward → (partition?) → boxes inward → down channel → socket
//
// and ends delivered, dropped by something that has a name, or astray. Time and randomness are
// somebody else's; whatever happens at one instant happens in the order in which it was scheduled.

import type { Path } from '../../protocol/core.ts';
import { type Micros, after } from '../../protocol/time.ts';
import type { Channel } from './channel.ts';
import type { Nat } from './nat.ts';
import { PORT_MAX, Paths, isOneFamily } from './paths.ts';

/** Where datagrams end that no socket hears. */
export type DropName =
  /** Up or down channel; their own counts say which fault. */
  | 'channel'
  /** A box refused; its own counts say why. */
  | 'natOutward'
  | 'natInward'
  | 'hairpin'
  | 'partition'
  /** IPv4 to IPv6 or back. */
  | 'family'
  /** Sent by a socket that is closed. */
  | 'closedSender'
  /** Deeper in nested networks than any should be. */
  | 'tooManyHops';

/** Everything that was ever sent, by what became of it. */
export interface Tally {
  /** Given to `send`, and to `inject`. */
  sent: number;
  injected: number;
  /** Copies that channels made besides (duplicates, replays). */
  copied: number;
  delivered: number;
  strayed: number;
  /** In a channel, or scheduled. */
  underWay: number;
  readonly dropped: Record<DropName, number>;
}

/** What the Internet asks of its world. */
export interface InternetOptions {
  /** The generator of that name, 0 to 1, 1 excluded; always the same one for a name. */
  readonly random: (name: string) => () => number;
  readonly schedule: (at: Micros, run: () => void) => void;
  readonly now: () => Micros;
  /** A datagram that came to nobody: no such address here, or no such socket there. */
  readonly onStray?: (from: Path, to: Path, bytes: Uint8Array) => void;
  /** A datagram that something dropped. */
  readonly onDrop?: (why: DropName, from: Path, to: Path, bytes: Uint8Array) => void;
}

/** Where a host is attached. */
export interface Attachment {
  /** IPv4 or IPv6 in its shortest form, in the network inside the first box. */
  readonly address: string;
  /** From the host outward. */
  readonly nats?: readonly Nat[];
  /** None: nothing in between, at once. Shared channels share their rate and queue. */
  readonly up?: Channel;
  readonly down?: Channel;
}

/** A host's current place; another object after a move. */
interface Place {
  readonly host: Host;
  readonly address: string;
  readonly nats: readonly Nat[];
  readonly up: Channel | undefined;
  readonly down: Channel | undefined;
}

/** One network: who has which address. */
type Network = Map<string, Place | Nat>;

/** Lowest port that is given to sockets (RFC 6335 §6). */
const DYNAMIC_PORT_MIN = 49_152;
const DYNAMIC_PORTS = PORT_MAX - DYNAMIC_PORT_MIN + 1;
/** Sockets that one host may have open. */
const SOCKETS_MAX = 8_192;
/** Networks that one datagram may pass. */
const HOPS_MAX = 16;

/** One host. Sockets are named by the path that `bind` gave, also after a move. */
export class Host {
  readonly name: string;
  /** Called at the time of arrival; `bytes` are the receiver's, `to` is the socket's name. */
  onDatagram: (to: Path, from: Path, bytes: Uint8Array) => void = () => {};
  readonly #internet: Internet;
  readonly #sockets = new Map<number, Path>();
  #nextPort: number;
  #place: Place;

  constructor(internet: Internet, name: string, attachment: Attachment, random: () => number) {
    this.name = name;
    this.#internet = internet;
    this.#nextPort = DYNAMIC_PORT_MIN + Math.floor(random() * DYNAMIC_PORTS);
    this.#place = placeOf(this, attachment);
    internet.attach(this.#place);
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
    const socket = this.#internet.paths.of(this.address, chosen);
    this.#sockets.set(chosen, socket);
    return socket;
  }

  /** Closes a socket, and the forwards that lead to it; harmless if it is closed. */
  unbind(socket: Path): void {
    if (!this.isBound(socket)) return;
    this.#internet.unforward(this, socket);
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
    return this.#internet.paths.of(this.address, socket.port);
  }

  /** Sends a copy of `bytes`; `to` need not be interned. */
  send(from: Path, to: Path, bytes: Uint8Array): void {
    this.#internet.sendFrom(this, from, to, bytes);
  }

  /**
   * Joins another network, with another address; what is on its way to the old one goes astray.
   * Boxes and channels that are not named stay those that were; sockets stay open, forwards end.
   */
  move(to: string | Attachment): void {
    for (const socket of this.#sockets.values()) this.#internet.unforward(this, socket);
    this.#internet.detach(this.#place);
    const attachment = typeof to === 'string' ? { address: to } : to;
    this.#place = placeOf(this, { ...this.#place, ...attachment });
    this.#internet.attach(this.#place);
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

function placeOf(host: Host, { address, nats = [], up, down }: Attachment): Place {
  return { host, address, nats, up, down };
}

/** All hosts, and what is under way between them. */
export class Internet {
  readonly paths = new Paths();
  readonly tally: Tally = {
    sent: 0,
    injected: 0,
    copied: 0,
    delivered: 0,
    strayed: 0,
    underWay: 0,
    dropped: {
      channel: 0,
      natOutward: 0,
      natInward: 0,
      hairpin: 0,
      partition: 0,
      family: 0,
      closedSender: 0,
      tooManyHops: 0,
    },
  };
  readonly #options: InternetOptions;
  readonly #hosts = new Map<string, Host>();
  readonly #public: Network = new Map();
  /** The network inside a box. */
  readonly #inside = new Map<Nat, Network>();
  /** The network outside a box. */
  readonly #outside = new Map<Nat, Network>();
  /** Until when nothing goes from one host to another. */
  readonly #partitions = new Map<Host, Map<Host, Micros>>();

  constructor(options: InternetOptions) {
    this.#options = options;
  }

  /** In the order in which they were added. */
  get hosts(): Iterable<Host> {
    return this.#hosts.values();
  }

  /** @throws Error when the name or the address is taken. */
  addHost({ name, ...attachment }: Attachment & { readonly name: string }): Host {
    if (this.#hosts.has(name)) throw new Error(`two hosts are named ${name}`);
    const host = new Host(this, name, attachment, this.#options.random(`ports of ${name}`));
    this.#hosts.set(name, host);
    return host;
  }

  /** Nothing goes from `a` to `b` before `until`; an instant in the past ends it. */
  partition(a: Host, b: Host, until: Micros): void {
    const ends = this.#partitions.get(a) ?? new Map<Host, Micros>();
    if (until > this.#options.now()) {
      this.#partitions.set(a, ends.set(b, until));
      return;
    }
    ends.delete(b);
    if (ends.size === 0) this.#partitions.delete(a);
  }

  /** Ends all partitions. */
  heal(): void {
    this.#partitions.clear();
  }

  /**
   * A datagram that comes up in the public network at `at`, whoever sent it: `from` is a claim.
   * `bytes` are taken over.
   */
  inject(at: Micros, from: Path, to: Path, bytes: Uint8Array): void {
    this.tally.injected += 1;
    const source = this.paths.intern(from);
    const target = this.paths.intern(to);
    this.#later(at, () => this.#route(undefined, this.#public, source, target, bytes));
  }

  /** Forwards a socket through all the boxes of its host; returns where it is reached. */
  forward(host: Host, socket: Path): Path {
    let path = host.localPath(socket);
    for (const nat of host.nats) path = nat.forward(path);
    return path;
  }

  /** Ends the forwards of a socket, if it has any. */
  unforward(host: Host, socket: Path): void {
    let path: Path | undefined = host.localPath(socket);
    for (const nat of host.nats) {
      if (path === undefined) return;
      const next: Path | undefined = nat.forwardOf(path);
      nat.unforward(path);
      path = next;
    }
  }

  /** Where a peer should send to: through the forwards of all boxes, or the host's own address. */
  announce(host: Host, socket: Path): Path {
    const local = host.localPath(socket);
    let path: Path | undefined = local;
    for (const nat of host.nats) {
      if (nat.behaviour.translates) path = path === undefined ? undefined : nat.forwardOf(path);
    }
    return path ?? local;
  }

  /**
   * Whether what a new socket of `caller` sends to where `callee` announces its socket comes to it
   * (and the answers back), faults of channels and partitions aside. Changes nothing.
   */
  isPassable(caller: Host, callee: Host, socket: Path): boolean {
    const target = this.announce(callee, socket);
    if (!isOneFamily(caller.address, target.host)) return false;
    let network = this.#networkOf(caller.place);
    for (let hop = 0; ; hop++) {
      const there = network.get(target.host);
      if (there !== undefined) return this.#isAdmitted(there, target, callee);
      if (hop === caller.nats.length) return false;
      const nat = caller.nats[hop];
      if (nat.behaviour.blocksUdp) return false;
      network = this.#networkOutside(nat);
      const isHairpin = nat.address === target.host;
      if (isHairpin) return nat.behaviour.hairpins && this.#isAdmitted(nat, target, callee);
    }
  }

  // --- what hosts use --------------------------------------------------------------------------

  attach(place: Place): void {
    const { nats, address } = place;
    // From the outside in: every box has its place in the network outside it.
    let network = this.#public;
    for (let at = nats.length - 1; at >= 0; at--) {
      const nat = nats[at];
      const outside = this.#outside.get(nat);
      if (outside !== undefined && outside !== network)
        throw new Error(`a box of ${place.host.name} stands in two networks`);
      if (outside === undefined) this.#outside.set(nat, network);
      for (const each of nat.addresses) claim(network, each, nat);
      // Addresses shine through a box that translates nothing.
      if (!nat.behaviour.translates) {
        const inner = nats.slice(0, at).findLast((each) => each.behaviour.translates);
        for (const each of inner?.addresses ?? [address]) claim(network, each, nat);
      }
      network = this.#networkInside(nat);
    }
    claim(network, address, place);
  }

  detach({ nats, address }: Place): void {
    // The boxes stay where they are; only what shines through them goes with the host.
    if (!nats.some((nat) => nat.behaviour.translates)) this.#public.delete(address);
    for (const nat of nats) {
      this.#networkInside(nat).delete(address);
      if (nat.behaviour.translates) return;
      this.#networkOutside(nat).delete(address);
    }
  }

  sendFrom(host: Host, socket: Path, to: Path, bytes: Uint8Array): void {
    const target = this.paths.intern(to);
    this.tally.sent += 1;
    this.tally.underWay += 1;
    if (!host.isBound(socket)) {
      this.#drop('closedSender', socket, target, bytes);
      return;
    }
    const { place } = host;
    const source = host.localPath(socket);
    if (place.up === undefined) {
      this.#outward(place, source, target, bytes.slice());
      return;
    }
    const arrivals = place.up.carry(this.#options.now(), bytes);
    this.#count(arrivals.length, source, target, bytes);
    for (const { at, bytes: copy } of arrivals) {
      this.#options.schedule(at, () => this.#outward(place, source, target, copy));
    }
  }

  // --- the way of a datagram -------------------------------------------------------------------

  /** Through the sender's boxes, as far as the network that knows the destination. */
  #outward(place: Place, source: Path, to: Path, bytes: Uint8Array): void {
    if (!isOneFamily(source.host, to.host)) {
      this.#drop('family', source, to, bytes);
      return;
    }
    let from = source;
    let network = this.#networkOf(place);
    for (const nat of place.nats) {
      if (network.has(to.host)) break;
      const outside = nat.outbound(this.#options.now(), from, to);
      if (outside === undefined) {
        this.#drop('natOutward', from, to, bytes);
        return;
      }
      from = outside;
      network = this.#networkOutside(nat);
      if (nat.address !== to.host) continue;
      if (!nat.behaviour.hairpins) {
        this.#drop('hairpin', from, to, bytes);
        return;
      }
      break;
    }
    this.#route(place.host, network, from, to, bytes);
  }

  /** From a network inward to the host, and down its channel. */
  #route(sender: Host | undefined, start: Network, from: Path, to: Path, bytes: Uint8Array): void {
    if (sender !== undefined && this.#isPartitioned(sender, start, to)) {
      this.#drop('partition', from, to, bytes);
      return;
    }
    let network = start;
    let target = to;
    for (let hops = 0; hops < HOPS_MAX; hops++) {
      const there = network.get(target.host);
      if (there === undefined) {
        this.#stray(from, target, bytes);
        return;
      }
      if (isPlace(there)) {
        this.#downward(there, from, target, bytes);
        return;
      }
      const inside = there.inbound(this.#options.now(), target, from);
      if (inside === undefined) {
        this.#drop('natInward', from, target, bytes);
        return;
      }
      target = inside;
      network = this.#networkInside(there);
    }
    this.#drop('tooManyHops', from, target, bytes);
  }

  #downward(place: Place, from: Path, to: Path, bytes: Uint8Array): void {
    const now = this.#options.now();
    if (place.down === undefined) {
      // Not within the sender's call: it may be in the middle of its own output.
      this.#options.schedule(now, () => this.#deliver(place, from, to, bytes));
      return;
    }
    const arrivals = place.down.carryOwn(now, bytes);
    this.#count(arrivals.length, from, to, bytes);
    for (const { at, bytes: copy } of arrivals) {
      this.#options.schedule(at, () => this.#deliver(place, from, to, copy));
    }
  }

  #deliver(place: Place, from: Path, to: Path, bytes: Uint8Array): void {
    const { host } = place;
    const socket = host.place === place ? host.socketOn(to.port) : undefined;
    if (socket === undefined) {
      this.#stray(from, to, bytes);
      return;
    }
    this.tally.underWay -= 1;
    this.tally.delivered += 1;
    host.onDatagram(socket, from, bytes);
  }

  #isPartitioned(sender: Host, start: Network, to: Path): boolean {
    const ends = this.#partitions.get(sender);
    if (ends === undefined) return false;
    const receiver = this.#hostOf(start, to);
    const until = receiver === undefined ? undefined : ends.get(receiver);
    return until !== undefined && this.#options.now() < until;
  }

  /** Who has a path in a network, filters aside. */
  #hostOf(start: Network, to: Path): Host | undefined {
    let network = start;
    let target: Path | undefined = to;
    for (let hops = 0; hops < HOPS_MAX && target !== undefined; hops++) {
      const there = network.get(target.host);
      if (there === undefined) return undefined;
      if (isPlace(there)) return there.host;
      target = there.insideOf(target);
      network = this.#networkInside(there);
    }
    return undefined;
  }

  /** Whether a stranger's datagram to `to` comes from here to that host. */
  #isAdmitted(first: Place | Nat, to: Path, host: Host): boolean {
    let there: Place | Nat | undefined = first;
    let target: Path | undefined = to;
    for (let hops = 0; hops < HOPS_MAX; hops++) {
      if (there === undefined || target === undefined) return false;
      if (isPlace(there)) return there.host === host && host.socketOn(target.port) !== undefined;
      if (!there.isOpen(target)) return false;
      target = there.insideOf(target);
      there = target === undefined ? undefined : this.#networkInside(there).get(target.host);
    }
    return false;
  }

  // --- accounts --------------------------------------------------------------------------------

  /** A channel took one datagram and gives so many. */
  #count(arrivals: number, from: Path, to: Path, bytes: Uint8Array): void {
    if (arrivals === 0) {
      this.#drop('channel', from, to, bytes);
      return;
    }
    this.tally.copied += arrivals - 1;
    this.tally.underWay += arrivals - 1;
  }

  #later(at: Micros, run: () => void): void {
    this.tally.underWay += 1;
    const now = this.#options.now();
    this.#options.schedule(at < now ? after(now, 0) : at, run);
  }

  #drop(why: DropName, from: Path, to: Path, bytes: Uint8Array): void {
    this.tally.underWay -= 1;
    this.tally.dropped[why] += 1;
    this.#options.onDrop?.(why, from, to, bytes);
  }

  #stray(from: Path, to: Path, bytes: Uint8Array): void {
    this.tally.underWay -= 1;
    this.tally.strayed += 1;
    this.#options.onStray?.(from, to, bytes);
  }

  // --- networks --------------------------------------------------------------------------------

  /** The network that a host stands in. */
  #networkOf({ nats }: Place): Network {
    return nats.length === 0 ? this.#public : this.#networkInside(nats[0]);
  }

  #networkInside(nat: Nat): Network {
    let network = this.#inside.get(nat);
    if (network === undefined) this.#inside.set(nat, (network = new Map()));
    return network;
  }

  #networkOutside(nat: Nat): Network {
    return this.#outside.get(nat) ?? this.#public;
  }
}

const isPlace = (there: Place | Nat): there is Place => 'host' in there;

/** Gives an address to somebody, who may have it already. */
function claim(network: Network, address: string, owner: Place | Nat): void {
  const known = network.get(address);
  if (known !== undefined && known !== owner)
    throw new Error(`two have the address ${address} in one network`);
  network.set(address, owner);
}
