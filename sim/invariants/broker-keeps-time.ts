// What the broker owes by the clock: after its start it lets no terminal in before a revocation
// list was sent to it, and it hands a communication request over while its deadline lasts, or not
// at all [claim 17]. Judged by what the manager publishes and what terminals are handed.

import { decodeMessage } from '../../protocol/control/codec.ts';
import { REVOKED_TOPIC, parseTopic } from '../../protocol/control/topics.ts';
import { type Micros, after, ms, seconds } from '../../protocol/time.ts';
import type { BusParty, Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { isBusHonest, isBusReliable } from './bus.ts';
import { KeptMap } from './kept-map.ts';

const KEPT = 20_000;
/** A broker's clock may run slow by this share; a day is the longest deadline. */
const DRIFT_MOST = 0.001;
/** Two ways, their jitter, and a machine that is slow. */
const SLACK_TIMES = 4;
const SLACK_SECONDS = 2;

/** Watches when the broker lets in and hands over. */
export class BrokerKeepsTime implements Watcher {
  readonly #world: World;
  /** By terminal and request: until when it may be handed over. */
  readonly #until = new KeptMap<string, Micros>(KEPT);
  readonly #slackMicros: number;
  readonly #isJudged: boolean;
  /** A broker in wrong hands can show its core an older list. */
  readonly #isHonest: boolean;
  #hasList = false;

  constructor(world: World) {
    this.#world = world;
    const { options } = world;
    const wayMs = options['mqtt.delay'] + options['mqtt.jitter'] + options['clock.late'];
    this.#slackMicros = SLACK_TIMES * ms(wayMs) + seconds(SLACK_SECONDS);
    this.#isJudged = isBusReliable(options);
    this.#isHonest = isBusHonest(options);
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'brokerStarted':
        this.#hasList = false;
        return;
      case 'published':
        if (happening.party === 'manager') this.#onPublished(happening.topic, happening.bytes);
        return;
      case 'loggedIn':
        if (happening.party !== 'manager' && !this.#hasList && this.#isHonest)
          this.#fail(`${happening.party.name} is let in before there is a list of revocations`);
        return;
      case 'delivered':
        if (this.#isJudged) this.#onDelivered(happening.party, happening.topic, happening.bytes);
        return;
      default:
        return;
    }
  }

  #onPublished(name: string, bytes: Uint8Array): void {
    if (name === REVOKED_TOPIC) this.#hasList = true;
    if (!this.#isJudged) return;
    const place = parseTopic(name);
    if (place?.of !== 'trigger') return;
    const message = decodeMessage(bytes);
    if (message?.kind !== 'trigger') return;
    const key = `${place.device}/${message.request}`;
    const lasts = ms(message.deadlineMs) * (1 + DRIFT_MOST) + this.#slackMicros;
    // A manager that asks again means the same deadline, which by then is nearer.
    if (!this.#until.has(key)) this.#until.set(key, after(this.#world.now, lasts));
  }

  #onDelivered(party: BusParty, name: string, bytes: Uint8Array): void {
    if (party === 'manager' || parseTopic(name)?.of !== 'call') return;
    const message = decodeMessage(bytes);
    if (message?.kind !== 'call') return;
    const until = this.#until.get(`${party.id}/${message.request}`);
    if (until === undefined || this.#world.now <= until) return;
    const late = Math.round((this.#world.now - until) / ms(1));
    this.#fail(`${party.name} is handed a call ${late} ms after its deadline`);
  }

  #fail(says: string): void {
    this.#world.violate('broker', says);
  }
}
