// What the operator's `revoke` does (design §3): the terminal's membership is taken away for good,
// its name is free, its talks end [claim 13]. In memory and at the brokers at once, on disk before
// the operator is told. The answer says which talks the other terminals confirmed as ended, and
// which run on until when: a terminal that cannot be reached ends by its own expiry.

import type { DeviceId, Name } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, ms, seconds } from '../protocol/time.ts';
import type { Context } from './context.ts';
import type { Deadline } from './deadlines.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { RevokeOutcome, Write } from './manager-types.ts';
import type { Names } from './names.ts';
import type { Revocations } from './revocations.ts';
import { sideOf } from './records.ts';
import type { Session, Sessions } from './sessions.ts';

/** An operator who waits for the word of the terminals that are left. */
interface Waiter {
  readonly to: number;
  readonly id: DeviceId;
  readonly name: Name;
  readonly sessions: readonly Session[];
  readonly deadline: Deadline;
  isOnDisk: boolean;
}

/** Carries out revocations. */
export class Revoking {
  readonly #context: Context;
  readonly #names: Names;
  readonly #sessions: Sessions;
  readonly #revocations: Revocations;
  readonly #onRevoked: (now: Micros, device: DeviceId) => void;
  readonly #waiting = new Set<Waiter>();

  /** `onRevoked`: what else a terminal has under way is dropped. */
  constructor(
    context: Context,
    parts: {
      readonly names: Names;
      readonly sessions: Sessions;
      readonly revocations: Revocations;
    },
    onRevoked: (now: Micros, device: DeviceId) => void,
  ) {
    this.#context = context;
    this.#names = parts.names;
    this.#sessions = parts.sessions;
    this.#revocations = parts.revocations;
    this.#onRevoked = onRevoked;
    this.#sessions.onReported = (now) => this.#recheck(now);
  }

  /**
   * Revokes whoever has this name. Answered when the other ends of all its talks have confirmed, or
   * LIMITS.endAnswerMs later; a full disk is answered with `disk`, and tried again until it works.
   * Of a name that was revoked already it says how its talks stand now, and asks their other ends
   * once more.
   */
  onRevoke(now: Micros, to: number, name: Name): void {
    const device = this.#names.byName(name);
    const id = device?.id ?? this.#revocations.byName(name);
    if (id === undefined) return this.#context.reply(to, { kind: 'failed', code: 'no-device' });
    if (this.#waiting.size >= MANAGER_LIMITS.revokeWaitersMax) {
      return this.#context.reply(to, { kind: 'failed', code: 'busy' });
    }
    const deadline = this.#context.deadlines.make((then) => this.#onDeadline(then, waiter));
    const sessions = this.#sessions.openOf(id);
    const waiter: Waiter = { to, id, name, sessions, deadline, isOnDisk: false };
    this.#waiting.add(waiter);
    this.#context.deadlines.set(deadline, after(now, ms(LIMITS.endAnswerMs)));
    let rows: () => readonly Write[] = () => [];
    const ended = this.#sessions.revoke(now, sessions, () => {
      if (device === undefined) return;
      this.#names.remove(device);
      rows = this.#revocations.add(now, device, device.issuedAt);
      this.#context.channels.close(id);
      this.#onRevoked(now, id);
      this.#revocations.publish(now);
    });
    const revoked = { kind: 'revoked', device: id, name, sessions: sessions.length } as const;
    this.#context.ledger.add(now, {
      entries: [...(device === undefined ? [] : [revoked]), ...ended.entries],
      writes: () => [
        ...(device === undefined ? [] : this.#names.rowsWithout(device)),
        ...rows(),
        ...sessions.flatMap((session) => this.#sessions.writes(session)),
      ],
      persisted: (then) => {
        ended.told();
        waiter.isOnDisk = true;
        this.#recheck(then);
      },
    });
  }

  #recheck(now: Micros): void {
    for (const waiter of this.#waiting) {
      const isDone = waiter.sessions.every((session) => isConfirmed(session, waiter.id));
      if (waiter.isOnDisk && isDone) this.#answer(now, waiter);
    }
  }

  #onDeadline(now: Micros, waiter: Waiter): void {
    if (waiter.isOnDisk) return this.#answer(now, waiter);
    this.#waiting.delete(waiter);
    this.#context.reply(waiter.to, { kind: 'failed', code: 'disk' });
  }

  #answer(now: Micros, { to, id, name, sessions, deadline }: Waiter): void {
    const ended: RevokeOutcome['ended'][number][] = [];
    const running: RevokeOutcome['running'][number][] = [];
    for (const session of sessions) {
      const { row, begun } = session;
      if (isConfirmed(session, id)) ended.push(row.session);
      else {
        const unconfirmed = [
          ...(row.callerReport === undefined ? [row.callerName] : []),
          ...(row.calleeReport === undefined ? [row.calleeName] : []),
        ];
        const last = after(begun, seconds(row.seconds + LIMITS.unreportedSeconds));
        running.push({
          session: row.session,
          unconfirmed,
          until: this.#context.wall.at(last > now ? last : now),
        });
      }
    }
    for (const waiter of this.#waiting) if (waiter.to === to) this.#waiting.delete(waiter);
    this.#context.deadlines.stop(deadline);
    this.#context.reply(to, { kind: 'revoked', outcome: { name, id, ended, running } });
  }
}

/** Whether the end that was not revoked has said that the talk is over; the other one is moot. */
function isConfirmed({ row }: Session, revoked: DeviceId): boolean {
  if (row.closed) return true;
  return (sideOf(row, revoked) === 'caller' ? row.calleeReport : row.callerReport) !== undefined;
}
