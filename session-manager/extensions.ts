// A later expiry of a running talk [45]: one end asks, the callee's owner is asked again, and the
// new totals go to both ends, on disk first. Both ends may ask for the same revision; one trigger
// serves them. No answer in LIMITS.waitMsDefault, or no, and the old expiry stands. The wish and
// the verdict are signed by the terminals themselves (design §3); both go into the log.

import { type ListVerdict, grantFor, judge } from '../protocol/consent/allow-list.ts';
import { encodeExtension, extensionHash, isExtensionOf } from '../protocol/consent/statements.ts';
import type { MessageOf, Terms } from '../protocol/control/messages.ts';
import { encodeExpiry } from '../protocol/grant.ts';
import { signed } from '../protocol/identity/signed.ts';
import { type DeviceId, type RequestId, type SessionId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MICROS_PER_MS, type Micros, after, ms, seconds } from '../protocol/time.ts';
import { type Signed, consentProof, verdictOf } from './consent.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { Device, Names } from './names.ts';
import { sideOf } from './records.ts';
import { type Session, type Sessions, elapsedSeconds } from './sessions.ts';

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
  /** As the first of them signed it. */
  readonly request: Signed;
  readonly until: Micros;
  readonly deadline: Deadline;
  state: 'asked' | 'writing' | 'resting';
}

/** Extensions under way: at most one for each session. */
export class Extensions {
  readonly #context: Context;
  readonly #names: Names;
  readonly #sessions: Sessions;
  readonly #bySession = new Map<SessionId, Extension>();
  /** How often each terminal has asked in its last second. */
  readonly #asked = new WeakMap<Device, { readonly from: Micros; readonly times: number }>();
  /** Open questions. */
  readonly #byAsk = new Map<RequestId, Extension>();

  constructor(context: Context, names: Names, sessions: Sessions) {
    this.#context = context;
    this.#names = names;
    this.#sessions = sessions;
  }

  /**
   * An end asks for a later expiry [S6002]: only of its own live session, only for the next
   * revision, only with its own signature. One that exists already is told again; one that is being
   * asked for is waited for.
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
    // Who waits already has signed; a repetition is not verified again.
    if (underWay?.askers.get(from) === request) return;
    const asker = this.#names.byId(from);
    if (asker === undefined || !this.#isWithinRate(now, asker)) {
      this.#context.counts.overBound += 1;
      return;
    }
    if (!this.#isSigned(asker, message)) {
      this.#context.counts.badSignature += 1;
      this.#refuse(from, request, 'refused');
      return;
    }
    if (underWay?.revision === revision) {
      underWay.askers.set(from, request);
      return;
    }
    if (session.row.reason !== undefined) {
      this.#refuse(from, request, 'no-session');
      return;
    }
    if (revision >= 1 && revision <= session.row.revision && underWay?.state !== 'writing') {
      this.#sendExpiry(session, new Map([[from, request]]), [from]);
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
   * The callee's list in answer to an extension [S6002, S6003], signed by itself: judged by the
   * same evaluator, and never beyond the operator's limit. False if no extension asked for it.
   */
  onAllowList(now: Micros, from: DeviceId, message: MessageOf<'allowList'>): boolean {
    const extension = this.#byAsk.get(message.request);
    if (extension === undefined) return false;
    const { row } = extension.session;
    if (row.calleeId !== from) {
      this.#context.counts.unexpected += 1;
      return true;
    }
    this.#byAsk.delete(extension.ask);
    const granted = this.#judge(now, extension, message);
    if (granted === undefined) this.#decline(now, extension);
    else if (row.reason !== undefined) this.#unused(now, extension, granted);
    else this.#grant(now, extension, granted);
    return true;
  }

  /**
   * A terminal has a new sealed channel: it is asked again what is open, for what is left of the
   * time; under a new trigger each, since the broker hands one over only once.
   */
  onChannel(now: Micros, device: DeviceId): void {
    for (const extension of this.#byAsk.values()) {
      if (extension.session.row.calleeId !== device) continue;
      this.#trigger(now, extension, randomRequestId(this.#context.options.rng));
    }
  }

  /** A terminal was revoked: nothing of its talks is extended any more. */
  onRevoked(now: Micros, device: DeviceId): void {
    for (const extension of this.#byAsk.values()) {
      if (sideOf(extension.session.row, device) !== undefined) this.#fail(extension, 'no-session');
    }
  }

