// Means 15 [S1005, S4005, S5000]: the talks under way, each a connection with a socket of its own,
// encrypted with the session key of its notice [claim 7]. A talk goes on while the control plane is
// away; it stops when all is delivered, at its expiry, or when anybody ends it [claim 3].
// Over 400 lines: the one place where a talk's connection, its meeting and its endpoints come
// together; each method hands on to one of them.

import type { RelayPolicy } from '../protocol/address.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import type { Path, Transmit } from '../protocol/core.ts';
import { type DhKey, KEY_BYTES } from '../protocol/crypto.ts';
import { Connection } from '../protocol/data/connection.ts';
import { connectionConfig } from '../protocol/data/connection-config.ts';
import type {
  ConnectionConfig,
  ConnectionEvent,
  Role,
  Talk,
} from '../protocol/data/connection-types.ts';
import { packetKind } from '../protocol/data/packet.ts';
import { Probes, isProbe } from '../protocol/data/probe.ts';
import type { EndReason } from '../protocol/ends.ts';
import { type SessionId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Rng, randomBytes } from '../protocol/random.ts';
import { type Micros, NEVER, earlier } from '../protocol/time.ts';
import type { Trace } from '../protocol/trace/trace-event.ts';
import type { Introduction, Self } from './address-notice.ts';
import type { Ending } from './ending.ts';
import type { Extension } from './extension.ts';
import { candidatePaths } from './candidates.ts';
import type { Gathered } from './meeting/gathering.ts';
import { Meeting } from './meeting/meeting.ts';
import type { MeetingHost, OwnPlace } from './meeting/meeting-types.ts';
import type { Reachability } from './meeting/reachability.ts';
import type { Outbox } from './outbox.ts';
import type { Pins } from './pins.ts';
import type { Requests } from './requests.ts';
import type { CallId, SocketId, TerminalStatus } from './terminal-types.ts';
import type { UnderWay } from './under-way.ts';

/** Who hears what the connection of a talk does; undefined: nobody. */
export type TraceOf = (session: SessionId, role: Role) => Trace | undefined;

interface TalksOptions {
  readonly self: Self;
  readonly localKey: DhKey;
  readonly rng: Rng;
  readonly config: Partial<ConnectionConfig> | undefined;
  readonly outbox: Outbox;
  readonly ending: Ending;
  readonly extension: Extension;
  readonly pins: Pins;
  readonly traceOf: TraceOf | undefined;
  readonly requests: Requests;
  readonly reachability: Reachability;
  readonly relay: RelayPolicy;
}

/** One datagram to send, and from where. */
export interface TalkTransmit {
  readonly socket: SocketId;
  readonly path: Path;
  readonly size: number;
}

/** The talks of one terminal; their sockets bound them to LIMITS.callsMax. */
export class Talks {
  readonly #options: TalksOptions;
  #talks: UnderWay[] = [];
  /** Ended, but what arrived is still readable, and the peer may not know of the end yet. */
  #closing: UnderWay[] = [];
  /** Both of them by their first sockets: looked up for every datagram, whoever sent it. */
  readonly #byFirst = new Map<SocketId, UnderWay>();
  /**
   * The newest initiation that came to a wanted socket before its notice did: the two ways are not
   * equally fast, and without this the caller's retransmission would set the time of every set-up.
   * One small datagram for each socket, so at most LIMITS.callsMax.
   */
  readonly #early = new Map<SocketId, { readonly path: Path; readonly bytes: Uint8Array }>();
  /** Paths of further endpoints by the last one that was heard there. */
  readonly #vias = new Map<SocketId, Path>();
  /** Made with the request, or with the answer to one; of wanted sockets only. */
  readonly #ephemerals = new Map<SocketId, DhKey>();
  /** What the link of a wanted socket allows. */
  readonly #links = new Map<SocketId, Partial<ConnectionConfig>>();
  /** Whose turn it is to send. */
  #turn = 0;

  /** @throws UsageError for a configuration out of range: now, not at the first talk. */
  constructor(options: TalksOptions) {
    connectionConfig(options.config);
    this.#options = options;
  }

  get size(): number {
    return this.#talks.length;
  }

  find(session: SessionId): UnderWay | undefined {
    return this.#talks.find((talk) => talk.session === session);
  }

