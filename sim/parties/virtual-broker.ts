// The trigger broker in virtual time: its real core and its real rights, and around them what
// Aedes and TCP do: connections that carry messages in order, one seat for each client ID, whoever
// comes last has it; where one comes from; the STUN server beside it. A connection delays; a faulty
// broker drops, repeats and holds back as well.
// Over 400 lines: each step of a connection's life, one after the other.

import {
  mayPublish,
  mayReceive,
  maySubscribe,
  forBroker,
  type Party,
} from '../../broker/rights.ts';
import { TriggerBroker } from '../../broker/trigger-broker.ts';
import {
  MANAGER_FILTERS,
  type ParsedTopic,
  answerTopic,
  parseTopic,
  topic,
} from '../../protocol/control/topics.ts';
import { addressBytes } from '../../protocol/address.ts';
import { type Due, notArmed } from '../../protocol/deadlines.ts';
import { NO_PIN } from '../../protocol/identity/token.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { type Rng, randomFraction } from '../../protocol/random.ts';
import { type Micros, after, micros, ms, seconds } from '../../protocol/time.ts';
import type { BusParty } from '../happenings.ts';
import type { Host } from '../network/internet.ts';
import type { World } from '../world.ts';
import type { PartyClock } from './party-clock.ts';
import { STUN_PORTS, type Sighting, VirtualStun } from './virtual-stun.ts';

/** CONNACK return codes (MQTT 3.1.1 §3.2.2.3). */
export const CONNACK = { unavailable: 3, notLetIn: 5 } as const;
/** A broker notices a silent client after one and a half keep-alives (MQTT 3.1.1 §3.1.2.10). */
const SILENT_MICROS = seconds(IO_LIMITS.linkKeepAliveSeconds * 1.5);
/** How long a message that is held back may be late. */
const HELD_MICROS = seconds(2);
const STEPS_MAX = 100_000;

/** The client's end of an MQTT connection: told what its shell would be told. */
export interface BusUser {
  readonly party: BusParty;
  readonly clientId: string;
  readonly username: 'terminal' | 'manager';
  readonly subscriptions: readonly string[];
  /** Made when the connection is there. */
  password(): Uint8Array;
  /** All subscriptions are acknowledged. */
  onUp(): void;
  /** `code`: of CONNACK; undefined: nobody there, or the connection is gone. */
  onDown(code: number | undefined): void;
  onMessage(topic: string, bytes: Uint8Array): void;
}

/** One TCP connection with MQTT in it, seen from both ends. */
export class BusConnection {
  readonly user: BusUser;
  /** Whom the broker let in. */
  seat: Party | undefined;
  /** The client's end; it hears nothing once it is closed. */
  isOpen = true;
  /** The broker's end. */
  isHeld = true;
  /** Nothing passes any more, and nobody knows. */
  isDead = false;
  /** The client's address as the broker sees it; undefined: it is on the same machine. */
  readonly seenAt: string | undefined;
  subscriptions: readonly string[] = [];
  /** When the last message each way arrives: nothing overtakes it. */
  upAt = 0;
  downAt = 0;

  constructor(user: BusUser, seenAt: string | undefined) {
    this.user = user;
    this.seenAt = seenAt;
  }
}

/** What a broker that was taken over does in the way of what passes it. */
export interface Meddler {
  /** Whether a message goes no further now; `forge` lets it go later. */
  holdsBack(name: string, bytes: Uint8Array): boolean;
  /** Whether somebody who is to be thrown out stays. */
  spares(connection: BusConnection): boolean;
}

