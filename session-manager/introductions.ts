// The introduction [42, 43]: a connect request becomes a trigger, the callee's list is searched,
// and only on a yes are addresses queried, a session made and both terminals told. Everything else
// is one refusal that leaves exactly when the caller's own wait is over, so that it tells nothing
// (design §4): until then nothing that the caller can see depends on whether somebody has the name.
// Request and verdict are signed by the terminals themselves (design §3); both go into the log.
// Over 400 lines: one state machine, whose steps are best read after one another.

import { type ListVerdict, judge } from '../protocol/consent/allow-list.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { FoundAddress, MessageOf } from '../protocol/control/messages.ts';
import {
  type DeviceId,
  type RecordId,
  type RequestId,
  type SessionId,
  randomRequestId,
} from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MICROS_PER_MS, type Micros, after, ms } from '../protocol/time.ts';
import { type Notice, type NoticeEnd, addressNotice } from './address-notices.ts';
import { type Signed, isSignedBy, signedRequest, verdictOf } from './consent.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import { Budgets, Friends } from './friends.ts';
import { KeptAnswers, callKey } from './kept-answers.ts';
import type { Device, Names } from './names.ts';
import { makeSession } from './new-session.ts';
import { Rates } from './rates.ts';
import { LIVE_PREFIX, type SessionRecord, encodeSession, sessionKey } from './records.ts';
import type { Refusals } from './refusals.ts';
import type { Reintroductions } from './reintroductions.ts';
import type { Sessions } from './sessions.ts';
import { placeOf } from './told-candidates.ts';

/**
 * `waiting`: nobody is asked, or the answer was no; only the deadline is left. `queued`: the callee
 * has as many questions as it may have; asked when it is this one's turn.
 * `asked` → `queried` → `writing`: each step waits for one party.
 */
type State = 'waiting' | 'queued' | 'asked' | 'queried' | 'writing';

/** Why it would be refused as things stand: told only where the operator lets reasons out. */
type Why = NonNullable<MessageOf<'refusal'>['why']>;

interface Introduction {
  readonly key: string;
  readonly connect: MessageOf<'connect'>;
  readonly callerId: DeviceId;
  /**
   * Ours: what the callee and the broker echo. Callers choose their own IDs, so theirs will not do.
   */
  readonly ask: RequestId;
  readonly until: Micros;
  readonly deadline: Deadline;
  /** Undefined if there is nobody to be asked: see `why`. */
  parties: Parties | undefined;
  why: Why;
  state: State;
  answer: Answer | undefined;
  /** When it was handed over, as the broker says, or put again; only ever a reason to ask again. */
  handedAt: Micros | undefined;
}

interface Parties {
  readonly caller: Device;
  readonly callee: Device;
}

/** A callee's yes. */
interface Answer {
  readonly terms: Extract<ListVerdict, { allowed: true }>;
  readonly request: Signed;
  readonly verdict: Signed;
  /** What this boot of the callee put into its answer: its notice echoes it. */
  readonly nonce: RequestId;
  readonly record: RecordId;
  /** What it says about meeting. */
  readonly meeting: Pick<MessageOf<'allowList'>, 'delayMs' | 'relay' | 'share'>;
}

/** All introductions under way. */
export class Introductions {
  readonly #context: Context;
  readonly #names: Names;
  readonly #sessions: Sessions;
  readonly #refusals: Refusals;
  readonly #reintroductions: Reintroductions;
  readonly #rates: Rates;
  readonly #friends = new Friends();
  readonly #budgets = new Budgets<Introduction>();
  /** By caller and its own request ID. */
  readonly #underWay = new Map<string, Introduction>();
  /** Questions that were put, and what became of a yes. */
  readonly #byAsk = new Map<RequestId, Introduction>();
  readonly #perCaller = new Map<DeviceId, number>();
  readonly #kept = new KeptAnswers();

  /** @throws UsageError for rates that are none (`Rates`). */
  constructor(
    context: Context,
    parts: {
      readonly names: Names;
      readonly sessions: Sessions;
      readonly refusals: Refusals;
      readonly reintroductions: Reintroductions;
    },
  ) {
    this.#context = context;
    this.#names = parts.names;
    this.#sessions = parts.sessions;
    this.#refusals = parts.refusals;
    this.#reintroductions = parts.reintroductions;
    this.#rates = new Rates(context.options.rates);
  }

