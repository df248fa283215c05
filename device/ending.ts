// Means 17, its last part: every end is announced to the session manager exactly once that it
// acknowledges [S5007, claim 5]. The record lies on disk from the introduction until then, so that
// a terminal that was restarted in mid-talk, or whose link was down, reports it later. With the
// acknowledgement comes a receipt for the manager's log: the newest is kept (docs/log.md).

import type { MessageOf } from '../protocol/control/messages.ts';
import { type Counts, NO_COUNTS } from '../protocol/ends.ts';
import type { RequestId, SessionId } from '../protocol/ids.ts';
import { randomRequestId } from '../protocol/ids.ts';
import { openReceipt } from '../protocol/identity/receipt.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import type { Micros } from '../protocol/time.ts';
import type { Self } from './address-notice.ts';
import type { Outbox } from './outbox.ts';
import type { Requests } from './requests.ts';
import type { StoredEnd } from './terminal-types.ts';

/** An end with its reason. */
type End = StoredEnd & { readonly reason: NonNullable<StoredEnd['reason']> };

interface Waiting {
  readonly end: End;
  /** Undefined until it is this notice's turn. */
  request: RequestId | undefined;
}

/** The ends that the manager has not acknowledged; at most LIMITS.endNoticesMax. */
export class Ending {
  readonly #self: Pick<Self, 'suite' | 'managerKey'>;
  readonly #rng: Rng;
  readonly #outbox: Outbox;
  readonly #requests: Requests;
  readonly #waiting = new Map<SessionId, Waiting>();
  #inFlight = 0;
  /** Number of the log entry that the last receipt is about: several ends share one. */
  #receiptSequence = 0;

  constructor(parts: {
    readonly self: Pick<Self, 'suite' | 'managerKey'>;
    readonly rng: Rng;
    readonly outbox: Outbox;
    readonly requests: Requests;
  }) {
    this.#self = parts.self;
    this.#rng = parts.rng;
    this.#outbox = parts.outbox;
    this.#requests = parts.requests;
  }

  get size(): number {
    return this.#waiting.size;
  }

  has(session: SessionId): boolean {
    return this.#waiting.has(session);
  }

  /** A talk begins: until it has ended, a restart reports it as `restarted`. */
  begin(session: SessionId): void {
    const record: StoredEnd = { session, reason: undefined, counts: NO_COUNTS };
    this.#outbox.push({ kind: 'store', session, record });
  }

  /** Reads what an earlier start left behind: talks under way end as `restarted`. */
  restore(now: Micros, records: readonly StoredEnd[]): void {
    for (const { session, reason, counts, path, probes } of records) {
      if (this.#waiting.has(session)) continue;
      if (reason === undefined) {
        this.#outbox.event({
          kind: 'ended',
          session,
          reason: 'restarted',
          counts,
          path: undefined,
        });
      }
      this.announce(now, { session, reason: reason ?? 'restarted', counts, path, probes });
    }
  }

  /** [S5007, claim 5]: keeps an end on disk and reports it until the manager has it in its log. */
  announce(now: Micros, end: End): void {
    if (this.#waiting.has(end.session)) return;
    if (this.#waiting.size >= LIMITS.endNoticesMax) this.#dropOldest();
    const whole: End = { ...end, counts: wholeCounts(end.counts) };
    this.#waiting.set(end.session, { end: whole, request: undefined });
    this.#outbox.push({ kind: 'store', session: end.session, record: whole });
    this.#send(now);
  }

  /** [S6001 told to us]: it is in the log and may be forgotten; false if we did not ask that. */
  onEnded(now: Micros, message: MessageOf<'ended'>): boolean {
    const waiting = this.#waiting.get(message.session);
    if (waiting === undefined || waiting.request !== message.request) return false;
    if (message.receipt !== undefined) this.#keepReceipt(message.receipt);
    this.#forget(message.session, waiting);
    this.#send(now);
    return true;
  }

  /**
   * A receipt for the log [S6001 told to us]: only the manager's own counts. One that is older than
   * the last goes out too: the shell keeps the newest, and is the one to notice a log that went
   * back, before a restart or after it.
   */
  #keepReceipt(bytes: Uint8Array): void {
    const { suite, managerKey } = this.#self;
    const receipt = openReceipt(suite, managerKey, bytes);
    if (receipt === undefined) {
      this.#outbox.count('badReceipt');
      return;
    }
    if (receipt.sequence === this.#receiptSequence) return;
    const { sequence } = receipt;
    this.#receiptSequence = sequence;
    this.#outbox.push({ kind: 'receipt', bytes, sequence });
  }

  /** A manager that does not know the session has nothing to log; any other trouble may pass. */
  onRefusal(now: Micros, message: MessageOf<'refusal'>): boolean {
    for (const [session, waiting] of this.#waiting) {
      if (waiting.request !== message.request) continue;
      if (message.code === 'no-session') this.#forget(session, waiting);
      else this.#requests.postpone(now, message.request);
      this.#send(now);
      return true;
    }
    return false;
  }

  #send(now: Micros): void {
    if (this.#inFlight >= LIMITS.endNoticesInFlight) return;
    for (const waiting of this.#waiting.values()) {
      if (waiting.request !== undefined) continue;
      const request = randomRequestId(this.#rng);
      waiting.request = request;
      this.#inFlight += 1;
      const { session, reason, counts, path, probes } = waiting.end;
      this.#requests.send(now, request, 'up', {
        kind: 'endNotice',
        request,
        session,
        reason,
        ...counts,
        path,
        probes,
      });
      if (this.#inFlight >= LIMITS.endNoticesInFlight) return;
    }
  }

  #forget(session: SessionId, waiting: Waiting): void {
    this.#waiting.delete(session);
    if (waiting.request !== undefined) {
      this.#requests.settle(waiting.request);
      this.#inFlight -= 1;
    }
    this.#outbox.push({ kind: 'store', session, record: undefined });
  }

  #dropOldest(): void {
    for (const [session, waiting] of this.#waiting) {
      this.#forget(session, waiting);
      this.#outbox.count('endNoticesDropped');
      return;
    }
  }
}

/**
 * Whole numbers, as they go into the notice: a record from disk, or a duration, may have others.
 */
function wholeCounts(counts: Counts): Counts {
  const whole = (count: number): number =>
    Number.isFinite(count) ? Math.min(Math.max(0, Math.floor(count)), Number.MAX_SAFE_INTEGER) : 0;
  return {
    sentBytes: whole(counts.sentBytes),
    receivedBytes: whole(counts.receivedBytes),
    lostBytes: whole(counts.lostBytes),
    wireBytes: whole(counts.wireBytes),
    durationMs: whole(counts.durationMs),
  };
}
