// One middlebox in the terms of RFC 4787: how it maps, what it filters, how it assigns ports, when
// it forgets. A firewall is one that translates nothing and filters (RFC 6092). The box knows
// nothing of networks: it is asked what a datagram's source becomes on its way out, and whose a
// datagram is on its way in; sim/network/internet.ts joins boxes and hosts.

import type { Path } from '../../protocol/core.ts';
import { MICROS_PER_SECOND, type Micros, NEVER, after } from '../../protocol/time.ts';
import { EarlyArrivals } from './early-arrivals.ts';
import { PORT_MAX, type Paths } from './paths.ts';

/** On what a mapping or a filter depends (RFC 4787 §4.1, §5). */
export type Dependence =
  | 'endpoint-independent'
  | 'address-dependent'
  | 'address-and-port-dependent';

/** How a box behaves. */
export interface NatBehaviour {
  /** False: addresses pass as they are; it only filters. */
  readonly translates: boolean;
  /** REQ-1: when a socket keeps its external port for another destination. */
  readonly mapping: Dependence;
  /** REQ-8: who may answer; `none`: everybody, asked or not. */
  readonly filtering: Dependence | 'none';
  /** §4.2: the inner port if it is free, or any. */
  readonly ports: 'preserving' | 'random';
  /** REQ-5: a mapping that long without refreshing is forgotten. RFC: at least 120; found: 30. */
  readonly timeoutSeconds: number;
  /** REQ-6: what comes in refreshes too. */
  readonly refreshesInbound: boolean;
  /** REQ-9: two hosts behind it reach one another by its external address. */
  readonly hairpins: boolean;
  /** Mappings at one time; one more is refused. */
  readonly mappingsMax: number;
  /**
   * What comes in from somewhere and is refused takes the port that it came to, as far as that
   * somewhere is concerned: who sends there later does so from another port.
   */
  readonly earlyTakesPort: boolean;
  /** Nothing passes in either direction. */
  readonly blocksUdp: boolean;
}

const HOME: NatBehaviour = {
  translates: true,
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
  ports: 'preserving',
  timeoutSeconds: 120,
  refreshesInbound: true,
  hairpins: false,
  mappingsMax: 1_024,
  earlyTakesPort: false,
  blocksUdp: false,
};

/** The usual kinds by their usual names; take one and change what should differ. */
export const NAT_KINDS = {
  none: { ...HOME, translates: false, filtering: 'none' },
  firewall: { ...HOME, translates: false },
  'full-cone': { ...HOME, filtering: 'endpoint-independent' },
  'address-restricted': { ...HOME, filtering: 'address-dependent' },
  'port-restricted': HOME,
  symmetric: { ...HOME, mapping: 'address-and-port-dependent', ports: 'random' },
  'udp-blocked': { ...HOME, blocksUdp: true },
} as const satisfies Readonly<Record<string, NatBehaviour>>;

/** The name of a usual kind. */
export type NatKind = keyof typeof NAT_KINDS;

/** Why a box let something drop. */
type NatRefusal = 'udpBlocked' | 'full' | 'unmapped' | 'filtered' | 'otherAddress';

/** Remote ends that one mapping remembers; a 256-socket search sends to 2,048 (docs/nat.md). */
const REMOTES_MAX = 4_096;
/** Ports below belong to the box itself. */
const PORT_MIN = 1_024;
const PORTS = PORT_MAX - PORT_MIN + 1;
/** Random ports that are tried before the next free one is taken. */
const RANDOM_TRIES = 16;
/** Key of the one mapping that an endpoint-independent box has for a socket. */
const ANY = 'any';
/** An instant at which nothing has expired. */
const LONG_AGO = -Infinity as Micros;

/** One mapping: an inner socket, and what stands for it outside. */
interface Mapping {
  readonly inside: Path;
  readonly outside: Path;
  /** Under which key the socket's mappings keep it: ANY, an address, a path. */
  readonly key: unknown;
  /** NEVER for a forward. */
  expiresAt: Micros;
  /** Addresses or paths that may answer, and until when; empty if nobody asks. */
  readonly remotes: Map<string | Path, Micros>;
}

