// A later expiry of a running talk [45]: one end asks, the callee's owner is asked again, and the
// new totals go to both ends, on disk first. Both ends may ask for the same revision; one trigger
// serves them. No answer in LIMITS.waitMsDefault, or no, and the old expiry stands.

import { type ListVerdict, grantFor, judge } from '../protocol/consent/allow-list.ts';
import type { MessageOf, Terms } from '../protocol/control/messages.ts';
import { encodeExpiry } from '../protocol/grant.ts';
import { signed } from '../protocol/identity/signed.ts';
import { type DeviceId, type RequestId, type SessionId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, ms } from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import { MANAGER_LIMITS } from './limits.ts';
import { type Session, type Sessions, elapsedSeconds, sideOf } from './sessions.ts';

type Refused = MessageOf<'refusal'>['code'];

interface Extension {
  readonly session: Session;
  readonly id: SessionId;
  readonly revision: number;
  readonly want: Terms;
  /** Ours: what the callee echoes. */
  readonly ask: RequestId;
  /** Who waits, each under its own request: at most both ends. */
  readonly askers: Map<DeviceId, RequestId>;
  readonly deadline: Deadline;
  state: 'asked' | 'writing' | 'resting';
}

/** Extensions under way: at most one for each session. */
export class Extensions {
  readonly #context: Context;
  readonly #sessions: Sessions;
  readonly #bySession = new Map<SessionId, Extension>();
  readonly #byAsk = new Map<RequestId, Extension>();

  constructor(context: Context, sessions: Sessions) {
    this.#context = context;
    this.#sessions = sessions;
  }

  /**
   * An end asks for a later expiry [S6002]: only of its own live session, only for the next
   * revision. One that exists already is told again; one that is being asked for is waited for.
   */
  onExtend(now: Micros, from: DeviceId, message: MessageOf<'extend'>): void {
    const { request, revision } = message;
    const session = this.#sessions.open(message.session);
    if (session === undefined || sideOf(session.row, from) === undefined) {
      this.#refuse(from, request, 'no-session');
      return;
    }
    const underWay = this.#bySession.get(message.session);
    if (underWay?.state === 'resting') {
      this.#refuse(from, request, 'refused');
      return;
    }
    if (underWay?.revision === revision) {
      underWay.askers.set(from, request);
      return;
    }
    if (revision >= 1 && revision <= session.row.revision && underWay?.state !== 'writing') {
      this.#sendExpiry(session, new Map([[from, request]]), [from]);
      return;
    }
    if (session.row.reason !== undefined) {
      this.#refuse(from, request, 'no-session');
      return;
    }
    const isNext = revision === session.row.revision + 1 && underWay === undefined;
    if (!isNext || this.#bySession.size >= MANAGER_LIMITS.extensionsMax) {
      this.#refuse(from, request, 'refused');
      return;
    }
    this.#ask(now, session, from, message);
  }

  /**
   * The callee's list in answer to an extension [S6002, S6003]: judged by the same evaluator, and
   * never beyond the operator's limit. False if no extension asked for it.
   */
  onAllowList(now: Micros, from: DeviceId, message: MessageOf<'allowList'>): boolean {
    const extension = this.#byAsk.get(message.request);
    if (extension === undefined) return false;
    const { session, want } = extension;
    const { row } = session;
    if (extension.state !== 'asked' || row.calleeId !== from) {
      this.#context.counts.unexpected += 1;
      return true;
    }
    const current = {
      seconds: row.seconds,
      bytes: row.bytes,
      elapsedSeconds: elapsedSeconds(now, session),
    };
    const verdict = judge(message.entries, {
      callerName: row.callerName,
      callerId: row.callerId,
      service: row.service,
      want,
      kind: 'extend',
      current,
    });
    const terms = verdict.allowed ? this.#terms(verdict, extension) : undefined;
    if (terms === undefined) this.#decline(now, extension);
    else if (row.reason !== undefined) this.#unused(now, extension, terms);
    else this.#grant(now, extension, terms);
    return true;
  }

