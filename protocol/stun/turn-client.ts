// One allocation at a TURN server, over UDP or a stream (RFC 8656), with an address of one IP
// version or of both: allocated, refreshed, given back; permissions for hosts and channels for
// peers, renewed before they end; datagrams wrapped and unwrapped. What passes is sealed end to
// end, so the relay is believed in nothing but where a datagram came from, and only for hosts that
// we asked it to let through. Nothing that is not an answer of this server to a request of ours,
// signed as it has to be, changes anything.
// Over 400 lines: one state machine, whose tables and requests have files of their own.

import { isIpv6Text } from '../address.ts';
import { type Path, type Transmit, samePath } from '../core.ts';
import { DeadlineHeap, type Due, notArmed } from '../deadlines.ts';
import type { Rng } from '../random.ts';
import { type Micros, NEVER, after, earlier, seconds } from '../time.ts';
import {
  ATTRIBUTE,
  channelValue,
  decodeXorAddress,
  encodeXorAddress,
  familyValue,
  lifetimeSeconds,
  lifetimeValue,
  relayedAddresses,
  transportValue,
} from './attributes.ts';
import { STUN_LIMITS } from './limits.ts';
import { type Attribute, METHOD, type StunMessage, decodeMessage } from './message.ts';
import {
  RELAY_LOST,
  RELAY_SILENT,
  RELAY_WITHOUT_ADDRESS,
  type TurnFailure,
  refusedByRelay,
} from './turn-failures.ts';
import {
  CHANNEL_FIRST,
  channelIndexOf,
  channelPayload,
  isChannelData,
  wrapInChannel,
  wrapInIndication,
} from './turn-frames.ts';
import { type Channel, type Permission, TurnPeers, reachableUntil } from './turn-peers.ts';
import { type TurnAnswer, TurnRequests } from './turn-requests.ts';

/** Where and as whom to allocate. */
interface TurnConfig {
  /** A literal address, with the `via` of the endpoint that speaks to it. */
  readonly server: Path;
  /** ASCII. */
  readonly username: string;
  readonly password: string | Uint8Array;
  readonly rng: Rng;
  /** A peer has IPv6: a relayed address of that version is wanted beside the one of IPv4. */
  readonly wantsIpv6?: boolean;
  /**
   * What leaves goes whole over a stream, padded (`padForStream`), and what came was cut from it
   * (`TcpFrames`); default: each is a datagram.
   */
  readonly isStream?: boolean;
  /** `via` of the paths of peers that nobody named by `bind`; default none. */
  readonly via?: number;
}

/** `failed`: see `failure`. `closed`: given back. */
type TurnState = 'idle' | 'allocating' | 'ready' | 'failed' | 'closed';

/** A datagram that a peer sent to the relayed address. */
export interface Relayed {
  /** The same object for the same peer. */
  readonly peer: Path;
  /** A view of the datagram that it came in. */
  readonly bytes: Uint8Array;
}

/** Allocating, refreshing, giving back. */
interface Allocation extends Due {
  readonly what: 'allocate' | 'refresh' | 'close';
}

type Subject = Allocation | Permission | Channel;

const LIFETIME_SECONDS_DEFAULT = 600;
const LIFETIME_SHARE = 0.5;
const ALLOCATION_MISMATCH = 437;
/** IP versions of relayed addresses, each asked for when the server has not got the one before. */
const VERSIONS = ['both', 'ipv4', 'ipv6'] as const;
/** It has not, or has no port (RFC 8656 §19): coturn of today says that if it cannot give both. */
const WITHOUT_VERSION = 440;
const FULL = 508;
/** Errors after which nothing of the allocation can be relied on. */
const FATAL: readonly number[] = [401, ALLOCATION_MISMATCH, 438, 441];

/** An allocation and what hangs on it. Bounds: STUN_LIMITS. */
export class TurnClient {
  readonly #config: TurnConfig;
  readonly #requests: TurnRequests<Subject>;
  readonly #renewals = new DeadlineHeap<Subject>();
  readonly #refresh: Allocation = { what: 'refresh', ...notArmed() };
  readonly #peers: TurnPeers;
  #state: TurnState = 'idle';
  #failure: TurnFailure | undefined;
  #relayed: readonly Path[] = [];
  #mapped: Path | undefined;
  #isRefreshing = false;
  /** Of VERSIONS: what is asked for. */
  #wanted: number;

