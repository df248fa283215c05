// One world: virtual time, the network, the broker, the session manager, the terminals, and whoever
// watches them. One seed decides everything: each subsystem and party has a generator of its own,
// so that a fault that is switched off shifts nobody else's numbers.
//
//   take the earliest item → it changes one or two parties → each is drained and its one timer set
//   → everybody who watches has a look → and so on
//
// Nothing here reads a clock; the cores are those of production. Over 400 lines: the one place
// where all parts meet.

import type { OperatorLimits } from '../protocol/consent/allow-list.ts';
import { CHANNEL_ID_BYTES } from '../protocol/control/messages.ts';
import type { CryptoSuite } from '../protocol/crypto.ts';
import type { ConnectionConfig } from '../protocol/data/connection-types.ts';
import { PROBE_TOKEN_BYTES } from '../protocol/data/probe.ts';
import { DeadlineHeap, type Due, notArmed } from '../protocol/deadlines.ts';
import { makeEnrolRequest, openEnrolResponse } from '../protocol/identity/enrolment.ts';
import type { Name } from '../protocol/ids.ts';
import { type Rng, randomFraction, seededRng } from '../protocol/random.ts';
import {
  MS_PER_SECOND,
  type Micros,
  NEVER,
  type WallMs,
  after,
  micros,
  ms,
  seconds,
  wallMs,
} from '../protocol/time.ts';
import type { Reply } from '../session-manager/manager-types.ts';
import { CryptoWitness } from './crypto/witnessed-suite.ts';
import type { Happening } from './happenings.ts';
import type { Attachment } from './network/host.ts';
import { type Host, Internet } from './network/internet.ts';
import type { FaultName } from './happenings.ts';
import { CALM, type Options } from './options.ts';
import { type Identity, makeIdentity } from './parties/identity.ts';
import { PartyClock } from './parties/party-clock.ts';
import { VirtualBroker } from './parties/virtual-broker.ts';
import { VirtualRelay } from './parties/virtual-relay.ts';
import { ENROL_URL, VirtualManager } from './parties/virtual-manager.ts';
import { VirtualTerminal } from './parties/virtual-terminal.ts';
import { Permissions } from './permissions.ts';
import { Places, channelFaults } from './places.ts';
import { Violation } from './violation.ts';

const WALL_START = wallMs(1_800_000_000_000);
/** Happenings of one instant after which time is taken to stand still. */
const SAME_INSTANT_MAX = 1_000_000;
const DATAGRAM_BYTES_MAX = 65_536;
const PERMITTED_SHARE = 0.5;
const TICKET_SECONDS = 600;
/** Seconds in which a calm system has enrolled and registered everybody. */
const OPENING_SECONDS = 20;
const GRANT_SECONDS = 20;
const QUOTA_BYTES = 10_000_000;
/** First bytes of what ends probe with (protocol/data/probe.ts). */
const PROBE_TYPE = 0x08;
const ANSWER_TYPE = 0x09;
const CHOICE_TYPE = 0x0a;

interface Errand extends Due {
  readonly run: () => void;
}

/** Something with a timer that is drained after each change. */
interface Party {
  readonly due: Errand;
  settle(): void;
}

/** Somebody who watches: an invariant, the trace, the hash. */
export interface Watcher {
  /** Hears everything, in order. */
  onHappening?(happening: Happening): void;
  /** After every event, when all that it touched has come to rest. */
  afterEvent?(touched: ReadonlySet<unknown>): void;
  /** When the world is over. */
  atEnd?(): void;
}

/** What a world is made with. */
interface WorldOptions {
  readonly seed: number;
  readonly terminals: number;
  readonly options: Options;
  readonly suite: CryptoSuite;
  /** Overrides for every talk of every terminal. */
  readonly connection?: Partial<ConnectionConfig>;
  /** Somebody wants to hear what each connection does. */
  readonly hearsTraces?: boolean;
  readonly permittedShare?: number;
  /** Its terminals are made in the other order; the same happens. */
  readonly isReversed?: boolean;
  /** Where terminals stand, if it is not drawn. */
  readonly place?: (world: World, name: Name) => Attachment;
  /** Microseconds through the public network, from box to box; default 0 (see `Internet`). */
  readonly across?: number;
}

