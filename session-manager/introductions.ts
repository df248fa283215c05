// The introduction [42, 43]: a connect request becomes a trigger, the callee's list is searched,
// and only on a yes are addresses queried, a session made and both terminals told. Everything else
// is one refusal that leaves exactly when the caller's own wait is over, so that it tells nothing
// (design §4).

import { type ListVerdict, grantFor, judge } from '../protocol/consent/allow-list.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { Candidate, MessageOf } from '../protocol/control/messages.ts';
import { topic } from '../protocol/control/topics.ts';
import { KEY_BYTES } from '../protocol/crypto.ts';
import { encodeGrant } from '../protocol/grant.ts';
import { signed } from '../protocol/identity/signed.ts';
import {
  type DeviceId,
  type RecordId,
  type RequestId,
  randomRequestId,
  randomSessionId,
} from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { randomBytes } from '../protocol/random.ts';
import { MICROS_PER_MS, type Micros, after, ms } from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { Device, Names } from './names.ts';
import { LIVE_PREFIX, RECORD, type SessionRecord, encodeSession, sessionKey } from './records.ts';
import type { Refusals } from './refusals.ts';
import type { Sessions } from './sessions.ts';

/**
 * `waiting`: nobody was asked, or the answer was no; only the deadline is left.
 * `asked` → `queried` → `writing`: each step waits for one party.
 */
type State = 'waiting' | 'asked' | 'queried' | 'writing';

interface Introduction {
  readonly key: string;
  readonly connect: MessageOf<'connect'>;
  readonly callerId: DeviceId;
  /** Undefined if the sender may not call by this name, or the name is nobody's. */
  readonly parties: { readonly caller: Device; readonly callee: Device } | undefined;
  /**
   * Ours: what the callee and the broker echo. Callers choose their own IDs, so theirs will not do.
   */
  readonly ask: RequestId;
  readonly until: Micros;
  readonly deadline: Deadline;
  state: State;
  answer: Answer | undefined;
}

/** A callee's yes. */
interface Answer {
  readonly verdict: Extract<ListVerdict, { allowed: true }>;
  readonly verdictHash: Uint8Array;
  readonly record: RecordId;
}

/** An answer that is kept for a repeated request until the caller's wait is over. */
interface Kept {
  readonly bytes: Uint8Array;
  readonly until: Micros;
}

/** All introductions under way. */
export class Introductions {
  readonly #context: Context;
  readonly #names: Names;
  readonly #sessions: Sessions;
  readonly #refusals: Refusals;
  /** By caller and its own request ID. */
  readonly #underWay = new Map<string, Introduction>();
  readonly #byAsk = new Map<RequestId, Introduction>();
  readonly #perCaller = new Map<DeviceId, number>();
  readonly #kept = new Map<string, Kept>();

  constructor(context: Context, names: Names, sessions: Sessions, refusals: Refusals) {
    this.#context = context;
    this.#names = names;
    this.#sessions = sessions;
    this.#refusals = refusals;
  }

