// Means 11: the terminal records its address at the trigger broker [S1000, S4000] and its name at
// the session manager [S1001, S4001], anew on every link and in every sealed channel; a channel
// lasts half a membership, so that this renews it too. The address recorded here has no candidates:
// an idle terminal is present, not callable (design §5).

import type { MessageOf } from '../protocol/control/messages.ts';
import type { Name, RecordId, RequestId } from '../protocol/ids.ts';
import { randomRecordId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { MICROS_PER_MS, type Micros, after, micros, seconds } from '../protocol/time.ts';
import type { Outbox } from './outbox.ts';
import type { Requests } from './requests.ts';

interface RegistrationOptions {
  readonly name: Name;
  readonly pollSeconds: number | undefined;
  readonly rng: Rng;
  readonly outbox: Outbox;
  readonly requests: Requests;
}

/** Both registrations of one terminal; `isComplete` while both are acknowledged on this link. */
export class Registration {
  readonly #options: RegistrationOptions;
  /** New at every start, so that the manager can tell a restart from a lost connection. */
  readonly #boot: RequestId;
  #record: RecordId | undefined;
  #request: RequestId | undefined;
  /** When the newest request left for the first time. */
  #askedAt: Micros = micros(0);
  #isPresent = false;
  #isNamed = false;
  #isComplete = false;
  /** Half the shortest round trip to the manager on this link; undefined: not measured. */
  #delayMs: number | undefined;
  /** When the newest membership came, and the one that the broker knows of; undefined: none yet. */
  #renewedAt: Micros | undefined;
  #shownAt: Micros | undefined;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#boot = randomRequestId(options.rng);
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Milliseconds of one way to the manager, for the common start of two terminals. */
  get delayMs(): number | undefined {
    return this.#delayMs;
  }

  /**
   * [S1000, S4000, S1001, S4001, claim 1]: both registrations leave as soon as the link is up; the
   * name with the first channel, if there is none yet.
   */
  onLinkUp(now: Micros, { isSealed }: { readonly isSealed: boolean }): void {
    this.onLinkDown();
    this.#shownAt = this.#renewedAt ?? now;
    this.#recordPresence(now);
    if (isSealed) this.#register(now);
  }

  /** [S1001, S4001]: what the manager knows of us, it knows by channel: it is told again. */
  onChannel(now: Micros): void {
    this.#isNamed = false;
    this.#isComplete = false;
    this.#register(now);
  }

  onLinkDown(): void {
    const { requests } = this.#options;
    if (this.#record !== undefined) requests.settle(this.#record);
    if (this.#request !== undefined) requests.settle(this.#request);
    this.#isPresent = false;
    this.#isNamed = false;
    this.#isComplete = false;
    this.#delayMs = undefined;
  }

  /** The broker has the address; false if it is not the record of this registration. */
  onAddressRecorded(message: MessageOf<'addressRecorded'>): boolean {
    if (message.record !== this.#record) return false;
    this.#isPresent = true;
    this.#complete();
    return true;
  }

  /** The manager has the name; false if nobody asked. */
  onRegistered(now: Micros, message: MessageOf<'registered'>): boolean {
    const { name, outbox, requests } = this.#options;
    if (message.request !== this.#request || !requests.settle(message.request)) return false;
    if (message.name !== name) {
      // Grants would name somebody else; only a new enrolment helps.
      outbox.event({ kind: 'registerRefused', code: 'name-differs' });
      return true;
    }
    const { membership, time, serverKeys } = message;
    const tookMs = (now - this.#askedAt) / MICROS_PER_MS;
    const delayMs = Math.floor(tookMs / 2);
    // One that was asked twice measures the pause between.
    if (delayMs < Math.min(this.#delayMs ?? Infinity, LIMITS.retryFirstMs / 2)) {
      this.#delayMs = delayMs;
    }
    outbox.push({ kind: 'membership', bytes: membership, time, tookMs, serverKeys });
    this.#renewedAt = now;
    this.#showMembership(now, membership);
    this.#isNamed = true;
    this.#complete();
    return true;
  }

  /** The manager does not take the name; asked again at the longest interval, until it does. */
  onRefusal(now: Micros, message: MessageOf<'refusal'>): boolean {
    if (message.request !== this.#request) return false;
    this.#options.outbox.event({ kind: 'registerRefused', code: message.code });
    this.#options.requests.postpone(now, message.request);
    return true;
  }

  /** The broker lets nobody stay beyond its membership: it is shown one that is much newer. */
  #showMembership(now: Micros, membership: Uint8Array): void {
    const half = seconds(LIMITS.channelSeconds / 2);
    if (this.#shownAt === undefined || now < after(this.#shownAt, half)) return;
    this.#shownAt = now;
    this.#recordPresence(now, membership);
  }

  #recordPresence(now: Micros, membership?: Uint8Array): void {
    const { rng, requests, pollSeconds } = this.#options;
    if (this.#record !== undefined) requests.settle(this.#record);
    this.#record = randomRecordId(rng);
    requests.send(
      now,
      this.#record,
      'address',
      { kind: 'address', record: this.#record, candidates: [], pollSeconds, membership },
      { early: true },
    );
  }

  #register(now: Micros): void {
    const { rng, requests, name, pollSeconds } = this.#options;
    if (this.#request !== undefined) requests.settle(this.#request);
    this.#request = randomRequestId(rng);
    this.#askedAt = now;
    requests.send(
      now,
      this.#request,
      'up',
      {
        kind: 'register',
        request: this.#request,
        name,
        boot: this.#boot,
        pollSeconds,
        capabilities: [],
      },
      { early: true },
    );
  }

  #complete(): void {
    if (this.#isComplete || !this.#isPresent || !this.#isNamed) return;
    this.#isComplete = true;
    this.#options.outbox.event({ kind: 'registered', name: this.#options.name });
  }
}
