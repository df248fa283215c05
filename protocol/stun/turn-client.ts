// One allocation at a TURN server, over UDP or a stream (RFC 8656), with an address of one IP
// version or of both: allocated, refreshed, given back; datagrams wrapped and unwrapped. Who may be
// reached through it is in turn-leaves.ts and turn-peers.ts. What passes is sealed end to end, so
// the relay is believed in nothing but where a datagram came from, and only for hosts that we asked
// it to let through. Nothing that is not an answer of this server to a request of ours, signed as
// it has to be, changes anything.

import { isIpv6Text } from '../address.ts';
import { type Path, type Transmit, samePath } from '../core.ts';
import type { Rng } from '../random.ts';
import { type Micros, NEVER, after, earlier, seconds } from '../time.ts';
import {
  ATTRIBUTE,
  ERROR,
  decodeXorAddress,
  familyValue,
  isServerError,
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
  channelIndexOf,
  channelPayload,
  isChannelData,
  wrapInChannel,
  wrapInIndication,
} from './turn-frames.ts';
import { TurnLeaves } from './turn-leaves.ts';
import { type Leave, reachableUntil } from './turn-peers.ts';
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
interface Allocation {
  readonly what: 'allocate' | 'refresh' | 'close';
}

type Subject = Allocation | Leave;

const LIFETIME_SECONDS_DEFAULT = 600;
const LIFETIME_SHARE = 0.5;
/** IP versions of relayed addresses, each asked for when the server has not got the one before. */
const VERSIONS = ['both', 'ipv4', 'ipv6'] as const;
/** It has not, or has no port: coturn of today says that if it cannot give both. */
const WITHOUT_VERSION: readonly number[] = [ERROR.versionUnsupported, ERROR.insufficientCapacity];
/** Errors after which nothing of the allocation can be relied on. */
const FATAL: readonly number[] = [
  ERROR.unauthorized,
  ERROR.allocationMismatch,
  ERROR.staleNonce,
  ERROR.wrongCredentials,
];

/** An allocation and what hangs on it. Bounds: STUN_LIMITS. */
export class TurnClient {
  readonly #config: TurnConfig;
  readonly #requests: TurnRequests<Subject>;
  readonly #refresh: Allocation = { what: 'refresh' };
  readonly #leaves: TurnLeaves;
  #state: TurnState = 'idle';
  #failure: TurnFailure | undefined;
  #relayed: readonly Path[] = [];
  #isRefreshing = false;
  /** When it is to be refreshed. */
  #refreshAt: Micros = NEVER;
  /** Errors of the server in a row that answered a Refresh. */
  #errors = 0;
  /** Of VERSIONS: what is asked for. */
  #wanted: number;