  /**
   * A connect request [S2001, claim 9]. Its number is bounded first, in all and per caller: what is
   * over the bound is dropped, and the caller's own wait refuses it. A request that is repeated
   * gets the answer it had, or goes on waiting: it never triggers twice.
   */
  onConnect(now: Micros, from: DeviceId, connect: MessageOf<'connect'>): void {
    const key = `${from}/${connect.request}`;
    if (this.#underWay.has(key) || this.#repeat(now, from, key)) return;
    const mine = this.#perCaller.get(from) ?? 0;
    if (
      this.#underWay.size >= LIMITS.introductionsMax ||
      mine >= LIMITS.introductionsPerCallerMax
    ) {
      this.#context.counts.overBound += 1;
      return;
    }
    const introduction: Introduction = {
      key,
      connect,
      callerId: from,
      parties: this.#parties(from, connect),
      ask: randomRequestId(this.#context.options.rng),
      until: after(now, ms(connect.waitMs)),
      deadline: this.#context.deadlines.make((then) => this.#onDeadline(then, introduction)),
      state: 'waiting',
      answer: undefined,
    };
    this.#underWay.set(key, introduction);
    this.#perCaller.set(from, mine + 1);
    this.#context.deadlines.set(introduction.deadline, introduction.until);
    if (introduction.parties !== undefined) this.#trigger(now, introduction);
  }

  /**
   * The callee's list or verdict [S2003]. It is searched for the caller [S2004]: not on it, or
   * denied, nothing happens until the deadline; on it [S2005], the addresses are queried [S2006].
   * False if no introduction asked for it.
   */
  onAllowList(
    now: Micros,
    from: DeviceId,
    message: MessageOf<'allowList'>,
    bytes: Uint8Array,
  ): boolean {
    const introduction = this.#byAsk.get(message.request);
    if (introduction === undefined || introduction.parties === undefined) return false;
    if (introduction.state !== 'asked' || introduction.parties.callee.id !== from) {
      this.#context.counts.unexpected += 1;
      return true;
    }
    const { caller } = introduction.parties;
    const verdict = judge(message.entries, {
      callerName: caller.name,
      callerId: caller.id,
      service: introduction.connect.service,
      want: introduction.connect.want,
      kind: 'connect',
    });
    if (!verdict.allowed || message.record === undefined) {
      introduction.state = 'waiting';
      return true;
    }
    introduction.answer = {
      verdict,
      verdictHash: this.#context.options.suite.blake2s(bytes),
      record: message.record,
    };
    this.#query(now, introduction, introduction.parties, message.record);
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
    const of = (device: DeviceId, record: RecordId): readonly Candidate[] | undefined =>
      message.found.find((one) => one.device === device && one.record === record)?.candidates;
    const callerAt = of(parties.caller.id, connect.record);
    const calleeAt = answer && of(parties.callee.id, answer.record);
    if (answer === undefined || callerAt === undefined || calleeAt === undefined) {
      introduction.state = 'waiting';
      return;
    }
    this.#begin(now, introduction, { ...parties, answer, callerAt, calleeAt });
  }

  /** [S2001] Who asks whom: only an enrolled terminal, only under its own name, only to another. */
  #parties(from: DeviceId, connect: MessageOf<'connect'>): Introduction['parties'] {
    const caller = this.#names.byId(from);
    const callee = this.#names.byName(connect.calleeName);
    if (caller === undefined || caller.name !== connect.callerName) return undefined;
    return callee === undefined || callee === caller ? undefined : { caller, callee };
  }

  /**
   * The link to the broker is back. A broker that was started anew has lost what waited there, so
   * every open question is put again; one that has it already goes by the same request.
   */
  onLinkUp(now: Micros): void {
    for (const introduction of this.#underWay.values()) {
      const { state, parties, answer } = introduction;
      if (state === 'asked') this.#trigger(now, introduction);
      if (state === 'queried' && parties !== undefined && answer !== undefined) {
        this.#query(now, introduction, parties, answer.record);
      }
    }
  }

  /** Asks the callee for its list, through the broker [S2002], for as long as the caller waits. */
  #trigger(now: Micros, introduction: Introduction): void {
    const { connect, parties, ask } = introduction;
    if (parties === undefined) return;
    introduction.state = 'asked';
    this.#byAsk.set(ask, introduction);
    this.#context.sendTrigger(parties.callee.id, {
      request: ask,
      deadlineMs: leftMs(now, introduction.until),
      payload: {
        kind: 'ask',
        request: ask,
        callerName: parties.caller.name,
        callerId: parties.caller.id,
        service: connect.service,
        want: connect.want,
      },
    });
  }

  /** The address query names both records; it exists only behind a yes [S2006]. */
  #query(
    now: Micros,
    introduction: Introduction,
    parties: { readonly caller: Device; readonly callee: Device },
    calleeRecord: RecordId,
  ): void {
    introduction.state = 'queried';
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
   * Makes session ID, key [claim 16] and expiry [S2007, claim 10]: in time [claim 14], in bytes
   * [claim 15] or both, the least of what caller, callee and operator say. The grant is signed once
   * and on disk before anybody is told.
   */
  #begin(now: Micros, introduction: Introduction, found: Found): void {
    const { rng, key, policy } = this.#context.options;
    const { caller, callee, answer } = found;
    if (!this.#sessions.hasRoom()) {
      introduction.state = 'waiting';
      this.#context.counts.overBound += 1;
      return;
    }
    const { service, want } = introduction.connect;
    const terms = grantFor(want, answer.verdict, policy);
    const facts = {
      session: randomSessionId(rng),
      callerId: caller.id,
      calleeId: callee.id,
      callerName: caller.name,
      calleeName: callee.name,
      service,
      seconds: terms.seconds,
      bytes: terms.bytes,
    };
    const grant = encodeGrant({ version: 1, ...facts, verdict: answer.verdictHash });
    const notice = {
      grant,
      signature: signed(key, 'grant', grant),
      key: randomBytes(rng, KEY_BYTES),
    };
    const begun = this.#context.wall.at(now);
    const row: SessionRecord = {
      ...RECORD,
      ...facts,
      begun,
      revision: 0,
      forced: false,
      closed: false,
    };
    introduction.state = 'writing';
    const release = this.#sessions.reserve();
    this.#context.ledger.add(now, {
      entries: [{ kind: 'introduced', ...facts, verdict: answer.verdictHash }],
      writes: () => [
        { table: 'sessions', key: sessionKey(LIVE_PREFIX, row), value: encodeSession(row) },
      ],
      persisted: (then) => {
        release();
        this.#sessions.begin(then, row);
        this.#notify(then, introduction, found, notice);
      },
      failed: (then) => {
        release();
        introduction.state = 'waiting';
        if (introduction.until <= then) this.#refuse(then, introduction);
      },
    });
  }

  /**
   * Tells the caller [S2008] and the callee [S2009]: same grant, same key, the other's addresses.
   */
  #notify(now: Micros, introduction: Introduction, found: Found, notice: Notice): void {
    const { caller, callee } = found;
    this.#context.counts.introduced += 1;
    const toCaller = encodeMessage({
      kind: 'addressNotice',
      request: introduction.connect.request,
      ...notice,
      peerKeys: callee.keys,
      peerCandidates: found.calleeAt,
    });
    const toCallee = encodeMessage({
      kind: 'addressNotice',
      request: introduction.ask,
      ...notice,
      peerKeys: caller.keys,
      peerCandidates: found.callerAt,
    });
    this.#close(introduction);
    this.#answer(now, introduction, toCaller);
    this.#context.emit({ kind: 'publish', topic: topic('down', callee.id), bytes: toCallee });
  }

  #onDeadline(now: Micros, introduction: Introduction): void {
    // A grant that is being written is no longer refused: it is durable, or fails, in a moment.
    if (introduction.state !== 'writing') this.#refuse(now, introduction);
  }

  /**
   * The one refusal [S2010]: same bytes but for the request, same instant, whether the callee said
   * no, is unknown, asleep or away, or the disk was full.
   */
  #refuse(now: Micros, introduction: Introduction): void {
    const { connect, callerId } = introduction;
    this.#close(introduction);
    const refusal = { kind: 'refusal', request: connect.request, code: 'refused' } as const;
    this.#answer(now, introduction, encodeMessage(refusal));
    this.#refusals.count(now, callerId, connect.calleeName);
  }

  #answer(now: Micros, introduction: Introduction, bytes: Uint8Array): void {
    const { callerId, key, until } = introduction;
    this.#context.emit({ kind: 'publish', topic: topic('down', callerId), bytes });
    // A terminal asks again as long as it waits, and a little longer for what is on its way.
    this.#dropKept(now);
    this.#kept.set(key, { bytes, until: after(until, ms(LIMITS.answerGraceMs)) });
  }

  /** Sends a kept answer again; false if there is none. */
  #repeat(now: Micros, from: DeviceId, key: string): boolean {
    const kept = this.#kept.get(key);
    if (kept === undefined || kept.until <= now) return false;
    this.#context.emit({ kind: 'publish', topic: topic('down', from), bytes: kept.bytes });
    return true;
  }

  /** Forgets the oldest answers that are past their time, and the oldest of all at the bound. */
  #dropKept(now: Micros): void {
    for (const [key, { until }] of this.#kept) {
      if (until > now && this.#kept.size < MANAGER_LIMITS.answersMax) break;
      this.#kept.delete(key);
    }
  }

  #close(introduction: Introduction): void {
    const { key, ask, callerId, deadline } = introduction;
    this.#context.deadlines.stop(deadline);
    this.#underWay.delete(key);
    this.#byAsk.delete(ask);
    const left = (this.#perCaller.get(callerId) ?? 1) - 1;
    if (left > 0) this.#perCaller.set(callerId, left);
    else this.#perCaller.delete(callerId);
  }
}

/** Whole milliseconds from `now` to an instant; 0 if it is past. */
const leftMs = (now: Micros, until: Micros): number =>
  Math.max(0, Math.floor((until - now) / MICROS_PER_MS));

/** Everything that a session is made of. */
interface Found {
  readonly caller: Device;
  readonly callee: Device;
  readonly answer: Answer;
  readonly callerAt: readonly Candidate[];
  readonly calleeAt: readonly Candidate[];
}

/** What both notices have in common [Fig. 4]; the key lives only until they are sent. */
interface Notice {
  readonly grant: Uint8Array;
  readonly signature: Uint8Array;
  readonly key: Uint8Array;
}
