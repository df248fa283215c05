// A trigger broker in an attacker's hands (threat T5): it stands where TriggerBroker and Aedes
// stand, sees every message and every login, remembers all of it, and drops, delays, reorders,
// repeats, alters, misdirects and invents messages as one seed says (hostile-forger.ts). What is
// not tampered with goes through the real broker's core, so that there is something to attack.

import type { Trust } from '../../broker/login.ts';
import { TriggerBroker } from '../../broker/trigger-broker.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Kind } from '../../protocol/control/messages.ts';
import { type ParsedTopic, parseTopic } from '../../protocol/control/topics.ts';
import type { DeviceId, ManagerId } from '../../protocol/ids.ts';
import { randomBelow, randomFraction, seededRng } from '../../protocol/random.ts';
import { type Micros, type WallMs, after, ms, seconds } from '../../protocol/time.ts';
import { FAULTS, type Fault, Forger, type Place, placeOf } from './hostile-forger.ts';

/** Those that befall a message on its way; the others come out of nothing. */
const ON_THE_WAY = FAULTS.slice(0, FAULTS.indexOf('replay'));
const MADE_UP: ReadonlySet<Fault> = new Set(
  FAULTS.filter((fault) => /^(flip|truncate|grow|swap|splice|forge)/.test(fault)),
);
const INVENTED = FAULTS.slice(FAULTS.indexOf('replay'), FAULTS.indexOf('cut a link'));

/** What the broker's surroundings do for it. */
export interface Surroundings {
  /** Hands a message over; whether anybody was there, and whether it was counted as a fault. */
  deliver(
    place: Place,
    bytes: Uint8Array,
  ): { readonly isHeard: boolean; readonly isRefused: boolean };
  isListening(place: Place): boolean;
  /** Whether the manager knows a terminal, and has not revoked it. */
  isEnrolled(device: DeviceId): boolean;
  /** How often the party behind a place was started. */
  starts(place: Place): number;
  /** Ends a terminal's connection, or the manager's; false if it had none. */
  cut(party: DeviceId | 'manager'): boolean;
  schedule(at: Micros, run: () => void): void;
  readonly devices: readonly DeviceId[];
}

interface Tally {
  /** Done. */
  tried: number;
  /** Met somebody who was there, and was not as it should be. */
  hit: number;
  /** Counted as a fault by the core that got it. */
  refused: number;
}

/** Between sending and arriving. */
const LATENCY = ms(0.2);
const WINDOW = seconds(3);
const RATES = [0.01, 0.03, 0.08];
/** The double. */
export class HostileBroker {
  /** Everything that it ever saw. */
  readonly memory: Uint8Array[] = [];
  readonly tallies = new Map<Fault, Tally>(
    FAULTS.map((fault) => [fault, { tried: 0, hit: 0, refused: 0 }]),
  );
  /** Forgeries that were heard and not counted as a fault. */
  readonly believed: string[] = [];
  isHonest = true;
  /** Withholds, alters and cuts nothing: it only adds. */
  onlyAdds = false;
  core: TriggerBroker;
  readonly #forger: Forger;
  readonly #around: Surroundings;
  readonly #trust: Trust;
  readonly #manager: ManagerId;
  readonly #rng: ReturnType<typeof seededRng>;
  /** The order of what came to a party: overtaken messages show. */
  readonly #newest = new Map<string, number>();
  #rates = new Map<Fault, number>();
  #windowEnds = 0 as Micros;
  #order = 0;

