// Who may be reached through an allocation: hosts with a permission, peers with a channel, and
// peers that were only heard of. A peer keeps one Path object, so that its owner can compare by
// identity. Each table has a bound; who is wanted stays, and of the others the one that was used
// last the longest ago makes room. Tables only; who asks the relay, and when, is turn-leaves.ts.

import { addressBytes, addressText } from '../address.ts';
import type { Path } from '../core.ts';
import { type Due, notArmed } from '../deadlines.ts';
import { type Micros, micros } from '../time.ts';
import { STUN_LIMITS } from './limits.ts';
import { CHANNELS } from './turn-frames.ts';

/** What the relay is asked to let through. `at`: when it is asked again. */
interface Asked extends Due {
  /** Until when it was granted; 0: it was not, or not yet. */
  until: Micros;
  /** Whether it is asked for and renewed, or was refused for good; false: it may be asked for. */
  isAsked: boolean;
  /** Errors of the server in a row, after which it is asked for again. */
  errors: number;
  /** When a datagram came or went by it last. */
  usedAt: Micros;
}

/** A host, with all its ports (RFC 8656 §9). */
interface Permission extends Asked {
  readonly what: 'permission';
  readonly host: string;
}

/** A peer with a channel (RFC 8656 §12). */
interface Channel extends Asked {
  readonly what: 'channel';
  readonly peer: Path;
  /** Its number less the first one. */
  readonly index: number;
}

/** What is asked for, one way or the other. */
export type Leave = Permission | Channel;

/** One address behind the relay. */
interface Peer {
  readonly path: Path;
  readonly permission: Permission;
  readonly channel: Channel | undefined;
  usedAt: Micros;
}

const NOT_YET = micros(0);
const asked = (now: Micros): Asked => ({
  until: NOT_YET,
  isAsked: false,
  errors: 0,
  usedAt: now,
  ...notArmed(),
});
const keyOf = ({ host, port }: Path): string => `${port} ${host}`;

/** Until when the relay takes datagrams to a peer, one way or the other. */
export const reachableUntil = ({ permission, channel }: Peer): Micros =>
  micros(Math.max(permission.until, channel?.until ?? NOT_YET));

/** The tables of one allocation. Hosts are RFC 5952 text. */
export class TurnPeers {
  readonly #permissions = new Map<string, Permission>();
  /** By `index`. */
  readonly #channels = new Map<number, Channel>();
  /** Peers with a channel, and those without. */
  readonly #bound = new Map<string, Peer>();
  readonly #strangers = new Map<string, Peer>();
  readonly #via: number | undefined;
  readonly #onDropped: (leave: Leave) => void;
  #wanted: ReadonlySet<string> = new Set();
  #main: Path | undefined;
  #nextIndex = 0;
  #last: Peer | undefined;

  /**
   * `via`: endpoint in the paths of peers that are only heard of. `onDropped`: what made room, or
   * is of no use.
   */
  constructor(via: number | undefined, onDropped: (leave: Leave) => void) {
    this.#via = via;
    this.#onDropped = onDropped;
  }