  constructor(config: TurnConfig) {
    this.#config = config;
    this.#requests = new TurnRequests(config.rng, config);
    this.#leaves = new TurnLeaves(this.#requests, config.via);
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

  /** Asks for the allocation; once. */
  start(now: Micros): void {
    if (this.#state !== 'idle') return;
    this.#state = 'allocating';
    this.#allocate(now);
  }

  /**
   * Lets these hosts, all that are wanted, send to the relayed addresses; before `ready` they are
   * remembered. Hosts of an IP version that no relayed address has, and those beyond
   * STUN_LIMITS.permissionsMax with that of the bound peer, are left out. Earlier ones are kept
   * while they are used and there is room.
   */
  permit(now: Micros, hosts: readonly string[]): void {
    this.#leaves.permit(now, hosts);
  }

  /**
   * Permits the host of the peer of the talk, in place of the one before, and binds a channel to
   * it; where the server refuses that it is reached by Send indications. `peer` is the object by
   * which its datagrams are told from now on, its host RFC 5952 text.
   */
  bind(now: Micros, peer: Path): void {
    this.#leaves.bind(now, peer);
  }

  /** Whether there is a relayed address of this host's IP version. */
  hasFamilyOf(host: string): boolean {
    return this.#relayed.some((relayed) => isIpv6Text(relayed.host) === isIpv6Text(host));
  }

  /** Whether a datagram to this peer can leave now. */
  canReach(now: Micros, peer: Path): boolean {
    const known = this.#state === 'ready' ? this.#leaves.peers.find(now, peer) : undefined;
    return known !== undefined && now < reachableUntil(known);
  }

  /**
   * Wraps the datagram of `size` bytes at the start of `buffer` for the relay, in place:
   * ChannelData (+ 4 bytes) or a Send indication (+ 36 to 51). Returns the new size; 0: it may not
   * be sent now, or does not fit. Send the result to the server.
   */
  wrap(now: Micros, peer: Path, buffer: Uint8Array, size: number): number {
    if (this.#state !== 'ready') return 0;
    const known = this.#leaves.peers.find(now, peer);
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
    if (isChannelData(bytes)) return this.#onChannelData(now, bytes);
    const message = decodeMessage(bytes);
    if (message === undefined) return false;
    if (message.stunClass === 'indication') return this.#onIndication(now, message);
    if (message.method === METHOD.binding) return false;
    const answer = this.#requests.handleMessage(now, bytes, message);
    if (answer !== undefined) this.#onAnswer(now, answer);
    return true;
  }

  /** Asks the relay whether it still holds the allocation; `failed` within 5 s if it does not. */
  check(now: Micros): void {
    if (this.#state === 'ready') this.#askRefresh(now);
  }

  /**
   * Gives the allocation back with one packet, and is done; `isOver` once the server has had the
   * time to call the nonce stale, which is answered with one more. Harmless in any state.
   */
  close(now: Micros): void {
    if (this.#state === 'closed') return;
    const isAsked = this.#state === 'allocating' && this.#requests.isSigned;
    const isHeld = this.#state === 'ready' || isAsked;
    this.#stop('closed');
    if (!isHeld) return;
    this.#requests.ask(now, {
      subject: { what: 'close' },
      method: METHOD.refresh,
      attributes: () => [[ATTRIBUTE.lifetime, lifetimeValue(0)]],
      isOnce: true,
    });
  }

  /** Renews what is due, and fails when the relay left a request without any answer. */
  handleTimeout(now: Micros): void {
    this.#leaves.handleTimeout(now);
    if (this.#refreshAt <= now) this.#askRefresh(now);
    const givenUp = this.#requests.popGivenUp(now);
    if (givenUp !== undefined) this.#fail(givenUp.what === 'allocate' ? RELAY_SILENT : RELAY_LOST);
  }

  /** The next request, renewal or giving up; an instant that is over while any is to be sent. */
  nextTimeout(): Micros {
    const renewal = earlier(this.#leaves.nextTimeout(), this.#refreshAt);
    return earlier(this.#requests.nextTimeout(), renewal);
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
      subject: { what: 'allocate' },
      method: METHOD.allocate,
      attributes: () => attributes,
    });
  }

  #askRefresh(now: Micros): void {
    this.#refreshAt = NEVER;
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    const subject = this.#refresh;
    this.#requests.ask(now, { subject, method: METHOD.refresh, attributes: () => [] });
  }

  #onAnswer(now: Micros, { subject, code, message }: TurnAnswer<Subject>): void {
    if (subject.what === 'close') return;
    if (subject.what === 'permission' || subject.what === 'channel') {
      if (code !== undefined && FATAL.includes(code)) this.#fail(refusedByRelay(code));
      else this.#leaves.onAnswer(now, subject, code);
    } else if (subject.what === 'refresh') {
      this.#isRefreshing = false;
      if (code === undefined) this.#onRefreshed(now, message);
      else if (this.#mayPass(code))
        this.#refreshAt = after(now, seconds(STUN_LIMITS.serverErrorSeconds));
      else this.#fail(refusedByRelay(code));
    } else if (this.#isAnotherVersion(code)) {
      this.#allocate(now);
    } else if (code === undefined) {
      this.#onAllocated(now, message);
    } else {
      this.#fail(refusedByRelay(code));
    }
  }

  /** Whether the server has an error of its own, and the allocation lives for a while yet. */
  #mayPass(code: number): boolean {
    this.#errors += 1;
    return isServerError(code) && this.#errors <= STUN_LIMITS.serverErrorsMax;
  }

  /** Whether the server refused an IP version, and another one is to be tried. */
  #isAnotherVersion(code: number | undefined): boolean {
    const isRefused = code !== undefined && WITHOUT_VERSION.includes(code);
    if (!isRefused || this.#wanted + 1 === VERSIONS.length) return false;
    this.#wanted += 1;
    return true;
  }

  #onAllocated(now: Micros, message: StunMessage): void {
    const { attributes, repeated, transaction } = message;
    const first = attributes.get(ATTRIBUTE.xorRelayedAddress);
    const second = repeated.find(([type]) => type === ATTRIBUTE.xorRelayedAddress)?.[1];
    const relayed = relayedAddresses([first, second], transaction);
    if (relayed.length === 0) {
      this.#fail(RELAY_WITHOUT_ADDRESS);
      return;
    }
    this.#state = 'ready';
    this.#relayed = relayed;
    this.#armRefresh(now, attributes);
    this.#leaves.open(now, (host) => this.hasFamilyOf(host));
  }

  #onRefreshed(now: Micros, { attributes }: StunMessage): void {
    this.#errors = 0;
    if (lifetimeSeconds(attributes.get(ATTRIBUTE.lifetime)) === 0)
      this.#fail(refusedByRelay(ERROR.allocationMismatch));
    else this.#armRefresh(now, attributes);
  }

  #armRefresh(now: Micros, attributes: StunMessage['attributes']): void {
    const { lifetimeSecondsMin, lifetimeSecondsMax } = STUN_LIMITS;
    const said = lifetimeSeconds(attributes.get(ATTRIBUTE.lifetime)) ?? LIFETIME_SECONDS_DEFAULT;
    const lifetime = Math.min(Math.max(said, lifetimeSecondsMin), lifetimeSecondsMax);
    this.#refreshAt = after(now, seconds(lifetime * LIFETIME_SHARE));
  }

  #onChannelData(now: Micros, bytes: Uint8Array): Relayed | boolean {
    if (this.#state !== 'ready') return true;
    const channel = this.#leaves.peers.channel(channelIndexOf(bytes));
    const payload = channelPayload(bytes);
    if (channel === undefined || payload === undefined || payload.length === 0) return true;
    const peer = this.#leaves.peers.find(now, channel.peer);
    return peer === undefined ? true : { peer: peer.path, bytes: payload };
  }

  #onIndication(
    now: Micros,
    { method, attributes, transaction, unknownRequired }: StunMessage,
  ): Relayed | boolean {
    if (method !== METHOD.data) return false;
    const from = decodeXorAddress(attributes.get(ATTRIBUTE.xorPeerAddress), transaction);
    const bytes = attributes.get(ATTRIBUTE.data);
    if (this.#state !== 'ready' || unknownRequired.length > 0) return true;
    if (from === undefined || from.port === 0 || bytes === undefined) return true;
    const peer = bytes.length === 0 ? undefined : this.#leaves.peers.find(now, from);
    return peer === undefined ? true : { peer: peer.path, bytes };
  }

  #fail(failure: TurnFailure): void {
    this.#failure = failure;
    this.#stop('failed');
  }

  #stop(state: 'failed' | 'closed'): void {
    this.#state = state;
    this.#requests.clear();
    this.#leaves.stop();
    this.#refreshAt = NEVER;
  }
}
