// The relay of one talk (RFC 8656): an allocation at the first TURN server that gives one, over UDP
// or, where that is blocked, over TCP; each try has an endpoint of its own, and the first that is
// ready is the relay. What passes is what the two ends have sealed for each other: the relay sees
// who and how much, and nothing else. Its credentials are the session's own and run out. A relay
// that is lost says so, and is looked for anew when its owner asks again.

import { addressText, isIpv6Text } from '../../protocol/address.ts';
import type { Candidate, RelayTerms } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { Rng } from '../../protocol/random.ts';
import { ERROR } from '../../protocol/stun/attributes.ts';
import { TurnClient } from '../../protocol/stun/turn-client.ts';
import {
  RELAY_CUT,
  RELAY_SHUT,
  RELAY_UNOPENED,
  type TurnFailure,
} from '../../protocol/stun/turn-failures.ts';
import { type Micros, NEVER, after, earlier, ms } from '../../protocol/time.ts';
import type { SocketId } from '../terminal-types.ts';
import { MEETING_LIMITS } from './limits.ts';
import { type RelayTransport, type RelayTry, reachedFirst, relaySteps } from './relay-plan.ts';

/** Where a relay stands. `failed`: nobody gave an allocation, or the one that there was is lost. */
type RelayState = 'idle' | 'asked' | 'ready' | 'failed' | 'closed';

/** What a relay does through its owner. */
export interface RelayHost {
  /** One endpoint more, that only speaks to this server; undefined: there are too many. */
  open(server: Path, transport: RelayTransport): SocketId | undefined;
  close(socket: SocketId): void;
}

/** A datagram, or over TCP a frame, to the relay. */
interface RelayTransmit {
  readonly socket: SocketId;
  readonly path: Path;
  readonly size: number;
}

interface Attempt extends RelayTry {
  readonly socket: SocketId;
  readonly client: TurnClient;
  /** It is tried anew, from another port. */
  readonly isAnew: boolean;
  /** Its server has said something. */
  isHeard: boolean;
  isLeaving: boolean;
  /** Until when its server's word about that is waited for. */
  leaveBy: Micros;
}

/**
 * Another allocation is there still, or is another user's (RFC 8656 §7.4): our NAT gave us the port
 * of a former socket. From another port it may do.
 */
const TAKEN: readonly (number | undefined)[] = [ERROR.allocationMismatch, ERROR.wrongCredentials];

/** One talk's relay. Bounds: MEETING_LIMITS, STUN_LIMITS. */
export class Relay {
  readonly #host: RelayHost;
  readonly #rng: Rng;
  #terms: RelayTerms;
  readonly #attempts = new Map<SocketId, Attempt>();
  /** All endpoints so far: what came or went by one of them came or went through a relay. */
  readonly #sockets = new Set<SocketId>();
  /** Hosts that may send to us, and the peer of the talk: of every allocation. */
  #hosts: readonly string[] = [];
  #peer: Path | undefined;
  #state: RelayState = 'idle';
  #ready: Attempt | undefined;
  #steps: RelayTry[][] = [];
  /** Connections that were refused: a relay that is being started will take them soon. */
  #refused: RelayTry[] = [];
  #stepAt: Micros = NEVER;
  #decideAt: Micros = NEVER;
  #says: string | undefined;
  /** What a server of this round said, which tells more than silence. */
  #refusal: string | undefined;
  #hasOpened = false;

  constructor(terms: RelayTerms, rng: Rng, host: RelayHost) {
    this.#terms = terms;
    this.#rng = rng;
    this.#host = host;
  }

  get state(): RelayState {
    return this.#state;
  }

  /** Why it failed, or was lost, in words; kept until there is one again. */
  get says(): string | undefined {
    return this.#says;
  }

  /** Where the peer reaches us through it, by IPv4 and IPv6; empty while there is none. */
  get relayed(): readonly Path[] {
    return this.#ready?.client.relayed ?? [];
  }

  /** Whether it can send to this host. */
  reaches(host: string): boolean {
    return this.#ready?.client.hasFamilyOf(host) === true;
  }

  /** The endpoint of the relay that is ready. */
  get socket(): SocketId | undefined {
    return this.#ready?.socket;
  }

  /** The server of the relay that is ready. */
  get server(): Path | undefined {
    return this.#ready?.server;
  }

  /** What the relay that is ready is reached by. */
  get transport(): RelayTransport | undefined {
    return this.#ready?.transport;
  }

  /** Whether datagrams on this path pass through a relay of ours, present or former. */
  carries({ via }: Path): boolean {
    return via !== undefined && this.owns(via);
  }

  /** Whether this endpoint is, or was, one of a relay of ours. */
  owns(socket: SocketId): boolean {
    return this.#sockets.has(socket);
  }

  /** Whether nothing is to be said any more, nor heard: its endpoints are closed. */
  get hasLeft(): boolean {
    return this.#attempts.size === 0 && this.#state !== 'asked' && this.#state !== 'ready';
  }

