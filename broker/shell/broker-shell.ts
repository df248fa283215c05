// The trigger broker on Aedes (MQTT 3.1.1): the door before it, rights and the guard around it, and
// the core `trigger-broker.ts` behind it. The core is fed where Aedes asks for authorization: in
// the order in which a client sent, before anything is acknowledged, with no timer in between; a
// PUBACK means nothing here, every request has its own answer (design §4). Only connections whose
// login is proven come this far: `door.ts`.

import { type Duplex, duplexPair } from 'node:stream';
import { Aedes, type Client, type PublishPacket, type Subscription } from 'aedes';
import { addressBytes } from '../../protocol/address.ts';
import { topic } from '../../protocol/control/topics.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { type Clock, WakeUp } from '../../protocol/io/clock.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { Log } from '../../protocol/io/log.ts';
import { NO_PIN } from '../../protocol/identity/token.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Proven } from '../login.ts';
import type { Ending } from '../memberships.ts';
import type { Publication } from '../outbox.ts';
import { Paces } from '../pace.ts';
import { forBroker, mayPublish, mayReceive, maySubscribe } from '../rights.ts';
import { type BrokerCounters, type BrokerInput, TriggerBroker } from '../trigger-broker.ts';
import { Door, type DoorCounters, type Guest } from './door.ts';
import { GuardedConnection } from './guard.ts';
import { type Listener, type TlsOptions, openListener } from './listener.ts';
import {
  STUN_PORTS,
  type StunCounters,
  type StunListener,
  type StunPorts,
  openStun,
} from './stun-listener.ts';

/** SUBACK: this filter was refused (MQTT 3.1.1 §3.9.3). */
const SUBSCRIBE_FAILURE: number = 128;

/** What a broker is started with. */
export interface BrokerOptions {
  /** A literal address (default 127.0.0.1), and a port, 0 for any free one (default). */
  readonly listen?: string;
  readonly port?: number;
  /** TLS 1.3 and nothing else; without it the address must be a loopback literal. */
  readonly tls?: TlsOptions;
  /** UDP ports of a STUN server on the same address; absent: there is none. */
  readonly stun?: StunPorts | undefined;
  /** Ed25519 public keys of the session managers whose statements count, 32 bytes each. */
  readonly managerKeys: readonly Uint8Array[];
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly log: Log;
  /** Milliseconds until a login must be proven; default BROKER_LIMITS.loginMs. */
  readonly loginMs?: number;
}

/** What the core counts, what the door turned away, and what happened in between. */
export interface BrokerStats extends BrokerCounters, DoorCounters, StunCounters {
  /** Connections now, those without a proven login included; and these alone, of the network. */
  readonly connections: number;
  readonly strangers: number;
  readonly publishesForbidden: number;
  readonly subscriptionsForbidden: number;
  /** Connections ended whose login was proven: packet lengths, reads too slowly. */
  readonly badLengths: number;
  readonly slowReaders: number;
  /** Messages that a session manager did not get since it reads too slowly. */
  readonly managerBehind: number;
}

type Gauge = 'connections' | 'strangers';
type Others = keyof BrokerCounters | keyof DoorCounters | keyof StunCounters;
type ShellCounter = Exclude<keyof BrokerStats, Others | Gauge>;

/** One connection whose login is proven, until it is gone. */
interface Seat {
  readonly connection: GuardedConnection;
  readonly proven: Proven;
  /** The address that it comes from; undefined within this process. */
  readonly seenAt: Uint8Array | undefined;
  /** Told to the core as a connection of its terminal. */
  seated: boolean;
  gone: boolean;
}

/** What is open to the network. */
interface Ports {
  readonly listener: Listener;
  readonly stun: StunListener | undefined;
}

const NO_STUN: StunCounters = { stunAnswered: 0, stunMalformed: 0, stunOverRate: 0 };