  #ask(now: Micros, session: Session, from: DeviceId, message: MessageOf<'extend'>): void {
    const { row } = session;
    const ask = randomRequestId(this.#context.options.rng);
    const extension: Extension = {
      session,
      id: row.session,
      revision: message.revision,
      want: message.want,
      ask,
      askers: new Map([[from, message.request]]),
      deadline: this.#context.deadlines.make((at) => {
        if (extension.state === 'resting') this.#forget(extension);
        else this.#decline(at, extension);
      }),
      state: 'asked',
    };
    this.#bySession.set(row.session, extension);
    this.#byAsk.set(ask, extension);
    this.#context.deadlines.set(extension.deadline, after(now, ms(LIMITS.waitMsDefault)));
    this.#context.sendTrigger(row.calleeId, {
      request: ask,
      deadlineMs: LIMITS.waitMsDefault,
      payload: {
        kind: 'askExtend',
        request: ask,
        session: row.session,
        callerName: row.callerName,
        callerId: row.callerId,
        service: row.service,
        want: message.want,
      },
    });
  }

  /** The new totals, or undefined if they give nothing more than there is. */
  #terms(
    verdict: Extract<ListVerdict, { allowed: true }>,
    { session, want }: Extension,
  ): NewTerms | undefined {
    const { row } = session;
    const current = { seconds: row.seconds, bytes: row.bytes };
    const terms = grantFor(want, verdict, this.#context.options.policy, current);
    const isMore =
      terms.seconds > row.seconds ||
      (terms.bytes !== undefined && row.bytes !== undefined && terms.bytes > row.bytes);
    return isMore ? terms : undefined;
  }

  /** The new expiry is on disk and in the log before either end hears of it [S6003, claim 11]. */
  #grant(now: Micros, extension: Extension, terms: NewTerms): void {
    const { session, revision, id } = extension;
    const { seconds, bytes } = terms;
    extension.state = 'writing';
    this.#context.deadlines.stop(extension.deadline);
    const undo = this.#sessions.extend(session, { seconds, bytes, revision });
    this.#context.ledger.add(now, {
      entries: [{ kind: 'extended', session: id, revision, seconds, bytes }],
      writes: () => this.#sessions.writes(session),
      persisted: () => {
        this.#forget(extension);
        const { callerId, calleeId } = session.row;
        this.#sendExpiry(session, extension.askers, [callerId, calleeId]);
        this.#sessions.tellExtended(session);
      },
      failed: () => {
        undo();
        this.#fail(extension, 'disk');
      },
    });
  }

  /** Allowed, but the talk has ended meanwhile: only the log learns of it (design §5). */
  #unused(now: Micros, extension: Extension, { seconds, bytes }: NewTerms): void {
    const { id, revision } = extension;
    this.#fail(extension, 'no-session');
    this.#context.ledger.add(now, {
      entries: [{ kind: 'unused', session: id, revision, seconds, bytes }],
      writes: () => [],
      persisted: () => {},
      failed: () => {},
    });
  }

  /**
   * Tells the session's expiry as it stands [S6003]: an asker under its own request, the other end
   * under a new one. Ed25519 is deterministic: telling it again gives the same bytes.
   */
  #sendExpiry(
    session: Session,
    askers: ReadonlyMap<DeviceId, RequestId>,
    to: readonly DeviceId[],
  ): void {
    const { key, rng } = this.#context.options;
    const { session: id, revision, seconds, bytes } = session.row;
    const expiry = encodeExpiry({ version: 1, session: id, revision, seconds, bytes });
    const signature = signed(key, 'expiry', expiry);
    for (const device of to) {
      const request = askers.get(device) ?? randomRequestId(rng);
      this.#context.sendDown(device, { kind: 'newExpiry', request, expiry, signature });
    }
  }

  /** A no, or no answer: whoever asked is told, and the callee is left alone for a while. */
  #decline(now: Micros, extension: Extension): void {
    for (const [device, request] of extension.askers) this.#refuse(device, request, 'refused');
    extension.state = 'resting';
    this.#context.deadlines.set(extension.deadline, after(now, ms(LIMITS.extendPauseMs)));
  }

  #fail(extension: Extension, code: Refused): void {
    this.#forget(extension);
    for (const [device, request] of extension.askers) this.#refuse(device, request, code);
  }

  #forget(extension: Extension): void {
    this.#context.deadlines.stop(extension.deadline);
    this.#bySession.delete(extension.id);
    this.#byAsk.delete(extension.ask);
  }

  #refuse(device: DeviceId, request: RequestId, code: Refused): void {
    this.#context.sendDown(device, { kind: 'refusal', request, code });
  }
}

interface NewTerms {
  readonly seconds: number;
  readonly bytes?: number | undefined;
}
