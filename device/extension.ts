// Means 17, its first part: near the expiry the caller's terminal asks for a later one [S5003,
// S5004, claim 4]; the callee's owner is asked again; the new expiry reaches both ends, from the
// manager and inside the tunnel, and each adopts it once [S5005, S5006]. Totals are cumulative.

import { type AllowList, type ListVerdict, judge } from '../protocol/consent/allow-list.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import type { Expiry } from '../protocol/grant.ts';
import type { RequestId } from '../protocol/ids.ts';
import { randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { MICROS_PER_SECOND, type Micros } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';
import { type Self, isWithin, readExpiry } from './address-notice.ts';
import { EMPTY_VERDICT, ownEntries, travelling } from './allow-list-answers.ts';
import type { ListReadings } from './list-readings.ts';
import type { Outbox } from './outbox.ts';
import type { Requests } from './requests.ts';
import type { Terms, UnderWay } from './under-way.ts';

interface ExtensionOptions {
  readonly self: Self;
  readonly rng: Rng;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly readings: ListReadings;
}

/** Extensions of the talks of one terminal, asked by it and asked of it. */
export class Extension {
  readonly #options: ExtensionOptions;

  constructor(options: ExtensionOptions) {
    this.#options = options;
  }

  /**
   * [S5003, S5004, claim 4]: 70 % is used up and the caller wants to go on: it asks for the
   * original grant once more on top of what is granted now, in every dimension that is limited.
   */
  onExpiryNear(now: Micros, talk: UnderWay): void {
    if (!talk.extend || talk.role !== 'caller' || talk.asked !== undefined) return;
    const { rng, requests } = this.#options;
    const { terms, granted } = talk;
    const request = randomRequestId(rng);
    talk.asked = request;
    requests.send(now, request, 'up', {
      kind: 'extend',
      request,
      session: talk.session,
      revision: Math.min(talk.revision + 1, LIMITS.revisionsMax),
      want: {
        seconds: Math.min(terms.seconds + granted.seconds, LIMITS.grantSecondsMax),
        bytes:
          terms.bytes === undefined || granted.bytes === undefined
            ? undefined
            : Math.min(terms.bytes + granted.bytes, LIMITS.grantBytesMax),
      },
    });
  }

  /** The old expiry stands. False if the request is not this talk's. */
  onRefusal(talk: UnderWay, request: RequestId): boolean {
    if (talk.asked !== request) return false;
    this.forget(talk);
    this.#options.outbox.event({ kind: 'extensionRefused', session: talk.session });
    return true;
  }

  /**
   * [S5005, S5006]: adopts a new expiry that the manager signed for this talk, has a higher
   * revision and, at the callee, is what its own list agreed to. The same expiry comes twice; once
   * counts.
   */
  onNewExpiry(now: Micros, talk: UnderWay, encoded: Uint8Array, signature: Uint8Array): void {
    const { self, outbox } = this.#options;
    const expiry = readExpiry(self, encoded, signature);
    if (expiry === undefined || expiry.session !== talk.session || !isAgreed(now, talk, expiry)) {
      outbox.count('badNotice');
      return;
    }
    if (expiry.revision <= talk.revision) return;
    const { revision, seconds, bytes } = expiry;
    talk.revision = revision;
    talk.terms = { seconds, bytes };
    this.forget(talk);
    talk.connection.extend(now, {
      revision,
      seconds,
      bytes,
      message: { expiry: encoded, signature },
    });
    outbox.event({ kind: 'extended', session: talk.session, seconds, bytes });
  }

  /**
   * The callee's owner is asked again, for this talk and this caller; `talk` undefined: there is no
   * such talk, and the answer is empty. Nothing is remembered but the most that was agreed to.
   */
  onAskExtend(now: Micros, ask: MessageOf<'askExtend'>, talk: UnderWay | undefined): void {
    const isOurs =
      talk?.role === 'callee' &&
      talk.peer.id === ask.callerId &&
      talk.peer.name === ask.callerName &&
      talk.service === ask.service;
    const isReading =
      isOurs &&
      this.#options.readings.read((later, list, at) => this.#answer(later, ask, talk, list, at));
    if (isReading) return;
    this.#options.outbox.count(isOurs ? 'askFlood' : 'unexpected');
    this.#publish(ask, EMPTY_VERDICT);
  }

  /** The talk is over, or answered: nobody waits for an extension any more. */
  forget(talk: UnderWay): void {
    if (talk.asked !== undefined) this.#options.requests.settle(talk.asked);
    talk.asked = undefined;
  }

  #answer(
    now: Micros,
    ask: MessageOf<'askExtend'>,
    talk: UnderWay,
    list: AllowList | undefined,
    at: LocalMoment,
  ): void {
    const { callerName, service } = ask;
    if (list === undefined) {
      this.#options.outbox.event({ kind: 'listUnreadable', caller: callerName, service });
      this.#publish(ask, EMPTY_VERDICT);
      return;
    }
    const entries = ownEntries(list, ask, at);
    const judged = (elapsedSeconds: number): ListVerdict =>
      judge(entries, { ...ask, kind: 'extend', current: { ...talk.terms, elapsedSeconds } });
    const verdict = judged((now - talk.introducedAt) / MICROS_PER_SECOND);
    const withoutUntil = judged(Infinity);
    if (verdict.allowed && withoutUntil.allowed) {
      const { seconds, bytes } = verdict;
      talk.consented = { at: now, seconds, secondsWithoutUntil: withoutUntil.seconds, bytes };
    } else this.#options.outbox.event({ kind: 'turnedAway', caller: callerName, service });
    this.#publish(ask, travelling(list, ask, at));
  }

  #publish({ request }: MessageOf<'askExtend'>, list: typeof EMPTY_VERDICT): void {
    this.#options.outbox.publish('allow-list', { kind: 'allowList', request, ...list });
  }
}

/** Nothing gets less, no limit appears or goes, and the callee's owner said yes to it. */
function isAgreed(now: Micros, talk: UnderWay, { revision, seconds, bytes }: Expiry): boolean {
  const { terms, consented } = talk;
  if (revision <= talk.revision) return true;
  if (seconds < terms.seconds || (bytes === undefined) !== (terms.bytes === undefined))
    return false;
  if (bytes !== undefined && terms.bytes !== undefined && bytes < terms.bytes) return false;
  if (talk.role === 'caller') return true;
  if (consented === undefined) return false;
  const agreed = { seconds: mostSeconds(now, consented), bytes: consented.bytes };
  return isRisen(terms, { seconds, bytes }, agreed);
}

/**
 * [claim 14]: where `until` binds, the manager adds what is left until then to the whole seconds
 * that it has counted itself: from a little before our notice came, until our answer was there. So
 * its total may be more than ours by as long as that took; a stated number of seconds never gives.
 */
function mostSeconds(
  now: Micros,
  consented: NonNullable<UnderWay['consented']>,
): number | undefined {
  const { at, seconds, secondsWithoutUntil } = consented;
  if (seconds === undefined) return undefined;
  const tookSeconds = Math.ceil((now - at) / MICROS_PER_SECOND) + 1;
  return Math.min(seconds + tookSeconds, secondsWithoutUntil ?? Infinity);
}

/** Whether each limit is where it was or within what was agreed. */
function isRisen(
  from: Terms,
  to: Terms,
  agreed: { readonly seconds?: number | undefined; readonly bytes?: number | undefined },
): boolean {
  return (
    (to.seconds === from.seconds || isWithin(to.seconds, agreed.seconds)) &&
    (to.bytes === from.bytes || isWithin(to.bytes, agreed.bytes))
  );
}