  /** Whether a datagram to this peer can leave now, through the relay that is ready. */
  canReach(now: Micros, peer: Path): boolean {
    const relay = this.#ready;
    return relay !== undefined && peer.via === relay.socket && relay.client.canReach(now, peer);
  }

  /**
   * Looks for a relay, if there is none and none is looked for: decided within
   * MEETING_LIMITS.relayDecideMs. `isUdpSilent`: nothing has answered this terminal over UDP;
   * `own`: where it can be reached, as far as that is known.
   */
  begin(now: Micros, isUdpSilent: boolean, own: readonly Candidate[] = []): void {
    if (this.#state === 'asked' || this.#state === 'ready') return;
    for (const attempt of this.#attempts.values()) this.#drop(attempt);
    this.#state = 'asked';
    this.#refusal = undefined;
    this.#refused = [];
    this.#hasOpened = false;
    this.#steps = relaySteps(reachedFirst(relayServers(this.#terms), own), isUdpSilent);
    this.#decideAt = after(now, ms(MEETING_LIMITS.relayDecideMs));
    this.#settle(now);
  }

  /** Newer credentials and servers, for the next `begin`. */
  renew(terms: RelayTerms): void {
    this.#terms = terms;
  }

  /** An endpoint is open: its server is asked. */
  onOpen(now: Micros, socket: SocketId): void {
    const attempt = this.#attempts.get(socket);
    if (attempt === undefined || attempt.isLeaving) return;
    this.#hasOpened = true;
    attempt.client.start(now);
  }

  /** An endpoint could not be opened, or is no more. */
  onFailed(now: Micros, socket: SocketId): void {
    const attempt = this.#attempts.get(socket);
    if (attempt === undefined) return;
    // Over TCP: that its connection is refused is no less than an answer that never comes.
    if (attempt.transport === 'tcp') {
      this.#hasOpened = true;
      this.#refused.push({ server: attempt.server, transport: 'tcp' });
      this.#stepAt = earlier(this.#stepAt, after(now, ms(MEETING_LIMITS.relayStepMs)));
    }
    this.#drop(attempt);
    if (attempt === this.#ready) this.#lose(RELAY_CUT);
    this.#settle(now);
  }

  /** The peer may send to us from these hosts, through this relay and those after it. */
  permit(now: Micros, hosts: readonly string[]): void {
    this.#hosts = hosts;
    for (const { client } of this.#attempts.values()) client.permit(now, hosts);
  }

  /** This is the path of the talk: fewer bytes for each datagram. */
  bind(now: Micros, { host, port }: Path): void {
    this.#peer = { host, port };
    for (const { client, socket } of this.#attempts.values())
      client.bind(now, { host, port, via: socket });
  }

  /** Asks the relay whether it is still there: if not it is lost within 5 s. */
  check(now: Micros): void {
    this.#ready?.client.check(now);
  }

  /**
   * Makes the datagram at the start of `buffer` one for the relay, in place; undefined if it may
   * not go.
   */
  wrap(now: Micros, peer: Path, buffer: Uint8Array, size: number): RelayTransmit | undefined {
    const relay = this.#ready;
    if (relay === undefined || peer.via !== relay.socket) return undefined;
    const wrapped = relay.client.wrap(now, peer, buffer, size);
    if (wrapped === 0 || wrapped > MEETING_LIMITS.relayPayloadBytesMax) return undefined;
    return { socket: relay.socket, path: relay.server, size: wrapped };
  }

  /** What came on one of its endpoints: a datagram of a peer's, something for us, or neither. */
  handleDatagram(
    now: Micros,
    socket: SocketId,
    { from, bytes }: { readonly from: Path; readonly bytes: Uint8Array },
  ): { readonly path: Path; readonly bytes: Uint8Array } | 'consumed' | 'stray' {
    const attempt = this.#attempts.get(socket);
    const heard = attempt?.client.handleDatagram(now, from, bytes) ?? false;
    if (typeof heard === 'boolean') {
      if (attempt?.isHeard === false && attempt.client.isHeard) {
        attempt.isHeard = true;
        // Somebody is there: the others wait as long again.
        this.#stepAt = after(now, ms(MEETING_LIMITS.relayStepMs));
      }
      this.#settle(now);
      return heard ? 'consumed' : 'stray';
    }
    if (attempt !== this.#ready) return 'consumed';
    return { path: heard.peer, bytes: heard.bytes };
  }

  handleTimeout(now: Micros): void {
    for (const { client } of this.#attempts.values()) client.handleTimeout(now);
    if (this.#state === 'asked' && this.#decideAt <= now) this.#giveUp();
    else if (this.#state === 'asked' && this.#stepAt <= now) {
      this.#steps[0] = [...(this.#steps[0] ?? []), ...this.#refused.splice(0)];
      this.#step(now);
    }
    this.#settle(now);
  }

  nextTimeout(): Micros {
    let next = this.#state === 'asked' ? earlier(this.#stepAt, this.#decideAt) : NEVER;
    for (const { client, leaveBy } of this.#attempts.values())
      next = earlier(next, earlier(client.nextTimeout(), leaveBy));
    return next;
  }

  /** What is said to the servers themselves. */
  pollTransmit(now: Micros, into: Uint8Array): RelayTransmit | undefined {
    for (const { client, socket } of this.#attempts.values()) {
      const said = client.pollTransmit(now, into);
      if (said !== undefined) return { socket, path: said.path, size: said.size };
    }
    return undefined;
  }

  /**
   * Gives the allocation back. Its endpoint stays until the server has answered, which may want the
   * same again with a newer nonce; at most MEETING_LIMITS.relayLeaveMs.
   */
  close(now: Micros): void {
    this.#state = 'closed';
    this.#ready = undefined;
    for (const attempt of this.#attempts.values()) this.#leave(now, attempt);
    this.#settle(now);
  }

  /** Follows the allocations; a server that gives none is followed by the next one at once. */
  #settle(now: Micros): void {
    for (const attempt of this.#attempts.values()) {
      const { client } = attempt;
      if (client.failure !== undefined) this.#onFailure(now, attempt, client.failure);
      else if (attempt.isLeaving && (client.isOver || attempt.leaveBy <= now)) this.#drop(attempt);
      else if (client.state === 'ready' && this.#state === 'asked') this.#win(now, attempt);
    }
    while (this.#state === 'asked' && !this.#isUnderWay) {
      if (this.#steps.length > 0) this.#step(now);
      else if (this.#refused.length > 0) return;
      else this.#giveUp();
    }
  }

  get #isUnderWay(): boolean {
    return [...this.#attempts.values()].some(({ isLeaving }) => !isLeaving);
  }

  #onFailure(now: Micros, attempt: Attempt, failure: TurnFailure): void {
    this.#drop(attempt);
    if (attempt === this.#ready) {
      this.#lose(failure);
    } else if (TAKEN.includes(failure.code) && !attempt.isAnew) {
      this.#try(now, attempt, true);
    } else if (failure.code !== undefined) {
      this.#refusal = failure.says;
      // It would say the same over TCP.
      const isOther = ({ server }: RelayTry): boolean => server !== attempt.server;
      this.#steps = this.#steps.map((step) => step.filter(isOther));
      this.#refused = this.#refused.filter(isOther);
    }
  }

  #lose({ says }: TurnFailure): void {
    this.#state = 'failed';
    this.#ready = undefined;
    this.#says = says;
  }

  #giveUp(): void {
    for (const attempt of this.#attempts.values()) this.#drop(attempt);
    const silence = this.#hasOpened ? RELAY_SHUT : RELAY_UNOPENED;
    this.#lose({ code: undefined, says: this.#refusal ?? silence.says });
  }

  #win(now: Micros, winner: Attempt): void {
    this.#state = 'ready';
    this.#ready = winner;
    this.#says = undefined;
    this.#steps = [];
    for (const attempt of this.#attempts.values()) {
      if (attempt !== winner) this.#leave(now, attempt);
    }
  }

  #step(now: Micros): void {
    const tries = this.#steps.shift();
    const isMore = this.#steps.length + this.#refused.length > 0;
    this.#stepAt = isMore ? after(now, ms(MEETING_LIMITS.relayStepMs)) : NEVER;
    for (const one of tries ?? []) this.#try(now, one, false);
  }

  #try(now: Micros, { server, transport }: RelayTry, isAnew: boolean): void {
    const socket = this.#host.open(server, transport);
    if (socket === undefined) return;
    const { username, password } = this.#terms;
    const isStream = transport === 'tcp';
    const rng = this.#rng;
    const wantsIpv6 = this.#hosts.some(isIpv6Text);
    const as = { server, username, password, wantsIpv6 };
    const client = new TurnClient({ ...as, rng, isStream, via: socket });
    client.permit(now, this.#hosts);
    if (this.#peer !== undefined) client.bind(now, { ...this.#peer, via: socket });
    const [oldest] = this.#sockets;
    if (this.#sockets.size >= MEETING_LIMITS.relaySocketsMax) this.#sockets.delete(oldest);
    this.#sockets.add(socket);
    const state = { isHeard: false, isLeaving: false, leaveBy: NEVER };
    this.#attempts.set(socket, { server, transport, socket, client, isAnew, ...state });
  }

  #leave(now: Micros, attempt: Attempt): void {
    if (attempt.isLeaving) return;
    attempt.isLeaving = true;
    attempt.leaveBy = after(now, ms(MEETING_LIMITS.relayLeaveMs));
    attempt.client.close(now);
    if (attempt.client.isOver) this.#drop(attempt);
  }

  #drop({ socket }: Attempt): void {
    if (this.#attempts.delete(socket)) this.#host.close(socket);
  }
}

/** The servers of the terms, as paths. */
export function relayServers({ servers }: RelayTerms): readonly Path[] {
  return servers.flatMap(({ address, port }) => {
    const host = addressText(address);
    return host === undefined || port === 0 ? [] : [{ host, port }];
  });
}