/** A mapping that is to be. */
interface Wanted {
  readonly inside: Path;
  readonly key: unknown;
  readonly to: Path;
}

/** What a box is made of. */
interface NatOptions {
  readonly behaviour: NatBehaviour;
  /** External addresses, used one after the other at each change of address; none: a firewall. */
  readonly addresses?: readonly string[];
  /** 0 to 1, 1 excluded. */
  readonly random: () => number;
  readonly paths: Paths;
}

/** One box. */
export class Nat {
  readonly behaviour: NatBehaviour;
  /** All the external addresses that it has now or may get. */
  readonly addresses: readonly string[];
  /** How often it refused, by reason. */
  readonly refusals: Record<NatRefusal, number> = {
    udpBlocked: 0,
    full: 0,
    unmapped: 0,
    filtered: 0,
    otherAddress: 0,
  };
  /** When it last forgot everything. */
  reboundAt: Micros | undefined;
  readonly #random: () => number;
  readonly #paths: Paths;
  readonly #timeout: number;
  #address = 0;
  /** Added to preserved ports, so that a box that forgot does not assign the same ones. */
  #shift = 0;
  #size = 0;
  /** No mapping expires before. */
  #nextSweepAt: Micros = NEVER;
  /** By inner socket, then by key. */
  readonly #byInside = new Map<Path, Map<unknown, Mapping>>();
  /** By external port, or by inner socket where nothing is translated. */
  readonly #byOutside = new Map<number | Path, Mapping>();
  readonly #forwards = new Map<Path, Mapping>();
  readonly #early = new EarlyArrivals();

  constructor({ behaviour, addresses = [], random, paths }: NatOptions) {
    if (behaviour.translates && addresses.length === 0) throw new Error('a NAT needs an address');
    this.behaviour = behaviour;
    this.addresses = behaviour.translates ? addresses : [];
    this.#random = random;
    this.#paths = paths;
    this.#timeout = behaviour.timeoutSeconds * MICROS_PER_SECOND;
  }

