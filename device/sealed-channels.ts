// The terminal's sealed channels to its session manager (protocol/control/seal.ts, design §3): a
// hello on the first link, another when the channel is old or the manager says that it has none.
// Assumes that `reseal` and refusals of a hello can be forged: all they make is a handshake, and
// not more than one in LIMITS.resealPauseMs.

import { assert } from '../protocol/assert.ts';
import { sameBytes } from '../protocol/bytes.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import { Hello, type SealedChannel } from '../protocol/control/seal.ts';
import type { CryptoSuite, DhKey } from '../protocol/crypto.ts';
import { UsageError } from '../protocol/errors.ts';
import type { DeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Rng, randomFraction } from '../protocol/random.ts';
import { type Micros, NEVER, after, earlier, micros, ms, seconds } from '../protocol/time.ts';
import type { Outbox } from './outbox.ts';

interface SealedChannelsOptions {
  readonly device: DeviceId;
  /** The terminal's X25519 key. */
  readonly localKey: DhKey;
  /** The manager's X25519 key, 32 bytes. */
  readonly managerKey: Uint8Array;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  readonly outbox: Outbox;
}

/** The channel that seals, the one before it, and the handshake for the next. */
export class SealedChannels {
  readonly #options: SealedChannelsOptions;
  #current: SealedChannel | undefined;
  /** Opens what the manager sealed before it knew of the current one. */
  #previous: SealedChannel | undefined;
  /** Said on this link and not answered. */
  #hello: Hello | undefined;
  /** A new channel is wanted: there is none, or it is old, or the manager has none. */
  #isWanted = true;
  #helloAt: Micros = micros(-Infinity);
  #waitMs: number = LIMITS.retryFirstMs;
  #nextHelloAt: Micros = NEVER;
  #renewAt: Micros = NEVER;
  #isLinkUp = false;

  /** @throws UsageError `bad-manager-key` if the manager's X25519 key is none. */
  constructor(options: SealedChannelsOptions) {
    this.#options = options;
    if (options.localKey.agree(options.managerKey) === undefined) {
      throw new UsageError('bad-manager-key', "managerKey: wanted the manager's X25519 key");
    }
  }

  /** Whether anything can be sealed. */
  get isOpen(): boolean {
    return this.#current !== undefined;
  }

  /** Whether a handshake is under way or wanted. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  onLinkUp(now: Micros): void {
    this.#isLinkUp = true;
    this.#waitMs = LIMITS.retryFirstMs;
    if (this.#isWanted || now >= this.#renewAt) this.#sayHello(now);
  }

  /** The channels are kept; a hello that nobody answered is said anew on the next link. */
  onLinkDown(): void {
    this.#isLinkUp = false;
    this.#hello = undefined;
    this.#nextHelloAt = NEVER;
  }

  /** The manager answered our newest hello: from now on its channel seals. False if not so. */
  onWelcome(now: Micros, message: MessageOf<'welcome'>): boolean {
    const { outbox, rng } = this.#options;
    if (message.request !== this.#hello?.request) {
      outbox.count('unexpected');
      return false;
    }
    const channel = this.#hello.finish(message);
    if (channel === undefined) {
      outbox.count('unopened');
      return false;
    }
    this.#previous = this.#current;
    this.#current = channel;
    outbox.useChannel(channel);
    this.#isWanted = false;
    this.#hello = undefined;
    this.#nextHelloAt = NEVER;
    // A fleet whose manager came back at once does not stay in step.
    const share = 1 - randomFraction(rng) / 10;
    this.#renewAt = after(now, seconds(LIMITS.channelSeconds * share));
    return true;
  }

  /**
   * The manager, or somebody in between, says that there is no channel. A hello that can still be
   * answered stands; after an earlier one there is a pause.
   */
  onReseal(now: Micros): void {
    this.#isWanted = true;
    if (!this.#isLinkUp) return;
    if (this.#hello !== undefined && now < after(this.#helloAt, ms(LIMITS.helloAnswerMs))) return;
    this.#waitMs = LIMITS.retryFirstMs;
    const pauseUntil = after(this.#helloAt, ms(LIMITS.resealPauseMs));
    if (now >= pauseUntil) this.#sayHello(now);
    else this.#nextHelloAt = earlier(this.#nextHelloAt, pauseUntil);
  }

  /** Our hello was refused; the next comes after the longest wait. False if it is not of ours. */
  onRefusal(now: Micros, { request, code }: MessageOf<'refusal'>): boolean {
    if (request !== this.#hello?.request || (code !== 'not-enrolled' && code !== 'busy')) {
      return false;
    }
    this.#options.outbox.event({ kind: 'registerRefused', code });
    this.#hello = undefined;
    this.#waitMs = LIMITS.retryMaxMs;
    this.#arm(now);
    return true;
  }

  /** Whether this is the name of one of our channels. */
  has(channel: Uint8Array): boolean {
    const isIt = (one: SealedChannel | undefined): boolean =>
      one !== undefined && sameBytes(one.id, channel);
    return isIt(this.#current) || isIt(this.#previous);
  }

  /** The encoded message inside; undefined if no channel opens it, or it came before. */
  open(sealed: MessageOf<'sealed'>): Uint8Array | undefined {
    return this.#current?.open(sealed) ?? this.#previous?.open(sealed);
  }

  handleTimeout(now: Micros): void {
    if (!this.#isLinkUp) return;
    if (now >= this.#nextHelloAt) {
      if (this.#hello !== undefined) {
        this.#options.outbox.count('retries');
        this.#waitMs = Math.min(this.#waitMs * 2, LIMITS.retryMaxMs);
      }
      this.#sayHello(now);
    } else if (!this.#isWanted && now >= this.#renewAt) {
      this.#waitMs = LIMITS.retryFirstMs;
      this.#sayHello(now);
    }
  }

  nextTimeout(): Micros {
    if (!this.#isLinkUp) return NEVER;
    return this.#isWanted ? this.#nextHelloAt : this.#renewAt;
  }

  /**
   * Each try is a handshake of its own: the manager keeps only what it made of the newest hello, so
   * a late welcome to an earlier one must not count.
   */
  #sayHello(now: Micros): void {
    const { outbox } = this.#options;
    const hello = new Hello(this.#options);
    assert(hello.message !== undefined, "the manager's key was looked at");
    this.#isWanted = true;
    this.#hello = hello;
    this.#helloAt = now;
    outbox.push({ kind: 'publish', topic: 'up', bytes: encodeMessage(hello.message) });
    this.#arm(now);
  }

  #arm(now: Micros): void {
    const jitter = 0.75 + randomFraction(this.#options.rng) / 2;
    this.#nextHelloAt = after(now, Math.round(ms(this.#waitMs) * jitter));
  }
}