  /** After `Sessions.restore`: who talked with whom before, as far as the store still says. */
  restore(): void {
    for (const which of ['closed', 'open'] as const) {
      for (const row of this.#sessions.rows(which)) this.#friends.add(row);
    }
  }

  /**
   * A connect request [S2001, claim 9]. Its number is bounded first, in all and per caller: what is
   * over the bound is dropped, and the caller's own wait refuses it. Then it is counted, by caller
   * and by name: what is over the rate asks nobody and is refused at its time. A request that is
   * repeated gets the answer it had, or goes on waiting: it never triggers twice, nor later, when
   * its terminal repeats it no more.
   */
  onConnect(now: Micros, from: DeviceId, connect: MessageOf<'connect'>): void {
    const key = callKey(from, connect.request);
    if (this.#underWay.has(key) || this.#repeat(now, from, key)) return;
    if (this.#kept.isOver(now, key)) {
      this.#context.counts.unexpected += 1;
      return;
    }
    const mine = this.#perCaller.get(from) ?? 0;
    if (
      this.#underWay.size >= LIMITS.introductionsMax ||
      mine >= LIMITS.introductionsPerCallerMax
    ) {
      this.#context.counts.overBound += 1;
      return;
    }
    const isWithinRate = this.#rates.take(now, from, connect.calleeName);
    if (!isWithinRate) this.#context.counts.limited += 1;
    const found = isWithinRate ? this.#parties(from, connect) : 'limited';
    const introduction: Introduction = {
      key,
      connect,
      callerId: from,
      ask: randomRequestId(this.#context.options.rng),
      until: after(now, ms(connect.waitMs)),
      deadline: this.#context.deadlines.make((then) => this.#onDeadline(then, introduction)),
      parties: typeof found === 'string' ? undefined : found,
      why: typeof found === 'string' ? found : 'away',
      state: 'waiting',
      answer: undefined,
      handedAt: undefined,
    };
    this.#underWay.set(key, introduction);
    this.#perCaller.set(from, mine + 1);
    this.#context.deadlines.set(introduction.deadline, introduction.until);
    if (introduction.parties !== undefined) this.#ask(now, introduction, introduction.parties);
  }

  /**
   * The callee's list or verdict [S2003], signed by itself. It is searched for the caller [S2004]:
   * not on it, or denied, nothing happens until the deadline; on it [S2005], the addresses are
   * queried [S2006]. False if no introduction asked for it.
   */
  onAllowList(now: Micros, from: DeviceId, message: MessageOf<'allowList'>): boolean {
    const introduction = this.#byAsk.get(message.request);
    if (introduction?.parties === undefined) return false;
    const { parties } = introduction;
    if (introduction.state !== 'asked' || parties.callee.id !== from) {
      this.#context.counts.unexpected += 1;
      return true;
    }
    // The first answer decides, even one that is not signed: the callee's own seal brought it.
    const answer = this.#judge(introduction, parties, message);
    introduction.state = 'waiting';
    introduction.why = 'denied';
    introduction.answer = answer;
    this.#leave(now, introduction);
    if (answer !== undefined) this.#query(now, introduction, parties, answer.record);
    return true;
  }

  /**
   * The broker's answer [S2006]: with both records found the session is made [S2007]; with less,
   * the caller waits out its time.
   */
  onAddressAnswer(now: Micros, message: MessageOf<'addressAnswer'>): void {
    const introduction = this.#byAsk.get(message.request);
    if (introduction?.state !== 'queried' || introduction.parties === undefined) {
      this.#context.counts.unexpected += 1;
      return;
    }
    const { parties, answer, connect } = introduction;
    const of = (device: DeviceId, record: RecordId): FoundAddress | undefined =>
      message.found.find((one) => one.device === device && one.record === record);
    const callerAt = of(parties.caller.id, connect.record);
    const calleeAt = answer && of(parties.callee.id, answer.record);
    if (answer === undefined || callerAt === undefined || calleeAt === undefined) {
      introduction.state = 'waiting';
      return;
    }
    this.#begin(now, introduction, { ...parties, answer, callerAt, calleeAt });
  }

  /**
   * The link to the broker is back. A broker that was started anew has lost what waited there, so
   * every open question is put again; one that has it already goes by the same request.
   */
  onLinkUp(now: Micros): void {
    for (const introduction of this.#underWay.values()) {
      const { state, parties, answer, ask } = introduction;
      if (parties === undefined) continue;
      if (state === 'asked') this.#trigger(now, introduction, parties, ask);
      if (state === 'queried' && answer !== undefined) {
        this.#query(now, introduction, parties, answer.record);
      }
    }
  }

  /**
   * A terminal has a new sealed channel: what it was asked through another one it may be unable to
   * read, so that its open questions are put again, for what is left of their time. Each keeps its
   * own ID, by which a terminal that has read it before knows it.
   */
  onChannel(now: Micros, device: DeviceId): void {
    for (const introduction of this.#budgets.open(device)) this.#askAgain(now, introduction);
  }

  /** The broker handed a question over (S2002). */
  onHanded(now: Micros, trigger: RequestId): void {
    const introduction = this.#byAsk.get(trigger);
    if (introduction !== undefined) introduction.handedAt = now;
  }

  /**
   * A terminal that polls is there again [53, claim 17]: what was handed over while it was leaving
   * for its sleep reached nobody, and is put again. What was handed over just now is on its way.
   */
  onPoll(now: Micros, device: DeviceId): void {
    const before = now - ms(LIMITS.retryFirstMs);
    for (const introduction of this.#budgets.open(device)) {
      const { handedAt = now } = introduction;
      if (handedAt <= before) this.#askAgain(now, introduction);
    }
  }

  /** Puts an open question again, under a new trigger: the broker hands one over only once. */
  #askAgain(now: Micros, introduction: Introduction): void {
    const { parties } = introduction;
    if (parties === undefined) return;
    introduction.handedAt = now;
    const trigger = randomRequestId(this.#context.options.rng);
    this.#trigger(now, introduction, parties, trigger);
  }

  /**
   * A terminal was revoked: what it asked is forgotten, and whoever asked for it is refused at its
   * own time like everybody else.
   */
  onRevoked(now: Micros, device: DeviceId): void {
    for (const introduction of this.#budgets.drop(device)) introduction.state = 'waiting';
    // What is being written is looked at again when it is on disk.
    const open = [...this.#underWay.values()].filter(({ state }) => state !== 'writing');
    const own = open.filter(({ callerId }) => callerId === device);
    // Those that wait their turn go first, so that none of them gets it from another one.
    for (const one of own) if (one.state === 'queued') this.#close(now, one);
    for (const one of own) if (one.state !== 'queued') this.#close(now, one);
    for (const one of open) {
      if (one.parties?.callee.id !== device) continue;
      one.state = 'waiting';
      one.parties = undefined;
      one.why = 'unknown';
    }
  }

  /**
   * Who asks whom [S2001]: only an enrolled terminal, only by a request that it signed itself, only
   * under its own name, only another one. The name is looked up last, after the same work for every
   * name.
   */
  #parties(from: DeviceId, connect: MessageOf<'connect'>): Parties | 'denied' | 'unknown' {
    const caller = this.#names.byId(from);
    if (caller === undefined) return 'denied';
    if (!isSignedBy(this.#context.options.suite, caller.keys, from, connect)) {
      this.#context.counts.badSignature += 1;
      return 'denied';
    }
    const callee = this.#names.byName(connect.calleeName);
    if (caller.name !== connect.callerName || callee === caller) return 'denied';
    return callee === undefined ? 'unknown' : { caller, callee };
  }

  /** Puts the question to the callee, or lets it wait its turn (design §4). */
  #ask(now: Micros, introduction: Introduction, parties: Parties): void {
    const { caller, callee } = parties;
    const isFriend = this.#friends.has({ callerId: caller.id, calleeId: callee.id });
    if (this.#budgets.enter(callee.id, introduction, isFriend)) {
      this.#trigger(now, introduction, parties, introduction.ask);
      return;
    }
    introduction.state = 'queued';
    introduction.why = 'limited';
  }

  /** The callee has one question less: asks the one whose turn it is. */
  #leave(now: Micros, introduction: Introduction): void {
    if (introduction.parties === undefined) return;
    const next = this.#budgets.leave(introduction.parties.callee.id, introduction);
    if (next?.parties !== undefined) this.#trigger(now, next, next.parties, next.ask);
  }

  /**
   * Asks the callee for its list, through the broker [S2002], for as long as the caller waits; with
   * the caller's own signed request, so that the callee need not believe us who asks.
   */
  #trigger(
    now: Micros,
    introduction: Introduction,
    { caller, callee }: Parties,
    request: RequestId,
  ): void {
    const { connect, ask } = introduction;
    introduction.state = 'asked';
    introduction.why = 'away';
    const waitMs = leftMs(now, introduction.until);
    this.#byAsk.set(ask, introduction);
    this.#context.sendTrigger(callee.id, {
      request,
      deadlineMs: waitMs,
      payload: {
        kind: 'ask',
        request: ask,
        callerName: caller.name,
        callerId: caller.id,
        service: connect.service,
        want: connect.want,
        nonce: connect.request,
        callerKeys: caller.keys,
        signature: connect.signature,
        waitMs,
      },
    });
  }

  /**
   * Searches the callee's list for the caller [S2004, S2005]; undefined for a no, or an answer that
   * the callee did not sign for this very request.
   */
  #judge(
    introduction: Introduction,
    { caller, callee }: Parties,
    message: MessageOf<'allowList'>,
  ): Answer | undefined {
    const { suite } = this.#context.options;
    const { connect } = introduction;
    const request = signedRequest(caller.id, connect);
    const verdict = verdictOf(suite, callee.keys, message, {
      calleeId: callee.id,
      callerId: caller.id,
      asked: suite.blake2s(request.statement),
    });
    if (verdict === undefined) {
      this.#context.counts.badSignature += 1;
      return undefined;
    }
    const terms = judge(message.entries, {
      callerName: caller.name,
      callerId: caller.id,
      service: connect.service,
      want: connect.want,
      kind: 'connect',
      approved: message.approved,
    });
    const { record, nonce, delayMs, relay, share } = message;
    if (!terms.allowed || record === undefined) return undefined;
    return { terms, request, verdict, nonce, record, meeting: { delayMs, relay, share } };
  }