/** A running trigger broker; made by `startBroker` [claim 21]. */
export class BrokerShell {
  readonly port: number;
  /** `mqtt://127.0.0.1:port`, or `mqtts://` with TLS. */
  readonly url: string;
  /** The ports of its STUN server, if there is one. */
  readonly stunPorts: StunPorts | undefined;
  readonly #options: BrokerOptions;
  readonly #aedes: Aedes;
  readonly #listener: Listener;
  readonly #core: TriggerBroker;
  readonly #wake: WakeUp;
  readonly #door: Door;
  readonly #stun: StunListener | undefined;
  /** Each that proved an ID has one seat at most. */
  readonly #seats = new Set<Seat>();
  readonly #seatOf = new WeakMap<Client, Seat>();
  /** Who sits there under a client ID: one connection each, the last one. */
  readonly #byClientId = new Map<string, Seat>();
  readonly #paces = new Paces(
    BROKER_LIMITS.terminalBytesPerSecond,
    BROKER_LIMITS.terminalBurstBytes,
  );
  #isDraining = false;
  readonly #counts: Record<ShellCounter, number> = {
    publishesForbidden: 0,
    subscriptionsForbidden: 0,
    badLengths: 0,
    slowReaders: 0,
    managerBehind: 0,
  };

  constructor(options: BrokerOptions, aedes: Aedes, { listener, stun }: Ports) {
    this.#options = options;
    this.#stun = stun;
    this.stunPorts = stun?.ports;
    this.#aedes = aedes;
    this.#listener = listener;
    const { suite, managerKeys, tls, clock, log, loginMs = BROKER_LIMITS.loginMs } = options;
    const trust = { suite, managerKeys, server: tls?.pin ?? NO_PIN };
    this.#core = new TriggerBroker(trust, stun === undefined ? 0 : STUN_PORTS);
    // It hears the time: from here on it remembers which tokens were used.
    this.#core.handleTimeout(clock.now());
    this.port = listener.port;
    this.url = listener.url;
    this.#door = new Door({
      secure: listener.secure,
      loginMs,
      log,
      login: (login) => {
        const judged = this.#core.login(clock.now(), clock.wall(), login);
        this.#drain();
        return judged;
      },
      onProven: (guest) => this.#onProven(guest),
    });
    this.#wake = new WakeUp(clock, () => this.#onWake(), { unref: true });
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
    aedes.on('clientError', (_client, error) => log.debug('client-error', { error }));
    aedes.on('connectionError', (_client, error) => log.debug('connection-error', { error }));
    stun?.onSighting(
      (record, sighting) => this.#feed({ kind: 'sighted', record, ...sighting }),
      (record) => this.#core.favours(record),
    );
    listener.onConnection((socket) => this.#door.accept(socket, socket.remoteAddress ?? ''));
  }

  /**
   * A connection within this process, the manager's [¶0028]: the caller's end of a pair that does
   * what TCP does by itself, closing included.
   */
  connect(): Duplex {
    const [ours, theirs] = duplexPair();
    ours.once('close', () => theirs.destroy());
    theirs.once('close', () => ours.destroy());
    this.#door.accept(theirs, undefined);
    return ours;
  }

  stats(): BrokerStats {
    return {
      ...this.#core.counters(),
      ...this.#door.counters(),
      ...(this.#stun?.counters() ?? NO_STUN),
      ...this.#counts,
      connections: this.#door.waiting + this.#seats.size,
      strangers: this.#door.strangers,
    };
  }

  /** Ends every connection and frees the port. Repeated calls are harmless. */
  async close(): Promise<void> {
    const stopped = Promise.all([this.#listener.close(), this.#stun?.close()]);
    this.#door.close();
    for (const { connection } of this.#seats) connection.destroy();
    this.#wake.stop();
    await stopped;
    await new Promise<void>((resolve) => this.#aedes.close(resolve));
  }

  /** Somebody is let in: from here on Aedes speaks MQTT with it, behind the guard. */
  #onProven({ stream, first, proven, address }: Guest): void {
    const { clock, log } = this.#options;
    const { party } = proven;
    const connection: GuardedConnection = new GuardedConnection(stream, {
      clock,
      pace: party.of === 'terminal' ? this.#paces.enter(clock.now(), party.device) : undefined,
      onFault: (fault) => {
        this.#counts.badLengths += 1;
        log.debug('connection-ended', { fault });
      },
      onGone: () => this.#onGone(seat),
    });
    const seenAt = address === undefined ? undefined : addressBytes(address);
    const seat: Seat = { connection, proven, seenAt, seated: false, gone: false };
    this.#seats.add(seat);
    this.#seatOf.set(this.#aedes.handle(connection), seat);
    connection.start(first);
  }

  /** Aedes asks who this is: whoever comes this far is known; it may only not read another ID. */
  #isProven(client: Client): boolean {
    const seat = this.#seatOf.get(client);
    if (seat === undefined || seat.gone) return false;
    const { party } = seat.proven;
    return client.id === (party.of === 'terminal' ? party.device : party.client);
  }

  /** Rights, Aedes' own `$SYS` guard included; what is for the broker goes into the core here. */
  #authorizePublish(client: Client | null, packet: PublishPacket): boolean {
    const seat = client === null ? undefined : this.#seatOf.get(client);
    if (client === null || seat === undefined || seat.gone) return false;
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
    const isThere = seat !== undefined && !seat.gone;
    if (isThere && maySubscribe(seat.proven.party, subscription)) return true;
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
    if (seat === undefined || seat.gone) return false;
    const { connection, proven } = seat;
    const { party } = proven;
    if (!mayReceive(party, name)) return false;
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
    if (seat === undefined || seat.gone) return;
    this.#byClientId.get(client.id)?.connection.destroy();
    this.#byClientId.set(client.id, seat);
    seat.seated = true;
    const { seenAt, proven } = seat;
    const { held } = proven;
    const wall = this.#options.clock.wall();
    if (held !== undefined) this.#feed({ kind: 'connected', held, wall, seenAt });
  }

  #onGone(seat: Seat): void {
    seat.gone = true;
    this.#seats.delete(seat);
    const { proven, seated } = seat;
    const { party } = proven;
    if (party.of === 'terminal') this.#paces.leave(party.device);
    if (!seated) return;
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
    if (seat === undefined || !seat.seated || seat.gone) return undefined;
    const { party } = seat.proven;
    return party.of === 'terminal' ? party.device : undefined;
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
    this.#byClientId.get(device)?.connection.destroy();
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
  let stun: StunListener | undefined;
  try {
    if (options.stun !== undefined)
      stun = await openStun({ host: listen, ports: options.stun, clock: options.clock, log });
  } catch (error) {
    await listener.close();
    throw error;
  }
  const aedes = await Aedes.createBroker({
    connectTimeout: loginMs,
    drainTimeout: BROKER_LIMITS.drainMs,
    queueLimit: BROKER_LIMITS.earlyPacketsMax,
    // Who says nothing for one and a half of its own keepalives is gone, so everybody has one.
    keepaliveLimit: IO_LIMITS.linkKeepAliveSecondsMax,
  });
  return new BrokerShell(options, aedes, { listener, stun });
}
