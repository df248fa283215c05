// Requests that want an application reply (PUBACK means nothing to us, design §4): sent again with
// doubling, jittered backoff until answered, kept while the link is down, idempotent under their
// own request ID. Presence goes out with the link and the name with the channel; everything else
// waits until the terminal is registered. What goes to the manager is sealed anew at every send.

import { assert } from '../protocol/assert.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { Message } from '../protocol/control/messages.ts';
import type { RecordId, RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Rng, randomFraction } from '../protocol/random.ts';
import { type Micros, NEVER, after, earlier, ms } from '../protocol/time.ts';
import type { Outbox, PublishTopic } from './outbox.ts';

/** What the answer will name. */
type Key = RequestId | RecordId;

interface Pending {
  readonly topic: PublishTopic;
  /** The encoded message, not sealed. */
  readonly bytes: Uint8Array;
  /** May go out before the registration is acknowledged. */
  readonly early: boolean;
  published: boolean;
  waitMs: number;
  nextAt: Micros;
}

/** The requests of one terminal that nobody has answered yet; at most LIMITS.requestsMax. */
export class Requests {
  readonly #outbox: Outbox;
  readonly #rng: Rng;
  readonly #pending = new Map<Key, Pending>();
  #gate: 'closed' | 'registering' | 'open' = 'closed';

  constructor(outbox: Outbox, rng: Rng) {
    this.#outbox = outbox;
    this.#rng = rng;
  }

  /**
   * Sends a request now, or as soon as the link allows. `early`: does not wait for the
   * registration.
   */
  send(
    now: Micros,
    key: Key,
    topic: PublishTopic,
    message: Message,
    { early = false }: { readonly early?: boolean } = {},
  ): void {
    assert(this.#pending.size < LIMITS.requestsMax, 'calls, talks and end notices are bounded');
    const pending: Pending = {
      topic,
      bytes: encodeMessage(message),
      early,
      published: false,
      waitMs: LIMITS.retryFirstMs,
      nextAt: NEVER,
    };
    this.#pending.set(key, pending);
    if (this.#mayGo(pending)) this.#publish(now, pending);
  }

  /** Forgets a request that was answered or is no longer wanted; false if there is none. */
  settle(key: Key): boolean {
    return this.#pending.delete(key);
  }

  get size(): number {
    return this.#pending.size;
  }

  has(key: Key): boolean {
    return this.#pending.has(key);
  }

  /** Whether it left at least once. */
  wasPublished(key: Key): boolean {
    return this.#pending.get(key)?.published ?? false;
  }

  /** The answer was "not now": the next try comes after the longest wait. */
  postpone(now: Micros, key: Key): void {
    const pending = this.#pending.get(key);
    if (pending === undefined || !this.#mayGo(pending)) return;
    pending.waitMs = LIMITS.retryMaxMs;
    this.#arm(now, pending);
  }

  /** Whether everything may go. */
  get isOpen(): boolean {
    return this.#gate === 'open';
  }

  /** The link is up; only what need not wait for the registration may go. */
  onLinkUp(now: Micros): void {
    this.#gate = 'registering';
    for (const pending of this.#pending.values()) {
      if (this.#mayGo(pending)) this.#publish(now, pending);
    }
  }

  /** A new channel: after the registration everything unanswered goes again, sealed in it. */
  onChannel(): void {
    this.#gate = 'registering';
    for (const pending of this.#pending.values()) {
      if (!pending.early || pending.topic !== 'address') rest(pending);
    }
  }

  /** Both registrations are acknowledged: everything not sent on this link goes, oldest first. */
  onRegistered(now: Micros): void {
    if (this.#gate === 'open') return;
    this.#gate = 'open';
    for (const pending of this.#pending.values()) {
      if (pending.nextAt !== NEVER) continue;
      this.#publish(now, pending);
    }
  }

  /** Everything is kept. */
  onLinkDown(): void {
    this.#gate = 'closed';
    for (const pending of this.#pending.values()) rest(pending);
  }

  handleTimeout(now: Micros): void {
    for (const pending of this.#pending.values()) {
      if (pending.nextAt > now || !this.#mayGo(pending)) continue;
      this.#outbox.count('retries');
      pending.waitMs = Math.min(pending.waitMs * 2, LIMITS.retryMaxMs);
      this.#publish(now, pending);
    }
  }

  nextTimeout(): Micros {
    let next = NEVER;
    for (const pending of this.#pending.values()) next = earlier(next, pending.nextAt);
    return next;
  }

  #mayGo(pending: Pending): boolean {
    return this.#gate === 'open' || (this.#gate === 'registering' && pending.early);
  }

  #publish(now: Micros, pending: Pending): void {
    pending.published = true;
    this.#outbox.publishBytes(pending.topic, pending.bytes);
    this.#arm(now, pending);
  }

  /** Jitter of ± 25 %, so that a fleet whose manager was away does not come back in step. */
  #arm(now: Micros, pending: Pending): void {
    const jitter = 0.75 + randomFraction(this.#rng) / 2;
    pending.nextAt = after(now, Math.round(ms(pending.waitMs) * jitter));
  }
}

/** Until it is published again. */
function rest(pending: Pending): void {
  pending.nextAt = NEVER;
  pending.waitMs = LIMITS.retryFirstMs;
}
