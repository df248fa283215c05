// Means 15 [S1005, S4005, S5000]: the talks under way, each a connection with a socket of its own,
// encrypted with the session key of its notice [claim 7]. A talk goes on while the control plane is
// away; it stops when all is delivered, at its expiry, or when anybody ends it [claim 3].

import type { MessageOf } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';
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
import type { EndReason } from '../protocol/ends.ts';
import type { SessionId } from '../protocol/ids.ts';
import { type Rng, randomBytes } from '../protocol/random.ts';
import { type Micros, NEVER, earlier } from '../protocol/time.ts';
import type { Trace } from '../protocol/trace/trace-event.ts';
import type { Introduction, Self } from './address-notice.ts';
import type { Ending } from './ending.ts';
import type { Extension } from './extension.ts';
import type { Outbox } from './outbox.ts';
import type { Pins } from './pins.ts';
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
  /**
   * The newest initiation that came to a wanted socket before its notice did: the two ways are not
   * equally fast, and without this the caller's retransmission would set the time of every set-up.
   * One small datagram for each socket, so at most LIMITS.callsMax.
   */
  readonly #early = new Map<SocketId, { readonly path: Path; readonly bytes: Uint8Array }>();
  /** Made while a call waits, when there is time; of wanted sockets only. */
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
      remotePublicKey: introduced.peerKey,
      suite: self.suite,
      rng,
      paths: introduced.paths,
      config: { ...this.#links.get(socket), ...config },
      trace: this.#options.traceOf?.(session, role),
    });
    this.#links.delete(socket);
    connection.start(now);
    this.#talks.push({
      session,
      role,
      peer,
      pinned: this.#options.pins.idOf(peer.name),
      isRefused: false,
      service,
      socket,
      call: introduced.call,
      connection,
      extend: introduced.extend,
      granted: terms,
      terms,
      revision: 0,
      asked: undefined,
      introducedAt: now,
      consented: undefined,
      question: undefined,
      path: undefined,
    });
    ending.begin(session);
    this.#ephemerals.delete(socket);
    const early = this.#early.get(socket);
    this.#early.delete(socket);
    if (early !== undefined) connection.handleDatagram(now, early.path, early.bytes);
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
    this.#bySocket(socket)?.connection.close(now, 'path-lost');
  }

  onRefusal(message: MessageOf<'refusal'>): boolean {
    return this.#talks.some((talk) => this.#options.extension.onRefusal(talk, message.request));
  }

  /** [S5005]: the manager tells a new expiry; false if there is no such talk. */
  onNewExpiry(now: Micros, session: SessionId, message: MessageOf<'newExpiry'>): boolean {
    const talk = this.find(session);
    if (talk === undefined) return false;
    this.#options.extension.onNewExpiry(now, talk, message.expiry, message.signature);
    return true;
  }

  handleDatagram(now: Micros, socket: SocketId, path: Path, bytes: Uint8Array): void {
    const talk = this.#bySocket(socket);
    if (talk !== undefined) talk.connection.handleDatagram(now, path, bytes);
    else if (!this.#keepEarly(socket, path, bytes)) this.#options.outbox.count('strayDatagrams');
  }

  handleTimeout(now: Micros): void {
    for (const { connection } of this.#talks) {
      if (connection.nextTimeout() <= now) connection.handleTimeout(now);
    }
    for (const { connection } of this.#closing) {
      if (connection.nextTimeout() <= now) connection.handleTimeout(now);
    }
  }

  /** `now` itself while a talk that has nothing more to say waits for `sweep`. */
  nextTimeout(now: Micros): Micros {
    let next = NEVER;
    for (const { connection } of this.#talks) next = earlier(next, connection.nextTimeout());
    for (const { connection } of this.#closing) {
      const closing = connection.nextTimeout();
      next = earlier(next, closing === NEVER ? now : closing);
    }
    return next;
  }

  /** Closes the sockets of talks that have nothing more to say; the shell has heard their end. */
  sweep(): void {
    if (this.#closing.length === 0) return;
    this.#closing = this.#closing.filter(({ connection, socket }) => {
      if (connection.nextTimeout() !== NEVER) return true;
      this.#options.outbox.closeSocket(socket);
      return false;
    });
  }

  /** The talks take turns, one datagram each. */
  pollTransmit(now: Micros, into: Uint8Array): TalkTransmit | undefined {
    for (let tried = 0; tried < this.#talks.length; tried++) {
      const at = (this.#turn + tried) % this.#talks.length;
      // Those with nothing to say cost one look, however many they are.
      if (this.#talks[at].connection.isDrained) continue;
      const transmit = this.#talks[at].connection.pollTransmit(now, into);
      if (transmit === undefined) continue;
      this.#turn = at + 1;
      return { socket: this.#talks[at].socket, path: transmit.path, size: transmit.size };
    }
    for (const { connection, socket } of this.#closing) {
      const transmit = connection.pollTransmit(now, into);
      if (transmit !== undefined) return { socket, path: transmit.path, size: transmit.size };
    }
    return undefined;
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
    return this.#talks.map(({ session, role, peer, service, terms, revision, connection }) => ({
      session,
      role,
      peer,
      service,
      terms,
      revision,
      talk: connection.state(now),
    }));
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
        // The handshake proves the key behind the peer's ID (Noise KK), so it is remembered.
        talk.isRefused = !this.#options.pins.onProven(talk);
        if (talk.isRefused) talk.connection.close(now, 'protocol-error');
        break;
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
    const { extension, outbox, ending } = this.#options;
    const { session } = talk;
    const path = talk.connection.state(now).path ?? talk.path;
    this.#talks = this.#talks.filter((other) => other !== talk);
    this.#closing.push(talk);
    extension.forget(talk);
    ending.announce(now, { session, reason, counts });
    outbox.event({ kind: 'ended', session, reason, counts, path });
  }

  /** Makes ahead what a talk on this socket will need, while somebody else is asked. */
  prepare(socket: SocketId): void {
    const { self, rng } = this.#options;
    this.#forgetUnwanted(this.#ephemerals);
    this.#ephemerals.set(socket, self.suite.dhKey(randomBytes(rng, KEY_BYTES)));
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
    const isInitiation = packetKind(bytes) === 'initiation';
    if (!isInitiation || !this.#options.outbox.isWanted(socket)) return false;
    this.#forgetUnwanted(this.#early);
    // A copy: `slice` of a Node buffer would be a view of bytes that are only lent.
    this.#early.set(socket, { path, bytes: Uint8Array.from(bytes) });
    return true;
  }

  #bySocket(socket: SocketId): UnderWay | undefined {
    const isIt = (talk: UnderWay): boolean => talk.socket === socket;
    return this.#talks.find(isIt) ?? this.#closing.find(isIt);
  }
}
