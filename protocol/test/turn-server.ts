// A relay in virtual time that a test makes lie: it answers the requests of a TURN client as RFC
// 8656 has it, but for what the test changes. What a relay really does is seen in turn-coturn.test.

import type { Path } from '../core.ts';
import { randomBytes, seededRng } from '../random.ts';
import { ATTRIBUTE, encodeErrorCode, encodeXorAddress, lifetimeValue } from '../stun/attributes.ts';
import { longTermKey } from '../stun/integrity.ts';
import {
  type Attribute,
  METHOD,
  type StunMessage,
  decodeMessage,
  encodeMessage,
  hasIntegrity,
} from '../stun/message.ts';
import { TurnClient } from '../stun/turn-client.ts';
import { type Micros, micros } from '../time.ts';

const utf8 = (words: string): Uint8Array => new TextEncoder().encode(words);
export const SERVER: Path = { host: '192.0.2.1', port: 3478 };
export const RELAYED: Path = { host: '192.0.2.1', port: 50_000 };
export const RELAYED_6: Path = { host: '2001:db8::1', port: 50_001 };
const MAPPED: Path = { host: '203.0.113.9', port: 40_000 };
const REALM = utf8('example.org');
const FAMILY_IPV6 = 2;

/** A client with the right password. */
export const client = (
  over: {
    readonly password?: string;
    readonly via?: number;
    readonly wantsIpv6?: boolean;
  } = {},
) =>
  new TurnClient({
    server: SERVER,
    username: 'someone',
    password: 'secret',
    rng: seededRng(1),
    ...over,
  });

/** IP versions that an Allocate asks for. */
export type Versions = 'both' | 'ipv4' | 'ipv6';

/** What a test has changed. */
export interface Lies {
  /** Asks for no user name. */
  isOpen?: boolean;
  /** Answers nothing. */
  isGone?: boolean;
  /** The nonce that is not stale. */
  nonce?: string;
  /** Error code for requests of a method, once they are signed; after `from` of them. */
  refuse?: ReadonlyMap<number, number>;
  lifetime?: number;
  /** Which IP versions it gives together; others are refused with `versionCode`, default 440. */
  gives?: readonly Versions[];
  versionCode?: number;
  /** Attributes of a successful Allocate in place of the right ones. */
  allocated?: readonly Attribute[];
}

/** One signed answer. */
export function signed(
  stunClass: 'success' | 'error',
  request: StunMessage,
  attributes: readonly Attribute[],
): Uint8Array {
  const { method, transaction } = request;
  const key = longTermKey('someone', REALM, 'secret');
  return encodeMessage({ stunClass, method, transaction, attributes, key, hasFingerprint: true });
}

/** The answer to one packet of the client, as the lies have it. */
export function answerOf(bytes: Uint8Array, lies: Lies = {}): Uint8Array | undefined {
  const request = decodeMessage(bytes);
  if (request?.stunClass !== 'request' || lies.isGone === true) return undefined;
  const { method, transaction, attributes } = request;
  const nonce = utf8(lies.nonce ?? 'nonce one');
  const challenge = (code: number): Uint8Array =>
    encodeMessage({
      stunClass: 'error',
      method,
      transaction,
      attributes: [
        [ATTRIBUTE.errorCode, encodeErrorCode(code, 'challenge')],
        [ATTRIBUTE.realm, REALM],
        [ATTRIBUTE.nonce, nonce],
      ],
    });
  if (lies.isOpen !== true) {
    const key = longTermKey('someone', REALM, 'secret');
    if (!attributes.has(ATTRIBUTE.messageIntegrity)) return challenge(401);
    if (!hasIntegrity(bytes, request, key)) return challenge(401);
    if (attributes.get(ATTRIBUTE.nonce)?.join() !== nonce.join()) return challenge(438);
  }
  const code = lies.refuse?.get(method);
  if (code !== undefined)
    return signed('error', request, [[ATTRIBUTE.errorCode, encodeErrorCode(code, 'refused')]]);
  const lifetime: Attribute = [ATTRIBUTE.lifetime, lifetimeValue(lies.lifetime ?? 600)];
  if (method === METHOD.refresh) return signed('success', request, [lifetime]);
  if (method !== METHOD.allocate) return signed('success', request, []);
  const versions = versionsOf(request);
  if (lies.gives?.includes(versions) === false) {
    const refusal = encodeErrorCode(lies.versionCode ?? 440, 'refused');
    return signed('error', request, [[ATTRIBUTE.errorCode, refusal]]);
  }
  const relayed = { both: [RELAYED, RELAYED_6], ipv4: [RELAYED], ipv6: [RELAYED_6] }[versions];
  const right: readonly Attribute[] = [
    ...relayed.map((one): Attribute => [
      ATTRIBUTE.xorRelayedAddress,
      encodeXorAddress(one, transaction) ?? transaction,
    ]),
    [ATTRIBUTE.xorMappedAddress, encodeXorAddress(MAPPED, transaction) ?? transaction],
    lifetime,
  ];
  return signed('success', request, lies.allocated ?? right);
}

