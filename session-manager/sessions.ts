// End processing [45]: the sessions that were introduced and are not over, who reported what about
// them, and why each ended: exactly one reason, the first that counts. A session closes when both
// terminals have reported, or LIMITS.unreportedSeconds after its last granted expiry.
// The expiry runs on the monotonic clock; only a restart computes what is left from wall time.
// A terminal that was revoked is not waited for.
// Over 400 lines: the one life of a session, from its grant to its last report.

import type { MessageOf } from '../protocol/control/messages.ts';
import type { EndReason } from '../protocol/ends.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import {
  MICROS_PER_MS,
  MICROS_PER_SECOND,
  type Micros,
  after,
  micros,
  ms,
  seconds,
} from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import { EndOrders } from './end-orders.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { LogFact } from './log.ts';
import type { EndOutcome, SessionChange, Stored, Write } from './manager-types.ts';
import {
  LIVE_PREFIX,
  PAST_PREFIX,
  type Report,
  SIDES,
  type SessionRecord,
  type Side,
  decodeSession,
  differenceBytes,
  encodeSession,
  sessionKey,
  sideOf,
} from './records.ts';
import { Unreported } from './unreported.ts';

/** One session in memory. */
export interface Session {
  /** As it will be on disk; replaced, never changed. */
  row: SessionRecord;
  /** When it began, on this manager's monotonic clock; may lie before its start. */
  readonly begun: Micros;
  /** Its last granted expiry and a minute. */
  readonly closing: Deadline;
  /** Operators who wait for the terminals' word. */
  readonly waiting: EndWaiter[];
}

interface EndWaiter {
  readonly to: number;
  readonly deadline: Deadline;
}

/** Sessions of one manager. */
export class Sessions {
  /** Those whose end was ordered. */
  readonly orders: EndOrders;
  readonly #context: Context;
  readonly #isRevoked: (device: DeviceId) => boolean;
  readonly #open = new Map<SessionId, Session>();
  /** Closed ones, oldest first: late reports find them. */
  readonly #closed = new Map<SessionId, Session>();
  /** Grants that are being written. */
  #reserved = 0;
  readonly #unreported = new Unreported();
  /** Called when a terminal's report is on disk, or a session is closed. */
  onReported: (now: Micros) => void = () => {};
  /** Called when a session has closed: nothing is told of it any more. */
  onClosed: (row: SessionRecord) => void = () => {};

  /** `isRevoked`: whether the operator has revoked a terminal. */
  constructor(context: Context, isRevoked: (device: DeviceId) => boolean) {
    this.#context = context;
    this.orders = new EndOrders(context, isRevoked);
    this.#isRevoked = isRevoked;
  }

  /** Whether one more may begin between these two: by LIMITS.sessionsMax, and by their reports. */
  hasRoom(callerId: DeviceId, calleeId: DeviceId): boolean {
    return (
      this.#open.size + this.#reserved < LIMITS.sessionsMax &&
      !this.#unreported.isFull(callerId) &&
      !this.#unreported.isFull(calleeId)
    );
  }

  /** Keeps room for a session that is being written; returns how to give it back. */
  reserve(row: SessionRecord): () => void {
    this.#reserved += 1;
    this.#unreported.add(row);
    return () => {
      this.#reserved -= 1;
      this.#unreported.remove(row);
    };
  }

  /** Rows read at start: live sessions go on where they are, their expiry is not prolonged. */
  restore(now: Micros, stored: Stored): void {
    const wall = this.#context.wall.at(now);
    for (const { value } of stored.sessions) {
      const row = decodeSession(value);
      if (row === undefined) {
        this.#context.counts.malformed += 1;
        continue;
      }
      // A clock that was set back while we were down must not make a session longer than granted.
      const elapsedMs = Math.max(0, wall - row.begun);
      const session = this.#make(row, micros(now - elapsedMs * MICROS_PER_MS));
      if (row.closed) {
        this.#closed.set(row.session, session);
      } else {
        this.#open.set(row.session, session);
        this.#unreported.add(row);
        if (row.forced) this.orders.restore(session);
        this.#armClosing(session);
      }
    }
    this.#dropClosed();
  }

