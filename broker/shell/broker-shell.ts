// The trigger broker on Aedes (MQTT 3.1.1): logins, rights and the guard around it, and the core
// `trigger-broker.ts` behind it. The core is fed where Aedes asks for authorization: in the order
// in which a client sent, before anything is acknowledged, with no timer in between; a PUBACK means
// nothing here, every request has its own answer (design §4). Strangers are counted when TCP accepts
// them; TLS, CONNECT and login share one deadline.

import { type Duplex, duplexPair } from 'node:stream';
import { Aedes, type Client, type PublishPacket, type Subscription } from 'aedes';
import { topic } from '../../protocol/control/topics.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { type Clock, WakeUp } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { NO_PIN } from '../../protocol/identity/token.ts';
import { parseConnect, refusedConnack } from '../connect-packet.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Proven } from '../login.ts';
import type { Ending, LoginFault } from '../memberships.ts';
import type { Publication } from '../outbox.ts';
import { forBroker, mayPublish, mayReceive, maySubscribe } from '../rights.ts';
import { Strangers } from '../strangers.ts';
import { type BrokerCounters, type BrokerInput, TriggerBroker } from '../trigger-broker.ts';
import { Arrival } from './arrival.ts';
import { GuardedConnection } from './guard.ts';
import { type Listener, type TlsOptions, openListener } from './listener.ts';

/** SUBACK: this filter was refused (MQTT 3.1.1 §3.9.3). */
const SUBSCRIBE_FAILURE: number = 128;

/** What a broker is started with. */
export interface BrokerOptions {
  /** A literal address (default 127.0.0.1), and a port, 0 for any free one (default). */
  readonly listen?: string;
  readonly port?: number;
  /** TLS 1.3 and nothing else; without it the address must be a loopback literal. */
  readonly tls?: TlsOptions;
  /** Ed25519 public keys of the session managers whose statements count, 32 bytes each. */
  readonly managerKeys: readonly Uint8Array[];
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly log: Log;
  /** Milliseconds until a login must be proven; default BROKER_LIMITS.loginMs. */
  readonly loginMs?: number;
}

/** What the core counts, and what was turned away before it. */
export interface BrokerStats extends BrokerCounters {
  /** Connections now, those without a proven login included, and these alone. */
  readonly connections: number;
  readonly strangers: number;
  /** Bytes that are kept of strangers now, and the most that were ever kept of one. */
  readonly strangerBytesHeld: number;
  readonly strangerBytesHeldMost: number;
  /** CONNECT packets refused: for their form, for what they should prove. */
  readonly connectsRefused: number;
  readonly loginsRefused: number;
  readonly publishesForbidden: number;
  readonly subscriptionsForbidden: number;
  /** Connections ended: first bytes or packet lengths, no login in time, too many strangers, reads too slowly. */
  readonly badLengths: number;
  readonly lateLogins: number;
  readonly strangersDropped: number;
  readonly slowReaders: number;
  /** Messages that a session manager did not get since it reads too slowly. */
  readonly managerBehind: number;
}

type Gauge = 'connections' | 'strangers' | 'strangerBytesHeld' | 'strangerBytesHeldMost';
type ShellCounter = Exclude<keyof BrokerStats, keyof BrokerCounters | Gauge>;

/** One connection, from accept to gone. */
interface Seat {
  /** An arrival until it said CONNECT; undefined only while it is made. */
  connection: Arrival | GuardedConnection | undefined;
  /** Until the login is proven. */
  deadline: NodeJS.Timeout | undefined;
  /** Set once the login is proven. */
  proven: Proven | undefined;
  /** Told to the core as a connection of its terminal. */
  seated: boolean;
  gone: boolean;
}

/**
 * CONNACK codes (MQTT 3.1.1 §3.2.2.3): 2 client ID, 3 not now, 4 credentials, 5 not, or no longer,
 * let in.
 */
function returnCodeOf(fault: LoginFault): number {
  if (fault === 'client-id') return 2;
  if (fault === 'no-list') return 3;
  return fault === 'membership-expired' || fault === 'revoked' ? 5 : 4;
}