  constructor(config: TurnConfig) {
    this.#config = config;
    this.#requests = new TurnRequests(config.rng, config);
    this.#peers = new TurnPeers(config.via);
    this.#wanted = config.wantsIpv6 === true ? 0 : 1;
  }

  get state(): TurnState {
    return this.#state;
  }

  /** Why it failed; set in state `failed`, and kept. */
  get failure(): TurnFailure | undefined {
    return this.#failure;
  }

  /** Whether the server has said anything that only it can have said. */
  get isHeard(): boolean {
    return this.#requests.isSigned;
  }

  /** Whether it has nothing more to say to the server, nor waits for a word of it. */
  get isOver(): boolean {
    return this.#state === 'failed' || (this.#state === 'closed' && this.nextTimeout() === NEVER);
  }

  /** The addresses at the relay, one of each IP version, without `via`; empty before `ready`. */
  get relayed(): readonly Path[] {
    return this.#relayed;
  }

  /** The address under which the relay saw us; from `ready` on. */
  get mapped(): Path | undefined {
    return this.#mapped;
  }

  /** Asks for the allocation; once. */
  start(now: Micros): void {
    if (this.#state !== 'idle') return;
    this.#state = 'allocating';
    this.#allocate(now);
  }

  /**
   * Lets these hosts send to the relayed addresses, as long as the allocation lives; before `ready`
   * they are remembered. Hosts of an IP version that no relayed address has, and those beyond
   * STUN_LIMITS.permissionsMax, are left out.
   */
  permit(now: Micros, hosts: readonly string[]): void {
    for (const host of hosts) this.#permit(now, host);
  }

  /**
   * Permits the peer's host and binds a channel to it; beyond STUN_LIMITS.channelsMax it is
   * permitted only, and reached by Send indications. `peer` is the object by which its datagrams
   * are told from now on.
   */
  bind(now: Micros, peer: Path): void {
    this.#permit(now, peer.host);
    const channel = this.#peers.addChannel(peer);
    if (channel !== undefined && this.#state === 'ready') this.#renew(now, channel);
  }

  /** Whether there is a relayed address of this host's IP version. */
  hasFamilyOf(host: string): boolean {
    return this.#relayed.some((relayed) => isIpv6Text(relayed.host) === isIpv6Text(host));
  }

  /** Whether a datagram to this peer can leave now. */
  canReach(now: Micros, peer: Path): boolean {
    const known = this.#state === 'ready' ? this.#peers.find(peer) : undefined;
    return known !== undefined && now < reachableUntil(known);
  }

  /**
   * Wraps the datagram of `size` bytes at the start of `buffer` for the relay, in place:
   * ChannelData (+ 4 bytes) or a Send indication (+ 36 to 51). Returns the new size; 0: it may not
   * be sent now, or does not fit. Send the result to the server.
   */
  wrap(now: Micros, peer: Path, buffer: Uint8Array, size: number): number {
    if (this.#state !== 'ready') return 0;
    const known = this.#peers.find(peer);
    if (known === undefined) return 0;
    const { permission, channel, path } = known;
    if (channel !== undefined && now < channel.until)
      return wrapInChannel(channel.index, buffer, size);
    if (now >= permission.until) return 0;
    return wrapInIndication(this.#config.rng, { peer: path, buffer, size });
  }

  /**
   * Takes a datagram: one of a peer, or true when it was for us and is dealt with, or false when it
   * is none of ours.
   */
  handleDatagram(now: Micros, from: Path, bytes: Uint8Array): Relayed | boolean {
    if (!samePath(from, this.#config.server)) return false;
    if (isChannelData(bytes)) return this.#onChannelData(bytes);
    const message = decodeMessage(bytes);
    if (message === undefined) return false;
    if (message.stunClass === 'indication') return this.#onIndication(message);
    if (message.method === METHOD.binding) return false;
    const answer = this.#requests.handleMessage(now, bytes, message);
    if (answer !== undefined) this.#onAnswer(now, answer);
    return true;
  }

  /** Asks the relay whether it still holds the allocation; `failed` within 5 s if it does not. */
  check(now: Micros): void {
    if (this.#state === 'ready') this.#renew(now, this.#refresh);
  }

  /** Gives the allocation back with one packet, and is done; harmless in any state. */
  close(now: Micros): void {
    if (this.#state === 'closed') return;
    const isHeld = this.#state === 'ready' || this.#state === 'allocating';
    this.#stop('closed');
    if (!isHeld || !this.#requests.isSigned) return;
    this.#requests.ask(now, {
      subject: { what: 'close', ...notArmed() },
      method: METHOD.refresh,
      attributes: () => [[ATTRIBUTE.lifetime, lifetimeValue(0)]],
      isOnce: true,
    });
  }

  /** Renews what is due, and fails when the relay left a request without any answer. */
  handleTimeout(now: Micros): void {
    for (let due = this.#renewals.popDue(now); due; due = this.#renewals.popDue(now))
      this.#renew(now, due);
    const givenUp = this.#requests.popGivenUp(now);
    if (givenUp !== undefined) this.#fail(givenUp.what === 'allocate' ? RELAY_SILENT : RELAY_LOST);
  }

  /** The next request, renewal or giving up; an instant that is over while any is to be sent. */
  nextTimeout(): Micros {
    return earlier(this.#requests.nextTimeout(), this.#renewals.next());
  }

  /** The next request to the server. */
  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined {
    const size = this.#requests.pollRequest(now, into);
    return size === 0 ? undefined : { path: this.#config.server, size };
  }

  /** RFC 8656 §7.1: IPv4 is what is given unasked, by servers of before IPv6 too. */
  #allocate(now: Micros): void {
    const attributes: Attribute[] = [[ATTRIBUTE.requestedTransport, transportValue()]];
    const version = VERSIONS[this.#wanted];
    const ipv6 = familyValue(6);
    if (version === 'ipv6') attributes.push([ATTRIBUTE.requestedAddressFamily, ipv6]);
    if (version === 'both') {
      attributes.push([ATTRIBUTE.additionalAddressFamily, ipv6]);
      attributes.push([ATTRIBUTE.additionalAddressFamilyDraft, ipv6]);
    }
    this.#requests.ask(now, {
      subject: { what: 'allocate', ...notArmed() },
      method: METHOD.allocate,
      attributes: () => attributes,
    });
  }

  #permit(now: Micros, host: string): void {
    const permission = this.#peers.permission(host);
    if (permission?.isAsked === false && this.#state === 'ready') this.#renew(now, permission);
  }

  #renew(now: Micros, subject: Subject): void {
    if (subject.what === 'permission') this.#askPermission(now, subject);
    else if (subject.what === 'channel') this.#askChannel(now, subject);
    else if (!this.#isRefreshing) {
      this.#isRefreshing = true;
      this.#renewals.stop(this.#refresh);
      this.#requests.ask(now, { subject, method: METHOD.refresh, attributes: () => [] });
    }
  }

  #askPermission(now: Micros, permission: Permission): void {
    permission.isAsked = true;
    const peer: Path = { host: permission.host, port: 0 };
    // RFC 8656 §9.2: a host of another IP version would be refused (443).
    if (!this.hasFamilyOf(peer.host)) return;
    this.#requests.ask(now, {
      subject: permission,
      method: METHOD.createPermission,
      attributes: (transaction) => peerAddress(peer, transaction),
    });
  }

  #askChannel(now: Micros, channel: Channel): void {
    channel.isAsked = true;
    if (!this.hasFamilyOf(channel.peer.host)) return;
    this.#requests.ask(now, {
      subject: channel,
      method: METHOD.channelBind,
      attributes: (transaction) => [
        [ATTRIBUTE.channelNumber, channelValue(CHANNEL_FIRST + channel.index)],
        ...peerAddress(channel.peer, transaction),
      ],
    });
  }

  #onAnswer(now: Micros, { subject, code, message }: TurnAnswer<Subject>): void {
    const isLeave = subject.what === 'permission' || subject.what === 'channel';
    if (subject.what === 'close') return;
    if (subject.what === 'allocate' && this.#isAnotherVersion(code)) this.#allocate(now);
    else if (code !== undefined && (!isLeave || FATAL.includes(code)))
      this.#fail(refusedByRelay(code));
    else if (isLeave) this.#onLeave(now, subject, code === undefined);
    else if (subject.what === 'allocate') this.#onAllocated(now, message);
    else this.#onRefreshed(now, message);
  }

  /** Whether the server refused an IP version, and another one is to be tried. */
  #isAnotherVersion(code: number | undefined): boolean {
    const isRefused = code === WITHOUT_VERSION || code === FULL;
    if (!isRefused || this.#wanted + 1 === VERSIONS.length) return false;
    this.#wanted += 1;
    return true;
  }

  #onLeave(now: Micros, subject: Permission | Channel, isGranted: boolean): void {
    const { permissionLifeSeconds, permissionSeconds } = STUN_LIMITS;
    const { channelLifeSeconds, channelSeconds } = STUN_LIMITS;
    const isChannel = subject.what === 'channel';
    const life = isChannel ? channelLifeSeconds : permissionLifeSeconds;
    subject.until = isGranted ? after(now, seconds(life)) : now;
    if (isGranted)
      this.#renewals.set(
        subject,
        after(now, seconds(isChannel ? channelSeconds : permissionSeconds)),
      );
  }

  #onAllocated(now: Micros, message: StunMessage): void {
    const { attributes, repeated, transaction } = message;
    const first = attributes.get(ATTRIBUTE.xorRelayedAddress);
    const second = repeated.find(([type]) => type === ATTRIBUTE.xorRelayedAddress)?.[1];
    const relayed = relayedAddresses([first, second], transaction);
    const mapped = decodeXorAddress(attributes.get(ATTRIBUTE.xorMappedAddress), transaction);
    if (relayed.length === 0) {
      this.#fail(RELAY_WITHOUT_ADDRESS);
      return;
    }
    this.#state = 'ready';
    this.#relayed = relayed;
    this.#mapped = mapped;
    this.#armRefresh(now, attributes);
    for (const permission of this.#peers.permissions) this.#renew(now, permission);
    for (const channel of this.#peers.channels) this.#renew(now, channel);
  }

  #onRefreshed(now: Micros, { attributes }: StunMessage): void {
    this.#isRefreshing = false;
    if (lifetimeSeconds(attributes.get(ATTRIBUTE.lifetime)) === 0)
      this.#fail(refusedByRelay(ALLOCATION_MISMATCH));
    else this.#armRefresh(now, attributes);
  }

  #armRefresh(now: Micros, attributes: StunMessage['attributes']): void {
    const { lifetimeSecondsMin, lifetimeSecondsMax } = STUN_LIMITS;
    const said = lifetimeSeconds(attributes.get(ATTRIBUTE.lifetime)) ?? LIFETIME_SECONDS_DEFAULT;
    const lifetime = Math.min(Math.max(said, lifetimeSecondsMin), lifetimeSecondsMax);
    this.#renewals.set(this.#refresh, after(now, seconds(lifetime * LIFETIME_SHARE)));
  }

  #onChannelData(bytes: Uint8Array): Relayed | boolean {
    if (this.#state !== 'ready') return true;
    const channel = this.#peers.channels.at(channelIndexOf(bytes));
    const payload = channelPayload(bytes);
    if (channel === undefined || payload === undefined || payload.length === 0) return true;
    return { peer: channel.peer, bytes: payload };
  }

  #onIndication({
    method,
    attributes,
    transaction,
    unknownRequired,
  }: StunMessage): Relayed | boolean {
    if (method !== METHOD.data) return false;
    const from = decodeXorAddress(attributes.get(ATTRIBUTE.xorPeerAddress), transaction);
    const bytes = attributes.get(ATTRIBUTE.data);
    if (this.#state !== 'ready' || unknownRequired.length > 0) return true;
    if (from === undefined || from.port === 0 || bytes === undefined) return true;
    const peer = this.#peers.find(from);
    return peer === undefined || bytes.length === 0 ? true : { peer: peer.path, bytes };
  }

  #fail(failure: TurnFailure): void {
    this.#failure = failure;
    this.#stop('failed');
  }

  #stop(state: 'failed' | 'closed'): void {
    this.#state = state;
    this.#requests.clear();
    while (this.#renewals.popDue(NEVER) !== undefined);
  }
}

function peerAddress(peer: Path, transaction: Uint8Array): readonly Attribute[] {
  const value = encodeXorAddress(peer, transaction);
  return value === undefined ? [] : [[ATTRIBUTE.xorPeerAddress, value]];
}