/** The world of one seed. */
export class World {
  now: Micros = micros(1);
  /** False once the faults are over. */
  isFaulty = true;
  options: Options;
  readonly seed: number;
  readonly crypto: CryptoWitness;
  readonly connection: Partial<ConnectionConfig>;
  readonly hearsTraces: boolean;
  readonly policy: OperatorLimits = {
    secondsDefault: GRANT_SECONDS,
    secondsMax: 3 * GRANT_SECONDS,
    bytesMax: QUOTA_BYTES,
  };
  readonly datagramBuffer = new Uint8Array(DATAGRAM_BYTES_MAX);
  readonly permissions: Permissions;
  readonly internet: Internet;
  readonly places: Places;
  readonly manager: VirtualManager;
  readonly broker: VirtualBroker;
  /** Undefined: there is none in this world. */
  readonly relay: VirtualRelay | undefined;
  /** Clones included, behind all others. */
  readonly terminals: VirtualTerminal[] = [];
  readonly watchers: Watcher[] = [];
  /** Names of enrolled terminals that run a program of their own: they may say anything. */
  readonly hostile = new Set<string>();
  /** Addresses, as `host:port`, that a broker that was taken over has told as somebody's. */
  readonly lies = new Set<string>();
  /** How often each fault has struck. */
  readonly faults = new Map<FaultName, number>();
  /** What has occurred at least once: "sometimes" marks. */
  readonly marks = new Map<string, number>();
  events = 0;
  readonly #agenda = new DeadlineHeap<Errand>();
  readonly #touched = new Set<Party>();
  readonly #byName = new Map<string, VirtualTerminal>();
  readonly #late: Rng;
  /** Microseconds through the public network. */
  readonly across: number;
  readonly #place: (world: World, name: Name) => Attachment;
  #sameInstant = 0;