  /** Everything that is asked for: permissions first. */
  get leaves(): readonly Leave[] {
    return [...this.#permissions.values(), ...this.#channels.values()];
  }

  /**
   * The permissions of these hosts, made if need be, which are kept from now on; without those
   * that `takes` refuses and those beyond STUN_LIMITS.permissionsMax, of which one is the bound
   * peer's.
   */
  want(
    now: Micros,
    hosts: readonly string[],
    takes: (host: string) => boolean,
  ): readonly Permission[] {
    const wanted = new Set<string>();
    for (const host of hosts) {
      const address = addressBytes(host);
      const text = address && addressText(address);
      if (wanted.size >= STUN_LIMITS.permissionsMax - 1) break;
      if (text !== undefined && takes(text)) wanted.add(text);
    }
    this.#wanted = wanted;
    return [...wanted].map((host) => this.#permission(now, host));
  }

  /** What the peer of the talk needs, kept from now on: permission and channel. */
  bind(now: Micros, path: Path): readonly Leave[] {
    if (addressBytes(path.host) === undefined) return [];
    this.#main = path;
    const permission = this.#permission(now, path.host);
    const known = this.#bound.get(keyOf(path))?.channel;
    return [permission, known ?? this.#addChannel(now, path, permission)];
  }

  /** Drops the hosts that `takes` refuses. */
  keep(takes: (host: string) => boolean): void {
    for (const permission of this.#permissions.values())
      if (!takes(permission.host)) this.#drop(permission);
  }

  /** Whether it is for a host that is wanted, or for the peer that was bound last. */
  isWanted(leave: Leave): boolean {
    if (leave.what === 'channel') return this.#isMain(leave.peer);
    return leave.host === this.#main?.host || this.#wanted.has(leave.host);
  }

  /** The channel with this number less the first one. */
  channel(index: number): Channel | undefined {
    return this.#channels.get(index);
  }

  /**
   * The peer at this path, for a datagram from or to it; made known if its host has a permission.
   */
  find(now: Micros, path: Path): Peer | undefined {
    const peer = this.#find(now, path);
    if (peer === undefined) return undefined;
    peer.usedAt = now;
    peer.permission.usedAt = now;
    if (peer.channel !== undefined) peer.channel.usedAt = now;
    this.#last = peer;
    return peer;
  }

  #find(now: Micros, path: Path): Peer | undefined {
    // Datagrams come and go in rows, with one peer.
    const last = this.#last;
    if (last?.path.port === path.port && last.path.host === path.host) return last;
    const key = keyOf(path);
    return this.#bound.get(key) ?? this.#strangers.get(key) ?? this.#stranger(now, path);
  }

  #stranger(now: Micros, { host, port }: Path): Peer | undefined {
    const permission = this.#permissions.get(host);
    if (permission === undefined) return undefined;
    const path: Path = { host, port, ...(this.#via !== undefined && { via: this.#via }) };
    const peer: Peer = { path, permission, channel: undefined, usedAt: now };
    if (this.#strangers.size >= STUN_LIMITS.strangersMax) {
      const oldest = leastRecent(this.#strangers.values());
      if (oldest !== undefined) this.#strangers.delete(keyOf(oldest.path));
    }
    this.#strangers.set(keyOf(path), peer);
    return peer;
  }

  #permission(now: Micros, host: string): Permission {
    const known = this.#permissions.get(host);
    if (known !== undefined) return known;
    if (this.#permissions.size >= STUN_LIMITS.permissionsMax)
      this.#dropOldest(this.#permissions.values());
    const permission: Permission = { what: 'permission', host, ...asked(now) };
    this.#permissions.set(host, permission);
    return permission;
  }

  #addChannel(now: Micros, path: Path, permission: Permission): Channel {
    if (this.#channels.size >= STUN_LIMITS.channelsMax) this.#dropOldest(this.#channels.values());
    while (this.#channels.has(this.#nextIndex)) this.#nextIndex = (this.#nextIndex + 1) % CHANNELS;
    const channel: Channel = { what: 'channel', peer: path, index: this.#nextIndex, ...asked(now) };
    // RFC 8656 §12: a number is not another peer's at once, so the next one is taken first.
    this.#nextIndex = (this.#nextIndex + 1) % CHANNELS;
    this.#channels.set(channel.index, channel);
    this.#bound.set(keyOf(path), { path, permission, channel, usedAt: now });
    this.#strangers.delete(keyOf(path));
    this.#last = undefined;
    return channel;
  }

  #dropOldest(leaves: Iterable<Leave>): void {
    const oldest = leastRecent([...leaves].filter((leave) => !this.isWanted(leave)));
    if (oldest !== undefined) this.#drop(oldest);
  }

  /** A permission goes with all the peers of its host. */
  #drop(leave: Leave): void {
    this.#last = undefined;
    this.#onDropped(leave);
    if (leave.what === 'channel') {
      this.#channels.delete(leave.index);
      this.#bound.delete(keyOf(leave.peer));
      return;
    }
    this.#permissions.delete(leave.host);
    for (const channel of this.#channels.values())
      if (channel.peer.host === leave.host) this.#drop(channel);
    for (const { path } of this.#strangers.values())
      if (path.host === leave.host) this.#strangers.delete(keyOf(path));
  }

  #isMain({ host, port }: Path): boolean {
    return this.#main?.port === port && this.#main.host === host;
  }
}

function leastRecent<T extends { readonly usedAt: Micros }>(all: Iterable<T>): T | undefined {
  let oldest: T | undefined;
  for (const one of all) if (oldest === undefined || one.usedAt < oldest.usedAt) oldest = one;
  return oldest;
}