  constructor(options: {
    readonly seed: number;
    readonly around: Surroundings;
    readonly trust: Trust;
    readonly manager: ManagerId;
    /** The manager's X25519 key: it is no secret. */
    readonly managerAgreementKey: Uint8Array;
  }) {
    const { seed, around, trust, manager, managerAgreementKey } = options;
    this.#around = around;
    this.#trust = trust;
    this.#manager = manager;
    this.#rng = seededRng(seed);
    this.core = new TriggerBroker(trust);
    this.#forger = new Forger({
      seed,
      rng: this.#rng,
      devices: () => around.devices,
      isEnrolled: (device) => around.isEnrolled(device),
      startsOf: (place) => around.starts(place),
      managerKey: managerAgreementKey,
    });
  }

  /** Kinds of messages that were made up without a seal. */
  get invented(): ReadonlySet<Kind> {
    return this.#forger.invented;
  }

  /** How many messages were tampered with, or made up. */
  get acts(): number {
    return [...this.tallies.values()].reduce((sum, { tried }) => sum + tried, 0);
  }

  /** A party said something. */
  hear(now: Micros, wall: WallMs, place: Place, bytes: Uint8Array): void {
    this.memory.push(bytes);
    if (!this.isHonest) this.#forger.learn(place, bytes);
    const isPassed = this.isHonest || this.onlyAdds;
    const fault = isPassed ? undefined : this.#chooseFault(now, place);
    if (fault === undefined) this.#post(now, wall, place, bytes);
    else this.#tamper(now, wall, fault, place, bytes);
  }

  /** A party logs in: what it shows is seen too. */
  see(bytes: Uint8Array): void {
    this.memory.push(bytes);
  }

  /** Passes on what the core wants published; returns whose connection it wants ended. */
  drain(now: Micros, wall: WallMs): readonly DeviceId[] {
    const ended: DeviceId[] = [];
    for (let output = this.core.poll(); output !== undefined; output = this.core.poll()) {
      if (output.kind === 'disconnect') ended.push(output.device);
      else this.#passOn(now, wall, output.topic, output.bytes);
    }
    return ended;
  }

  /** One message out of nothing, or one connection less. */
  strike(now: Micros, wall: WallMs): void {
    if (this.isHonest) return;
    const dice = this.onlyAdds ? Infinity : randomBelow(this.#rng, 2_000);
    if (dice < 6) this.#cut('cut a link', this.#pick(this.#around.devices));
    else if (dice < 7) this.#cut('cut a link', 'manager');
    else if (dice < 8) this.#forgetEverything();
    else this.#invent(now, wall, this.#pick(INVENTED));
  }

  #passOn(now: Micros, wall: WallMs, topic: string, bytes: Uint8Array): void {
    const place = placeOf(parseTopic(topic));
    if (place !== undefined) this.hear(now, wall, place, bytes);
  }

  /** The rates change every few seconds; every other kind is off, and now and then all are. */
  #chooseFault(now: Micros, place: Place): Fault | undefined {
    if (now >= this.#windowEnds) {
      this.#windowEnds = after(now, WINDOW * (0.5 + randomFraction(this.#rng)));
      const isCalm = randomBelow(this.#rng, 5) < 2;
      this.#rates = new Map(
        ON_THE_WAY.map((fault) => {
          const isOff = isCalm || randomBelow(this.#rng, 2) === 0;
          return [fault, isOff ? 0.002 : this.#pick(RATES)];
        }),
      );
    }
    if (place.to === 'manager' && place.via === 'answer' && randomBelow(this.#rng, 5) === 0) {
      return 'forge address answer';
    }
    let dice = randomFraction(this.#rng);
    for (const [fault, rate] of this.#rates) {
      dice -= rate;
      if (dice < 0) return fault;
    }
    return undefined;
  }

  #post(
    now: Micros,
    wall: WallMs,
    place: Place,
    bytes: Uint8Array,
    options: { readonly fault?: Fault; readonly in?: number } = {},
  ): void {
    const { fault, in: wait = LATENCY } = options;
    const order = ++this.#order;
    this.#around.schedule(after(now, wait), () =>
      this.#arrive(after(now, wait), wall, { place, bytes, fault, order }),
    );
  }

  #arrive(
    now: Micros,
    wall: WallMs,
    sent: {
      readonly place: Place;
      readonly bytes: Uint8Array;
      readonly fault: Fault | undefined;
      readonly order: number;
    },
  ): void {
    const { place, bytes, fault, order } = sent;
    // What was prepared before the broker turned honest is gone.
    if (fault !== undefined && this.isHonest) return;
    const tally = fault && this.tallies.get(fault);
    if (place.to === 'broker') {
      const { from, topic } = place;
      this.core.handle(now, { kind: 'message', from, topic, bytes, wall });
      if (tally !== undefined) tally.hit += 1;
      return;
    }
    const { isHeard, isRefused } = this.#around.deliver(place, bytes);
    const party = place.to === 'terminal' ? place.device : 'manager';
    const newest = this.#newest.get(party) ?? 0;
    if (isHeard) this.#newest.set(party, Math.max(newest, order));
    if (tally === undefined) return;
    // A message that nothing overtook was not late.
    if (isHeard && (fault !== 'delay' || order < newest)) tally.hit += 1;
    if (isRefused) tally.refused += 1;
    if (!isHeard || isRefused || fault === undefined || !MADE_UP.has(fault)) return;
    if (this.#forger.isForgery({ place, bytes })) {
      this.believed.push(`${fault}: ${place.via} of ${party} took ${decodeMessage(bytes)?.kind}`);
    }
  }

  #tamper(now: Micros, wall: WallMs, fault: Fault, place: Place, bytes: Uint8Array): void {
    const tally = this.tallies.get(fault);
    if (tally === undefined) return;
    tally.tried += 1;
    const post = (to: Place, what: Uint8Array, wait: number = LATENCY): void =>
      this.#post(now, wall, to, what, { fault, in: wait });
    switch (fault) {
      case 'drop':
        if (this.#around.isListening(place)) tally.hit += 1;
        return;
      case 'delay':
        return post(place, bytes, this.#someTime());
      case 'duplicate':
        this.#post(now, wall, place, bytes);
        return post(place, bytes, this.#someTime());
      case 'forge address answer':
        return post(place, encodeMessage(this.#forger.answer(decodeMessage(bytes))));
      case 'misdirect':
      case 'other topic':
      case 'reflect': {
        const elsewhere = this.#forger.elsewhere(fault, place);
        // The right one gets it as well, or not.
        if (elsewhere === undefined || this.#coin()) this.#post(now, wall, place, bytes);
        if (elsewhere === undefined) tally.tried -= 1;
        else post(elsewhere, bytes);
        return;
      }
      default:
        return post(place, this.#forger.altered(fault, bytes));
    }
  }

  #invent(now: Micros, wall: WallMs, fault: Fault): void {
    const made = this.#forger.made(fault);
    const tally = this.tallies.get(fault);
    if (made === undefined || tally === undefined) return;
    tally.tried += 1;
    this.#post(now, wall, made.place, made.bytes, { fault });
  }

  #cut(fault: Fault, party: DeviceId | 'manager'): void {
    const tally = this.tallies.get(fault);
    if (tally === undefined) return;
    tally.tried += 1;
    if (this.#around.cut(party)) tally.hit += 1;
  }

  /** The broker is started anew: no records, no triggers, no connections. */
  #forgetEverything(): void {
    this.core = new TriggerBroker(this.#trust);
    for (const party of [...this.#around.devices, 'manager'] as const) {
      this.#cut('forget everything', party);
    }
  }

  /** Mostly a moment, now and then minutes. */
  #someTime(): number {
    const dice = randomBelow(this.#rng, 20);
    const most = dice < 10 ? seconds(1) : dice < 18 ? seconds(15) : seconds(200);
    return LATENCY + Math.floor(randomFraction(this.#rng) * most);
  }

  #coin(): boolean {
    return randomBelow(this.#rng, 2) === 0;
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[randomBelow(this.#rng, choices.length)];
  }

  /** Where the manager, or a terminal, is heard by a message on this topic. */
  placeFrom(from: DeviceId | 'manager', topic: ParsedTopic): Place | undefined {
    const isForBroker =
      topic.of === 'address' ||
      topic.of === 'trigger' ||
      topic.of === 'query' ||
      topic.of === 'revoked';
    if (!isForBroker) return placeOf(topic);
    return { to: 'broker', from: from === 'manager' ? this.#manager : from, topic };
  }
}