  #ask(now: Micros, session: Session, from: DeviceId, message: MessageOf<'extend'>): void {
    const { row } = session;
    const ask = randomRequestId(this.#context.options.rng);
    const { request, revision, want } = message;
    const until = after(now, ms(LIMITS.waitMsDefault));
    const extension: Extension = {
      session,
      id: row.session,
      revision,
      want,
      ask,
      askers: new Map([[from, request]]),
      request: {
        statement: encodeExtension({ ...message, askerId: from }),
        signature: message.signature,
      },
      until,
      deadline: this.#context.deadlines.make((at) => {
        if (extension.state === 'resting') this.#forget(extension);
        else this.#decline(at, extension);
      }),
      state: 'asked',
    };
    this.#bySession.set(row.session, extension);
    this.#byAsk.set(ask, extension);
    this.#context.deadlines.set(extension.deadline, until);
    this.#trigger(now, extension, ask);
  }

  #trigger(now: Micros, { session, ask, want, until }: Extension, request: RequestId): void {
    const { row } = session;
    this.#context.sendTrigger(row.calleeId, {
      request,
      deadlineMs: Math.max(0, Math.floor((until - now) / MICROS_PER_MS)),
      payload: {
        kind: 'askExtend',
        request: ask,
        session: row.session,
        callerName: row.callerName,
        callerId: row.callerId,
        service: row.service,
        want,
      },
    });
  }

  /** Counts a wish; what is too much for one second is dropped, and comes again if it is meant. */
  #isWithinRate(now: Micros, asker: Device): boolean {
    const last = this.#asked.get(asker);
    const second = last !== undefined && now < after(last.from, seconds(1)) ? last : undefined;
    const { from, times } = second ?? { from: now, times: 0 };
    this.#asked.set(asker, { from, times: times + 1 });
    return times < MANAGER_LIMITS.extendsPerSecondMax;
  }

  #isSigned(asker: Device, message: MessageOf<'extend'>): boolean {
    const { suite } = this.#context.options;
    const asked = { ...message, askerId: asker.id };
    return isExtensionOf(suite, asker.keys.ed25519, asked, message.signature);
  }

  /** The new totals and who signed for them; undefined for a no, or one that nobody signed. */
  #judge(now: Micros, extension: Extension, message: MessageOf<'allowList'>): Granted | undefined {
    const { session, want } = extension;
    const { row } = session;
    const { suite } = this.#context.options;
    const callee = this.#names.byId(row.calleeId);
    if (callee === undefined) return undefined;
    const verdict = verdictOf(suite, callee.keys, message, {
      calleeId: row.calleeId,
      callerId: row.callerId,
      asked: extensionHash(suite, { session: row.session, want }),
    });
    if (verdict === undefined) {
      this.#context.counts.badSignature += 1;
      return undefined;
    }
    const judged = judge(message.entries, {
      callerName: row.callerName,
      callerId: row.callerId,
      service: row.service,
      want,
      kind: 'extend',
      current: {
        seconds: row.seconds,
        bytes: row.bytes,
        elapsedSeconds: elapsedSeconds(now, session),
      },
      approved: message.approved,
    });
    const terms = judged.allowed ? this.#terms(judged, extension) : undefined;
    return terms && { ...terms, verdict };
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
  #grant(now: Micros, extension: Extension, granted: Granted): void {
    const { session, revision } = extension;
    const { seconds, bytes } = granted;
    extension.state = 'writing';
    this.#context.deadlines.stop(extension.deadline);
    const undo = this.#sessions.extend(session, { seconds, bytes, revision });
    this.#context.ledger.add(now, {
      entries: [{ kind: 'extended', ...this.#facts(extension, granted) }],
      writes: () => this.#sessions.writes(session),
      persisted: () => {
        // Ended meanwhile, or its end is ordered: nobody may go on by it.
        if (session.row.reason !== undefined) return this.#fail(extension, 'no-session');
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
  #unused(now: Micros, extension: Extension, granted: Granted): void {
    this.#fail(extension, 'no-session');
    this.#context.ledger.add(now, {
      entries: [{ kind: 'unused', ...this.#facts(extension, granted) }],
      writes: () => [],
      persisted: () => {},
      failed: () => {},
    });
  }

  /** What the log keeps of it: the totals, the wish and the yes as they were signed. */
  #facts({ id, revision, request }: Extension, { seconds, bytes, verdict }: Granted) {
    return { session: id, revision, seconds, bytes, ...consentProof(request, verdict) };
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
    this.#byAsk.delete(extension.ask);
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

interface Granted extends NewTerms {
  readonly verdict: Signed;
}