  /** What a service reads from and writes to; still there when `ended` is told. */
  talk(session: SessionId): Talk | undefined {
    const isIt = (talk: UnderWay): boolean => talk.session === session;
    return (this.#talks.find(isIt) ?? this.#closing.find(isIt))?.connection;
  }

  /**
   * [S1005, S4005, claim 1, claim 7]: begins a talk with the key, the peer and the expiry received.
   */
  begin(now: Micros, introduced: Introduction): void {
    const { self, localKey, rng, config, outbox, ending } = this.#options;
    const { grant, role, peer, socket } = introduced;
    const { session, service } = grant;
    const terms = { seconds: grant.seconds, bytes: grant.bytes };
    const connection = new Connection({
      role,
      session,
      grantBytes: introduced.grantBytes,
      limits: terms,
      sessionKey: introduced.key,
      localKey,
      ephemeral: this.#ephemerals.get(socket),
      remoteEphemeral: introduced.peerShare,
      remotePublicKey: introduced.peerKey,
      suite: self.suite,
      rng,
      config: { ...this.#links.get(socket), ...config },
      trace: this.#options.traceOf?.(session, role),
    });
    this.#links.delete(socket);
    connection.start(now);
    const talk: UnderWay = {
      session,
      role,
      peer,
      pinned: this.#options.pins.idOf(peer.name),
      isRefused: false,
      service,
      socket,
      call: introduced.call,
      connection,
      meeting: this.#meeting(now, introduced, connection, () => talk),
      generation: 0,
      told: undefined,
      extend: introduced.extend,
      granted: terms,
      terms,
      revision: 0,
      asked: undefined,
      introducedAt: now,
      consented: undefined,
      question: undefined,
      path: undefined,
    };
    this.#talks.push(talk);
    this.#byFirst.set(socket, talk);
    ending.begin(session);
    this.#ephemerals.delete(socket);
    const early = this.#early.get(socket);
    this.#early.delete(socket);
    if (early !== undefined) this.#hear(now, talk, early.path, early.bytes);
    if (talk.meeting.isHopeless) connection.close(now, 'path-lost');
    outbox.event({
      kind: 'introduced',
      session,
      call: introduced.call,
      peer,
      service,
      terms,
    });
  }

  /**
   * Ends a talk; false if there is none. `done` delivers what is in flight first [S1006, S4006].
   */
  end(now: Micros, session: SessionId, reason: EndReason): boolean {
    const talk = this.find(session);
    talk?.connection.close(now, reason);
    return talk !== undefined;
  }

  /** Ends the talk that came of a call. */
  endCall(now: Micros, call: CallId): void {
    const talk = this.#talks.find((other) => other.call === call);
    talk?.connection.close(now, 'local');
  }

  /** [S5001, claim 6]: an end request closes the talk at once; the end notice follows. */
  onEndRequest(now: Micros, message: MessageOf<'endRequest'>): boolean {
    return this.end(now, message.session, message.reason);
  }

  onSocketFailed(now: Micros, socket: SocketId): void {
    const talk = this.#bySocket(socket);
    if (talk?.socket === socket) talk.connection.close(now, 'path-lost');
    else talk?.meeting.onEndpointFailed(now, socket);
  }

  /** A further endpoint of a talk is open, also of one that is over; false if it is none. */
  onEndpointOpen(now: Micros, socket: SocketId): boolean {
    const isIt = ({ meeting }: UnderWay): boolean => meeting.owns(socket);
    const talk = this.#talks.find(isIt) ?? this.#closing.find(isIt);
    talk?.meeting.onEndpointOpen(now, socket);
    return talk !== undefined;
  }

  /** Whether this is an endpoint of a talk that is over: nobody asks from there any more. */
  isOver(socket: SocketId): boolean {
    return this.#closing.some((talk) => talk.socket === socket || talk.meeting.owns(socket));
  }

  /** Whether a talk that is over still has something to say to its relay. */
  get isLeaving(): boolean {
    return this.#closing.some(({ meeting }) => !meeting.hasLeft);
  }

  /** Talks that are over give their relays back now, whatever the peer has heard of the end. */
  leaveRelays(now: Micros): void {
    for (const { meeting } of this.#closing) meeting.leave(now);
  }

  /** Where an endpoint of a talk can be reached now. */
  onGathered(now: Micros, socket: SocketId, gathered: Gathered): void {
    const talk = this.#talks.find((one) => one.socket === socket || one.meeting.owns(socket));
    talk?.meeting.onGathered(now, socket, gathered);
  }

  /** This machine's network is another one. */
  onNetworkChanged(now: Micros): void {
    for (const { meeting } of this.#talks) meeting.onLost(now, true);
  }

  /** The peer of a talk tells where it is now; false if there is no such talk. */
  onPeerCandidates(now: Micros, message: MessageOf<'peerCandidates'>): boolean {
    const talk = this.find(message.session);
    if (talk === undefined) return false;
    const { reachability, outbox } = this.#options;
    const { generation, candidates, varies = false } = message;
    const paths = candidatePaths(candidates, reachability.isOnLoopback(talk.socket));
    if (!talk.meeting.onPeerCandidates(now, generation, paths, varies)) return true;
    outbox.event({ kind: 'reintroduced', session: talk.session, by: 'peer' });
    return true;
  }

  /** The manager has our word about where we are; false if it was not asked. */
  onCandidatesTold(message: MessageOf<'candidatesTold'>): boolean {
    const talk = this.#talks.find(({ told }) => told === message.request);
    if (talk === undefined) return false;
    talk.told = undefined;
    if (message.relay !== undefined) talk.meeting.onRelayTerms(message.relay);
    return this.#options.requests.settle(message.request);
  }

  onRefusal(message: MessageOf<'refusal'>): boolean {
    const teller = this.#talks.find(({ told }) => told === message.request);
    if (teller !== undefined) {
      teller.told = undefined;
      return this.#options.requests.settle(message.request);
    }
    return this.#talks.some((talk) => this.#options.extension.onRefusal(talk, message.request));
  }

  /** [S5005]: the manager tells a new expiry; false if there is no such talk. */
  onNewExpiry(now: Micros, session: SessionId, message: MessageOf<'newExpiry'>): boolean {
    const talk = this.find(session);
    if (talk === undefined) return false;
    this.#options.extension.onNewExpiry(now, talk, message.expiry, message.signature);
    return true;
  }

  /** False: nothing has changed. */
  handleDatagram(now: Micros, socket: SocketId, path: Path, bytes: Uint8Array): boolean {
    const talk = this.#bySocket(socket);
    if (talk === undefined) {
      if (!this.#keepEarly(socket, path, bytes)) this.#options.outbox.count('strayDatagrams');
      return false;
    }
    if (talk.socket === socket) return this.#hear(now, talk, path, bytes);
    if (talk.meeting.relay?.owns(socket) !== true)
      return this.#hear(now, talk, this.#viaPath(socket, path), bytes);
    const heard = talk.meeting.fromRelay(now, socket, { from: path, bytes });
    if (typeof heard === 'object') return this.#hear(now, talk, heard.path, heard.bytes);
    if (heard === 'stray') this.#options.outbox.count('badStun');
    return true;
  }

  /** A datagram of a talk's, from whatever endpoint it came. False: nothing has changed. */
  #hear(now: Micros, { connection, meeting }: UnderWay, path: Path, bytes: Uint8Array): boolean {
    if (!meeting.accepts(path)) {
      this.#options.outbox.count('strayDatagrams');
      return false;
    }
    if (!isProbe(bytes)) return connection.handleDatagram(now, path, bytes);
    if (connection.isOverAt(now) || meeting.onProbe(now, path, bytes)) return true;
    this.#options.outbox.count('badProbes');
    return false;
  }

  /** The path with the endpoint that it is seen from; the same object while nobody else sends. */
  #viaPath(via: SocketId, { host, port }: Path): Path {
    const last = this.#vias.get(via);
    if (last?.port === port && last.host === host) return last;
    const path: Path = { host, port, via };
    this.#vias.set(via, path);
    return path;
  }

  handleTimeout(now: Micros): void {
    for (const { connection, meeting } of [...this.#talks, ...this.#closing]) {
      if (connection.nextTimeout() <= now) connection.handleTimeout(now);
      if (meeting.nextTimeout() <= now) meeting.handleTimeout(now);
    }
    for (const { connection, meeting } of this.#closing) {
      if (connection.nextTimeout() === NEVER) meeting.leave(now);
    }
  }

  /** `now` itself while a talk that has nothing more to say waits for `sweep`. */
  nextTimeout(now: Micros): Micros {
    let next = NEVER;
    for (const { connection, meeting } of this.#talks) {
      next = earlier(next, earlier(connection.nextTimeout(), meeting.nextTimeout()));
    }
    for (const { connection, meeting } of this.#closing) {
      const closing = connection.nextTimeout();
      const isDue = closing === NEVER && (meeting.hasLeft || meeting.isToLeave);
      next = earlier(next, isDue ? now : earlier(closing, meeting.nextTimeout()));
    }
    return next;
  }

  /** Closes the sockets of talks that have nothing more to say; the shell has heard their end. */
  sweep(): void {
    if (this.#closing.length === 0) return;
    const { outbox } = this.#options;
    this.#closing = this.#closing.filter(({ connection, meeting, socket }) => {
      if (connection.nextTimeout() !== NEVER || !meeting.hasLeft) return true;
      for (const each of [socket, ...meeting.endpoints]) outbox.closeSocket(each);
      this.#byFirst.delete(socket);
      return false;
    });
    this.#forgetUnwanted(this.#vias);
  }

  /** The talks take turns, one datagram each. */
  pollTransmit(now: Micros, into: Uint8Array): TalkTransmit | undefined {
    for (let tried = 0; tried < this.#talks.length; tried++) {
      const at = (this.#turn + tried) % this.#talks.length;
      const transmit = this.#poll(now, this.#talks[at], into);
      if (transmit === undefined) continue;
      this.#turn = at + 1;
      return transmit;
    }
    for (const talk of this.#closing) {
      const transmit = this.#poll(now, talk, into);
      if (transmit !== undefined) return transmit;
    }
    return undefined;
  }

  /**
   * One datagram of one talk: of its connection, its meeting, or said to its relay. The meeting is
   * asked when the connection has no more to say, as it has little to say once there is a way.
   */
  #poll(now: Micros, talk: UnderWay, into: Uint8Array): TalkTransmit | undefined {
    const { connection, meeting } = talk;
    const { relay } = meeting;
    for (;;) {
      const said = connection.isDrained ? undefined : connection.pollTransmit(now, into);
      const transmit = said ?? this.#pollMeeting(now, talk, into);
      if (transmit === undefined) {
        // The meeting may have had it knock: each pair once until its next time.
        if (connection.isDrained) break;
        continue;
      }
      const { path, size } = transmit;
      if (relay?.carries(path) !== true) {
        return { socket: path.via ?? talk.socket, path, size };
      }
      // What the relay does not take is lost on the way.
      const wrapped = relay.wrap(now, path, into, size);
      if (wrapped !== undefined) return wrapped;
    }
    return relay?.pollTransmit(now, into);
  }

  #pollMeeting(
    now: Micros,
    { connection, meeting }: UnderWay,
    into: Uint8Array,
  ): Transmit | undefined {
    // Those with nothing to say cost one look, however many they are.
    const isDue = meeting.nextTimeout() <= now && !connection.isOverAt(now);
    return isDue ? meeting.pollTransmit(now, into) : undefined;
  }

  /** Passes on what the connections say. */
  collect(now: Micros): void {
    for (const talk of this.#talks) {
      let event = talk.connection.pollEvent();
      while (event !== undefined) {
        this.#onEvent(now, talk, event);
        event = talk.connection.pollEvent();
      }
    }
  }

  status(now: Micros): TerminalStatus['talks'] {
    return this.#talks.map((talk) => {
      const { session, role, peer, service, terms, revision, connection, meeting } = talk;
      return {
        session,
        role,
        peer,
        service,
        terms,
        revision,
        class: meeting.class,
        meeting: meeting.report(),
        talk: connection.state(now),
      };
    });
  }

