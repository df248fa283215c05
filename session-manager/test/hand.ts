// A terminal without a core, on a real broker and a real manager: what it gets is looked at, what
// it sends is written, signed and sealed by hand.

import type { Test } from 'tap';
import type { BrokerShell } from '../../broker/shell/broker-shell.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import {
  encodeVerdict,
  requestHash,
  signRequest,
  signVerdict,
} from '../../protocol/consent/statements.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Message, MessageOf, PublicKeys } from '../../protocol/control/messages.ts';
import { Hello, type SealedChannel } from '../../protocol/control/seal.ts';
import { topic } from '../../protocol/control/topics.ts';
import type { DhKey, SigningKey } from '../../protocol/crypto.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { makeEnrolRequest, openEnrolResponse } from '../../protocol/identity/enrolment.ts';
import { parseTicket } from '../../protocol/identity/ticket.ts';
import { makeToken } from '../../protocol/identity/token.ts';
import { type DeviceId, type Name, randomRecordId, randomRequestId } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { type MqttLink, openLink } from '../../protocol/io/mqtt-link.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { requestPinned } from '../../protocol/io/pinned-tls.ts';
import type { ServerCertificate } from '../../protocol/io/server-certificate.ts';
import { randomBytes } from '../../protocol/random.ts';
import type { RunningManager } from '../shell/manager-shell.ts';
import { allow } from './virtual-manager.ts';

const TIMEOUT_MS = 5_000;
const ANSWER_BYTES_MAX = 8_192;

/** A server with its two halves, and the key that both show; undefined: without TLS. */
export interface House {
  readonly home: string;
  readonly broker: BrokerShell;
  readonly manager: RunningManager;
  readonly tls: ServerCertificate | undefined;
}

/** The private keys of one hand. */
interface Keys {
  readonly signing: SigningKey;
  readonly agreement: DhKey;
  readonly open: PublicKeys;
}

/** A terminal that is enrolled; `greet` registers it. */
export class Hand {
  readonly id: DeviceId;
  readonly name: Name;
  readonly keys: Keys;
  readonly #managerKey: Uint8Array;
  readonly #boot = randomRequestId(entropy);
  readonly #inbox: Message[] = [];
  #link: MqttLink | undefined;
  #hello: Hello | undefined;
  #channel: SealedChannel | undefined;
  #look: () => void = () => {};

  constructor(name: Name, keys: Keys, managerKey: Uint8Array) {
    this.name = name;
    this.keys = keys;
    this.id = deviceIdOf(nodeSuite, keys.open);
    this.#managerKey = managerKey;
  }

  set link(link: MqttLink) {
    this.#link = link;
  }

  /** A new channel [S2000], and a registration through it. */
  async greet(): Promise<MessageOf<'registered'>> {
    this.#channel = undefined;
    this.#hello = new Hello({
      suite: nodeSuite,
      rng: entropy,
      device: this.id,
      localKey: this.keys.agreement,
      managerKey: this.#managerKey,
    });
    if (this.#hello.message === undefined) throw new Error('a manager key of low order');
    this.#publish('up', encodeMessage(this.#hello.message));
    await this.next('welcome');
    const request = randomRequestId(entropy);
    const { name } = this;
    this.send('up', { kind: 'register', request, name, boot: this.#boot, capabilities: [] });
    return this.next('registered');
  }

  /** Sends a message: sealed to the manager, plain to the broker. */
  send(to: 'up' | 'allow-list' | 'address', message: Message): void {
    const plain = encodeMessage(message);
    if (to !== 'address' && this.#channel === undefined) throw new Error('no channel');
    this.#publish(to, to === 'address' ? plain : (this.#channel?.seal(plain) ?? plain));
  }

  /** The next message of a kind, opened; those of others are passed over. */
  next<K extends Message['kind']>(kind: K): Promise<MessageOf<K>> {
    return new Promise((resolve) => {
      this.#look = () => {
        const at = this.#inbox.findIndex((message) => message.kind === kind);
        if (at < 0) return;
        this.#look = () => {};
        resolve(this.#inbox.splice(0, at + 1)[at] as MessageOf<K>);
      };
      this.#look();
    });
  }

  /** What the link hears. */
  take(bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message?.kind === 'call') {
      this.take(message.payload);
      return;
    }
    const opened = message?.kind === 'sealed' ? this.#channel?.open(message) : bytes;
    const inner = opened === undefined ? undefined : decodeMessage(opened);
    if (inner?.kind === 'welcome') this.#channel = this.#hello?.finish(inner);
    if (inner !== undefined) this.#inbox.push(inner);
    this.#look();
  }

  /** Closes its link. */
  async close(): Promise<void> {
    await this.#link?.close();
  }

  #publish(to: 'up' | 'allow-list' | 'address', bytes: Uint8Array): void {
    this.#link?.publish(topic(to, this.id), bytes);
  }
}