  constructor(options: WorldOptions) {
    const { seed, suite, connection = {}, hearsTraces = false } = options;
    this.seed = seed;
    this.options = options.options;
    this.connection = { ...talksOf(this.options), ...connection };
    this.hearsTraces = hearsTraces;
    this.across = options.across ?? 0;
    this.#place = options.place ?? ((world, name) => world.places.next(name));
    this.crypto = new CryptoWitness(suite, {
      onReuse: ({ owner }) => {
        // What a program of its own does with its own keys is its owner's loss.
        if (!this.hostile.has(owner)) this.violate('nonces', `${owner} used a nonce twice`);
      },
      onForged: (owner, how) => this.violate('forgeries', `${owner} opens what is ${how}`),
      onSeal: (owner, aad, bytes) => this.#onWord('sealed', owner, aad, bytes),
      onOpen: (owner, aad, bytes) => this.#onWord('opened', owner, aad, bytes),
    });
    this.#late = this.rng('late');
    this.permissions = new Permissions(this.rng('permissions'), {
      askShare: this.options['owner.ask'],
    });
    this.internet = new Internet({
      random: (name) => this.#random(`internet/${name}`),
      schedule: (at, run) => this.schedule(at, run),
      now: () => this.now,
      across: this.across,
      onStray: (from, to, bytes) => this.happen({ kind: 'strayed', from, to, bytes }),
    });
    this.places = new Places({
      options: this.options,
      internet: this.internet,
      random: (name) => this.#random(name),
      rng: (name) => this.rng(name),
    });
    this.manager = new VirtualManager(this, this.#clock('manager'));
    this.broker = new VirtualBroker(this, {
      clock: this.#clock('broker'),
      managerKey: this.manager.keys.signing.publicKey,
    });
    this.relay = this.options['relay.there'] > 0 ? new VirtualRelay(this) : undefined;
    const { terminals, permittedShare = PERMITTED_SHARE, isReversed = false } = options;
    this.#makeTerminals(terminals, permittedShare, isReversed);
  }

  /** A party's crypto, with somebody who sees its keys and nonces. */
  suiteOf(owner: string): CryptoSuite {
    return this.crypto.suiteOf(owner);
  }

  /** A generator of its own for each name. */
  rng(name: string): Rng & { next(): number } {
    let hash = 0x811c9dc5 ^ this.seed;
    for (let at = 0; at < name.length; at++) {
      hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
    }
    return seededRng(hash ^ Math.imul(this.seed, 0x9e3779b1));
  }

  /** Puts something on the agenda. */
  schedule(at: Micros, run: () => void): void {
    if (at === NEVER) return;
    this.#agenda.set({ run, ...notArmed() }, at);
  }

  /** Sets a party's timer; a machine under load comes late. */
  arm(due: Errand, at: Micros): void {
    if (at === NEVER) {
      this.#agenda.stop(due);
      return;
    }
    const late = this.options['clock.late'];
    if (late > 0 && at > this.now) {
      // As long as a party wants to be woken at the same moment it stays as late as it was.
      if (due.slot >= 0 && due.at >= at && due.at <= at + ms(late)) return;
      const by = randomFraction(this.#late) ** 4 * ms(late);
      this.fired('clock.late');
      this.#agenda.set(due, after(at, by));
      return;
    }
    const when = at > this.now ? at : this.now;
    if (due.slot < 0 || due.at !== when) this.#agenda.set(due, when);
  }

  /** A party was changed: it is drained before anything else happens. */
  touch(party: Party): void {
    this.#touched.add(party);
  }

  happen(happening: Happening): void {
    const { watchers } = this;
    for (let at = 0; at < watchers.length; at++) watchers[at].onHappening?.(happening);
  }

  /** @throws Violation always. */
  violate(invariant: string, says: string): never {
    throw new Violation({ invariant, says, seed: this.seed, at: this.now });
  }

  fired(fault: FaultName, times = 1): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + times);
  }

  mark(name: string): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  terminal(name: string): VirtualTerminal | undefined {
    return this.#byName.get(name);
  }

  /** What the ground truth says about a call now; a revoked terminal is nobody. */
  isPermitted(caller: VirtualTerminal, callee: Name, service: string): boolean {
    const called = this.#byName.get(callee);
    if (called === undefined || called.isRevoked || caller.isRevoked) return false;
    return this.permissions.permits(callee, caller.name, service);
  }

  /**
   * Lets time pass until then, or until a condition holds; whether it does.
   * @throws Violation when an invariant does not hold.
   */
  run(until: Micros, isDone: () => boolean = () => false): boolean {
    this.#settle();
    while (!isDone()) {
      const next = this.#agenda.next();
      if (next > until) {
        if (this.now < until) this.now = until;
        return isDone();
      }
      this.#step(next);
    }
    return true;
  }

  /** Enrols everybody and starts the servers and all terminals; then the faults begin. */
  open(): this {
    const { options } = this;
    this.#set(CALM);
    this.relay?.start();
    this.manager.start();
    this.run(after(this.now, seconds(1)), () => this.manager.isLinked);
    this.#enrolAll();
    for (const terminal of this.terminals) terminal.start();
    const isThere = (terminal: VirtualTerminal): boolean =>
      terminal.pollSeconds !== undefined || terminal.status()?.registered === true;
    let at = 0;
    const isOpen = (): boolean => {
      while (at < this.terminals.length && isThere(this.terminals[at])) at += 1;
      return at === this.terminals.length;
    };
    if (!this.run(after(this.now, seconds(OPENING_SECONDS)), isOpen)) {
      this.violate('liveness', 'not everybody is registered in a world without faults');
    }
    this.#set(options);
    return this;
  }