  /**
   * A session is on disk: it lives from now on. If one of its terminals was revoked while it was
   * written nobody is to hear of it, and it is over.
   */
  begin(now: Micros, row: SessionRecord): void {
    const session = this.#make(row, now);
    this.#open.set(row.session, session);
    this.#unreported.add(row);
    this.#armClosing(session);
    this.#tell('begun', session);
    if (!SIDES.some((side) => this.#isRevoked(row[`${side}Id`]))) return;
    const decided = this.#decide(now, session, 'revoked', 'operator');
    this.#close(session);
    this.#write(now, session, { entries: decided, told: () => this.#tell('ended', session) });
  }

  /** A session that is not closed. */
  open(id: SessionId): Session | undefined {
    return this.#open.get(id);
  }

  /** Rows of all sessions in memory: those that are not closed, and the newest closed ones. */
  rows(which: 'open' | 'closed'): readonly SessionRecord[] {
    const sessions = which === 'open' ? this.#open : this.#closed;
    return [...sessions.values()].map((session) => session.row);
  }

  /** A new expiry takes effect here, before it is told; see `undo` for what a full disk does. */
  extend(session: Session, to: Pick<SessionRecord, 'seconds' | 'bytes' | 'revision'>): () => void {
    const { seconds: before, bytes, revision } = session.row;
    session.row = { ...session.row, ...to };
    this.#armClosing(session);
    return () => {
      session.row = { ...session.row, seconds: before, bytes, revision };
      this.#armClosing(session);
    };
  }

  /** What to write of a session, as it stands when the batch is made. */
  writes(session: Session): readonly Write[] {
    const { row } = session;
    const value = encodeSession(row);
    const live = sessionKey(LIVE_PREFIX, row);
    if (!row.closed) return [{ table: 'sessions', key: live, value }];
    return [
      { table: 'sessions', key: live, value: undefined },
      { table: 'sessions', key: sessionKey(PAST_PREFIX, row), value },
    ];
  }

  /**
   * An end notice [S6000, claim 12]: kept with the session, logged [S6001], and acknowledged once
   * it is on disk, so that the terminal may forget it. Acknowledged too, and changing nothing, when
   * it is repeated or about a session that we do not know.
   */
  onEndNotice(now: Micros, from: DeviceId, notice: MessageOf<'endNotice'>): void {
    const session = this.#open.get(notice.session) ?? this.#closed.get(notice.session);
    const side = session && sideOf(session.row, from);
    const { request, session: id } = notice;
    const ended = { kind: 'ended', request, session: id } as const;
    if (session === undefined || side === undefined) {
      this.#context.counts.unknownSession += 1;
      // Without a receipt: how long the log is tells what others do.
      this.#context.sendDown(from, ended);
      return;
    }
    const acknowledge = (then: Micros): void =>
      this.#context.sendDown(from, { ...ended, receipt: this.#context.ledger.receipt(then) });
    if (session.row[`${side}Report`] !== undefined) {
      // Behind the first one in the queue: what is acknowledged is on disk.
      const nothing = { entries: [], writes: () => [], failed: () => {} };
      this.#context.ledger.add(now, { ...nothing, persisted: acknowledge });
      return;
    }
    const { reason, sentBytes, receivedBytes, lostBytes, wireBytes, durationMs } = notice;
    const { path, probes } = notice;
    const counts = { sentBytes, receivedBytes, lostBytes, wireBytes, durationMs, path, probes };
    const report: Report = { reason, ...counts };
    const { row } = session;
    session.row = { ...row, [`${side}Report`]: report };
    if (!row.closed) this.#unreported.report(row[`${side}Id`]);
    const decided = this.#decide(now, session, reason, side);
    const isLast = this.#isOver(session);
    if (isLast && !session.row.closed) this.#close(session);
    const difference = differenceBytes(session.row);
    this.#write(now, session, {
      entries: [
        {
          kind: 'report',
          session: id,
          by: side,
          said: reason,
          ...counts,
          differenceBytes: difference,
        },
        ...decided,
      ],
      told: (then) => {
        acknowledge(then);
        if (decided.length > 0 && !isLast) this.#tell('ending', session);
        if (isLast) this.#tell('ended', session);
        if (isLast) this.#answerWaiters(session);
        this.onReported(then);
      },
    });
  }

