// Terminals and a session manager, the real cores in virtual time, joined by nothing but a broker
// in an attacker's hands (hostile-broker.ts). This is the time, the wire between them, and the
// people who call; a witness (hostile-witness.ts) looks at every step. Over 400 lines: one world,
// whose parts meet at every step.

import type { OwnerQuestion, TerminalEvent } from '../../device/terminal-types.ts';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import type { ParsedTopic } from '../../protocol/control/topics.ts';
import type { Path } from '../../protocol/core.ts';
import { DeadlineHeap, type Due, notArmed } from '../../protocol/deadlines.ts';
import { makeEnrolRequest, openEnrolResponse } from '../../protocol/identity/enrolment.ts';
import { NO_PIN, makeToken, openToken } from '../../protocol/identity/token.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { randomBelow, randomBytes, randomFraction, seededRng } from '../../protocol/random.ts';
import {
  type Micros,
  type WallMs,
  after,
  earlier,
  micros,
  ms,
  seconds,
  wallMs,
} from '../../protocol/time.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import type { Reply } from '../../session-manager/manager-types.ts';
import { GroundTruth } from './ground-truth.ts';
import { HostileBroker, type Surroundings } from './hostile-broker.ts';
import type { Place } from './hostile-forger.ts';
import { ENROL_URL, House, type HouseWorld } from './hostile-house.ts';
import { Station, type StationWorld } from './hostile-station.ts';
import { Witness } from './hostile-witness.ts';

const WALL_START = 1_800_000_000_000;
/** Long ones: none is found in random bytes. */
const NAMES = [
  'shinagawa-pi',
  'kawasaki-pi',
  'kanagawa-pi',
  'hodogaya-pi',
  'totsuka-pi',
  'fujisawa-pi',
  'hiratsuka-pi',
  'odawara-pi',
];
/** Sleeps between polls. */
const POLLING = 5;
/** Is revoked on the way. */
const DOOMED = 7;
const POLL_SECONDS = 3;
const WAIT_MS = LIMITS.waitMsDefault;
/** Most time of a talk: what nobody reports is closed LIMITS.unreportedSeconds later. */
const GRANT_SECONDS = 20;
/** Until nothing is left of whatever the broker did. */
const REST_SECONDS = GRANT_SECONDS + 2 * LIMITS.unreportedSeconds;
const WIRE = ms(0.3);
const STRIKE_EVERY = ms(12);
const CALL_EVERY = seconds(1.8);
const SIZES_EVERY = 64;
const STEPS_MAX = 50_000_000;
const ATTACKER_HOST = '198.51.100.';

interface Errand extends Due {
  readonly run: () => void;
}

/** The whole world of one seed. */
export class HostileTown implements Surroundings, StationWorld, HouseWorld {
  now: Micros = micros(1);
  readonly truth: GroundTruth;
  readonly witness: Witness;
  readonly house: House;
  readonly broker: HostileBroker;
  readonly stations: readonly Station[];
  /** What was said in talks: it must be nowhere else. */
  readonly contents = new Map<SessionId, Buffer>();
  /** Talks in which it arrived as it was. */
  delivered = 0;
  reboots = 0;
  orders = 0;
  /** Datagrams that came to the attacker. */
  strayed = 0;
  readonly #rng: ReturnType<typeof seededRng>;
  readonly #agenda = new DeadlineHeap<Errand>();
  #port = 2_000;
  #calls = 0;
  #steps = 0;