/** One POST to the server of a house, over the key that it should show. */
export function post(
  { tls }: House,
  url: string,
  body: Uint8Array,
): ReturnType<typeof requestPinned> {
  return requestPinned(url, {
    method: 'POST',
    body,
    isPinned: (pin) => tls !== undefined && sameBytes(pin, tls.pin),
    timeoutMs: TIMEOUT_MS,
    bytesMax: ANSWER_BYTES_MAX,
  });
}

/** Enrols a terminal, connects it and registers it. */
export async function enrolled(t: Test, house: House, name: string): Promise<Hand> {
  const { ticket } = await house.manager.operations.ticket({ name, uses: 1, forSeconds: 60 });
  const inside = parseTicket(ticket);
  if (typeof inside === 'string') throw new Error(inside);
  const signing = nodeSuite.signingKey(randomBytes(entropy, 32));
  const agreement = nodeSuite.dhKey(randomBytes(entropy, 32));
  const open = { ed25519: signing.publicKey, x25519: agreement.publicKey };
  const { url, secret, managerKey, agreementKey } = inside;
  const answer = await post(house, url, makeEnrolRequest(signing, { url, secret, keys: open }));
  const { ed25519 } = open;
  const response = openEnrolResponse(nodeSuite, answer.body, { managerKey, ed25519 });
  if (response === undefined) throw new Error(`enrolment: ${answer.status}`);
  const hand = new Hand(response.name, { signing, agreement, open }, agreementKey);
  const { id } = hand;
  const { tls } = house;
  await new Promise<void>((resolve) => {
    hand.link = openLink({
      url: house.broker.url,
      ...(tls && { isPinned: (pin: Uint8Array) => sameBytes(pin, tls.pin) }),
      clientId: id,
      username: 'terminal',
      password: (server) =>
        makeToken(signing, {
          device: id,
          audience: managerKey,
          issuedAt: Math.floor(Date.now() / 1_000),
          nonce: randomBytes(entropy, 16),
          membership: response.membership,
          server,
        }),
      subscriptions: [topic('call', id), topic('down', id)],
      onUp: resolve,
      onDown: () => {},
      onMessage: (_topic, bytes) => hand.take(bytes),
    });
    t.teardown(() => hand.close());
  });
  await hand.greet();
  return hand;
}

/** One introduction by hand; the notices of caller and callee, and how long it took. */
export async function introduce(
  caller: Hand,
  callee: Hand,
): Promise<{
  readonly notices: readonly [MessageOf<'addressNotice'>, MessageOf<'addressNotice'>];
  readonly tookMs: number;
}> {
  const began = performance.now();
  const candidates = [{ address: Uint8Array.of(127, 0, 0, 1), port: 4_000, type: 'host' as const }];
  const ours = randomRecordId(entropy);
  const asked = {
    nonce: randomRequestId(entropy),
    callerId: caller.id,
    callerName: caller.name,
    calleeName: callee.name,
    service: 'file',
    want: { seconds: 60 },
  };
  caller.send('address', { kind: 'address', record: ours, candidates });
  caller.send('up', {
    kind: 'connect',
    request: asked.nonce,
    callerName: asked.callerName,
    calleeName: asked.calleeName,
    service: asked.service,
    want: asked.want,
    waitMs: 5_000,
    record: ours,
    signature: signRequest(caller.keys.signing, asked),
  });
  const ask = await callee.next('ask');
  const theirs = randomRecordId(entropy);
  callee.send('address', { kind: 'address', record: theirs, candidates });
  const answer = {
    request: ask.request,
    mode: 'verdict',
    version: '1',
    entries: [allow(caller.name)],
    reduced: true,
    record: theirs,
    nonce: randomRequestId(entropy),
    approved: false,
  } as const;
  const context = {
    calleeId: callee.id,
    callerId: caller.id,
    request: requestHash(nodeSuite, asked),
  };
  const verdict = encodeVerdict(nodeSuite, answer, context);
  const signature = signVerdict(callee.keys.signing, verdict);
  callee.send('allow-list', { kind: 'allowList', ...answer, signature });
  const notices = await Promise.all([caller.next('addressNotice'), callee.next('addressNotice')]);
  return { notices, tookMs: performance.now() - began };
}