  /**
   * The operator forces an end [S6004, claim 13]: the reason is `operator` from here on, and the
   * broker is asked to tell both terminals [S6005]. The answer says which of them confirmed within
   * LIMITS.endAnswerMs; one that did not ends by its own expiry. The disk is not waited for.
   */
  onForcedEnd(now: Micros, to: number, id: SessionId): void {
    const session = this.#open.get(id);
    if (session === undefined) {
      this.#context.reply(to, { kind: 'failed', code: 'no-session' });
      return;
    }
    if (session.waiting.length >= MANAGER_LIMITS.endWaitersMax) {
      this.#context.reply(to, { kind: 'failed', code: 'busy' });
      return;
    }
    const deadline = this.#context.deadlines.make(() => this.#answerWaiter(session, to));
    session.waiting.push({ to, deadline });
    this.#context.deadlines.set(deadline, after(now, ms(LIMITS.endAnswerMs)));
    const isFirst = !session.row.forced;
    const decided = this.#order(now, session, 'operator');
    if (!isFirst) return;
    this.#write(now, session, {
      entries: [{ kind: 'operatorEnd', session: id }, ...decided],
      told: () => this.#tell('ending', session),
    });
  }

  /** All sessions of a terminal that are not closed. */
  openOf(device: DeviceId): readonly Session[] {
    return [...this.#open.values()].filter(({ row }) => sideOf(row, device) !== undefined);
  }

  /**
   * A terminal of these sessions is revoked: they end with that reason unless they had one already
   * [S6004, S6005]. Both ends are asked, then `shutOut` takes effect, and nothing more is expected
   * of that terminal. What to log, and what to do when that and the sessions are on disk.
   */
  revoke(
    now: Micros,
    sessions: readonly Session[],
    shutOut: () => void,
  ): { readonly entries: readonly LogFact[]; readonly told: () => void } {
    const entries = sessions.flatMap((session) => this.#order(now, session, 'revoked'));
    shutOut();
    const over = new Set(sessions.filter((session) => this.#isOver(session)));
    for (const session of over) this.#close(session);
    const told = (): void => {
      for (const session of sessions) {
        if (over.has(session)) {
          this.#tell('ended', session);
          this.#answerWaiters(session);
        } else if (!session.row.closed) this.#tell('ending', session);
      }
    };
    return { entries, told };
  }

  /** Orders an end, or orders it again; what to log. */
  #order(now: Micros, session: Session, reason: 'operator' | 'revoked'): readonly LogFact[] {
    if (!session.row.forced) session.row = { ...session.row, forced: true, order: reason };
    this.orders.give(now, session);
    return this.#decide(now, session, reason, 'operator');
  }

  /** Whether both terminals have reported, those left out of which nothing more is expected. */
  #isOver({ row }: Session): boolean {
    return SIDES.every(
      (side) => row[`${side}Report`] !== undefined || this.#isRevoked(row[`${side}Id`]),
    );
  }

  /** The one reason of a session: whoever comes first; nothing to log for those who follow. */
  #decide(
    now: Micros,
    session: Session,
    reason: EndReason,
    by: Side | 'operator' | 'manager',
  ): readonly LogFact[] {
    const { row } = session;
    if (row.reason !== undefined) return [];
    session.row = { ...row, reason, ended: this.#context.wall.at(now) };
    return [{ kind: 'ended', session: row.session, reason, by }];
  }

  /** Nobody, or only one terminal, reported: the manager closes the session itself [S6001]. */
  #onClosing(now: Micros, session: Session): void {
    const decided = this.#decide(now, session, 'unreported', 'manager');
    this.#close(session);
    this.#write(now, session, {
      entries: decided,
      told: (then) => {
        this.#tell('ended', session);
        this.#answerWaiters(session);
        this.onReported(then);
      },
    });
  }

  #close(session: Session): void {
    const { row, closing } = session;
    session.row = { ...row, closed: true };
    this.#unreported.remove(row);
    this.#context.deadlines.stop(closing);
    this.#open.delete(row.session);
    this.orders.drop(session);
    this.#closed.set(row.session, session);
    this.#dropClosed();
    this.onClosed(row);
  }

  #dropClosed(): void {
    for (const id of this.#closed.keys()) {
      if (this.#closed.size <= MANAGER_LIMITS.closedSessionsMax) break;
      this.#closed.delete(id);
    }
  }

  #write(
    now: Micros,
    session: Session,
    change: { readonly entries: readonly LogFact[]; readonly told: (now: Micros) => void },
  ): void {
    this.#context.ledger.add(now, {
      entries: change.entries,
      writes: () => this.writes(session),
      persisted: change.told,
    });
  }

  #answerWaiters(session: Session): void {
    while (session.waiting.length > 0) this.#answerWaiter(session, session.waiting[0].to);
  }

  #answerWaiter(session: Session, to: number): void {
    const at = session.waiting.findIndex((waiter) => waiter.to === to);
    if (at < 0) return;
    const [waiter] = session.waiting.splice(at, 1);
    this.#context.deadlines.stop(waiter.deadline);
    const { row } = session;
    const of = (reported: boolean): readonly Name[] =>
      SIDES.filter((side) => (row[`${side}Report`] !== undefined) === reported).map(
        (side) => row[`${side}Name`],
      );
    const outcome: EndOutcome = {
      session: row.session,
      reason: row.reason ?? 'operator',
      confirmed: of(true),
      unconfirmed: of(false),
    };
    this.#context.reply(to, { kind: 'ended', outcome });
  }

  #armClosing(session: Session): void {
    // An expiry that is taken back after the end has nothing to close any more.
    if (session.row.closed) return;
    const last = session.row.seconds + LIMITS.unreportedSeconds;
    this.#context.deadlines.set(session.closing, after(session.begun, seconds(last)));
  }

  #make(row: SessionRecord, begun: Micros): Session {
    const closing = this.#context.deadlines.make((now) => this.#onClosing(now, session));
    const session: Session = { row, begun, closing, waiting: [] };
    return session;
  }

  #tell(event: SessionChange['event'], session: Session): void {
    this.#context.emit({ kind: 'event', change: { event, session: session.row } });
  }

  /** Announces a new expiry to whoever watches. */
  tellExtended(session: Session): void {
    this.#tell('extended', session);
  }
}

/** Whole seconds that a session has lasted. */
export function elapsedSeconds(now: Micros, session: Session): number {
  return Math.max(0, Math.floor((now - session.begun) / MICROS_PER_SECOND));
}