  /** The address query names both records; it exists only behind a yes [S2006]. */
  #query(now: Micros, introduction: Introduction, parties: Parties, calleeRecord: RecordId): void {
    introduction.state = 'queried';
    introduction.why = 'server';
    this.#context.sendQuery({
      kind: 'addressQuery',
      request: introduction.ask,
      wanted: [
        { device: parties.caller.id, record: introduction.connect.record },
        { device: parties.callee.id, record: calleeRecord },
      ],
      waitMs: Math.min(LIMITS.recordWaitMs, leftMs(now, introduction.until)),
    });
  }

  /**
   * Makes the session [S2007] (new-session.ts). It is on disk, with what caller and callee signed,
   * before anybody is told.
   */
  #begin(now: Micros, introduction: Introduction, found: Found): void {
    const { caller, callee, answer } = found;
    if (!this.#sessions.hasRoom(caller.id, callee.id)) {
      introduction.state = 'waiting';
      this.#context.counts.overBound += 1;
      return;
    }
    const { service, want } = introduction.connect;
    const agreed = { caller, callee, service, want, answer };
    const { row, entry, notice } = makeSession(this.#context, now, agreed);
    introduction.state = 'writing';
    const release = this.#sessions.reserve(row);
    this.#context.ledger.add(now, {
      entries: [entry],
      writes: () => [
        { table: 'sessions', key: sessionKey(LIVE_PREFIX, row), value: encodeSession(row) },
      ],
      persisted: (then) => {
        release();
        this.#sessions.begin(then, row);
        this.#onBegun(then, introduction, { ...found, row }, notice);
      },
      failed: (then) => {
        release();
        this.#giveUp(then, introduction);
      },
    });
  }

  /**
   * The grant is on disk. If one of both was revoked meanwhile its session is over already
   * (`Sessions.begin`) and nobody learns of it: the key is forgotten here.
   */
  #onBegun(now: Micros, introduction: Introduction, begun: Begun, notice: Notice): void {
    const { caller, callee } = begun;
    const isHere = (device: Device): boolean => this.#names.byId(device.id) !== undefined;
    if (!isHere(caller)) this.#close(now, introduction);
    else if (!isHere(callee)) this.#giveUp(now, introduction);
    else this.#notify(now, introduction, begun, notice);
  }

  /** No session came of it after all: the caller waits out its time, if there is any left. */
  #giveUp(now: Micros, introduction: Introduction): void {
    introduction.state = 'waiting';
    if (introduction.until <= now) this.#refuse(now, introduction);
  }

  /**
   * Tells the caller [S2008] and the callee [S2009]: same grant, same key, the other's addresses,
   * each under the nonce that its present boot put into its own signed word. The caller is shown
   * what the callee signed. From now on it is no stranger there, and its request was not in vain.
   */
  #notify(now: Micros, introduction: Introduction, begun: Begun, notice: Notice): void {
    const { caller, callee, answer, row } = begun;
    const { connect } = introduction;
    this.#context.counts.introduced += 1;
    this.#friends.add({ callerId: caller.id, calleeId: callee.id });
    this.#rates.giveBack(now, caller.id, connect.calleeName);
    const ends = endsOf(introduction, begun);
    const places = { caller: ends.caller.place, callee: ends.callee.place };
    this.#reintroductions.begin(now, row.session, places);
    const [own, peer] = [ends.caller, ends.callee];
    const toCaller = addressNotice(this.#context, now, { row, notice, side: 'caller', own, peer });
    const { statement: verdict, signature: verdictSignature } = answer.verdict;
    const bytes = encodeMessage({ ...toCaller, verdict, verdictSignature });
    this.#answer(now, introduction, bytes, row.session);
    const toCallee = { row, notice, side: 'callee', own: peer, peer: own } as const;
    this.#context.sendDown(callee.id, addressNotice(this.#context, now, toCallee));
    this.#close(now, introduction);
  }

  #onDeadline(now: Micros, introduction: Introduction): void {
    // A grant that is being written is no longer refused: it is durable, or fails, in a moment.
    if (introduction.state !== 'writing') this.#refuse(now, introduction);
  }

  /**
   * The one refusal [S2010]: same bytes but for the request, same instant, whether the callee said
   * no, is unknown, asleep or away, the caller asked too often, or the disk was full. It leaves
   * before anything is put away that only some of them have.
   */
  #refuse(now: Micros, introduction: Introduction): void {
    const { connect, callerId, why } = introduction;
    const { explain } = this.#context.options;
    const refusal = { kind: 'refusal', request: connect.request, code: 'refused' } as const;
    this.#answer(now, introduction, encodeMessage(explain ? { ...refusal, why } : refusal));
    this.#close(now, introduction);
    this.#refusals.count(now, callerId, connect.calleeName);
  }

  #answer(now: Micros, introduction: Introduction, bytes: Uint8Array, session?: SessionId): void {
    const { callerId, key, until } = introduction;
    this.#context.sendDownBytes(callerId, bytes);
    // A terminal asks again as long as it waits, and a little longer for what is on its way.
    this.#kept.keep(now, key, { bytes, session, waitsUntil: until });
  }

  /**
   * Sends a kept answer again; false if there is none. Of a session that is over, or whose end was
   * ordered, nobody is told any more: its caller would begin a talk that nobody can end.
   */
  #repeat(now: Micros, from: DeviceId, key: string): boolean {
    const answer = this.#kept.find(now, key);
    if (answer === undefined) return false;
    const { bytes, session } = answer;
    const row = session === undefined ? undefined : this.#sessions.open(session)?.row;
    const isLive = row !== undefined && row.reason === undefined;
    if (session === undefined || isLive) this.#context.sendDownBytes(from, bytes);
    return true;
  }

  #close(now: Micros, introduction: Introduction): void {
    const { key, ask, callerId, deadline } = introduction;
    this.#context.deadlines.stop(deadline);
    this.#underWay.delete(key);
    this.#byAsk.delete(ask);
    const left = (this.#perCaller.get(callerId) ?? 1) - 1;
    if (left > 0) this.#perCaller.set(callerId, left);
    else this.#perCaller.delete(callerId);
    this.#leave(now, introduction);
  }
}

/** Whole milliseconds from `now` to an instant; 0 if it is past. */
const leftMs = (now: Micros, until: Micros): number =>
  Math.max(0, Math.floor((until - now) / MICROS_PER_MS));

/** Everything that a session is made of. */
interface Found extends Parties {
  readonly answer: Answer;
  readonly callerAt: FoundAddress;
  readonly calleeAt: FoundAddress;
}

/** Its grant is on disk. */
interface Begun extends Found {
  readonly row: SessionRecord;
}

/** Both ends as their notices are made: what the broker found, and what each said itself. */
function endsOf(
  { connect }: Introduction,
  { caller, callee, answer, callerAt, calleeAt }: Begun,
): { readonly caller: NoticeEnd; readonly callee: NoticeEnd } {
  const { meeting, nonce } = answer;
  return {
    caller: {
      device: caller,
      nonce: connect.request,
      candidates: callerAt.candidates,
      place: placeOf(callerAt, connect.relay),
      delayMs: connect.delayMs,
      share: connect.share,
    },
    callee: {
      device: callee,
      nonce,
      candidates: calleeAt.candidates,
      place: placeOf(calleeAt, meeting.relay),
      delayMs: meeting.delayMs,
      share: meeting.share,
    },
  };
}
