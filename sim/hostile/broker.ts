// A broker that was taken over (threat model, T5): it reads, keeps, alters, invents and misdirects
// what passes, answers what it was asked with lies, and lets somebody stay who is to go. It has no
// key but its own word. When the faults are over it is an honest one again: what it kept is lost.

import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import { type Candidate, KIND_NUMBERS, type Message } from '../../protocol/control/messages.ts';
import { KEY_BYTES, TAG_BYTES } from '../../protocol/crypto.ts';
import { answerTopic, parseTopic, topic } from '../../protocol/control/topics.ts';
import { type DeviceId, type RequestId, randomRequestId } from '../../protocol/ids.ts';
import { type Rng, randomBelow, randomBytes, randomFraction } from '../../protocol/random.ts';
import { seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import { kindOf } from '../invariants/spoken.ts';
import type { BusConnection, Meddler } from '../parties/virtual-broker.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import { pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { type Deed, actAtRate, did, later } from './deeds.ts';
import { Overheard, distorted } from './overheard.ts';

/** Where the attacker waits for those who were told that their peer is there. */
const LIAR: Candidate = { address: Uint8Array.of(198, 51, 100, 66), port: 4_444, type: 'host' };
const DEADLINE_MS = 5_000;
const PAYLOAD_MAX = 2_000;
const HELD_SECONDS = 25;
const HELD_AT_ONCE = 3;
const HOLDS_MAX = 12;
const LIES_WAITING_MAX = 4;
const QUERIES = KIND_NUMBERS.addressQuery;

interface Said {
  readonly topic: string;
  readonly bytes: Uint8Array;
}

/** Begins at the rate of `hostile.broker`. */
export function beginBrokerAttack(world: World): readonly Watcher[] {
  if (world.options['hostile.broker'] === 0) return [];
  const attacker = new HostileBroker(world);
  world.broker.meddler = attacker;
  actAtRate(world, 'hostile.broker', attacker.deeds);
  return [attacker];
}

class HostileBroker implements Watcher, Meddler {
  readonly deeds: Readonly<Record<string, Deed>>;
  readonly #world: World;
  readonly #rng: Rng;
  readonly #said = new Overheard<Said>();
  /** Calls that were handed over, for another time. */
  readonly #calls = new Overheard<Said>();
  readonly #triggers = new Overheard<RequestId>();
  readonly #hellos = new Overheard<Message & { readonly kind: 'hello' }>();
  readonly #spared = new Set<BusConnection>();
  #holds = 0;
  #lies = 0;
  #keepsOne = false;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng('hostile/broker');
    this.deeds = {
      'a message comes again': (rng) => this.#repeat(rng, (said) => said.bytes.slice()),
      'a message is altered': (rng) => this.#repeat(rng, (said) => distorted(rng, said.bytes)),
      'a message comes to somebody else': (rng) => this.#misdirect(rng),
      'an old call comes again': (rng) => this.#callAgain(rng),
      'a call is made up': (rng) => this.#makeCall(rng),
      'a welcome is made up': (rng) => this.#welcome(rng),
      'a channel is denied': (rng) => this.#tellDown(rng, this.#reseal(rng)),
      'a refusal is made up': (rng) => this.#refuse(rng),
      'a trigger is said to be handed over': (rng) => this.#lieAboutTrigger(rng),
      'a poll is answered wrongly': (rng) =>
        this.#tellCall(rng, { kind: 'polled', handed: randomBelow(rng, 5) }),
      'an address is said to be recorded': (rng) =>
        this.#tellCall(rng, { kind: 'addressRecorded', record: randomRequestId(rng) as never }),
      'the next query is answered with a lie': () => {
        this.#lies = Math.min(this.#lies + 1, LIES_WAITING_MAX);
        return true;
      },
      'the next messages are held back': () => {
        this.#holds = Math.min(this.#holds + HELD_AT_ONCE, HOLDS_MAX);
        return true;
      },
      'whoever is thrown out next stays': () => {
        this.#keepsOne = true;
        return true;
      },
    };
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'published': {
        const { party, topic: name, bytes } = happening;
        this.#said.hear({ topic: name, bytes: bytes.slice() });
        if (party === 'manager' && kindOf(bytes) === QUERIES) this.#onQuery(bytes);
        else if (party !== 'manager' && kindOf(bytes) === KIND_NUMBERS.hello) this.#onHello(bytes);
        else if (party === 'manager') this.#onTrigger(name, bytes);
        return;
      }
      case 'delivered': {
        const { topic: name, bytes } = happening;
        if (kindOf(bytes) === KIND_NUMBERS.call)
          this.#calls.hear({ topic: name, bytes: bytes.slice() });
        return;
      }
      case 'brokerStarted':
        // What was handed over before the restart is handed over again.
        later(this.#world, seconds(1), () => {
          if (this.#callAgain(this.#rng))
            did(this.#world, 'hostile.broker', 'an old call comes after a restart');
        });
        return;
      case 'calm':
        this.#world.broker.meddler = undefined;
        for (const connection of this.#spared) this.#world.broker.kick(connection);
        return;
      default:
        return;
    }
  }

  holdsBack(name: string, bytes: Uint8Array): boolean {
    if (this.#holds === 0 || !this.#world.isFaulty) return false;
    this.#holds -= 1;
    const kept = bytes.slice();
    later(this.#world, randomFraction(this.#rng) ** 2 * seconds(HELD_SECONDS), () => {
      did(this.#world, 'hostile.broker', 'what was held back is let go');
      this.#world.broker.forge(name, kept);
    });
    return true;
  }

  spares(connection: BusConnection): boolean {
    if (!this.#keepsOne) return false;
    this.#keepsOne = false;
    this.#spared.add(connection);
    did(this.#world, 'hostile.broker', 'somebody stays who was to be thrown out');
    return true;
  }

  // --- what it heard, said again -----------------------------------------------------------------

  #repeat(rng: Rng, alter: (said: Said) => Uint8Array): boolean {
    const said = this.#said.recall(rng);
    if (said !== undefined) this.#world.broker.forge(said.topic, alter(said));
    return said !== undefined;
  }

  /** What was for one, told another; what one said to the manager, said in another's name. */
  #misdirect(rng: Rng): boolean {
    const said = this.#said.recall(rng);
    const place = said && parseTopic(said.topic);
    if (said === undefined || place === undefined || !('device' in place)) return false;
    if (place.of === 'trigger-state' || place.of === 'trigger') return false;
    this.#world.broker.forge(topic(place.of, pick(rng, this.#world.terminals).id), said.bytes);
    return true;
  }

  #callAgain(rng: Rng): boolean {
    const call = this.#calls.recall(rng);
    if (call === undefined) return false;
    const to = parseTopic(call.topic);
    const message = decodeMessage(call.bytes);
    if (to?.of !== 'call' || message?.kind !== 'call') return false;
    // With all the time in the world.
    const bytes = encodeMessage({ ...message, deadlineMs: DEADLINE_MS });
    const isOthers = randomBelow(rng, 4) === 0;
    const device = isOthers ? pick(rng, this.#world.terminals).id : to.device;
    this.#world.broker.forge(topic('call', device), bytes);
    return true;
  }

  // --- what it makes up --------------------------------------------------------------------------

  #makeCall(rng: Rng): boolean {
    const said = this.#said.recall(rng);
    if (said === undefined) return false;
    const payload = distorted(rng, said.bytes);
    if (payload.length === 0 || payload.length > PAYLOAD_MAX) return false;
    const request = randomRequestId(rng);
    return this.#tellCall(rng, { kind: 'call', request, deadlineMs: DEADLINE_MS, payload });
  }

  #welcome(rng: Rng): boolean {
    const hello = this.#hellos.recall(rng);
    if (hello === undefined) return false;
    const { request, channel } = hello;
    const noise = randomBytes(rng, KEY_BYTES + TAG_BYTES);
    // A point of low order, which Noise would agree on with anybody.
    if (randomBelow(rng, 3) === 0) noise.fill(0, 0, KEY_BYTES);
    return this.#tellDown(rng, { kind: 'welcome', request, channel, noise });
  }

  #reseal(rng: Rng): Message {
    return { kind: 'reseal', request: randomRequestId(rng) };
  }

  #refuse(rng: Rng): boolean {
    const request = this.#hellos.recall(rng)?.request ?? randomRequestId(rng);
    const code = pick(rng, ['refused', 'not-enrolled', 'busy', 'cloned'] as const);
    return this.#tellDown(rng, { kind: 'refusal', request, code });
  }

  #lieAboutTrigger(rng: Rng): boolean {
    const request = this.#triggers.recall(rng);
    if (request === undefined) return false;
    const state = pick(rng, ['handed', 'waiting', 'expired'] as const);
    const { id } = pick(rng, this.#world.terminals);
    const message = { kind: 'triggerState', request, state } as const;
    this.#world.broker.forge(`${topic('trigger', id)}/state`, encodeMessage(message));
    return true;
  }

  /** Before the broker's honest part has looked: this answer comes first. */
  #onQuery(bytes: Uint8Array): void {
    if (this.#lies === 0 || !this.#world.isFaulty) return;
    const query = decodeMessage(bytes);
    if (query?.kind !== 'addressQuery') return;
    this.#lies -= 1;
    const { request, wanted } = query;
    const found = wanted.map(({ device, record }) => ({ device, record, candidates: [LIAR] }));
    const answer = encodeMessage({ kind: 'addressAnswer', request, found });
    this.#world.lies.add(`${LIAR.address.join('.')}:${LIAR.port}`);
    this.#world.broker.forge(answerTopic(this.#world.manager.clientId), answer);
    did(this.#world, 'hostile.broker', 'a query is answered with a lie');
  }

  #onHello(bytes: Uint8Array): void {
    const hello = decodeMessage(bytes);
    if (hello?.kind === 'hello') this.#hellos.hear(hello);
  }

  #onTrigger(name: string, bytes: Uint8Array): void {
    if (kindOf(bytes) !== KIND_NUMBERS.trigger) return;
    const trigger = decodeMessage(bytes);
    if (trigger?.kind === 'trigger' && parseTopic(name)?.of === 'trigger')
      this.#triggers.hear(trigger.request);
  }

  #tellDown(rng: Rng, message: Message): boolean {
    return this.#tell('down', pick(rng, this.#world.terminals), message);
  }

  #tellCall(rng: Rng, message: Message): boolean {
    return this.#tell('call', pick(rng, this.#world.terminals), message);
  }

  #tell(of: 'call' | 'down', { id }: VirtualTerminal, message: Message): boolean {
    this.#world.broker.forge(topic(of, id satisfies DeviceId), encodeMessage(message));
    return true;
  }
}
