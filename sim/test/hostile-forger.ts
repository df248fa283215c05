// What an attacker in the broker's place makes of the messages that it has seen: the same ones
// again, altered ones, others under their names. It has everything but the keys. Over 400 lines:
// one pen for all kinds of messages.

import fc from 'fast-check';
import { concatBytes, sameBytes } from '../../protocol/bytes.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import {
  type Candidate,
  KIND_NUMBERS,
  type Kind,
  type Message,
  type MessageOf,
} from '../../protocol/control/messages.ts';
import { Hello } from '../../protocol/control/seal.ts';
import type { ParsedTopic } from '../../protocol/control/topics.ts';
import type { DhKey } from '../../protocol/crypto.ts';
import type { DeviceId, RecordId, RequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import { messagesOf } from '../../protocol/test/arbitraries.ts';

/** What the attacker does to one message, or to a connection. */
export const FAULTS = [
  'drop',
  'delay',
  'duplicate',
  'flip',
  'truncate',
  'grow',
  'swap a field',
  'splice',
  'misdirect',
  'other topic',
  'reflect',
  'replay',
  'replay after a reboot',
  'replay after a restart',
  'forge plain',
  'forge hello',
  'forge welcome',
  'forge sealed',
  'forge call',
  'forge address answer',
  'forge broker word',
  'cut a link',
  'forget everything',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Where a message goes. */
export type Place =
  | { readonly to: 'terminal'; readonly device: DeviceId; readonly via: 'call' | 'down' }
  | {
      readonly to: 'manager';
      readonly device: DeviceId;
      readonly via: 'up' | 'allow-list' | 'trigger-state';
    }
  | { readonly to: 'manager'; readonly device: undefined; readonly via: 'answer' }
  /** `from`: who published it, a device or the manager. */
  | { readonly to: 'broker'; readonly from: string; readonly topic: ParsedTopic };

/** A message and where it goes. */
export interface Forged {
  readonly place: Place;
  readonly bytes: Uint8Array;
}

interface Seen {
  readonly place: Place;
  readonly bytes: Uint8Array;
  /** Starts of the party behind the place when it was seen. */
  readonly starts: number;
}

/** Invented messages of each kind, made once. */
const SAMPLES = 30;
const DAY_MS = 86_400_000;
const TEST_NET_2 = [198, 51, 100];
/** Of no terminal that was ever enrolled. */
const NOBODYS_ID = 'a'.repeat(32) as DeviceId;

/** The attacker's memory and its pen. */
export class Forger {
  /** Kinds that were invented in plain. */
  readonly invented = new Set<Kind>();
  readonly #rng: Rng;
  readonly #devices: () => readonly DeviceId[];
  readonly #startsOf: (place: Place) => number;
  readonly #isEnrolled: (device: DeviceId) => boolean;
  readonly #managerKey: Uint8Array;
  /** The attacker's own: good for nothing but a well-formed handshake. */
  readonly #ownKey: DhKey;
  readonly #samples: ReadonlyMap<Kind, readonly Message[]>;
  readonly #seen: Seen[] = [];
  /** Payloads of calls, noise of handshakes: what it may show in an envelope of its own. */
  readonly #genuine = new Set<string>();
  readonly #sealed: { readonly place: Place; readonly message: MessageOf<'sealed'> }[] = [];
  readonly #hellos: { readonly device: DeviceId; readonly message: MessageOf<'hello'> }[] = [];
  readonly #requests: RequestId[] = [];
  readonly #records: RecordId[] = [];
  readonly #queries: MessageOf<'addressQuery'>[] = [];

  constructor(options: {
    readonly seed: number;
    readonly rng: Rng;
    readonly devices: () => readonly DeviceId[];
    /** How often the party behind a place was started. */
    readonly startsOf: (place: Place) => number;
    readonly isEnrolled: (device: DeviceId) => boolean;
    /** The manager's X25519 key: it is no secret. */
    readonly managerKey: Uint8Array;
  }) {
    const { seed, rng } = options;
    this.#rng = rng;
    this.#devices = options.devices;
    this.#startsOf = options.startsOf;
    this.#isEnrolled = options.isEnrolled;
    this.#managerKey = options.managerKey;
    this.#ownKey = nodeSuite.dhKey(randomBytes(rng, 32));
    const kinds = Object.keys(KIND_NUMBERS) as Kind[];
    this.#samples = new Map(
      kinds.map((kind) => [kind, fc.sample(messagesOf(kind), { seed, numRuns: SAMPLES })]),
    );
  }

  /** Keeps what passes by. */
  learn(place: Place, bytes: Uint8Array): void {
    this.#seen.push({ place, bytes, starts: this.#startsOf(place) });
    const message = decodeMessage(bytes);
    if (message === undefined) return;
    if ('request' in message) this.#requests.push(message.request);
    if (message.kind === 'address') this.#records.push(message.record);
    if (message.kind === 'addressQuery') this.#queries.push(message);
    if (message.kind === 'sealed') this.#sealed.push({ place, message });
    if (message.kind === 'welcome') this.#genuine.add(text(message.noise));
    // What a communication request holds can be shown without it.
    if (message.kind === 'call' && place.to === 'terminal') {
      this.#genuine.add(text(message.payload));
      this.learn({ ...place, via: 'down' }, message.payload);
    }
    if (message.kind === 'hello' && place.to === 'manager' && place.device !== undefined) {
      this.#hellos.push({ device: place.device, message });
      this.#genuine.add(text(message.noise));
    }
  }

  /** A message out of nothing; undefined while there is nothing to make it of. */
  made(fault: Fault): Forged | undefined {
    const isNobodys = randomBelow(this.#rng, 12) === 0;
    const device = isNobodys ? NOBODYS_ID : this.#pick(this.#devices());
    const up: Place = { to: 'manager', device, via: 'up' };
    const down: Place = { to: 'terminal', device, via: 'down' };
    switch (fault) {
      case 'replay':
        return this.#old(() => true);
      case 'replay after a reboot':
        return this.#old(({ place, starts }) => {
          return place.to === 'terminal' && starts < this.#startsOf(place);
        });
      case 'replay after a restart':
        return this.#old(({ place, starts }) => {
          return place.to === 'manager' && starts < this.#startsOf(place);
        });
      case 'forge plain':
        return this.#plain(device);
      case 'forge hello':
        return { place: up, bytes: encodeMessage(this.#hello(device)) };
      case 'forge welcome':
        return { place: down, bytes: encodeMessage(this.#welcome(device)) };
      case 'forge sealed': {
        const place = this.#pick([up, down, { ...up, via: 'allow-list' as const }]);
        return { place, bytes: encodeMessage(this.#box(place)) };
      }
      case 'forge call':
        return { place: { ...down, via: 'call' }, bytes: encodeMessage(this.#call(device)) };
      case 'forge address answer': {
        const place = { to: 'manager', device: undefined, via: 'answer' } as const;
        return { place, bytes: encodeMessage(this.answer(undefined)) };
      }
      default:
        return this.#brokerWord(device);
    }
  }

  /** Something that was seen before: often just now, sometimes long ago. */
  #old(isWanted: (seen: Seen) => boolean): Seen | undefined {
    for (let tried = 0; tried < 40; tried++) {
      const back = this.#coin() ? Math.min(this.#seen.length, 300) : this.#seen.length;
      const seen = this.#seen.at(-1 - randomBelow(this.#rng, Math.max(1, back)));
      if (seen !== undefined && seen.place.to !== 'broker' && isWanted(seen)) return seen;
    }
    return undefined;
  }

  /** Bytes that are not what they were. */
  altered(fault: Fault, bytes: Uint8Array): Uint8Array {
    const rng = this.#rng;
    if (fault === 'truncate') return bytes.slice(0, randomBelow(rng, bytes.length));
    if (fault === 'grow') {
      const at = this.#coin() ? bytes.length : randomBelow(rng, bytes.length);
      const more = randomBytes(rng, 1 + randomBelow(rng, 40));
      return concatBytes(bytes.subarray(0, at), more, bytes.subarray(at));
    }
    const message = fault === 'flip' ? undefined : decodeMessage(bytes);
    const other = message && (fault === 'splice' ? this.#spliced(message) : this.#swapped(message));
    const altered = other && encodeMessage(other);
    if (altered !== undefined && !sameBytes(altered, bytes)) return altered;
    const flipped = bytes.slice();
    // An odd number of flips leaves no message as it was.
    for (let bits = this.#pick([1, 3]); bits > 0; bits--) {
      flipped[randomBelow(rng, flipped.length)] ^= 1 << randomBelow(rng, 8);
    }
    return flipped;
  }

  /**
   * Whether only somebody else could have made these bytes: whoever is not that must not be
   * believed. What is the broker's own to say, or plain by design, is no forgery; nor is what a
   * terminal or the manager made, in another envelope.
   */
  isForgery({ place, bytes }: Forged): boolean {
    const message = decodeMessage(bytes);
    if (place.to === 'broker') return false;
    if (message === undefined) return true;
    if (place.to === 'manager') {
      if (place.via === 'answer') return message.kind !== 'addressAnswer';
      if (place.via === 'trigger-state') return message.kind !== 'triggerState';
      if (message.kind !== 'hello' || place.via !== 'up') return true;
      // Its request is not authenticated: it says only what the welcome has to echo. (So one that
      // was altered on its way, and the welcome altered back, make a good handshake.)
      // Who is not enrolled, or is revoked, is told so.
      return this.#isEnrolled(place.device) && !this.#genuine.has(text(message.noise));
    }
    if (message.kind === 'welcome') return !this.#genuine.has(text(message.noise));
    if (place.via === 'down') return message.kind !== 'reseal' && message.kind !== 'refusal';
    if (message.kind === 'addressRecorded' || message.kind === 'polled') return false;
    if (message.kind !== 'call') return true;
    const inner = decodeMessage(message.payload);
    return inner?.kind !== 'reseal' && !this.#genuine.has(text(message.payload));
  }

  /** One field of a message as it is in another, or as nobody would send it. */
  #swapped(message: Message): Message | undefined {
    const rng = this.#rng;
    switch (message.kind) {
      case 'sealed': {
        const { channel } = this.#pick(this.#sealed).message;
        const sequence = this.#pick([
          message.sequence + 1,
          Math.max(0, message.sequence - 1),
          message.sequence + 1 + randomBelow(rng, 100),
          2 ** 48 - 1,
        ]);
        return { ...message, ...this.#pick([{ channel }, { sequence }]) };
      }
      case 'call':
      case 'trigger':
        return this.#coin()
          ? { ...message, deadlineMs: this.#pick([0, 1, DAY_MS]) }
          : { ...message, request: this.#request() };
      case 'hello':
      case 'welcome':
        return this.#coin()
          ? { ...message, request: this.#request() }
          : { ...message, channel: randomBytes(rng, 8) };
      case 'address':
        return { ...message, candidates: this.#candidates() };
      case 'addressQuery':
        return { ...message, wanted: message.wanted.toReversed(), waitMs: 0 };
      case 'addressAnswer':
        return this.answer(message);
      case 'polled':
        return { ...message, handed: randomBelow(rng, 33) };
      case 'addressRecorded':
        return { ...message, record: this.#record() };
      default:
        return 'request' in message ? { ...message, request: this.#request() } : undefined;
    }
  }

  /** The head of one message and the body of another. */
  #spliced(message: Message): Message | undefined {
    if (message.kind === 'sealed') {
      return { ...message, box: this.#pick(this.#sealed).message.box };
    }
    if (message.kind === 'call' || message.kind === 'trigger') {
      const payload = encodeMessage(this.#pick(this.#sealed).message);
      return payload.length > LIMITS.payloadBytesMax ? undefined : { ...message, payload };
    }
    if (message.kind === 'hello' || message.kind === 'welcome') {
      return { ...message, noise: this.#pick(this.#hellos).message.noise };
    }
    return undefined;
  }

  /** Where a message has no business; undefined if it is the broker's own. */
  elsewhere(fault: Fault, place: Place): Place | undefined {
    const other = this.#pick(this.#devices());
    if (place.to === 'broker' || place.device === undefined) return undefined;
    if (place.to === 'terminal') {
      if (fault === 'misdirect') return { ...place, device: other };
      if (fault === 'reflect') return { to: 'manager', device: place.device, via: 'up' };
      return { ...place, via: place.via === 'call' ? 'down' : 'call' };
    }
    if (fault === 'misdirect') return { ...place, device: other };
    if (fault === 'reflect') return { to: 'terminal', device: place.device, via: 'down' };
    return { ...place, via: place.via === 'up' ? 'allow-list' : 'up' };
  }

  /** A control message of any kind without a seal, with IDs that are in use. */
  #plain(device: DeviceId): Forged {
    const kind = this.#pick([...this.#samples.keys()]);
    this.invented.add(kind);
    let message = this.#pick(this.#samples.get(kind) ?? []);
    const hello = this.#hellos.findLast((one) => one.device === device)?.message;
    const request = this.#coin() ? hello?.request : this.#request();
    if ('request' in message && request !== undefined) message = { ...message, request };
    if ('channel' in message && hello !== undefined) {
      message = { ...message, channel: hello.channel };
    }
    if ('record' in message && kind !== 'connect') message = { ...message, record: this.#record() };
    const bytes = encodeMessage(message);
    const place = this.#pick<Place>([
      { to: 'terminal', device, via: 'down' },
      { to: 'terminal', device, via: 'call' },
      { to: 'manager', device, via: 'up' },
      { to: 'manager', device, via: 'allow-list' },
      { to: 'manager', device, via: 'trigger-state' },
      { to: 'manager', device: undefined, via: 'answer' },
    ]);
    const isWrapped = place.to === 'terminal' && place.via === 'call' && this.#coin();
    if (!isWrapped || bytes.length > LIMITS.payloadBytesMax) return { place, bytes };
    const call = { kind: 'call', request: this.#request(), deadlineMs: 5_000 } as const;
    return { place, bytes: encodeMessage({ ...call, payload: bytes }) };
  }

  /** A handshake with the attacker's own key, or with a true one's noise under another name. */
  #hello(device: DeviceId): MessageOf<'hello'> {
    const rng = this.#rng;
    const own = new Hello({
      suite: nodeSuite,
      rng,
      device,
      localKey: this.#ownKey,
      managerKey: this.#managerKey,
    }).message;
    const noise = own?.noise ?? randomBytes(rng, 48);
    const known = this.#hellos.length === 0 ? undefined : this.#pick(this.#hellos).message;
    const request = this.#request();
    const channel = this.#coin() && known !== undefined ? known.channel : randomBytes(rng, 8);
    const made = { kind: 'hello', request, channel, noise } as const;
    return known !== undefined && this.#coin() ? { ...made, noise: known.noise } : made;
  }

  /** An answer to a hello that a terminal may be waiting for. */
  #welcome(device: DeviceId): MessageOf<'welcome'> {
    const hello = this.#hellos.findLast((one) => one.device === device)?.message;
    const noise = concatBytes(this.#ownKey.publicKey, randomBytes(this.#rng, 16));
    const request = hello?.request ?? this.#request();
    const channel = hello?.channel ?? randomBytes(this.#rng, 8);
    return { kind: 'welcome', request, channel, noise };
  }

  /** A box without a key, in a channel that is in use, as its next message. */
  #box(place: Place): MessageOf<'sealed'> {
    const rng = this.#rng;
    const box = randomBytes(rng, 17 + randomBelow(rng, 400));
    const near = this.#sealed.findLast((one) => isSameParty(one.place, place))?.message;
    const next = (near?.sequence ?? 0) + 1 + randomBelow(rng, 3);
    const sequence = randomBelow(rng, 8) === 0 ? 2 ** 48 - 1 : next;
    return { kind: 'sealed', channel: near?.channel ?? randomBytes(rng, 8), sequence, box };
  }

  #call(device: DeviceId): MessageOf<'call'> {
    const kind = this.#pick(['ask', 'askExtend', 'endRequest', 'reseal', 'sealed'] as const);
    const message =
      kind === 'sealed'
        ? this.#box({ to: 'terminal', device, via: 'down' })
        : this.#pick(this.#samples.get(kind) ?? []);
    const deadlineMs = this.#pick([0, 5_000, DAY_MS]);
    return { kind: 'call', request: this.#request(), deadlineMs, payload: encodeMessage(message) };
  }

  /** An address answer with other addresses: the attacker's, nobody's, none. */
  answer(honest: Message | undefined): MessageOf<'addressAnswer'> {
    const query = this.#queries.at(-1 - randomBelow(this.#rng, 3));
    const request =
      honest?.kind === 'addressAnswer' ? honest.request : (query?.request ?? this.#request());
    const wanted = this.#queries.findLast((one) => one.request === request)?.wanted ?? [];
    const found = wanted.map((one) => ({ ...one, candidates: this.#candidates() }));
    return { kind: 'addressAnswer', request, found: this.#coin() ? found : found.toReversed() };
  }

  #candidates(): readonly Candidate[] {
    const rng = this.#rng;
    const own = Uint8Array.of(...TEST_NET_2, 1 + randomBelow(rng, 250));
    const nowhere = this.#pick([
      Uint8Array.of(255, 255, 255, 255),
      Uint8Array.of(0, 0, 0, 0),
      Uint8Array.of(224, 0, 0, 1),
      new Uint8Array(16).fill(255),
    ]);
    const port = 1 + randomBelow(rng, 65_535);
    const mine = { address: own, port, type: 'host' } as const;
    return this.#pick<readonly Candidate[]>([
      [mine],
      [mine, { address: nowhere, port, type: 'reflexive' }],
      Array.from({ length: 16 }, (_, at) => ({ ...mine, port: 1 + ((port + at) % 65_535) })),
      [{ ...mine, port: 0 }],
      [],
    ]);
  }

  /** What is the broker's own to say, and not true. */
  #brokerWord(device: DeviceId): Forged {
    const call: Place = { to: 'terminal', device, via: 'call' };
    const state: Place = { to: 'manager', device, via: 'trigger-state' };
    const message = this.#pick<Message>([
      { kind: 'addressRecorded', record: this.#record() },
      { kind: 'polled', handed: randomBelow(this.#rng, 33) },
      { kind: 'triggerState', request: this.#request(), state: 'handed' },
      { kind: 'triggerState', request: this.#request(), state: 'expired' },
      { kind: 'reseal', request: this.#request() },
    ]);
    const bytes = encodeMessage(message);
    return { place: message.kind === 'triggerState' ? state : call, bytes };
  }

  #request(): RequestId {
    const near = this.#requests.length - randomBelow(this.#rng, 40) - 1;
    return this.#requests[Math.max(0, near)] ?? ('a'.repeat(26) as RequestId);
  }

  #record(): RecordId {
    const near = this.#records.length - randomBelow(this.#rng, 10) - 1;
    return this.#records[Math.max(0, near)] ?? ('a'.repeat(26) as RecordId);
  }

  #coin(): boolean {
    return randomBelow(this.#rng, 2) === 0;
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[randomBelow(this.#rng, choices.length)];
  }
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** Where a topic leads. */
export function placeOf(topic: ParsedTopic | undefined): Place | undefined {
  switch (topic?.of) {
    case 'call':
    case 'down':
      return { to: 'terminal', device: topic.device, via: topic.of };
    case 'up':
    case 'allow-list':
    case 'trigger-state':
      return { to: 'manager', device: topic.device, via: topic.of };
    case 'answer':
      return { to: 'manager', device: undefined, via: 'answer' };
    default:
      return undefined;
  }
}

function isSameParty(a: Place, b: Place): boolean {
  return a.to !== 'broker' && b.to !== 'broker' && a.to === b.to && a.device === b.device;
}