  /** A second machine, somewhere else, with the keys and the membership of a terminal. */
  clone(original: VirtualTerminal): VirtualTerminal {
    const index = this.terminals.length;
    const clone = new VirtualTerminal(this, {
      identity: original.identity,
      index,
      host: this.#host(`${original.name}/clone${index}`),
      clock: this.#clock(`clone${index}`),
      isClone: true,
    });
    this.terminals.push(clone);
    clone.enrol(original.membership);
    return clone;
  }

  /** Runs a program of its own: it may say what it likes, and what it says of itself is nothing. */
  isRogue(terminal: VirtualTerminal): boolean {
    return this.hostile.size > 0 && this.hostile.has(terminal.name);
  }

  /** One more terminal, with a program of its own; before `open`, which enrols it. */
  join(
    name: Name,
    make: (parts: {
      readonly identity: Identity;
      readonly index: number;
      readonly host: Host;
      readonly clock: PartyClock;
    }) => VirtualTerminal,
  ): void {
    const index = this.terminals.length;
    const identity = makeIdentity(this, name);
    this.hostile.add(name);
    const terminal = make({
      identity,
      index,
      host: this.#host(name),
      clock: this.#clock(name),
    });
    this.terminals.push(terminal);
    this.#byName.set(name, terminal);
    this.permissions.admit(identity, this.rng(`admit/${name}`));
  }

  /** True time, as nobody in the world knows it. */
  get wall(): WallMs {
    return wallMs(WALL_START + Math.floor(this.now / ms(1)));
  }

  /**
   * The faults are over: everybody is on and awake, links, clocks and disks are as they should be.
   * Who was revoked, or is behind a NAT, stays so.
   */
  calm(options: Options): void {
    this.isFaulty = false;
    this.#set(options);
    for (const terminal of this.terminals) {
      const { host, clock, pollSeconds } = terminal;
      terminal.hasRegistered &&= pollSeconds === undefined;
      clock.set(this.now, this.wall);
      host.up?.blackHole(this.now);
      host.down?.blackHole(this.now);
    }
    this.internet.heal();
    this.manager.clock.set(this.now, this.wall);
    this.broker.clock.set(this.now, this.wall);
    this.happen({ kind: 'calm' });
    if (!this.broker.isUp) this.broker.start();
    this.relay?.start();
    if (this.manager.core === undefined) this.manager.start();
    for (const terminal of this.terminals) {
      const isGone = terminal.isClone || this.isRogue(terminal);
      if (isGone || terminal.isBanned) terminal.kill();
      terminal.resume(0);
      if (!isGone && terminal.core === undefined) terminal.start();
    }
  }

