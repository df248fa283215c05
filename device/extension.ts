// Means 17, its first part: near the expiry the caller's terminal asks for a later one [S5003,
// S5004, claim 4], signed; the callee's list is asked again, and its owner where an entry says so;
// the new expiry reaches both ends, from the manager and inside the tunnel, and each adopts it once
// [S5005, S5006]. Totals are cumulative.

import {
  type AllowEntry,
  type AllowList,
  type ListAsk,
  judge,
} from '../protocol/consent/allow-list.ts';
import { extensionHash, signExtension } from '../protocol/consent/statements.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import type { Expiry } from '../protocol/grant.ts';
import type { RequestId } from '../protocol/ids.ts';
import { randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { MICROS_PER_SECOND, type Micros, after, ms } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';
import { type Self, isWithin, readExpiry } from './address-notice.ts';
import type { ListReadings } from './list-readings.ts';
import type { Outbox } from './outbox.ts';
import { judgeOwn, mostSeconds, ownEntries } from './own-list.ts';
import type { OwnerQuestions } from './owner-questions.ts';
import type { Pins } from './pins.ts';
import type { Requests } from './requests.ts';
import { EMPTY_VERDICT, type Travelling, signAnswer, travelling } from './signed-answer.ts';
import type { ExtensionQuestion, Terms, UnderWay } from './under-way.ts';

type Ask = MessageOf<'askExtend'>;

interface ExtensionOptions {
  readonly self: Self;
  readonly rng: Rng;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly readings: ListReadings;
  readonly questions: OwnerQuestions;
  readonly pins: Pins;
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
    const { self, rng, requests } = this.#options;
    const { session, terms, granted } = talk;
    const request = randomRequestId(rng);
    const revision = Math.min(talk.revision + 1, LIMITS.revisionsMax);
    const want = {
      seconds: Math.min(terms.seconds + granted.seconds, LIMITS.grantSecondsMax),
      bytes:
        terms.bytes === undefined || granted.bytes === undefined
          ? undefined
          : Math.min(terms.bytes + granted.bytes, LIMITS.grantBytesMax),
    };
    const asked = { request, session, revision, want };
    const signature = signExtension(self.signingKey, { ...asked, askerId: self.id });
    talk.asked = request;
    requests.send(now, request, 'up', { kind: 'extend', ...asked, signature });
  }

  /** The old expiry stands. False if the request is not this talk's. */
  onRefusal(talk: UnderWay, request: RequestId): boolean {
    if (talk.asked !== request) return false;
    this.#settle(talk);
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
    this.#settle(talk);
    const message = { expiry: encoded, signature };
    // Too late: its time or its quota has ended the talk, and nobody is told otherwise.
    if (!talk.connection.extend(now, { revision, seconds, bytes, message })) return;
    talk.revision = revision;
    talk.terms = { seconds, bytes };
    outbox.event({ kind: 'extended', session: talk.session, seconds, bytes });
  }

  /**
   * The callee's list is asked again, for this talk and this caller; `talk` undefined: there is no
   * such talk, and the answer is empty. Nothing is remembered but the most that was agreed to, and
   * the answer, which the same question gets again.
   */
  onAskExtend(now: Micros, ask: Ask, talk: UnderWay | undefined, deadlineMs: number): void {
    const isOurs =
      talk?.role === 'callee' &&
      talk.peer.id === ask.callerId &&
      talk.peer.name === ask.callerName &&
      talk.service === ask.service;
    if (!isOurs) {
      this.#options.outbox.count('unexpected');
      this.#publish(this.#sign(ask, EMPTY_VERDICT, false));
      return;
    }
    if (talk.question?.request === ask.request) {
      if (talk.question.reply !== undefined) this.#publish(talk.question.reply);
      return;
    }
    this.#forgetQuestion(talk);
    const question: ExtensionQuestion = {
      request: ask.request,
      until: after(now, ms(deadlineMs)),
      ownerAsk: undefined,
      approved: false,
      reply: undefined,
    };
    talk.question = question;
    this.#read(ask, talk, question);
  }

  /** The talk is over: nobody waits for an extension any more. */
  forget(talk: UnderWay): void {
    this.#settle(talk);
    this.#forgetQuestion(talk);
  }

  /** Our own request is answered. */
  #settle(talk: UnderWay): void {
    if (talk.asked !== undefined) this.#options.requests.settle(talk.asked);
    talk.asked = undefined;
  }

  #forgetQuestion(talk: UnderWay): void {
    const { ownerAsk } = talk.question ?? {};
    if (ownerAsk !== undefined) this.#options.questions.forget(ownerAsk);
    talk.question = undefined;
  }

  #read(ask: Ask, talk: UnderWay, question: ExtensionQuestion): void {
    const isReading = this.#options.readings.read((now, list, at) => {
      if (talk.question === question) this.#onList(now, ask, talk, question, list, at);
    }, talk.session);
    if (isReading) return;
    this.#options.outbox.count('askFlood');
    question.approved = false;
    this.#answer(ask, question, EMPTY_VERDICT);
  }

  #onList(
    now: Micros,
    ask: Ask,
    talk: UnderWay,
    question: ExtensionQuestion,
    list: AllowList | undefined,
    at: LocalMoment,
  ): void {
    const { outbox, pins } = this.#options;
    const { callerName, callerId, service } = ask;
    if (list === undefined) {
      outbox.event({ kind: 'listUnreadable', caller: callerName, service });
      this.#answer(ask, question, EMPTY_VERDICT);
      return;
    }
    const { approved } = question;
    const asked = (elapsedSeconds: number): ListAsk => ({
      ...ask,
      kind: 'extend',
      approved,
      current: { ...talk.terms, elapsedSeconds },
    });
    const own = judgeOwn(list, at, pins, asked((now - talk.introducedAt) / MICROS_PER_SECOND));
    if (own.kind === 'ask') {
      this.#askOwner(ask, talk, question, own.entry);
      return;
    }
    if (own.kind === 'peerChanged') {
      const { pinned } = own;
      pins.onMismatch({ name: callerName, pinned, seen: callerId, role: 'callee' });
      this.#answer(ask, question, EMPTY_VERDICT);
      return;
    }
    const withoutUntil = judge(ownEntries(list, ask, at), asked(Infinity));
    if (own.kind === 'allowed' && withoutUntil.allowed) {
      const { seconds, bytes } = own.verdict;
      talk.consented = { at: now, seconds, secondsWithoutUntil: withoutUntil.seconds, bytes };
    } else outbox.event({ kind: 'turnedAway', caller: callerName, service });
    this.#answer(ask, question, travelling(list, ask, at));
  }

  /** The entry wants its owner's word; after a yes the list is read once more, as it stands. */
  #askOwner(ask: Ask, talk: UnderWay, question: ExtensionQuestion, entry: AllowEntry): void {
    const { questions, outbox } = this.#options;
    const { service, want } = ask;
    const { until } = question;
    question.ownerAsk = questions.ask(
      { caller: talk.peer, isKnown: true, service, want, entry, isExtension: true, until },
      (_, approved) => this.#onWord(ask, talk, question, approved),
    );
    if (question.ownerAsk !== undefined) return;
    outbox.count('askFlood');
    this.#answer(ask, question, EMPTY_VERDICT);
  }

  #onWord(
    ask: Ask,
    talk: UnderWay,
    question: ExtensionQuestion,
    approved: boolean | undefined,
  ): void {
    const { callerName: caller, service } = ask;
    question.ownerAsk = undefined;
    if (approved === undefined) {
      // Nobody waits any more: the manager has refused at its time.
      talk.question = undefined;
    } else if (approved) {
      question.approved = true;
      this.#read(ask, talk, question);
    } else {
      this.#options.outbox.event({ kind: 'turnedAway', caller, service });
      this.#answer(ask, question, EMPTY_VERDICT);
    }
  }

  #answer(ask: Ask, question: ExtensionQuestion, list: Travelling): void {
    question.reply = this.#sign(ask, list, question.approved);
    this.#publish(question.reply);
  }

  /** [S4003]: signed, like the answer to a call. */
  #sign(ask: Ask, list: Travelling, approved: boolean): Uint8Array {
    const { self, rng } = this.#options;
    const { request, callerId, session, want } = ask;
    const question = extensionHash(self.suite, { session, want });
    return signAnswer(self, rng, { request, callerId, question, travelling: list, approved }).bytes;
  }

  #publish(reply: Uint8Array): void {
    this.#options.outbox.publishBytes('allow-list', reply);
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
