// Means 12: a communication request came [S4002]; the terminal makes sure that the caller itself
// signed it, reads its owner's list as it stands, asks the owner where an entry says so, and sends
// what the list says about this caller, or all of it, signed [S4003, claim 1]. Only after a yes is
// there a socket and a record of addresses. When the notice comes, the list is asked again.
// Over 400 lines: one answer from the question to the talk, whose steps are best read together.

import { sameBytes } from '../protocol/bytes.ts';
import {
  type AllowEntry,
  type AllowList,
  type ListVerdict,
  decidingEntry,
} from '../protocol/consent/allow-list.ts';
import type { Candidate, MessageOf } from '../protocol/control/messages.ts';
import type { Grant } from '../protocol/grant.ts';
import type { RecordId, RequestId } from '../protocol/ids.ts';
import { randomRecordId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { type Micros, NEVER, after, earlier, ms } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';
import {
  type NoticeOutcome,
  type Self,
  introduction,
  isWithin,
  readGrant,
} from './address-notice.ts';
import type { ListReadings } from './list-readings.ts';
import type { Gathered } from './meeting/gathering.ts';
import { type Answer, OpenAnswers } from './open-answers.ts';
import type { Outbox } from './outbox.ts';
import { type OwnVerdict, judgeOwn, mostSeconds, ownEntries } from './own-list.ts';
import type { OwnerQuestions } from './owner-questions.ts';
import type { Pins } from './pins.ts';
import type { Requests } from './requests.ts';
import {
  EMPTY_VERDICT,
  type MeetingHints,
  type Travelling,
  isSignedAsk,
  signAnswerTo,
  travelling,
} from './signed-answer.ts';
import type { SocketId } from './terminal-types.ts';

type Ask = MessageOf<'ask'>;
type Allowed = Extract<ListVerdict, { allowed: true }>;

interface AnswerOptions {
  readonly self: Self;
  readonly rng: Rng;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly readings: ListReadings;
  readonly questions: OwnerQuestions;
  readonly pins: Pins;
  readonly hints: (socket: SocketId) => MeetingHints;
  readonly isOnLoopback: (socket: SocketId) => boolean;
  /** Told when a notice led to a talk, or to nothing. */
  readonly onOutcome: (now: Micros, outcome: NoticeOutcome) => void;
}

/** The communication requests of others, until a talk comes of them or their time is over. */
export class AllowListAnswers {
  readonly #options: AnswerOptions;
  readonly #answers = new OpenAnswers();
  #isLinkUp = false;

  constructor(options: AnswerOptions) {
    this.#options = options;
  }

  /** How many are not decided, or agreed and waiting for their notice. */
  get openCount(): number {
    return this.#answers.openCount;
  }

  /**
   * [S4002]: somebody asks for us, and has signed it. The same question again gets the same answer
   * again. Over LIMITS.callsMax open questions, of which callers that are not pinned get at most
   * half, the answer is empty and the list is not read; so it is for a request that the caller did
   * not sign.
   */
  onAsk(now: Micros, ask: Ask, deadlineMs: number): void {
    const { self, outbox, pins } = this.#options;
    const known = this.#answers.get(ask.request);
    if (known !== undefined) {
      this.#send(known);
      return;
    }
    if (!isSignedAsk(self, ask)) {
      outbox.count('badRequest');
      this.#decline(ask);
      return;
    }
    const isKnown = pins.isKnown({ name: ask.callerName, id: ask.callerId });
    const until = after(now, ms(deadlineMs));
    const answer: Answer = {
      ask,
      isKnown,
      until,
      deadline: after(until, ms(LIMITS.answerGraceMs)),
      state: 'reading',
      judgedAt: now,
      approved: false,
      ownerAsk: undefined,
      allowed: undefined,
      socket: undefined,
      record: undefined,
      reply: undefined,
      isSent: false,
    };
    if (!this.#answers.hasRoom(isKnown) || !this.#read(answer)) {
      outbox.count('askFlood');
      this.#decline(ask);
      return;
    }
    this.#answers.add(answer);
  }

  /** Under which ID the addresses of an answer's socket are recorded. */
  recordOf(socket: SocketId): RecordId | undefined {
    return this.#answers.bySocket(socket)?.record;
  }

  /**
   * After a yes: records the addresses of the new socket under the ID that the answer named.
   * `gathering`: STUN servers are still being asked.
   */
  onSocketOpen(
    now: Micros,
    socket: SocketId,
    candidates: readonly Candidate[],
    gathering: boolean,
  ): boolean {
    const answer = this.#answers.bySocket(socket);
    if (answer === undefined) return false;
    const { record } = answer;
    if (answer.state !== 'agreed' || record === undefined) return true;
    this.#options.requests.send(
      now,
      record,
      'address',
      {
        kind: 'address',
        record,
        candidates: candidates.slice(0, LIMITS.candidatesMax),
        gathering: gathering || undefined,
      },
      { early: true },
    );
    return true;
  }

  /** Everything that can be known of the socket's addresses is. */
  onGathered(now: Micros, socket: SocketId, { candidates }: Gathered): boolean {
    return this.onSocketOpen(now, socket, candidates, false);
  }

  /** Without a socket a yes is worth nothing: no record follows, and no notice is accepted. */
  onSocketFailed(socket: SocketId): boolean {
    const answer = this.#answers.bySocket(socket);
    if (answer === undefined) return false;
    this.#release(answer);
    answer.state = 'refused';
    return true;
  }

  onLinkUp(): void {
    this.#isLinkUp = true;
    for (const answer of this.#answers.values()) {
      if (!answer.isSent) this.#send(answer);
    }
  }

  onLinkDown(): void {
    this.#isLinkUp = false;
  }

  /** Whether we said yes under this nonce and wait for its notice. */
  owns(nonce: RequestId): boolean {
    return this.#answers.agreedUnder(nonce) !== undefined;
  }

  /**
   * [S4004]: address notice 2, which echoes the nonce of our answer. If it is genuine and what we
   * agreed to, the list is asked again; the owner is not.
   */
  onNotice(now: Micros, message: MessageOf<'addressNotice'>): void {
    const answer = this.#answers.agreedUnder(message.request);
    if (answer?.socket === undefined) return;
    const { self, readings, outbox } = this.#options;
    const grant = readGrant(self, message);
    const introduced =
      grant !== undefined && isAgreed(grant, answer)
        ? introduction(self, message, grant, {
            role: 'callee',
            socket: answer.socket,
            call: undefined,
            extend: false,
            isOnLoopback: this.#options.isOnLoopback(answer.socket),
          })
        : undefined;
    if (grant === undefined || introduced === undefined) {
      outbox.count('badNotice');
      this.#forget(answer);
      if (grant?.calleeId === self.id) this.#void(now, grant, 'protocol-error');
      return;
    }
    answer.state = 'checking';
    const isReading = readings.read((later, list, at) => {
      if (!this.#answers.has(answer)) {
        this.#void(later, grant, 'local');
      } else if (this.#stillAllows(later, answer, grant, list, at)) {
        answer.socket = undefined;
        this.#forget(answer);
        this.#options.onOutcome(later, { introduced });
      } else {
        this.#forget(answer);
        this.#void(later, grant, 'local');
      }
    });
    if (isReading) return;
    this.#forget(answer);
    this.#void(now, grant, 'local');
  }

  /** A yes that no notice followed gives its socket back. */
  handleTimeout(now: Micros): void {
    for (const answer of this.#answers.values()) {
      if (now >= answer.deadline) this.#forget(answer);
    }
  }

  nextTimeout(): Micros {
    let next = NEVER;
    for (const { deadline } of this.#answers.values()) next = earlier(next, deadline);
    return next;
  }

  /** False while too many readings are open. */
  #read(answer: Answer): boolean {
    return this.#options.readings.read((now, list, at) => {
      if (this.#answers.has(answer)) this.#onList(now, answer, list, at);
    });
  }

  #onList(now: Micros, answer: Answer, list: AllowList | undefined, at: LocalMoment): void {
    const own = this.#judge(now, answer, list, at);
    if (own.kind === 'ask') {
      this.#askOwner(answer, own.entry);
    } else if (list === undefined || own.kind === 'peerChanged') {
      this.#refuse(answer, EMPTY_VERDICT);
    } else if (own.kind === 'allowed') {
      this.#agree(answer, own.verdict, travelling(list, answer.ask, at));
    } else {
      this.#refuse(answer, travelling(list, answer.ask, at));
    }
  }

  /** What the list says now; a no is told to the owner. */
  #judge(now: Micros, answer: Answer, list: AllowList | undefined, at: LocalMoment): OwnVerdict {
    const { outbox, pins } = this.#options;
    const { ask, approved } = answer;
    const { callerName: name, callerId: seen, service } = ask;
    answer.judgedAt = now;
    if (list === undefined) {
      outbox.event({ kind: 'listUnreadable', caller: name, service });
      return { kind: 'refused' };
    }
    const own = judgeOwn(list, at, pins, { ...ask, kind: 'connect', approved });
    if (own.kind === 'refused') outbox.event({ kind: 'turnedAway', caller: name, service });
    if (own.kind === 'peerChanged') {
      pins.onMismatch({ name, pinned: own.pinned, seen, role: 'callee' });
    }
    return own;
  }

  /** The entry wants its owner's word; after a yes the list is read once more, as it stands. */
  #askOwner(answer: Answer, entry: AllowEntry): void {
    const { questions, outbox } = this.#options;
    const { callerName: name, callerId: id, service, want } = answer.ask;
    const { isKnown, until } = answer;
    answer.ownerAsk = questions.ask(
      { caller: { name, id }, isKnown, service, want, entry, isExtension: false, until },
      (_, approved) => this.#onWord(answer, approved),
    );
    if (answer.ownerAsk !== undefined) {
      answer.state = 'asking';
      return;
    }
    outbox.count('askFlood');
    this.#refuse(answer, EMPTY_VERDICT);
  }

  #onWord(answer: Answer, approved: boolean | undefined): void {
    const { outbox } = this.#options;
    const { callerName: caller, service } = answer.ask;
    answer.ownerAsk = undefined;
    if (approved === undefined) {
      // Nobody waits any more: the manager has refused the caller at its time.
      this.#forget(answer);
    } else if (!approved) {
      outbox.event({ kind: 'turnedAway', caller, service });
      this.#refuse(answer, EMPTY_VERDICT);
    } else {
      answer.approved = true;
      answer.state = 'reading';
      if (this.#read(answer)) return;
      outbox.count('askFlood');
      this.#refuse(answer, EMPTY_VERDICT);
    }
  }

  #agree(answer: Answer, verdict: Allowed, list: Travelling): void {
    answer.socket = this.#options.outbox.openSocket();
    if (answer.socket === undefined) {
      this.#options.outbox.count('askFlood');
      this.#refuse(answer, EMPTY_VERDICT);
      return;
    }
    answer.allowed = verdict;
    // The answer goes at once, the record as soon as the socket is open (ADR 0007).
    answer.record = randomRecordId(this.#options.rng);
    answer.state = 'agreed';
    this.#reply(answer, list);
  }

  #refuse(answer: Answer, list: Travelling): void {
    answer.state = 'refused';
    answer.approved = false;
    this.#reply(answer, list);
  }

  /** The owner may have changed the list since, and `until` has come nearer. */
  #stillAllows(
    now: Micros,
    answer: Answer,
    grant: Grant,
    list: AllowList | undefined,
    at: LocalMoment,
  ): boolean {
    const { judgedAt } = answer;
    const own = this.#judge(now, answer, list, at);
    if (own.kind !== 'allowed' || list === undefined) {
      if (own.kind === 'ask') this.#turnAway(answer.ask);
      return false;
    }
    const { seconds, bytes } = own.verdict;
    const entry = decidingEntry(ownEntries(list, answer.ask, at), answer.ask);
    const secondsWithoutUntil = Math.min(
      entry?.seconds ?? Infinity,
      answer.ask.want.seconds ?? Infinity,
    );
    const most = mostSeconds(now, { at: judgedAt, seconds, secondsWithoutUntil });
    if (isWithin(grant.seconds, most) && isWithin(grant.bytes, bytes)) return true;
    this.#turnAway(answer.ask);
    return false;
  }

  /** [S4003, claim 1, claim 8]: the list, or the verdict, goes to the manager, signed. */
  #reply(answer: Answer, list: Travelling): void {
    const { ask, record, approved } = answer;
    const { self, rng } = this.#options;
    const hints = answer.socket === undefined ? undefined : this.#options.hints(answer.socket);
    answer.reply = signAnswerTo(self, rng, ask, list, { record, approved, hints });
    this.#send(answer);
  }

  #send(answer: Answer): void {
    if (answer.reply === undefined || !this.#isLinkUp) return;
    answer.isSent = true;
    this.#options.outbox.publishBytes('allow-list', answer.reply.bytes);
  }

  /** Says no without keeping anything. */
  #decline(ask: Ask): void {
    const { self, rng, outbox } = this.#options;
    outbox.publishBytes('allow-list', signAnswerTo(self, rng, ask, EMPTY_VERDICT).bytes);
  }

  #turnAway({ callerName: caller, service }: Ask): void {
    this.#options.outbox.event({ kind: 'turnedAway', caller, service });
  }

  #void(now: Micros, grant: Grant, reason: 'local' | 'protocol-error'): void {
    this.#options.onOutcome(now, { voided: grant, reason });
  }

  #forget(answer: Answer): void {
    this.#release(answer);
    this.#answers.drop(answer);
  }

  #release(answer: Answer): void {
    if (answer.ownerAsk !== undefined) this.#options.questions.forget(answer.ownerAsk);
    if (answer.record !== undefined) this.#options.requests.settle(answer.record);
    if (answer.socket !== undefined) this.#options.outbox.closeSocket(answer.socket);
    answer.ownerAsk = undefined;
    answer.record = undefined;
    answer.socket = undefined;
  }
}

function isAgreed(grant: Grant, { ask, allowed, reply }: Answer): boolean {
  return (
    reply !== undefined &&
    sameBytes(grant.verdict, reply.verdictHash) &&
    grant.callerId === ask.callerId &&
    grant.callerName === ask.callerName &&
    grant.service === ask.service &&
    isWithin(grant.seconds, allowed?.seconds) &&
    isWithin(grant.bytes, allowed?.bytes)
  );
}