  /** `isSealed` false: with a cipher that is none, so that the checks have something to find. */
  constructor(seed: number, { isSealed = true } = {}) {
    this.truth = new GroundTruth(isSealed);
    this.witness = new Witness(this.truth);
    this.#rng = seededRng(seed);
    this.house = new House(this, this.truth, seededRng(seed + 1_000_003));
    const { id, keys } = this.house;
    this.broker = new HostileBroker({
      seed: seed + 2_000_003,
      around: this,
      trust: { suite: nodeSuite, managerKeys: [keys.signing.publicKey], server: NO_PIN },
      manager: id,
      managerAgreementKey: keys.agreement.publicKey,
    });
    this.stations = NAMES.map(
      (name, index) =>
        new Station({
          world: this,
          truth: this.truth,
          name: name as Name,
          index,
          rng: seededRng(seed + 3_000_017 * (index + 1)),
          pollSeconds: index === POLLING ? POLL_SECONDS : undefined,
        }),
    );
    for (const station of this.stations) this.#enrol(station);
    this.#writeLists();
    this.house.link();
    for (const station of this.stations) this.#start(station);
    this.run(micros(this.now + seconds(2)));
  }

  get wall(): WallMs {
    return wallMs(WALL_START + Math.floor(this.now / ms(1)));
  }

  get moment(): LocalMoment {
    return { wallMs: this.wall, offsetMinutes: 540 };
  }

  get devices(): readonly DeviceId[] {
    return this.stations.map(({ id }) => id);
  }

  /** Those that have not been revoked. */
  get welcome(): readonly Station[] {
    return this.stations.filter(({ isRevoked }) => !isRevoked);
  }

  schedule(at: Micros, run: () => void): void {
    const errand: Errand = { run, ...notArmed() };
    this.#agenda.set(errand, at);
  }