/** The broker, and every connection to it. */
export class VirtualBroker {
  readonly clock: PartyClock;
  readonly due: Due & { run(): void } = { ...notArmed(), run: () => this.#onTime() };
  readonly #world: World;
  readonly #rng: Rng;
  readonly #managerKey: Uint8Array;
  #core: TriggerBroker | undefined;
  readonly #seats = new Map<string, BusConnection>();
  #connections = new Set<BusConnection>();
  meddler: Meddler | undefined;
  /** Whoever hears what those have shown who were let in. */
  hearLogin:
    | ((login: { readonly clientId: string; readonly password: Uint8Array }) => void)
    | undefined;
  /** Everything that its STUN server was told of, while it was on. */
  readonly stun: VirtualStun;
  restarts = 0;
  startedAt: Micros = micros(0);

  constructor(
    world: World,
    options: { readonly clock: PartyClock; readonly managerKey: Uint8Array },
  ) {
    this.#world = world;
    this.clock = options.clock;
    this.#managerKey = options.managerKey;
    this.#rng = world.rng('mqtt');
    this.stun = new VirtualStun({
      internet: world.internet,
      isUp: () => this.isUp,
      onSighting: (sighting) => this.#onSighting(sighting),
    });
    this.start();
  }

  /** Undefined while it is off. */
  get core(): TriggerBroker | undefined {
    return this.#core;
  }

  get isUp(): boolean {
    return this.#core !== undefined;
  }

  /** Connections that it holds, in the order in which they came. */
  get connections(): readonly BusConnection[] {
    return [...this.#connections];
  }

  start(): void {
    if (this.#core !== undefined) return;
    this.startedAt = this.#world.now;
    const trust = {
      suite: this.#world.suiteOf('broker'),
      managerKeys: [this.#managerKey],
      server: NO_PIN,
    };
    this.#core = new TriggerBroker(trust, Object.keys(STUN_PORTS).length);
    this.#core.handleTimeout(this.clock.local(this.#world.now));
    this.#world.happen({ kind: 'brokerStarted' });
    this.#world.touch(this);
  }

  /** Killed: all that it knew is gone, every client hears that its connection is closed. */
  kill(): void {
    if (this.#core === undefined) return;
    this.restarts += 1;
    for (const connection of this.#connections) {
      connection.isHeld = false;
      this.#hangUp(connection);
    }
    this.#core = undefined;
    this.#connections = new Set();
    this.#seats.clear();
    this.#world.happen({ kind: 'brokerKilled' });
    this.#world.arm(this.due, micros(Infinity));
  }

  /** A client connects: TCP, then CONNECT, then its subscriptions, each a round trip. */
  open(user: BusUser): BusConnection {
    const seenAt = user.party === 'manager' ? undefined : seenOutside(user.party.host);
    const connection = new BusConnection(user, seenAt);
    this.#later(connection, 'up', () => this.#onTcp(connection));
    return connection;
  }

  /** The client publishes at QoS 0; nothing if its connection is gone. */
  publish(connection: BusConnection, name: string, bytes: Uint8Array): void {
    if (!connection.isOpen || connection.isDead) return;
    this.#world.happen({ kind: 'published', party: connection.user.party, topic: name, bytes });
    this.#carry(connection, 'up', () => this.#onPublish(connection, name, bytes));
  }

  /** The client closes, or its process is gone: TCP tells the broker. */
  close(connection: BusConnection): void {
    if (!connection.isOpen) return;
    connection.isOpen = false;
    if (!connection.isDead) this.#later(connection, 'up', () => this.#onClosed(connection));
  }

  /** The client's machine is gone, or asleep, or cut off: nobody tells the broker. */
  die(connection: BusConnection): void {
    if (connection.isDead) return;
    connection.isDead = true;
    const noticed = after(this.#world.now, SILENT_MICROS);
    this.#world.schedule(noticed, () => {
      this.#onClosed(connection);
      if (connection.isOpen) this.#clientHears(connection);
    });
  }

  /** The broker ends a connection. */
  kick(connection: BusConnection): void {
    if (!connection.isHeld) return;
    this.#hangUp(connection);
    this.#onClosed(connection);
  }

  /** Whatever the broker is asked to do without a client: a hostile one's own word. */
  forge(name: string, bytes: Uint8Array): void {
    this.#forward(name, bytes);
  }

  settle(): void {
    const core = this.#core;
    if (core === undefined) return;
    for (let step = 0; step < STEPS_MAX; step++) {
      const output = core.poll();
      if (output === undefined) {
        this.#world.arm(this.due, this.clock.world(core.nextTimeout()));
        return;
      }
      if (output.kind === 'publish') this.#pass(output.topic, output.bytes);
      else {
        const seated = this.#seats.get(output.device);
        if (seated !== undefined && this.meddler?.spares(seated) !== true) this.kick(seated);
      }
    }
    throw new Error('the broker does not come to rest');
  }

  /** UDP and MQTT come to one process: what it sees it tells its core. */
  #onSighting({ record, from, port: serverPort }: Sighting): void {
    const address = addressBytes(from.host);
    if (address === undefined) return;
    this.#world.happen({ kind: 'sighted', record, from });
    this.#core?.handle(this.clock.local(this.#world.now), {
      kind: 'sighted',
      record,
      address,
      port: from.port,
      serverPort,
    });
    this.#world.touch(this);
  }

  #onTime(): void {
    this.#core?.handleTimeout(this.clock.local(this.#world.now));
    this.#world.touch(this);
  }

