// The Internet in virtual time: hosts with sockets, behind no, one or several boxes (nat.ts), each
// on an access link of two channels (channel.ts). A datagram goes
//
//   up channel → boxes outward → (partition?) → boxes inward → down channel → socket
//
// and ends delivered, dropped by something that has a name, or astray. Time and randomness are
// somebody else's; whatever happens at one instant happens in the order in which it was scheduled.

import type { Path } from '../../protocol/core.ts';
import { type Micros, after } from '../../protocol/time.ts';
import { type Channel, FAULT_NAMES, type FaultName, noFaults } from './channel.ts';
import { type Attachment, Host, type HostSurroundings, type Place } from './host.ts';
import type { Nat } from './nat.ts';
import { HOPS_MAX, type Network, Networks, forwardedThrough, isPlace } from './networks.ts';
import { Paths } from './paths.ts';

/** What `addHost` gives, for those who hold one. */
export type { Host };

/** Where datagrams end that no socket hears. */
export type DropName =
  /** Up or down channel; their own counts say which fault. */
  | 'channel'
  /** A box refused; its own counts say why. */
  | 'natOutward'
  | 'natInward'
  | 'hairpin'
  | 'partition'
  /** To a family of which the sender has no address. */
  | 'family'
  /** Sent by a socket that is closed. */
  | 'closedSender'
  /** Deeper in nested networks than any should be. */
  | 'tooManyHops';

/** Everything that was ever sent, by what became of it. */
interface Tally {
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
interface InternetOptions {
  /** The generator of that name, 0 to 1, 1 excluded; always the same one for a name. */
  readonly random: (name: string) => () => number;
  readonly schedule: (at: Micros, run: () => void) => void;
  readonly now: () => Micros;
  /**
   * Microseconds from the sender's outermost box to the receiver's, in the public network; default
   * 0: all the delay is in the access links, and of two that send at once one comes first.
   */
  readonly across?: number;
  /** A datagram that came to nobody: no such address here, or no such socket there. */
  readonly onStray?: (from: Path, to: Path, bytes: Uint8Array) => void;
  /** A datagram that something dropped. */
  readonly onDrop?: (why: DropName, from: Path, to: Path, bytes: Uint8Array) => void;
}

/** All hosts, and what is under way between them. */
export class Internet implements HostSurroundings {
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
  readonly #networks = new Networks();
  readonly #channels = new Set<Channel>();
  /** Until when nothing goes from one host to another. */
  readonly #partitions = new Map<Host, Map<Host, Micros>>();

  constructor(options: InternetOptions) {
    this.#options = options;
  }

  /** All channels that there ever were, and all boxes. */
  get channels(): Iterable<Channel> {
    return this.#channels;
  }

  get nats(): Iterable<Nat> {
    return this.#networks.nats;
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
    this.#later(at, () => this.#route(undefined, this.#networks.public, source, target, bytes));
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
    return forwardedThrough(host.nats, local) ?? local;
  }

  /**
   * Whether what a new socket of `caller` sends to where `callee` announces its socket comes to it
   * (and the answers back), faults of channels and partitions aside. Changes nothing.
   */
  isPassable(caller: Host, callee: Host, socket: Path): boolean {
    return this.#networks.isPassable(caller.place, callee, this.announce(callee, socket));
  }

  /** How often each fault fired, in all the channels that there ever were. */
  firedFaults(): Record<FaultName, number> {
    const sum = noFaults();
    for (const { counts } of this.#channels)
      for (const name of FAULT_NAMES) sum[name] += counts[name];
    return sum;
  }

  // --- what hosts use --------------------------------------------------------------------------

  attach(place: Place): void {
    this.#networks.attach(place);
    if (place.up !== undefined) this.#channels.add(place.up);
    if (place.down !== undefined) this.#channels.add(place.down);
  }

  detach(place: Place): void {
    this.#networks.detach(place);
  }

  send(host: Host, socket: Path, to: Path, bytes: Uint8Array): void {
    const target = this.paths.intern(to);
    this.tally.sent += 1;
    this.tally.underWay += 1;
    if (!host.isBound(socket)) {
      this.#drop('closedSender', socket, target, bytes);
      return;
    }
    const place = host.placeFor(target.host);
    if (place === undefined) {
      this.#drop('family', socket, target, bytes);
      return;
    }
    const source = this.paths.of(place.address, socket.port);
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
  #outward(place: Place, local: Path, to: Path, bytes: Uint8Array): void {
    let from = local;
    let network = this.#networks.of(place);
    for (const nat of place.nats) {
      if (network.has(to.host)) break;
      const outside = nat.outbound(this.#options.now(), from, to);
      if (outside === undefined) {
        this.#drop('natOutward', from, to, bytes);
        return;
      }
      from = outside;
      network = this.#networks.outside(nat);
      if (nat.address !== to.host) continue;
      if (!nat.behaviour.hairpins) {
        this.#drop('hairpin', from, to, bytes);
        return;
      }
      break;
    }
    const { across = 0, now, schedule } = this.#options;
    const leaves = network;
    const source = from;
    if (across === 0 || leaves !== this.#networks.public)
      this.#route(place.host, leaves, source, to, bytes);
    else schedule(after(now(), across), () => this.#route(place.host, leaves, source, to, bytes));
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
      network = this.#networks.inside(there);
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
    const socket = host.places.includes(place) ? host.socketOn(to.port) : undefined;
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
    const receiver = this.#networks.hostOf(start, to);
    const until = receiver === undefined ? undefined : ends.get(receiver);
    return until !== undefined && this.#options.now() < until;
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
}