  /** Lets time pass until then, or until a condition holds; false if it did not. */
  run(until: Micros, isDone: () => boolean = () => false): boolean {
    for (let step = 0; step < STEPS_MAX; step++) {
      this.#settle();
      this.witness.onStep(this.now);
      if (++this.#steps % SIZES_EVERY === 0) this.#checkSizes();
      if (isDone()) return true;
      const next = this.#nextTimeout();
      if (next > until) {
        this.now = until;
        return isDone();
      }
      if (next > this.now) this.now = next;
      this.#turn();
    }
    throw new Error('time does not pass');
  }

  /**
   * The broker is hostile for so many acts, while everybody calls everybody, reboots and is given
   * orders. `onlyAdds`: it passes everything on, and nothing else happens than calls.
   */
  suffer(acts: number, { onlyAdds = false } = {}): void {
    const { broker } = this;
    broker.isHonest = false;
    broker.onlyAdds = onlyAdds;
    const isOver = (): boolean => broker.acts >= acts;
    this.#every(STRIKE_EVERY, isOver, () => broker.strike(this.now, this.wall));
    for (const station of this.stations) {
      this.#every(CALL_EVERY, isOver, () => this.#callSomebody(station));
    }
    if (!onlyAdds) {
      this.#every(seconds(7), isOver, () => this.#reboot(this.#pick(this.stations)));
      this.#every(seconds(23), isOver, () => this.house.restart());
      this.#every(seconds(3), isOver, () => this.#orderAnEnd());
      this.schedule(after(this.now, seconds(10)), () => this.#revoke(this.stations[DOOMED]));
    }
    this.run(micros(Infinity), isOver);
    if (onlyAdds) this.run(after(this.now, ms(2 * WAIT_MS)));
  }

  /** From now on the broker does what it should; what is not at rest after two minutes. */
  recover(): readonly string[] {
    this.broker.isHonest = true;
    for (const station of this.stations) station.hasSlept = false;
    const isAtRest = (): boolean => this.restless().length === 0;
    this.run(after(this.now, seconds(REST_SECONDS)), isAtRest);
    return this.restless();
  }

  /** Everybody calls everybody once; how many calls should be accepted, and how many should not. */
  callAround(): { readonly permitted: number; readonly forbidden: number } {
    let permitted = 0;
    let calls = 0;
    for (const caller of this.welcome) {
      for (const callee of this.stations) {
        if (callee === caller) continue;
        if (this.#isPermitted(caller, callee.name)) permitted += 1;
        calls += 1;
        this.call(caller, callee.name);
      }
    }
    this.run(after(this.now, seconds(2 * (WAIT_MS / 1_000))));
    return { permitted, forbidden: calls - permitted };
  }

  /** One call of a terminal that is on. */
  call(caller: Station, callee: string, extend = false): void {
    const call = ++this.#calls;
    if (caller.terminal === undefined) return;
    this.witness.onCall(this.now, caller.id, call, WAIT_MS);
    if (this.#isPermitted(caller, callee)) this.witness.permittedCalls += 1;
    caller.terminal.handle(this.now, {
      kind: 'call',
      call,
      callee: callee as Name,
      service: 'pipe',
      want: extend ? { seconds: 2 } : { bytes: 100_000 },
      waitMs: WAIT_MS,
      extend,
    });
  }

  /** What is still under way anywhere; empty: all is at rest. */
  restless(): readonly string[] {
    const rest: string[] = [];
    for (const { name, terminal, pollSeconds, sockets, hasSlept } of this.welcome) {
      const status = terminal?.status(this.now);
      if (sockets.length > 0) rest.push(`${name} keeps a socket open`);
      if (status === undefined) rest.push(`${name} is off`);
      else {
        const isThere = pollSeconds === undefined ? status.registered : hasSlept;
        if (!isThere) rest.push(`${name} is not registered, or does not sleep`);
        if (status.calls.length > 0) rest.push(`${name} calls`);
        if (status.talks.length > 0) rest.push(`${name} talks`);
        if (status.endNotices > 0) rest.push(`${name} has ends to report`);
      }
    }
    for (const { session } of this.house.manager.sessions('open')) rest.push(`${session} is open`);
    return rest;
  }

  // --- what the broker meets ---------------------------------------------------------------------

  deliver(place: Place, bytes: Uint8Array): { isHeard: boolean; isRefused: boolean } {
    if (!this.isListening(place)) return { isHeard: false, isRefused: false };
    if (place.to === 'terminal') {
      const station = this.#station(place.device);
      const before = station?.faults ?? 0;
      station?.terminal?.handle(this.now, {
        kind: 'message',
        via: place.via,
        bytes: bytes.slice(),
      });
      return { isHeard: true, isRefused: (station?.faults ?? 0) > before };
    }
    if (place.to === 'broker') return { isHeard: false, isRefused: false };
    const before = this.house.faults;
    const { device: from, via } = place;
    if (from === undefined) this.house.tell({ kind: 'addressAnswer', bytes: bytes.slice() });
    else if (via === 'trigger-state')
      this.house.tell({ kind: 'triggerState', bytes: bytes.slice() });
    else this.house.tell({ kind: 'message', from, via, bytes: bytes.slice() });
    return { isHeard: true, isRefused: this.house.faults > before };
  }

  isListening(place: Place): boolean {
    if (place.to === 'broker') return true;
    if (place.to === 'manager') return this.house.isLinked;
    return this.#station(place.device)?.isLinked ?? false;
  }

  isEnrolled(device: DeviceId): boolean {
    return this.#station(device)?.isRevoked === false;
  }

  starts(place: Place): number {
    if (place.to === 'broker') return 0;
    if (place.to === 'manager') return this.house.restarts;
    return this.#station(place.device)?.boots ?? 0;
  }

  cut(party: DeviceId | 'manager'): boolean {
    const back = after(this.now, ms(50) + randomFraction(this.#rng) * seconds(2));
    if (party === 'manager') {
      if (!this.house.isLinked) return false;
      this.house.unlink();
      this.schedule(back, () => this.house.link());
      return true;
    }
    const station = this.#station(party);
    if (station?.isLinked !== true) return false;
    this.#unlink(station);
    this.schedule(back, () => this.#link(station));
    return true;
  }

  say(topic: ParsedTopic, bytes: Uint8Array): void {
    const place = this.broker.placeFrom('manager', topic);
    if (place !== undefined) this.broker.hear(this.now, this.wall, place, bytes);
  }

  showLogin(password: Uint8Array): void {
    this.broker.see(password);
  }

  // --- what the stations meet --------------------------------------------------------------------

  publish(station: Station, of: 'address' | 'up' | 'allow-list', bytes: Uint8Array): void {
    if (!station.isLinked) return;
    const place = this.broker.placeFrom(station.id, { of, device: station.id });
    if (place !== undefined) this.broker.hear(this.now, this.wall, place, bytes);
  }

  /** The attacker sees only what is sent to itself, and passes some of it on. */
  send(from: Path, to: Path, bytes: Uint8Array): void {
    if (!to.host.startsWith(ATTACKER_HOST)) return this.#carry(from, to, bytes);
    this.strayed += 1;
    this.broker.see(bytes);
    const dice = randomBelow(this.#rng, 4);
    if (this.broker.isHonest || dice === 0) return;
    const sockets = this.stations.flatMap((station) => station.sockets);
    if (sockets.length === 0) return;
    const passed = bytes.slice();
    if (dice === 1) passed[randomBelow(this.#rng, passed.length)] ^= 1;
    this.#carry(to, this.#pick(sockets), passed);
  }

  wantLink(station: Station, isWanted: boolean): void {
    station.wantsLink = isWanted;
    if (!isWanted && this.broker.isHonest) station.hasSlept = true;
    if (isWanted) this.#link(station);
    else if (station.isLinked) this.#unlink(station);
  }

  /** The owner's word takes a moment; the first half of the callers gets a yes. */
  ask(station: Station, question: OwnerQuestion): void {
    const caller = this.stations.findIndex(({ id }) => id === question.caller.id);
    const approved = caller < this.stations.length / 2;
    const { terminal } = station;
    this.schedule(after(this.now, ms(80)), () => {
      if (station.terminal !== terminal) return;
      terminal?.handle(this.now, { kind: 'ownerAnswer', ask: question.ask, approved });
    });
  }

  onEvent(station: Station, event: TerminalEvent): void {
    this.witness.onEvent(this.now, station.id, event);
    if (event.kind === 'introduced') {
      const { terminal } = station;
      const { session } = event;
      const lasts = event.terms.seconds < 10 ? seconds(5) : randomFraction(this.#rng) * seconds(3);
      this.schedule(after(this.now, seconds(1) + lasts), () => {
        if (station.terminal !== terminal) return;
        terminal?.handle(this.now, { kind: 'end', session, reason: 'done' });
      });
    }
    if (event.kind !== 'talk') return;
    const { session, event: inner } = event;
    if (inner.kind === 'established') this.#say(station, session);
    if (inner.kind === 'stream' || inner.kind === 'readable') station.read(session, inner.stream);
    const content = this.contents.get(session);
    const heard = station.heard.get(session);
    if (content === undefined || heard === undefined) return;
    if (!content.subarray(0, heard.length).equals(heard)) {
      this.witness.fail(`${session}: something else arrived`);
    }
    if (heard.length === content.length) this.delivered += 1;
    station.heard.delete(session);
  }

  nextPort(): number {
    this.#port = this.#port >= 60_000 ? 2_000 : this.#port + 1;
    return this.#port;
  }

  /** About every so often, until it is over. */
  #every(period: number, isOver: () => boolean, run: () => void): void {
    this.schedule(after(this.now, period * (0.5 + randomFraction(this.#rng))), () => {
      if (isOver()) return;
      run();
      this.#every(period, isOver, run);
    });
  }

  // --- time --------------------------------------------------------------------------------------

  #nextTimeout(): Micros {
    let next = earlier(this.#agenda.next(), this.house.manager.nextTimeout());
    next = earlier(next, this.broker.core.nextTimeout());
    for (const { terminal } of this.stations) {
      if (terminal !== undefined) next = earlier(next, terminal.nextTimeout());
    }
    return next;
  }

  #turn(): void {
    this.#agenda.popDue(this.now)?.run();
    const { manager } = this.house;
    if (manager.nextTimeout() <= this.now) manager.handleTimeout(this.now);
    const { core } = this.broker;
    if (core.nextTimeout() <= this.now) core.handleTimeout(this.now);
    for (const { terminal } of this.stations) {
      if (terminal !== undefined && terminal.nextTimeout() <= this.now) {
        terminal.handleTimeout(this.now);
      }
    }
  }

  /** Everything that happens without time passing. */
  #settle(): void {
    for (let isBusy = true; isBusy;) {
      isBusy = this.house.drain();
      for (const station of this.stations) if (station.drain()) isBusy = true;
      for (const device of this.broker.drain(this.now, this.wall)) {
        if (this.broker.isHonest) this.cut(device);
      }
    }
  }

  /** Whatever is kept of all this has its bound. */
  #checkSizes(): void {
    for (const { name, terminal, sockets } of this.stations) {
      const status = terminal?.status(this.now);
      const isBounded =
        status === undefined ||
        (status.calls.length <= LIMITS.callsMax &&
          status.talks.length <= LIMITS.callsMax &&
          sockets.length <= 2 * LIMITS.callsMax &&
          status.endNotices <= LIMITS.endNoticesMax &&
          status.changedPeers.length === 0);
      if (!isBounded) this.witness.fail(`${name} keeps too much`);
    }
    const { records, triggersWaiting, queriesWaiting } = this.broker.core.counters();
    const isBounded =
      records <= LIMITS.recordsPerDeviceMax * this.stations.length &&
      triggersWaiting <= LIMITS.triggersPerDeviceMax * this.stations.length &&
      queriesWaiting <= LIMITS.introductionsPerCallerMax * this.stations.length &&
      this.house.manager.sessions('open').length <= LIMITS.sessionsMax;
    if (!isBounded) this.witness.fail('the servers keep too much');
  }

  // --- the operator -----------------------------------------------------------------------------

  #orderAnEnd(): void {
    const open = this.house.openSessions();
    if (open.length === 0) return;
    const session = this.#pick(open);
    this.orders += 1;
    this.witness.onOrder(session);
    this.house.order({ kind: 'end', session });
  }

  #revoke(station: Station): void {
    station.isRevoked = true;
    this.witness.onRevoke(station.id);
    this.house.order({ kind: 'revoke', name: station.name });
  }

  // --- the terminals -----------------------------------------------------------------------------

  /** Over HTTPS, where the broker does not hear. */
  #enrol(station: Station): void {
    const { name, keys, signingKey } = station;
    const ticket = this.#order({ kind: 'ticket', name, uses: 1, seconds: 600 });
    if (ticket?.kind !== 'ticket') throw new Error('no ticket');
    const { secret } = ticket;
    const enrolled = this.#order(makeEnrolRequest(signingKey, { url: ENROL_URL, secret, keys }));
    const response =
      enrolled?.kind === 'enrolled'
        ? openEnrolResponse(nodeSuite, enrolled.bytes, {
            managerKey: this.house.keys.signing.publicKey,
            ed25519: keys.ed25519,
          })
        : undefined;
    if (response === undefined) throw new Error(`${name} is not enrolled`);
    station.membership = response.membership;
  }

  #order(what: Parameters<House['order']>[0]): Reply | undefined {
    const to = this.house.order(what);
    this.run(after(this.now, ms(1)));
    return this.house.reply(to);
  }

  /** Who may call whom: half of all pairs, by lists of every kind. */
  #writeLists(): void {
    for (const [at, callee] of this.stations.entries()) {
      const entries: AllowEntry[] = [];
      for (const [from, caller] of this.stations.entries()) {
        if (from === at) continue;
        const isListed = randomBelow(this.#rng, 5) < 3;
        const isAsked = randomBelow(this.#rng, 4) === 0;
        if (!isListed) {
          if (from % 2 === 0) entries.push({ action: 'deny', pattern: caller.name });
          continue;
        }
        const entry = { action: 'allow', pattern: caller.name, seconds: GRANT_SECONDS } as const;
        const id = from % 3 === 0 ? caller.id : undefined;
        entries.push({ ...entry, id, extend: true, ask: isAsked });
        if (!isAsked || from < this.stations.length / 2) this.witness.permit(caller.id, callee.id);
      }
      callee.entries = entries;
    }
  }

  #start(station: Station): void {
    const { signing, agreement } = this.house.keys;
    station.start({ key: signing.publicKey, agreementKey: agreement.publicKey });
    if (station.wantsLink) this.#link(station);
  }

  #reboot(station: Station): void {
    if (station.terminal === undefined) return;
    this.reboots += 1;
    if (station.isLinked) this.#unlink(station);
    station.stop();
    this.witness.onReboot(station.id);
    const off = ms(100) + randomFraction(this.#rng) * seconds(1);
    this.schedule(after(this.now, off), () => this.#start(station));
  }

  /** A login is seen by the broker, who can let in whom it likes. */
  #link(station: Station): void {
    const { terminal, membership, id, signingKey } = station;
    if (terminal === undefined || station.isLinked || !station.wantsLink) return;
    const password = makeToken(signingKey, {
      device: id,
      audience: this.house.keys.signing.publicKey,
      issuedAt: Math.floor(this.wall / 1_000),
      nonce: randomBytes(this.#rng, 16),
      membership,
      server: NO_PIN,
    });
    this.broker.see(password);
    const { core } = this.broker;
    const login = { clientId: id, username: 'terminal', password };
    const verdict = core.login(this.now, this.wall, login);
    if (typeof verdict === 'string' && this.broker.isHonest) {
      if (verdict === 'revoked') return;
      this.schedule(after(this.now, seconds(1)), () => this.#link(station));
      return;
    }
    const nowSeconds = Math.floor(this.wall / 1_000);
    const check = { nowSeconds, clientId: id, server: NO_PIN };
    const proven = openToken(nodeSuite, this.house.keys.signing.publicKey, password, check);
    if (typeof proven === 'string') throw new Error(`${station.name}: ${proven}`);
    const { issuedAt, expiresAt } = proven.membership;
    const held = { device: id, manager: 0, issuedAt, expiresAt };
    station.isLinked = true;
    core.handle(this.now, { kind: 'connected', held, wall: this.wall });
    core.handle(this.now, { kind: 'polled', device: id });
    terminal.handle(this.now, { kind: 'linkUp' });
  }

  #unlink(station: Station): void {
    station.isLinked = false;
    this.broker.core.handle(this.now, { kind: 'disconnected', device: station.id });
    station.terminal?.handle(this.now, { kind: 'linkDown' });
  }

  #callSomebody(caller: Station): void {
    const names = [...this.stations.map(({ name }) => name), 'nobody-of-that-name'];
    const callee = this.#pick(names.filter((name) => name !== caller.name));
    this.call(caller, callee, randomBelow(this.#rng, 2) === 0);
  }

  #isPermitted(caller: Station, name: string): boolean {
    const callee = this.stations.find((station) => station.name === name);
    if (callee === undefined || caller.isRevoked || callee.isRevoked) return false;
    return this.witness.isPermitted(caller.id, callee.id);
  }

  #carry(from: Path, to: Path, bytes: Uint8Array): void {
    this.schedule(after(this.now, WIRE), () => {
      for (const station of this.stations) if (station.take(to, from, bytes)) return;
    });
  }

  /** The caller says something that only the callee may hear. */
  #say(station: Station, session: SessionId): void {
    if (this.contents.has(session)) return;
    const content = Buffer.from(randomBytes(this.#rng, 32));
    this.contents.set(session, content);
    station.write(session, content);
  }

  #station(device: DeviceId): Station | undefined {
    return this.stations.find(({ id }) => id === device);
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[randomBelow(this.#rng, choices.length)];
  }
}