  /** The external address now; undefined: it translates nothing. */
  get address(): string | undefined {
    return this.addresses.length === 0 ? undefined : this.addresses[this.#address];
  }

  /** Mappings, forwards not counted; those that have expired may still be among them. */
  get size(): number {
    return this.#size;
  }

  /** What a datagram's source is outside, or undefined: it goes no further. */
  outbound(now: Micros, from: Path, to: Path): Path | undefined {
    const { behaviour } = this;
    if (behaviour.blocksUdp) return this.#refuse('udpBlocked');
    if (!behaviour.translates && behaviour.filtering === 'none') return from;
    const forward = this.#forwards.get(from);
    if (forward !== undefined) return forward.outside;
    const key = this.#keyOf(now, from, to);
    const known = this.#byInside.get(from)?.get(key);
    if (known !== undefined && now < known.expiresAt) {
      this.#refresh(now, known, to);
      return known.outside;
    }
    if (known !== undefined) this.#forget(known);
    if (this.#size >= behaviour.mappingsMax) this.#sweep(now);
    if (this.#size >= behaviour.mappingsMax) return this.#refuse('full');
    const mapping = this.#map(now, { inside: from, key, to });
    if (mapping === undefined) return this.#refuse('full');
    this.#refresh(now, mapping, to);
    if (mapping.expiresAt < this.#nextSweepAt) this.#nextSweepAt = mapping.expiresAt;
    return mapping.outside;
  }

  /** Whose a datagram to `to` is, or undefined: it goes no further. */
  inbound(now: Micros, to: Path, from: Path): Path | undefined {
    const { behaviour } = this;
    if (behaviour.blocksUdp) return this.#refuse('udpBlocked');
    if (behaviour.translates && to.host !== this.address) return this.#refuse('otherAddress');
    if (!behaviour.translates && behaviour.filtering === 'none') return to;
    const mapping = this.#byOutside.get(behaviour.translates ? to.port : to);
    if (mapping === undefined || now >= mapping.expiresAt) {
      this.#comesEarly(now, from, to);
      return this.#refuse('unmapped');
    }
    if (mapping.expiresAt === NEVER) return mapping.inside;
    const remote = this.#remoteOf(from);
    if (remote !== undefined) {
      const until = mapping.remotes.get(remote);
      if (until === undefined || now >= until) {
        this.#comesEarly(now, from, to);
        return this.#refuse('filtered');
      }
    }
    if (behaviour.refreshesInbound) this.#refresh(now, mapping, from);
    return mapping.inside;
  }

  /** Whose a datagram to `to` would be if nothing were filtered; changes nothing. */
  insideOf(to: Path): Path | undefined {
    if (!this.behaviour.translates) return to;
    return to.host === this.address ? this.#byOutside.get(to.port)?.inside : undefined;
  }

  /** Whether anybody may send to `to` without being asked; changes nothing. */
  isOpen(to: Path): boolean {
    const { blocksUdp, translates, filtering } = this.behaviour;
    if (blocksUdp || (translates && to.host !== this.address)) return false;
    if (!translates && filtering === 'none') return true;
    return this.#byOutside.get(translates ? to.port : to)?.expiresAt === NEVER;
  }

  /**
   * Forwards an external port (the inner one if it is free) to a socket until `unforward`, in both
   * directions as RFC 6887 §11 has it; again: the same. Returns where the socket is reached.
   */
  forward(inside: Path): Path {
    const known = this.#forwards.get(inside);
    if (known !== undefined) return known.outside;
    for (const mapping of this.#byInside.get(inside)?.values() ?? []) this.#forget(mapping);
    const outside = this.#assign(LONG_AGO, inside, undefined);
    if (outside === undefined) throw new Error('a NAT has no port left to forward');
    const mapping: Mapping = { inside, outside, key: ANY, expiresAt: NEVER, remotes: new Map() };
    this.#forwards.set(inside, mapping);
    this.#byOutside.set(this.#outsideKey(outside), mapping);
    return outside;
  }

  /** Where a socket is forwarded, if it is. */
  forwardOf(inside: Path): Path | undefined {
    return this.#forwards.get(inside)?.outside;
  }

  /** Ends a forward; harmless if there is none. */
  unforward(inside: Path): void {
    const mapping = this.#forwards.get(inside);
    if (mapping === undefined) return;
    this.#forwards.delete(inside);
    this.#byOutside.delete(this.#outsideKey(mapping.outside));
  }

  /**
   * Forgets all mappings: the same sockets get other ports, or (`address`) the next address.
   * Forwards are configured and stay: with their port, on the address of the day.
   */
  rebind(now: Micros, what: 'port' | 'address'): void {
    this.reboundAt = now;
    this.#byInside.clear();
    this.#byOutside.clear();
    this.#early.clear();
    this.#size = 0;
    this.#nextSweepAt = NEVER;
    if (what === 'port') this.#shift = (this.#shift + 1 + this.#below(PORTS - 1)) % PORTS;
    else if (this.addresses.length > 0) {
      this.#address = (this.#address + 1) % this.addresses.length;
    }
    for (const [inside, forward] of this.#forwards) {
      const host = this.address ?? inside.host;
      const outside = this.#paths.of(host, forward.outside.port);
      const moved = { ...forward, outside };
      this.#forwards.set(inside, moved);
      this.#byOutside.set(this.#outsideKey(outside), moved);
    }
  }

  /** Which of a socket's mappings is the one for a destination. */
  #keyOf(now: Micros, from: Path, to: Path): unknown {
    // A box that translates nothing has nothing that could depend on the destination.
    if (!this.behaviour.translates) return ANY;
    const { mapping, earlyTakesPort } = this.behaviour;
    if (mapping === 'address-and-port-dependent') return to;
    const usual = mapping === 'address-dependent' ? to.host : ANY;
    if (!earlyTakesPort) return usual;
    const keys = this.#byInside.get(from);
    const own = keys?.get(to);
    if (own !== undefined && now < own.expiresAt) return to;
    const shared = keys?.get(usual);
    if (shared === undefined || !this.#early.isTakenBy(now, to, shared.outside.port)) return usual;
    // Who was let in through a port, or asked from it, has not taken it.
    const until = shared.remotes.get(this.#remoteOf(to) ?? to);
    return until !== undefined && now < until ? usual : to;
  }

  #comesEarly(now: Micros, from: Path, { port }: Path): void {
    const { earlyTakesPort, translates } = this.behaviour;
    if (earlyTakesPort && translates) this.#early.note(now, from, { port, lasts: this.#timeout });
  }

  /** What a filter knows a remote end by; undefined: it asks for none. */
  #remoteOf(remote: Path): string | Path | undefined {
    const { filtering } = this.behaviour;
    if (filtering === 'address-and-port-dependent') return remote;
    return filtering === 'address-dependent' ? remote.host : undefined;
  }

  #outsideKey(outside: Path): number | Path {
    return this.behaviour.translates ? outside.port : outside;
  }

  #map(now: Micros, { inside, key, to }: Wanted): Mapping | undefined {
    const outside = this.#assign(now, inside, to);
    if (outside === undefined) return undefined;
    const mapping: Mapping = { inside, outside, key, expiresAt: NEVER, remotes: new Map() };
    let keys = this.#byInside.get(inside);
    if (keys === undefined) this.#byInside.set(inside, (keys = new Map()));
    keys.set(key, mapping);
    this.#byOutside.set(this.#outsideKey(outside), mapping);
    this.#size += 1;
    return mapping;
  }

  #refresh(now: Micros, mapping: Mapping, remote: Path): void {
    const until = after(now, this.#timeout);
    mapping.expiresAt = until;
    const known = this.#remoteOf(remote);
    if (known === undefined) return;
    const { remotes } = mapping;
    if (remotes.size >= REMOTES_MAX && !remotes.has(known)) {
      for (const [each, end] of remotes) if (now >= end) remotes.delete(each);
      const [oldest] = remotes.keys();
      if (remotes.size >= REMOTES_MAX) remotes.delete(oldest);
    }
    remotes.set(known, until);
  }

  #forget(mapping: Mapping): void {
    const keys = this.#byInside.get(mapping.inside);
    keys?.delete(mapping.key);
    if (keys?.size === 0) this.#byInside.delete(mapping.inside);
    this.#byOutside.delete(this.#outsideKey(mapping.outside));
    this.#size -= 1;
  }

  /** Forgets what has expired; looks only when something may have. */
  #sweep(now: Micros): void {
    if (now < this.#nextSweepAt) return;
    let next = NEVER;
    for (const keys of this.#byInside.values()) {
      for (const mapping of keys.values()) {
        if (now >= mapping.expiresAt) this.#forget(mapping);
        else if (mapping.expiresAt < next) next = mapping.expiresAt;
      }
    }
    this.#nextSweepAt = next;
  }

  /** A free external port for a socket, or undefined: there is none. */
  #assign(now: Micros, inside: Path, to: Path | undefined): Path | undefined {
    const { address } = this;
    if (address === undefined) return inside;
    if (this.behaviour.ports === 'preserving') {
      const isOwn = inside.port < PORT_MIN;
      const offset = (inside.port - PORT_MIN + this.#shift) % PORTS;
      const preferred = isOwn ? PORT_MIN + this.#below(PORTS) : PORT_MIN + offset;
      const isTaken = to !== undefined && this.#early.isTakenBy(now, to, preferred);
      if (!isTaken && this.#isFree(now, preferred)) return this.#paths.of(address, preferred);
    }
    let port = PORT_MIN + this.#below(PORTS);
    for (let tries = 0; tries < RANDOM_TRIES && !this.#isFree(now, port); tries++) {
      port = PORT_MIN + this.#below(PORTS);
    }
    for (let steps = 0; steps < PORTS; steps++) {
      if (this.#isFree(now, port)) return this.#paths.of(address, port);
      port = port === PORT_MAX ? PORT_MIN : port + 1;
    }
    return undefined;
  }

  /** What has expired and was not swept yet gives way. */
  #isFree(now: Micros, port: number): boolean {
    const mapping = this.#byOutside.get(port);
    if (mapping === undefined) return true;
    if (now < mapping.expiresAt) return false;
    this.#forget(mapping);
    return true;
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #refuse(why: NatRefusal): undefined {
    this.refusals[why] += 1;
    return undefined;
  }
}