  #onEvent(now: Micros, talk: UnderWay, event: ConnectionEvent): void {
    const { extension, outbox } = this.#options;
    const { session } = talk;
    switch (event.kind) {
      case 'ended':
        this.#onEnded(now, talk, event);
        return;
      case 'expiry':
        extension.onNewExpiry(now, talk, event.expiry, event.signature);
        return;
      case 'expiryNear':
        extension.onExpiryNear(now, talk);
        break;
      case 'established':
        talk.path = event.path;
        talk.meeting.onWay(now, event.path);
        // The handshake proves the key behind the peer's ID (Noise KK), so it is remembered.
        talk.isRefused = !this.#options.pins.onProven(talk);
        if (talk.isRefused) talk.connection.close(now, 'protocol-error');
        break;
      case 'path':
        talk.meeting.onWay(now, event.path);
        break;
      case 'silent':
        // What the peer is to be told needs the link: whether it works shows in the meantime.
        outbox.push({ kind: 'checkLink', isElsewhere: false });
        talk.meeting.onLost(now, false);
        return;
      default:
        break;
    }
    if (!talk.isRefused) outbox.event({ kind: 'talk', session, event });
  }

  /**
   * [S1006, S4006, S5002, claim 3]: the talk is over and its end is announced. Its socket stays
   * open for the moment in which the peer may ask once more (RFC 9000 §10.2).
   */
  #onEnded(
    now: Micros,
    talk: UnderWay,
    { reason, counts }: Extract<ConnectionEvent, { kind: 'ended' }>,
  ): void {
    const { extension, outbox, ending, requests } = this.#options;
    const { session, meeting } = talk;
    const path = talk.connection.state(now).path ?? talk.path;
    this.#talks = this.#talks.filter((other) => other !== talk);
    this.#closing.push(talk);
    extension.forget(talk);
    const of = meeting.class;
    const report = meeting.report();
    meeting.end(now);
    if (talk.told !== undefined) requests.settle(talk.told);
    ending.announce(now, {
      session,
      reason,
      counts,
      path: of,
      probes: report.probes > 0 ? report.probes : undefined,
    });
    outbox.event({ kind: 'ended', session, reason, counts, path, class: of, meeting: report });
  }

  /** The public ephemeral key of the talk that may come of this socket: 32 bytes. */
  share(socket: SocketId): Uint8Array {
    const { self, rng } = this.#options;
    let ephemeral = this.#ephemerals.get(socket);
    if (ephemeral === undefined) {
      this.#forgetUnwanted(this.#ephemerals);
      ephemeral = self.suite.dhKey(randomBytes(rng, KEY_BYTES));
      this.#ephemerals.set(socket, ephemeral);
    }
    return ephemeral.publicKey;
  }

  /** A socket is open, and this is what a talk on it may use. */
  onLink(socket: SocketId, link: Partial<ConnectionConfig>): void {
    this.#forgetUnwanted(this.#links);
    this.#links.set(socket, link);
  }

  /** Sockets that nobody wants any more take nothing of these maps. */
  #forgetUnwanted(map: Map<SocketId, unknown>): void {
    for (const socket of map.keys()) {
      if (!this.#options.outbox.isWanted(socket)) map.delete(socket);
    }
  }

  #keepEarly(socket: SocketId, path: Path, bytes: Uint8Array): boolean {
    const isFirst = packetKind(bytes) === 'initiation' || isProbe(bytes);
    if (!isFirst || !this.#options.outbox.isWanted(socket)) return false;
    this.#forgetUnwanted(this.#early);
    // A copy: `slice` of a Node buffer would be a view of bytes that are only lent.
    this.#early.set(socket, { path, bytes: Uint8Array.from(bytes) });
    return true;
  }

  /** How the two ends of a talk find one another, from its notice on. */
  #meeting(
    now: Micros,
    introduced: Introduction,
    connection: Connection,
    talk: () => UnderWay,
  ): Meeting {
    const { self, rng, outbox, reachability, relay } = this.#options;
    const { role, grant, key: sessionKey, socket } = introduced;
    const { session } = grant;
    const secrets = connection.probeSecrets;
    const host: MeetingHost = {
      knock: (path) => connection.knock(path),
      open: (at, path) => connection.open(at, path),
      onRoundTrip: (path, micros) => connection.onRoundTrip(path, micros),
      prefer: (at, path, why) => connection.prefer(at, path, why),
      quietMicros: (at) => connection.quietMicros(at),
      openEndpoint: (to, tcp) => outbox.openFurtherSocket(to, tcp),
      closeEndpoint: (each) => outbox.closeSocket(each),
      gather: (each) => outbox.push({ kind: 'gather', socket: each }),
      tell: (at, place) => this.#tell(at, talk(), place),
      onElsewhere: () => outbox.push({ kind: 'checkLink', isElsewhere: true }),
      onWay: (path, of) => outbox.event({ kind: 'way', session, path, class: of }),
      onSearch: (address) => outbox.event({ kind: 'searching', session, address }),
      onRelayLost: (says) => outbox.event({ kind: 'relayLost', session, says }),
    };
    const options = {
      ...introduced,
      probes: new Probes({ suite: self.suite, session, sessionKey, secrets, role, rng }),
      isKeyed: secrets !== undefined,
      rng,
      isRelayOnly: relay === 'only',
      isRelayOff: relay === 'never',
      gathered: reachability.of(socket),
    };
    return new Meeting(now, options, host);
  }

  /** Tells the peer, through the manager, where this end is now; the newest word counts. */
  #tell(now: Micros, talk: UnderWay, { candidates, varies, moved }: OwnPlace): void {
    const { outbox, requests, rng } = this.#options;
    if (talk.generation >= LIMITS.generationsMax) return;
    talk.generation += 1;
    if (talk.told !== undefined) requests.settle(talk.told);
    const { session, generation } = talk;
    const request = randomRequestId(rng);
    talk.told = request;
    const kind = 'candidates';
    const message = { kind, request, session, generation, candidates, varies, moved } as const;
    // The manager knows the session by its channel: the peer waits, a registration need not.
    requests.send(now, request, 'up', message, { early: true });
    if (moved) outbox.event({ kind: 'reintroduced', session, by: 'us' });
  }

  #bySocket(socket: SocketId): UnderWay | undefined {
    const isIt = ({ meeting }: UnderWay): boolean => meeting.owns(socket);
    return this.#byFirst.get(socket) ?? this.#talks.find(isIt) ?? this.#closing.find(isIt);
  }
}