/** A running trigger broker; made by `startBroker` [claim 21]. */
export class BrokerShell {
  readonly port: number;
  /** `mqtt://127.0.0.1:port`, or `mqtts://` with TLS. */
  readonly url: string;
  readonly #options: BrokerOptions;
  readonly #aedes: Aedes;
  readonly #listener: Listener;
  readonly #core: TriggerBroker;
  readonly #wake: WakeUp;
  /** Strangers are bounded by themselves; of those who proved an ID each has one seat at most. */
  readonly #seats = new Set<Seat>();
  readonly #seatOf = new WeakMap<Client, Seat>();
  /** Who sits there under a client ID: one connection each, the last one. */
  readonly #byClientId = new Map<string, Seat>();
  readonly #strangers = new Strangers<Seat>();
  #strangerBytesHeldMost = 0;
  #isDraining = false;
  readonly #counts: Record<ShellCounter, number> = {
    connectsRefused: 0,
    loginsRefused: 0,
    publishesForbidden: 0,
    subscriptionsForbidden: 0,
    badLengths: 0,
    lateLogins: 0,
    strangersDropped: 0,
    slowReaders: 0,
    managerBehind: 0,
  };

  constructor(options: BrokerOptions, aedes: Aedes, listener: Listener) {
    this.#options = options;
    this.#aedes = aedes;
    this.#listener = listener;
    const { suite, managerKeys, tls } = options;
    this.#core = new TriggerBroker({ suite, managerKeys, server: tls?.pin ?? NO_PIN });
    this.port = listener.port;
    this.url = listener.url;
    this.#wake = new WakeUp(options.clock, () => this.#onWake(), { unref: true });
    aedes.authenticate = (client, _username, _password, done) => done(null, this.#isProven(client));
    aedes.authorizePublish = (client, packet, done) =>
      done(this.#authorizePublish(client, packet) ? null : new Error('not yours to publish'));
    aedes.authorizeSubscribe = (client, subscription, done) =>
      done(null, this.#authorizeSubscribe(client, subscription) ? subscription : null);
    aedes.authorizeForward = (client, packet) =>
      this.#authorizeForward(client, packet.topic) ? packet : null;
    aedes.on('client', (client) => this.#onClient(client));
    aedes.on('subscribe', (subscriptions, client) => this.#onSubscribe(subscriptions, client));
    aedes.on('unsubscribe', (filters, client) => this.#onUnsubscribe(filters, client));
    aedes.on('clientError', (_client, error) => options.log.debug('client-error', { error }));
    aedes.on('connectionError', (_client, error) =>
      options.log.debug('connection-error', { error }),
    );
    listener.onConnection((socket) => this.#accept(socket, socket.remoteAddress ?? ''));
  }

  /**
   * A connection within this process, the manager's [¶0028]: the caller's end of a pair that does
   * what TCP does by itself, closing included.
   */
  connect(): Duplex {
    const [ours, theirs] = duplexPair();
    ours.once('close', () => theirs.destroy());
    theirs.once('close', () => ours.destroy());
    this.#accept(theirs, undefined);
    return ours;
  }

  stats(): BrokerStats {
    let strangerBytesHeld = 0;
    for (const { connection } of this.#seats)
      if (connection instanceof Arrival) strangerBytesHeld += connection.heldBytes;
    return {
      ...this.#core.counters(),
      ...this.#counts,
      connections: this.#seats.size,
      strangers: this.#strangers.size,
      strangerBytesHeld,
      strangerBytesHeldMost: this.#strangerBytesHeldMost,
    };
  }

  /** Ends every connection and frees the port. Repeated calls are harmless. */
  async close(): Promise<void> {
    const stopped = this.#listener.close();
    for (const { connection } of this.#seats) connection?.destroy();
    this.#wake.stop();
    await stopped;
    await new Promise<void>((resolve) => this.#aedes.close(resolve));
  }

  /**
   * Counts a newcomer before anything is spent on it. `address`: who to count a stranger under;
   * undefined within this process.
   */
  #accept(inner: Duplex, address: string | undefined): void {
    const seat: Seat = {
      connection: undefined,
      deadline: undefined,
      proven: undefined,
      seated: false,
      gone: false,
    };
    this.#seats.add(seat);
    const dropped = address === undefined ? undefined : this.#strangers.add(seat, address);
    if (dropped !== undefined) this.#counts.strangersDropped += 1;
    dropped?.connection?.destroy();
    const { loginMs = BROKER_LIMITS.loginMs } = this.#options;
    seat.deadline = setTimeout(() => this.#onLate(seat), loginMs);
    const arrival: Arrival = new Arrival(inner, {
      secure: this.#listener.secure,
      onHeld: (bytes) => this.#onHeld(bytes),
      onFault: (fault) => this.#onFault(fault),
      onConnect: (first) => this.#onConnect(seat, arrival, first),
      onGone: () => this.#onGone(seat),
    });
    seat.connection = arrival;
  }

  #onLate(seat: Seat): void {
    this.#counts.lateLogins += 1;
    this.#options.log.debug('connection-ended', { fault: 'no-login' });
    seat.connection?.destroy();
  }

  #onFault(fault: string): void {
    this.#counts.badLengths += 1;
    this.#options.log.debug('connection-ended', { fault });
  }

  #onHeld(bytes: number): void {
    this.#strangerBytesHeldMost = Math.max(this.#strangerBytesHeldMost, bytes);
  }

  /** A whole CONNECT has come: it is judged here, and only who is let in is shown to Aedes. */
  #onConnect(seat: Seat, arrival: Arrival, first: Uint8Array): void {
    const { clock, log } = this.#options;
    const login = parseConnect(first);
    if (login === undefined) {
      this.#counts.connectsRefused += 1;
      arrival.destroy();
      return;
    }
    const proven = this.#core.login(clock.now(), clock.wall(), login);
    this.#drain();
    if (typeof proven === 'string') {
      this.#counts.loginsRefused += 1;
      log.debug('login-refused', { fault: proven });
      arrival.refuse(refusedConnack(returnCodeOf(proven)));
      return;
    }
    clearTimeout(seat.deadline);
    this.#strangers.remove(seat);
    const connection = new GuardedConnection(arrival.handOver(), {
      clock,
      isPaced: proven.party.of === 'terminal',
      onFault: (fault) => this.#onFault(fault),
      onGone: () => this.#onGone(seat),
    });
    seat.connection = connection;
    seat.proven = proven;
    this.#seatOf.set(this.#aedes.handle(connection), seat);
    connection.start(first);
  }

  /** Aedes asks who this is: whoever comes this far is known; it may only not read another ID. */
  #isProven(client: Client): boolean {
    const seat = this.#seatOf.get(client);
    const party = seat?.gone === false ? seat.proven?.party : undefined;
    if (party === undefined) return false;
    return client.id === (party.of === 'terminal' ? party.device : party.client);
  }

  /** Rights, Aedes' own `$SYS` guard included; what is for the broker goes into the core here. */
  #authorizePublish(client: Client | null, packet: PublishPacket): boolean {
    const seat = client === null ? undefined : this.#seatOf.get(client);
    if (client === null || seat?.proven === undefined || seat.gone) return false;
    if (!mayPublish(seat.proven.party, packet)) {
      this.#counts.publishesForbidden += 1;
      return false;
    }
    const place = forBroker(packet.topic);
    if (place !== undefined) {
      const bytes =
        typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
      const wall = this.#options.clock.wall();
      this.#feed({ kind: 'message', from: client.id, topic: place, bytes, wall });
    }
    return true;
  }

  #authorizeSubscribe(client: Client, subscription: Subscription): boolean {
    const seat = this.#seatOf.get(client);
    const party = seat?.proven?.party;
    if (party !== undefined && !seat?.gone && maySubscribe(party, subscription)) return true;
    this.#counts.subscriptionsForbidden += 1;
    return false;
  }

  /**
   * The right again at the moment of sending. A slow reader goes before Aedes would wait for it:
   * whoever sent the message, and in the end everybody, would wait with it. A session manager
   * stays, without this message: were it ended, a few terminals could end it for everybody.
   */
  #authorizeForward(client: Client, name: string): boolean {
    const seat = this.#seatOf.get(client);
    const party = seat?.proven?.party;
    const connection = seat?.connection;
    if (party === undefined || seat?.gone || !mayReceive(party, name)) return false;
    if (!(connection instanceof GuardedConnection)) return false;
    if (!connection.isSlow) return true;
    if (party.of === 'manager') {
      this.#counts.managerBehind += 1;
      return false;
    }
    this.#counts.slowReaders += 1;
    connection.destroy();
    return false;
  }

  /** Aedes took the client in, after ending one of the same ID; a second of these can only race. */
  #onClient(client: Client): void {
    const seat = this.#seatOf.get(client);
    if (seat?.proven === undefined || seat.gone) return;
    this.#byClientId.get(client.id)?.connection?.destroy();
    this.#byClientId.set(client.id, seat);
    seat.seated = true;
    const { held } = seat.proven;
    const wall = this.#options.clock.wall();
    if (held !== undefined) this.#feed({ kind: 'connected', held, wall });
  }

  #onGone(seat: Seat): void {
    seat.gone = true;
    clearTimeout(seat.deadline);
    this.#seats.delete(seat);
    this.#strangers.remove(seat);
    const { proven, seated } = seat;
    if (proven === undefined || !seated) return;
    const { party } = proven;
    const clientId = party.of === 'terminal' ? party.device : party.client;
    if (this.#byClientId.get(clientId) === seat) this.#byClientId.delete(clientId);
    if (party.of === 'terminal') this.#feed({ kind: 'disconnected', device: party.device });
  }

  /** A terminal subscribed to its call topic: that is its poll [53, claim 17]. */
  #onSubscribe(subscriptions: readonly Subscription[], client: Client): void {
    const device = this.#deviceAt(client);
    if (device === undefined) return;
    const name = topic('call', device);
    if (subscriptions.some((one) => one.topic === name && one.qos !== SUBSCRIBE_FAILURE))
      this.#feed({ kind: 'polled', device });
  }

  #onUnsubscribe(filters: readonly string[], client: Client): void {
    const device = this.#deviceAt(client);
    if (device !== undefined && filters.includes(topic('call', device)))
      this.#feed({ kind: 'stopped', device });
  }

  /** The terminal behind a client that is still there. */
  #deviceAt(client: Client): DeviceId | undefined {
    const seat = this.#seatOf.get(client);
    const party = seat?.proven?.party;
    return party?.of === 'terminal' && seat?.seated && !seat.gone ? party.device : undefined;
  }

  #feed(input: BrokerInput): void {
    this.#core.handle(this.#options.clock.now(), input);
    this.#drain();
  }

  #onWake(): void {
    this.#core.handleTimeout(this.#options.clock.now());
    this.#drain();
  }

  /** Not from within itself: ending one connection of many feeds the core that is being drained. */
  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (let output = this.#core.poll(); output !== undefined; output = this.#core.poll()) {
      if (output.kind === 'publish') this.#publish(output);
      else this.#end(output);
    }
    this.#isDraining = false;
    this.#wake.arm(this.#core.nextTimeout());
  }

  #end({ device, why }: Ending): void {
    this.#options.log.debug('connection-ended', { fault: why });
    this.#byClientId.get(device)?.connection?.destroy();
  }

  #publish({ topic: name, bytes }: Publication): void {
    const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#aedes.publish(
      { cmd: 'publish', topic: name, payload, qos: 0, retain: false, dup: false },
      (error) => {
        if (error) this.#options.log.warn('publish-failed', { error });
      },
    );
  }
}

/**
 * Starts a trigger broker [51–56, claim 17, claim 21].
 * @throws NakodoError `plain-not-loopback`, `tls-unusable`, `port-taken`, `no-permission` or
 *   `address-unusable`.
 */
export async function startBroker(options: BrokerOptions): Promise<BrokerShell> {
  const { listen = '127.0.0.1', port = 0, loginMs = BROKER_LIMITS.loginMs, log, tls } = options;
  const listener = await openListener({
    host: listen,
    port,
    tls,
    handshakeMs: loginMs,
    onTrouble: (error) => log.warn('accept-failed', { error }),
  });
  const aedes = await Aedes.createBroker({
    connectTimeout: loginMs,
    drainTimeout: BROKER_LIMITS.drainMs,
    queueLimit: BROKER_LIMITS.earlyPacketsMax,
  });
  return new BrokerShell(options, aedes, listener);
}
