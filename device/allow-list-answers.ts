// Means 12: a communication request came [S4002]; the terminal reads its owner's list as it
// stands, judges, and sends what the list says about this caller, or all of it [S4003, claim 1].
// Only after a yes is there a socket and a record of addresses. When the notice comes, the list is
// asked again.

import {
  type AllowList,
  type ListVerdict,
  judge,
  reduceToCaller,
  toTravelling,
  travellingList,
} from '../protocol/consent/allow-list.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { Candidate, ListEntry, MessageOf } from '../protocol/control/messages.ts';
import type { Grant } from '../protocol/grant.ts';
import type { RecordId, RequestId } from '../protocol/ids.ts';
import { randomRecordId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { MICROS_PER_SECOND, type Micros, NEVER, after, earlier, ms } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';
import {
  type NoticeOutcome,
  type Self,
  introduction,
  isWithin,
  readGrant,
} from './address-notice.ts';
import type { ListReadings } from './list-readings.ts';
import type { Outbox } from './outbox.ts';
import type { Requests } from './requests.ts';
import type { SocketId } from './terminal-types.ts';

type Ask = MessageOf<'ask'>;
type Allowed = Extract<ListVerdict, { allowed: true }>;
/** The list as it goes to the manager. */
type Travelling = Pick<MessageOf<'allowList'>, 'mode' | 'version' | 'entries' | 'reduced'>;

/** Default deny: says yes to nobody and names nobody [S4003]. */
export const EMPTY_VERDICT: Travelling = {
  mode: 'verdict',
  version: 'none',
  entries: [],
  reduced: true,
};

interface Answer {
  readonly ask: Ask;
  readonly askedAt: Micros;
  readonly deadline: Micros;
  state: 'reading' | 'agreed' | 'checking' | 'refused';
  allowed: Allowed | undefined;
  travelling: Travelling;
  socket: SocketId | undefined;
  record: RecordId | undefined;
  /** The answer as it was sent, or waits to be sent. */
  reply: Uint8Array | undefined;
  isSent: boolean;
}

interface AnswerOptions {
  readonly self: Self;
  readonly rng: Rng;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly readings: ListReadings;
  /** Told when a notice led to a talk, or to nothing. */
  readonly onOutcome: (now: Micros, outcome: NoticeOutcome) => void;
}

/** The communication requests of others, until a talk comes of them or their time is over. */
export class AllowListAnswers {
  readonly #options: AnswerOptions;
  readonly #answers = new Map<RequestId, Answer>();
  #isLinkUp = false;

  constructor(options: AnswerOptions) {
    this.#options = options;
  }

  /** How many are not decided, or agreed and waiting for their notice. */
  get openCount(): number {
    let count = 0;
    for (const answer of this.#answers.values()) if (answer.state !== 'refused') count += 1;
    return count;
  }

  /**
   * [S4002]: somebody asks for us. The same question again gets the same answer again; over
   * LIMITS.callsMax open questions the answer is empty and the list is not read.
   */
  onAsk(now: Micros, ask: Ask, deadlineMs: number): void {
    const known = this.#answers.get(ask.request);
    if (known !== undefined) {
      if (known.reply !== undefined) this.#send(known);
      return;
    }
    if (this.openCount >= LIMITS.callsMax || !this.#makeRoom()) return this.#decline(ask);
    const answer: Answer = {
      ask,
      askedAt: now,
      deadline: after(now, ms(deadlineMs + LIMITS.answerGraceMs)),
      state: 'reading',
      allowed: undefined,
      travelling: EMPTY_VERDICT,
      socket: undefined,
      record: undefined,
      reply: undefined,
      isSent: false,
    };
    const isReading = this.#options.readings.read((_, list, at) => this.#onList(answer, list, at));
    if (!isReading) return this.#decline(ask);
    this.#answers.set(ask.request, answer);
  }

  /** After a yes: records the addresses of the new socket under the ID that the answer named. */
  onSocketOpen(now: Micros, socket: SocketId, candidates: readonly Candidate[]): boolean {
    const answer = this.#bySocket(socket);
    if (answer === undefined) return false;
    const { record } = answer;
    if (answer.state !== 'agreed' || record === undefined) return true;
    this.#options.requests.send(
      now,
      record,
      'address',
      { kind: 'address', record, candidates: candidates.slice(0, LIMITS.candidatesMax) },
      { early: true },
    );
    return true;
  }

  /** Without a socket a yes is worth nothing: no record follows, and no notice is accepted. */
  onSocketFailed(socket: SocketId): boolean {
    const answer = this.#bySocket(socket);
    if (answer === undefined) return false;
    this.#release(answer);
    answer.state = 'refused';
    return true;
  }

  onLinkUp(): void {
    this.#isLinkUp = true;
    for (const answer of this.#answers.values()) {
      if (answer.reply !== undefined && !answer.isSent) this.#send(answer);
    }
  }

  onLinkDown(): void {
    this.#isLinkUp = false;
  }

  /** Whether we said yes to this request and wait for its notice. */
  owns(request: RequestId): boolean {
    return this.#answers.get(request)?.state === 'agreed';
  }

  /** [S4004]: address notice 2. If it is genuine and what we agreed to, the list is asked again. */
  onNotice(now: Micros, message: MessageOf<'addressNotice'>): void {
    const answer = this.#answers.get(message.request);
    if (answer?.state !== 'agreed' || answer.socket === undefined) return;
    const { self, readings, outbox } = this.#options;
    const grant = readGrant(self, message);
    const introduced =
      grant !== undefined && isAgreed(grant, answer)
        ? introduction(self, message, grant, {
            role: 'callee',
            socket: answer.socket,
            call: undefined,
            extend: false,
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
      if (!this.#answers.has(message.request)) {
        this.#void(later, grant, 'local');
      } else if (this.#stillAllows(later, answer, grant, list, at)) {
        answer.socket = undefined;
        this.#forget(answer);
        this.#options.onOutcome(later, { introduced });
      } else {
        this.#turnAway(answer.ask, list);
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

  #onList(answer: Answer, list: AllowList | undefined, at: LocalMoment): void {
    const { ask } = answer;
    if (!this.#answers.has(ask.request)) return;
    const verdict = judgeOwn(list, ask, at);
    if (list !== undefined) answer.travelling = travelling(list, ask, at);
    if (verdict.allowed) {
      answer.socket = this.#options.outbox.openSocket();
      answer.allowed = verdict;
      if (answer.socket !== undefined) {
        // The answer goes at once, the record as soon as the socket is open (ADR 0007).
        answer.record = randomRecordId(this.#options.rng);
        answer.state = 'agreed';
        this.#reply(answer);
        return;
      }
      this.#options.outbox.count('askFlood');
      answer.travelling = EMPTY_VERDICT;
    } else {
      this.#turnAway(ask, list);
    }
    answer.state = 'refused';
    this.#reply(answer);
  }

  /** The owner may have changed the list since; `until` has come nearer by as long as it took. */
  #stillAllows(
    now: Micros,
    answer: Answer,
    grant: Grant,
    list: AllowList | undefined,
    at: LocalMoment,
  ): boolean {
    const verdict = judgeOwn(list, answer.ask, at);
    if (!verdict.allowed) return false;
    const tookSeconds = Math.ceil((now - answer.askedAt) / MICROS_PER_SECOND) + 1;
    const most = verdict.seconds === undefined ? undefined : verdict.seconds + tookSeconds;
    return isWithin(grant.seconds, most) && isWithin(grant.bytes, verdict.bytes);
  }

  /** [S4003, claim 1, claim 8]: the list, or the verdict, goes to the manager. */
  #reply(answer: Answer): void {
    answer.reply = encodeMessage({
      kind: 'allowList',
      request: answer.ask.request,
      ...answer.travelling,
      record: answer.record,
    });
    this.#send(answer);
  }

  #send(answer: Answer): void {
    if (answer.reply === undefined || !this.#isLinkUp) return;
    answer.isSent = true;
    this.#options.outbox.publishBytes('allow-list', answer.reply);
  }

  #decline({ request }: Ask): void {
    this.#options.outbox.count('askFlood');
    this.#options.outbox.publish('allow-list', { kind: 'allowList', request, ...EMPTY_VERDICT });
  }

  #turnAway({ callerName, service }: Ask, list: AllowList | undefined): void {
    const kind = list === undefined ? 'listUnreadable' : 'turnedAway';
    this.#options.outbox.event({ kind, caller: callerName, service });
  }

  #void(now: Micros, grant: Grant, reason: 'local' | 'protocol-error'): void {
    this.#options.onOutcome(now, { voided: grant, reason });
  }

  /** At LIMITS.answersMax the oldest refusal is forgotten; false if all are open. */
  #makeRoom(): boolean {
    if (this.#answers.size < LIMITS.answersMax) return true;
    for (const answer of this.#answers.values()) {
      if (answer.state !== 'refused') continue;
      this.#forget(answer);
      return true;
    }
    return false;
  }

  #forget(answer: Answer): void {
    this.#release(answer);
    this.#answers.delete(answer.ask.request);
  }

  #release(answer: Answer): void {
    if (answer.record !== undefined) this.#options.requests.settle(answer.record);
    if (answer.socket !== undefined) this.#options.outbox.closeSocket(answer.socket);
    answer.record = undefined;
    answer.socket = undefined;
  }

  #bySocket(socket: SocketId): Answer | undefined {
    for (const answer of this.#answers.values()) if (answer.socket === socket) return answer;
    return undefined;
  }
}

/** What goes to the manager of a list that can be read. */
export function travelling(
  list: AllowList,
  ask: Pick<Ask, 'callerName' | 'callerId' | 'service'>,
  at: LocalMoment,
): Travelling {
  const { entries, reduced } = travellingList(list, ask, at);
  return { mode: list.mode, version: list.version, entries, reduced };
}

/** The entries that can concern this caller, ready to be judged. */
export function ownEntries(
  list: AllowList,
  ask: Pick<Ask, 'callerName'>,
  at: LocalMoment,
): readonly ListEntry[] {
  return toTravelling(reduceToCaller(list, ask), at);
}

function judgeOwn(list: AllowList | undefined, ask: Ask, at: LocalMoment): ListVerdict {
  if (list === undefined) return { allowed: false };
  return judge(ownEntries(list, ask, at), { ...ask, kind: 'connect' });
}

function isAgreed(grant: Grant, { ask, allowed }: Answer): boolean {
  return (
    grant.callerId === ask.callerId &&
    grant.callerName === ask.callerName &&
    grant.service === ask.service &&
    isWithin(grant.seconds, allowed?.seconds) &&
    isWithin(grant.bytes, allowed?.bytes)
  );
}