/** RFC 8656 §7.2: which IP versions a request asks for. */
export function versionsOf({ attributes }: StunMessage): Versions {
  const family = (type: number): number | undefined => attributes.get(type)?.[0];
  if (family(ATTRIBUTE.requestedAddressFamily) === FAMILY_IPV6) return 'ipv6';
  return family(ATTRIBUTE.additionalAddressFamily) === FAMILY_IPV6 ? 'both' : 'ipv4';
}

/** One packet of the client. */
export interface Packet {
  readonly at: Micros;
  readonly bytes: Uint8Array;
}

/** A client and its relay on a link without delay; `lies` may be changed at any time. */
export class TurnWorld {
  readonly client: TurnClient;
  readonly lies: Lies = {};
  /** Everything that the client sent. */
  readonly sent: Packet[] = [];
  now = micros(0);

  constructor(made: TurnClient = client()) {
    this.client = made;
  }

  /** What is due leaves, and is answered. */
  drain(): void {
    const into = new Uint8Array(2_000);
    for (let turn = 0; turn < 1_000; turn++) {
      const transmit = this.client.pollTransmit(this.now, into);
      if (transmit === undefined) return;
      const bytes = into.slice(0, transmit.size);
      this.sent.push({ at: this.now, bytes });
      const answer = answerOf(bytes, this.lies);
      if (answer !== undefined) this.client.handleDatagram(this.now, SERVER, answer);
    }
    throw new Error('it sends without end');
  }

  /** Time passes until `until`; what falls due is done. */
  run(until: Micros): void {
    for (let turn = 0; turn < 10_000; turn++) {
      this.drain();
      const next = this.client.nextTimeout();
      if (next > until) {
        this.now = until;
        return;
      }
      this.now = micros(Math.max(next, this.now));
      this.client.handleTimeout(this.now);
    }
    throw new Error('it is busy without end');
  }

  /** The methods of what was sent, from packet number `from` on. */
  methods(from = 0): readonly number[] {
    return this.sent.slice(from).map(({ bytes }) => decodeMessage(bytes)?.method ?? -1);
  }
}

/** A client that has its allocation. */
export function ready(world = new TurnWorld()): TurnWorld {
  world.client.start(world.now);
  world.run(world.now);
  return world;
}

/** What the relay passes on of a peer. */
export function indication(peer: Path, payload: Uint8Array): Uint8Array {
  const transaction = randomBytes(seededRng(8), 12);
  return encodeMessage({
    stunClass: 'indication',
    method: METHOD.data,
    transaction,
    attributes: [
      [ATTRIBUTE.xorPeerAddress, encodeXorAddress(peer, transaction) ?? transaction],
      [ATTRIBUTE.data, payload],
    ],
  });
}
