// The seal between a terminal and its session manager (design §3, ADR 0009): what they say crosses
// the broker encrypted, authenticated, in order of a sequence that never repeats. One Noise KK
// handshake (hello, welcome) makes a channel from both long-term keys and two ephemeral ones: the
// broker reads nothing, forges nothing, replays nothing, and a long-term key stolen later opens
// nothing that was recorded. A hello can be replayed; what it makes is believed only once a sealed
// message has come through it.

import { asciiBytes, concatBytes, sameBytes } from '../bytes.ts';
import {
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  KEY_BYTES,
  NONCE_BYTES,
  TAG_BYTES,
} from '../crypto.ts';
import { type NoiseSecrets, NoiseState } from '../data/noise.ts';
import { packetNonce } from '../data/packet.ts';
import type { DeviceId, RequestId } from '../ids.ts';
import { randomRequestId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { type Rng, randomBytes } from '../random.ts';
import { encodeMessage } from './codec.ts';
import { CHANNEL_ID_BYTES, type MessageOf } from './messages.ts';

const LABEL = 'nakodo/1/seal\0';
const EMPTY = new Uint8Array(0);

/** One end of a sealed channel; the keys stay inside. */
export class SealedChannel {
  /** CHANNEL_ID_BYTES random bytes. */
  readonly id: Uint8Array;
  readonly #send: AeadKey;
  readonly #receive: AeadKey;
  readonly #nonce = new Uint8Array(NONCE_BYTES);
  #nextSequence = 0;
  #highest = -1;
  /** Bit n: sequence `highest − n` has come. */
  #seen = 0;

  constructor(suite: CryptoSuite, id: Uint8Array, secrets: NoiseSecrets) {
    this.id = id;
    this.#send = suite.aead.importKey(secrets.send);
    this.#receive = suite.aead.importKey(secrets.receive);
  }

  /** Whether anything genuine has come through it: only then was the handshake no replay. */
  get isConfirmed(): boolean {
    return this.#highest >= 0;
  }

  /** Seals an encoded message: the bytes of a `sealed`. Sealing it again gives other bytes. */
  seal(message: Uint8Array): Uint8Array {
    const sequence = this.#nextSequence++;
    const box = concatBytes(message, new Uint8Array(TAG_BYTES));
    packetNonce(sequence, this.#nonce);
    this.#send.seal(this.#nonce, this.id, box, 0, message.length);
    return encodeMessage({ kind: 'sealed', channel: this.id, sequence, box });
  }

  /** The encoded message inside; undefined if it is forged, of another channel, or came before. */
  open(sealed: MessageOf<'sealed'>): Uint8Array | undefined {
    const { channel, sequence, box } = sealed;
    if (!sameBytes(channel, this.id) || !this.#isFresh(sequence)) return undefined;
    const opened = box.slice();
    packetNonce(sequence, this.#nonce);
    if (!this.#receive.open(this.#nonce, this.id, opened, 0, opened.length)) return undefined;
    this.#accept(sequence);
    return opened.subarray(0, opened.length - TAG_BYTES);
  }

  #isFresh(sequence: number): boolean {
    const age = this.#highest - sequence;
    if (age < 0) return true;
    return age < LIMITS.sealWindow && (this.#seen & (1 << age)) === 0;
  }

  #accept(sequence: number): void {
    const ahead = sequence - this.#highest;
    if (ahead <= 0) {
      this.#seen |= 1 << -ahead;
      return;
    }
    this.#seen = ahead >= LIMITS.sealWindow ? 1 : (this.#seen << ahead) | 1;
    this.#highest = sequence;
  }
}

interface HelloOptions {
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly device: DeviceId;
  /** The terminal's X25519 key. */
  readonly localKey: DhKey;
  /** The manager's X25519 key, 32 bytes. */
  readonly managerKey: Uint8Array;
}

/** The terminal's side of the handshake: made, sent, finished by the manager's welcome. */
export class Hello {
  /** Undefined if the manager's key is of low order. */
  readonly message: MessageOf<'hello'> | undefined;
  readonly request: RequestId;
  readonly #suite: CryptoSuite;
  readonly #channel: Uint8Array;
  readonly #noise: NoiseState;

  constructor(options: HelloOptions) {
    const { suite, rng, device, localKey, managerKey } = options;
    this.#suite = suite;
    this.#channel = randomBytes(rng, CHANNEL_ID_BYTES);
    this.request = randomRequestId(rng);
    this.#noise = new NoiseState({
      suite,
      initiator: true,
      prologue: prologue(device, this.#channel),
      localStatic: localKey,
      localEphemeral: suite.dhKey(randomBytes(rng, KEY_BYTES)),
      remoteStatic: managerKey,
    });
    const noise = this.#noise.writeMessage(EMPTY);
    this.message = noise && {
      kind: 'hello',
      request: this.request,
      channel: this.#channel,
      noise,
    };
  }

  /** The channel, once the manager has proven itself; undefined, and nothing changed, if not. */
  finish(welcome: MessageOf<'welcome'>): SealedChannel | undefined {
    if (welcome.request !== this.request || !sameBytes(welcome.channel, this.#channel)) {
      return undefined;
    }
    if (this.#noise.readMessage(welcome.noise) === undefined) return undefined;
    return new SealedChannel(this.#suite, this.#channel, this.#noise.split());
  }
}

/**
 * The manager's side: answers a hello of the terminal whose X25519 key is `deviceKey`, or gives
 * undefined if that terminal did not make it for this manager.
 */
export function answerHello(
  options: {
    readonly suite: CryptoSuite;
    readonly rng: Rng;
    readonly device: DeviceId;
    readonly deviceKey: Uint8Array;
    readonly localKey: DhKey;
  },
  hello: MessageOf<'hello'>,
): { readonly welcome: MessageOf<'welcome'>; readonly channel: SealedChannel } | undefined {
  const { suite, rng, device, deviceKey, localKey } = options;
  const noise = new NoiseState({
    suite,
    initiator: false,
    prologue: prologue(device, hello.channel),
    localStatic: localKey,
    localEphemeral: suite.dhKey(randomBytes(rng, KEY_BYTES)),
    remoteStatic: deviceKey,
  });
  if (noise.readMessage(hello.noise) === undefined) return undefined;
  const answer = noise.writeMessage(EMPTY);
  if (answer === undefined) return undefined;
  const { request, channel } = hello;
  return {
    welcome: { kind: 'welcome', request, channel, noise: answer },
    channel: new SealedChannel(suite, channel, noise.split()),
  };
}

function prologue(device: DeviceId, channel: Uint8Array): Uint8Array {
  return concatBytes(asciiBytes(`${LABEL}${device}`), channel);
}