  #onTcp(connection: BusConnection): void {
    const { user } = connection;
    if (this.#core === undefined) {
      this.#later(connection, 'down', () => this.#clientHears(connection));
      return;
    }
    this.#connections.add(connection);
    this.#later(connection, 'down', () => {
      if (!connection.isOpen) return;
      const login = { clientId: user.clientId, username: user.username, password: user.password() };
      this.#later(connection, 'up', () => this.#onConnect(connection, login));
    });
  }

  #onConnect(
    connection: BusConnection,
    login: { readonly clientId: string; readonly username: string; readonly password: Uint8Array },
  ): void {
    const core = this.#core;
    if (core === undefined || !this.#connections.has(connection)) return;
    const world = this.#world;
    const { user } = connection;
    const now = this.clock.local(world.now);
    const wall = this.clock.wall(world.now);
    const proven = core.login(now, wall, login);
    world.touch(this);
    if (typeof proven === 'string') {
      world.happen({ kind: 'loginRefused', party: user.party, why: proven });
      this.#connections.delete(connection);
      connection.isHeld = false;
      const code = proven === 'no-list' ? CONNACK.unavailable : CONNACK.notLetIn;
      this.#later(connection, 'down', () => this.#clientHears(connection, code));
      return;
    }
    this.hearLogin?.(login);
    // Aedes ends the one that sat there before it tells of the new one.
    const before = this.#seats.get(user.clientId);
    connection.seat = proven.party;
    this.#seats.set(user.clientId, connection);
    const seenAt = connection.seenAt === undefined ? undefined : addressBytes(connection.seenAt);
    if (proven.held !== undefined)
      core.handle(now, { kind: 'connected', held: proven.held, wall, seenAt });
    if (before !== undefined) this.kick(before);
    world.happen({ kind: 'loggedIn', party: user.party });
    this.#later(connection, 'down', () => {
      if (!connection.isOpen) return;
      this.#later(connection, 'up', () => this.#onSubscribe(connection));
    });
  }

  #onSubscribe(connection: BusConnection): void {
    const core = this.#core;
    const { user, seat } = connection;
    if (core === undefined || seat === undefined || !connection.isHeld) return;
    connection.subscriptions = this.#wantedBy(user).filter((filter) =>
      maySubscribe(seat, { topic: filter, qos: 0 }),
    );
    for (const filter of connection.subscriptions) this.#isOwn(user, filter, 'listens to');
    this.#later(connection, 'down', () => {
      if (connection.isOpen) user.onUp();
    });
    if (seat.of === 'terminal' && connection.subscriptions.includes(topic('call', seat.device))) {
      core.handle(this.clock.local(this.#world.now), { kind: 'polled', device: seat.device });
      this.#world.touch(this);
    }
  }

  /** A terminal with a program of its own would like to hear the next one's calls, too. */
  #wantedBy({ party, subscriptions }: BusUser): readonly string[] {
    const { terminals } = this.#world;
    if (party === 'manager' || !this.#world.isRogue(party)) return subscriptions;
    const victim = terminals[(terminals.indexOf(party) + 1) % terminals.length];
    return [...subscriptions, topic('call', victim.id), topic('down', victim.id)];
  }

  /** What the rights let a terminal do is on topics of its own, whatever they look like. */
  #isOwn({ party, username }: BusUser, name: string, does: string): void {
    if (party === 'manager' || username === 'manager' || name.endsWith(`/${party.id}`)) return;
    this.#world.violate('rights', `${party.name} ${does} ${name}`);
  }

  #onPublish(connection: BusConnection, name: string, bytes: Uint8Array): void {
    const core = this.#core;
    const { seat, user } = connection;
    if (core === undefined || seat === undefined || !connection.isHeld) return;
    if (!mayPublish(seat, { topic: name, qos: 0, retain: false })) {
      this.#world.happen({ kind: 'forbidden', party: user.party, topic: name, bytes });
      return;
    }
    this.#isOwn(user, name, 'speaks on');
    const place = forBroker(name);
    if (place === undefined) {
      this.#pass(name, bytes);
      return;
    }
    const { now } = this.#world;
    core.handle(this.clock.local(now), {
      kind: 'message',
      from: user.clientId,
      topic: place,
      bytes,
      wall: this.clock.wall(now),
    });
    this.#world.touch(this);
  }

  #pass(name: string, bytes: Uint8Array): void {
    if (this.meddler?.holdsBack(name, bytes) !== true) this.#forward(name, bytes);
  }

  /** To everybody who subscribed to it and may receive it. */
  #forward(name: string, bytes: Uint8Array): void {
    const place = parseTopic(name);
    if (place === undefined) return;
    const seated = this.#receiver(place);
    if (seated?.seat === undefined || !seated.isHeld) return;
    if (!mayReceive(seated.seat, name)) return;
    if (!seated.subscriptions.some((filter) => fits(filter, name))) return;
    this.#carry(seated, 'down', () => {
      if (!seated.isOpen) return;
      this.#world.happen({ kind: 'delivered', party: seated.user.party, topic: name, bytes });
      seated.user.onMessage(name, bytes);
    });
  }

  /** There is one manager in a world; every other topic is one terminal's. */
  #receiver(place: ParsedTopic): BusConnection | undefined {
    switch (place.of) {
      case 'call':
      case 'down':
        return this.#seats.get(place.device);
      case 'answer':
        return this.#seats.get(place.manager);
      case 'up':
      case 'allow-list':
      case 'trigger-state':
        return this.#seats.get(this.#world.manager.clientId);
      default:
        return undefined;
    }
  }

  #onClosed(connection: BusConnection): void {
    if (!connection.isHeld) return;
    connection.isHeld = false;
    this.#connections.delete(connection);
    const { seat, user } = connection;
    if (this.#seats.get(user.clientId) === connection) this.#seats.delete(user.clientId);
    this.#world.happen({ kind: 'linkGone', party: user.party });
    if (seat?.of !== 'terminal' || this.#core === undefined) return;
    const now = this.clock.local(this.#world.now);
    this.#core.handle(now, { kind: 'disconnected', device: seat.device });
    this.#world.touch(this);
  }

  #hangUp(connection: BusConnection): void {
    if (connection.isDead) return;
    this.#later(connection, 'down', () => this.#clientHears(connection));
  }

  #clientHears(connection: BusConnection, code?: number): void {
    if (!connection.isOpen) return;
    connection.isOpen = false;
    connection.user.onDown(code);
  }

  /** A message on its way, with what a faulty broker does to it. */
  #carry(connection: BusConnection, way: 'up' | 'down', arrive: () => void): void {
    const { options } = this.#world;
    if (this.#strikes('mqtt.drop')) return;
    if (this.#strikes('mqtt.duplicate')) this.#later(connection, way, arrive);
    if (options['mqtt.reorder'] > 0 && this.#strikes('mqtt.reorder')) {
      const held = randomFraction(this.#rng) * HELD_MICROS;
      this.#world.schedule(after(this.#world.now, held), () => {
        if (!connection.isDead && connection.isOpen && connection.isHeld) arrive();
      });
      return;
    }
    this.#later(connection, way, arrive);
  }

  #strikes(fault: 'mqtt.drop' | 'mqtt.duplicate' | 'mqtt.reorder'): boolean {
    const chance = this.#world.options[fault];
    if (chance === 0 || randomFraction(this.#rng) >= chance) return false;
    this.#world.fired(fault);
    return true;
  }

  /** In order, after the connection's delay; lost with the connection. */
  #later(connection: BusConnection, way: 'up' | 'down', arrive: () => void): void {
    const world = this.#world;
    const { options } = world;
    const jitter = options['mqtt.jitter'] * randomFraction(this.#rng);
    const delayMs = connection.user.party === 'manager' ? 0 : options['mqtt.delay'] + jitter;
    const soonest = after(world.now, ms(LEAST_DELAY_MS + delayMs));
    const at: Micros = micros(
      Math.max(soonest, way === 'up' ? connection.upAt : connection.downAt),
    );
    if (way === 'up') connection.upAt = at;
    else connection.downAt = at;
    world.schedule(at, () => {
      if (!connection.isDead) arrive();
    });
  }
}

/** A host's address as the public network sees it: TCP is translated by the same boxes. */
export function seenOutside({ place }: Host): string {
  const outermost = place.nats.findLast(({ behaviour }) => behaviour.translates);
  return outermost?.address ?? place.address;
}

/** What a process boundary costs, at least. */
const LEAST_DELAY_MS = 0.05;

/** MQTT 3.1.1 §4.7, as far as our filters go: `+` stands for one level. */
function fits(filter: string, name: string): boolean {
  if (filter === name) return true;
  if (!MANAGER_FILTERS.some((known) => known === filter)) return false;
  const wanted = filter.split('/');
  const levels = name.split('/');
  return (
    wanted.length === levels.length &&
    wanted.every((level, at) => level === '+' || level === levels[at])
  );
}

/** What the manager subscribes to. */
export const managerSubscriptions = (clientId: string): readonly string[] => [
  ...MANAGER_FILTERS,
  answerTopic(clientId),
];