  /** What the options say holds from now on. */
  #set(options: Options): void {
    this.options = options;
    const faults = channelFaults(options);
    for (const { host } of this.terminals) {
      if (host.up !== undefined) host.up.faults = faults;
      if (host.down !== undefined) host.down.faults = faults;
    }
  }

  /**
   * Of everything that is sealed, only what terminals and manager say to one another is told, and
   * what ends probe with.
   */
  #onWord(kind: 'sealed' | 'opened', owner: string, aad: Uint8Array, bytes: Uint8Array): void {
    if (aad.length === CHANNEL_ID_BYTES) this.happen({ kind, owner, bytes });
    else if (bytes.length === PROBE_TOKEN_BYTES && aad[0] >= PROBE_TYPE && aad[0] <= CHOICE_TYPE) {
      const isAnswer = aad[0] === ANSWER_TYPE;
      const how = kind === 'sealed' ? 'tokenSealed' : 'tokenOpened';
      this.happen({ kind: how, owner, isAnswer, bytes });
    }
  }

  #step(at: Micros): void {
    if (at > this.now) {
      this.now = at;
      this.#sameInstant = 0;
    } else if (++this.#sameInstant > SAME_INSTANT_MAX) this.violate('time', 'does not pass');
    this.#agenda.popDue(this.now)?.run();
    this.events += 1;
    this.#settle();
  }

  /** Drains whoever was touched; draining one may touch another. */
  #settle(): void {
    if (this.#touched.size === 0) return;
    for (const party of this.#touched) party.settle();
    for (const watcher of this.watchers) watcher.afterEvent?.(this.#touched);
    this.#touched.clear();
  }

  #random(name: string): () => number {
    const rng = this.rng(name);
    return () => rng.next() / 2 ** 32;
  }

  #clock(name: string): PartyClock {
    const most = this.options['clock.drift'];
    const driftPpm = (2 * randomFraction(this.rng(`clock/${name}`)) - 1) * most;
    return new PartyClock({ now: this.now, wall: WALL_START, driftPpm });
  }

  #host(name: string): Host {
    return this.internet.addHost({ name, ...this.places.next(name) });
  }

  /** `isReversed`: who is made last otherwise is made first; nothing may depend on it. */
  #makeTerminals(count: number, share: number, isReversed: boolean): void {
    const rng = this.rng('terminals');
    const names = Array.from({ length: count }, (_, index) => `terminal-${index}` as Name);
    const drafts = names.map((name, index) => {
      const isPolling = randomFraction(rng) < this.options['terminal.polling'];
      const host = this.internet.addHost({ name, ...this.#place(this, name) });
      return { name, index, host, isPolling };
    });
    if (isReversed) drafts.reverse();
    const made = drafts.map(({ name, index, host, isPolling }) => {
      const identity = makeIdentity(this, name);
      const clock = this.#clock(name);
      const pollSeconds = isPolling ? POLL_SECONDS : undefined;
      return new VirtualTerminal(this, { identity, index, host, clock, pollSeconds });
    });
    if (isReversed) made.reverse();
    for (const terminal of made) {
      this.terminals.push(terminal);
      this.#byName.set(terminal.name, terminal);
      this.permissions.add(terminal.identity);
    }
    this.permissions.fill(share);
  }

  /** Over HTTPS, where the broker does not hear: one ticket for all. */
  #enrolAll(): void {
    const { manager, terminals } = this;
    const ticket = this.#ask((answered) =>
      manager.order(
        { kind: 'ticket', name: undefined, uses: terminals.length, seconds: TICKET_SECONDS },
        answered,
      ),
    );
    if (ticket?.kind !== 'ticket') throw new Error('no ticket');
    let left = terminals.length;
    for (const terminal of terminals) {
      const { signingKey, keys, name, suite } = terminal.identity;
      const body = makeEnrolRequest(signingKey, {
        url: ENROL_URL,
        secret: ticket.secret,
        keys,
        name,
      });
      manager.post(body, (reply) => {
        const managerKey = manager.keys.signing.publicKey;
        const response =
          reply.kind === 'enrolled'
            ? openEnrolResponse(suite, reply.bytes, { managerKey, ed25519: keys.ed25519 })
            : undefined;
        if (response === undefined) throw new Error(`${name} is not enrolled`);
        terminal.enrol(response.membership);
        left -= 1;
      });
    }
    if (!this.run(after(this.now, seconds(600)), () => left === 0)) throw new Error('not enrolled');
  }

  #ask(ask: (answered: (reply: Reply) => void) => void): Reply | undefined {
    let got: Reply | undefined;
    ask((reply) => {
      got = reply;
    });
    this.run(after(this.now, seconds(10)), () => got !== undefined);
    return got;
  }
}

const POLL_SECONDS = 3;

/** PINGs of a silent talk before it ends. */
const KEEP_ALIVES = 2.5;

/** What the options say of the memory and the patience of a talk. */
function talksOf(options: Options): Partial<ConnectionConfig> {
  const bytes = options['work.window'];
  const idle = options['work.idle'];
  const silence = {
    idleTimeoutMs: idle * MS_PER_SECOND,
    keepAliveMs: Math.floor((idle * MS_PER_SECOND) / KEEP_ALIVES),
  };
  if (bytes === 0) return idle === 0 ? {} : silence;
  return {
    ...(idle > 0 && silence),
    windowBytes: 2 * bytes,
    windowBytesMax: 4 * bytes,
    streamWindowBytes: bytes,
    sendBufferBytes: bytes,
    sendBufferBytesMax: 2 * bytes,
  };
}
