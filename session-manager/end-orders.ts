// Ends that were ordered [S6004], by the operator or since a terminal was revoked: asked of both
// terminals through the broker [S6005], and asked again wherever that may not have arrived: of a
// broker that was started anew, of a terminal that registers. One that was revoked itself hears of
// it once, while it still has a channel.

import { type DeviceId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MICROS_PER_MS, type Micros } from '../protocol/time.ts';
import type { Context } from './context.ts';
import { SIDES, type Side, sideOf } from './records.ts';
import type { Session } from './sessions.ts';

/** The sessions that are not closed and whose end was ordered. */
export class EndOrders {
  readonly #context: Context;
  readonly #isRevoked: (device: DeviceId) => boolean;
  readonly #sessions = new Set<Session>();

  constructor(context: Context, isRevoked: (device: DeviceId) => boolean) {
    this.#context = context;
    this.#isRevoked = isRevoked;
  }

  /** Takes a session whose end was ordered before this manager started. */
  restore(session: Session): void {
    this.#sessions.add(session);
  }

  /** Orders an end, or orders it again [S6005]; the session's row already says so. */
  give(now: Micros, session: Session): void {
    this.#sessions.add(session);
    this.#request(now, session, SIDES);
  }

  /** A session is closed. */
  drop(session: Session): void {
    this.#sessions.delete(session);
  }

  /** The link to the broker is back: what may not have arrived is sent again. */
  onLinkUp(now: Micros): void {
    for (const session of this.#sessions) this.#request(now, session, SIDES);
  }

  /**
   * A terminal has registered: what was handed to a connection that broke, or to a copy of it,
   * never arrived. It is asked again to end its newest LIMITS.callsMax sessions.
   */
  onPresent(now: Micros, device: DeviceId): void {
    const own: { readonly session: Session; readonly side: Side }[] = [];
    for (const session of this.#sessions) {
      const side = sideOf(session.row, device);
      if (side !== undefined) own.push({ session, side });
    }
    for (const { session, side } of own.slice(-LIMITS.callsMax)) {
      this.#request(now, session, [side]);
    }
  }

  /** End requests to the terminals that have not reported, through the broker [S6005, claim 13]. */
  #request(now: Micros, session: Session, sides: readonly Side[]): void {
    const { row, closing } = session;
    const leftMs = Math.ceil(Math.max(0, closing.at - now) / MICROS_PER_MS);
    const reason = row.order ?? 'operator';
    for (const side of sides) {
      if (row[`${side}Report`] !== undefined || this.#isRevoked(row[`${side}Id`])) continue;
      const request = randomRequestId(this.#context.options.rng);
      this.#context.sendTrigger(row[`${side}Id`], {
        request,
        // Useful for as long as the talk could last.
        deadlineMs: Math.min(LIMITS.waitMsMax, Math.max(LIMITS.endAnswerMs, leftMs)),
        payload: { kind: 'endRequest', request, session: row.session, reason },
      });
    }
  }
}
