// Answers to connect requests, kept for a while: a terminal that asks again under the same request
// gets the answer that it had, so that a message lost on the way costs no second introduction. That
// a request was answered is known for much longer: a copy that somebody on the way held back, and
// lets through later, leads nowhere.

import type { DeviceId, RequestId, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, ms } from '../protocol/time.ts';
import { MANAGER_LIMITS } from './limits.ts';

/** A caller and its own request ID. */
export const callKey = (caller: DeviceId, request: RequestId): string => `${caller}/${request}`;

/** An answer as it was sent. */
interface Answer {
  /** Encoded, not sealed: sealed anew whenever it is sent. */
  readonly bytes: Uint8Array;
  /** Of a notice: what it tells of. */
  readonly session: SessionId | undefined;
}

interface Kept extends Answer {
  readonly until: Micros;
}

/**
 * The newest answers, at most MANAGER_LIMITS.answersMax, and MANAGER_LIMITS.overMax requests of
 * which no more is known than that they had one.
 */
export class KeptAnswers {
  readonly #kept = new Map<string, Kept>();
  /** Oldest first. */
  readonly #over = new Set<string>();

  /**
   * Keeps an answer until its caller's wait is over, and a little longer for what is on its way.
   * Forgets the oldest that are past their time, and the oldest of all at the bound.
   */
  keep(now: Micros, key: string, answer: Answer & { readonly waitsUntil: Micros }): void {
    for (const [oldest, { until }] of this.#kept) {
      if (until > now && this.#kept.size < MANAGER_LIMITS.answersMax) break;
      this.#kept.delete(oldest);
      this.#over.add(oldest);
    }
    for (const oldest of this.#over) {
      if (this.#over.size <= MANAGER_LIMITS.overMax) break;
      this.#over.delete(oldest);
    }
    const until = after(answer.waitsUntil, ms(LIMITS.answerGraceMs));
    this.#kept.set(key, { bytes: answer.bytes, session: answer.session, until });
  }

  /** The answer that a request had; undefined if there is none any more. */
  find(now: Micros, key: string): Answer | undefined {
    const kept = this.#kept.get(key);
    return kept === undefined || kept.until <= now ? undefined : kept;
  }

  /** Whether a request had an answer that is not repeated any more. */
  isOver(now: Micros, key: string): boolean {
    const kept = this.#kept.get(key);
    return kept === undefined ? this.#over.has(key) : kept.until <= now;
  }
}
