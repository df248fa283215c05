// Who may be reached through an allocation: hosts with a permission, peers with a channel, and
// peers that were only heard of. A peer keeps one Path object, so that its owner can compare by
// identity. Tables only; who asks the relay, and when, is the client's business.

import { addressBytes, addressText } from '../address.ts';
import type { Path } from '../core.ts';
import { type Due, notArmed } from '../deadlines.ts';
import { type Micros, micros } from '../time.ts';
import { STUN_LIMITS } from './limits.ts';

/** What the relay was asked to let through. `at`: when it is asked again. */
interface Leave extends Due {
  /** Until when it was granted; 0: it was not, or not yet. */
  until: Micros;
  /** Whether the relay was asked; from then on it is renewed, or refused for good. */
  isAsked: boolean;
}

/** A host, with all its ports (RFC 8656 §9). */
export interface Permission extends Leave {
  readonly what: 'permission';
  readonly host: string;
}

/** A peer with a channel (RFC 8656 §12). */
export interface Channel extends Leave {
  readonly what: 'channel';
  readonly peer: Path;
  /** Its number less the first one. */
  readonly index: number;
}

/** One address behind the relay. */
interface Peer {
  readonly path: Path;
  readonly permission: Permission;
  readonly channel: Channel | undefined;
}

const NOT_YET = micros(0);
const notGranted = (): Leave => ({ until: NOT_YET, isAsked: false, ...notArmed() });
const keyOf = ({ host, port }: Path): string => `${port} ${host}`;

/** Until when the relay takes datagrams to a peer, one way or the other. */
export const reachableUntil = ({ permission, channel }: Peer): Micros =>
  micros(Math.max(permission.until, channel?.until ?? NOT_YET));

/** The tables of one allocation. Hosts are RFC 5952 text. */
export class TurnPeers {
  readonly #permissions = new Map<string, Permission>();
  readonly #channels: Channel[] = [];
  readonly #peers = new Map<string, Peer>();
  readonly #via: number | undefined;
  #strangers = 0;
  #last: Peer | undefined;

  /** `via`: endpoint in the paths of peers that are only heard of. */
  constructor(via: number | undefined) {
    this.#via = via;
  }

  get permissions(): Iterable<Permission> {
    return this.#permissions.values();
  }

  get channels(): readonly Channel[] {
    return this.#channels;
  }

  /** The permission of a host, made if need be; undefined: no address, or the table is full. */
  permission(host: string): Permission | undefined {
    const address = addressBytes(host);
    const text = address && addressText(address);
    if (text === undefined) return undefined;
    const known = this.#permissions.get(text);
    if (known !== undefined) return known;
    if (this.#permissions.size >= STUN_LIMITS.permissionsMax) return undefined;
    const permission: Permission = { what: 'permission', host: text, ...notGranted() };
    this.#permissions.set(text, permission);
    return permission;
  }

  /** A channel for a peer whose host has a permission; undefined: it has one, or none is left. */
  addChannel(path: Path): Channel | undefined {
    const permission = this.#permissions.get(path.host);
    const index = this.#channels.length;
    if (permission === undefined || index >= STUN_LIMITS.channelsMax) return undefined;
    if (this.#peers.get(keyOf(path))?.channel !== undefined) return undefined;
    const channel: Channel = { what: 'channel', peer: path, index, ...notGranted() };
    this.#channels.push(channel);
    this.#peers.set(keyOf(path), { path, permission, channel });
    this.#last = undefined;
    return channel;
  }

  /** The peer at this path, made known if its host has a permission and there is room. */
  find(path: Path): Peer | undefined {
    // Datagrams come and go in rows, with one peer.
    const last = this.#last;
    if (last?.path.port === path.port && last.path.host === path.host) return last;
    this.#last = this.#peers.get(keyOf(path)) ?? this.#stranger(path);
    return this.#last;
  }

  #stranger({ host, port }: Path): Peer | undefined {
    const permission = this.#permissions.get(host);
    if (permission === undefined || this.#strangers >= STUN_LIMITS.strangersMax) return undefined;
    this.#strangers += 1;
    const path: Path = { host, port, ...(this.#via !== undefined && { via: this.#via }) };
    const peer: Peer = { path, permission, channel: undefined };
    this.#peers.set(keyOf(path), peer);
    return peer;
  }
}
