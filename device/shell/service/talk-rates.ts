// How fast each talk is, for `nakodo status`, without a timer: whoever drains the core lets it look
// at the counts, at most once a second. A talk that fell silent is looked at when somebody asks:
// the same bytes over a longer time are a rate that decays.

import type { SessionId } from '../../../protocol/ids.ts';
import { type Micros, MICROS_PER_SECOND, after, micros } from '../../../protocol/time.ts';
import type { TerminalStatus } from '../../terminal-types.ts';
import type { Rates } from '../agent-types.ts';

/** The least time that a rate is taken over. */
const EVERY_MICROS = MICROS_PER_SECOND;
/** The most: what begins after a silence is not spread over it. */
const LONGEST_MICROS = 5 * MICROS_PER_SECOND;

interface Sample {
  readonly at: Micros;
  readonly sent: number;
  readonly received: number;
}
type Talks = TerminalStatus['talks'];

/** The rates of all talks of one agent; holds two samples for each. */
export class TalkRates {
  readonly #samples = new Map<SessionId, readonly [older: Sample, newer: Sample]>();
  #nextAt: Micros = micros(0);

  /** Looks at the counts, if it is time to: `talks` is asked only then. */
  note(now: Micros, talks: () => Talks): void {
    if (now < this.#nextAt) return;
    this.#nextAt = after(now, EVERY_MICROS);
    const present = talks();
    for (const { session, talk } of present) {
      const { sentBytes: sent, receivedBytes: received } = talk.counts;
      const newer: Sample = { at: now, sent, received };
      const last = this.#samples.get(session)?.[1];
      const isNear = last !== undefined && now - last.at <= LONGEST_MICROS;
      this.#samples.set(session, [isNear ? last : newer, newer]);
    }
    if (this.#samples.size <= present.length) return;
    const sessions = new Set(present.map(({ session }) => session));
    for (const session of this.#samples.keys()) {
      if (!sessions.has(session)) this.#samples.delete(session);
    }
  }

  /** How fast a talk is at `now`, over one second at least, if there was one. */
  of(now: Micros, { session, talk }: Talks[number]): Rates {
    const [older, newer] = this.#samples.get(session) ?? [];
    const base = newer !== undefined && now - newer.at >= EVERY_MICROS ? newer : older;
    if (base === undefined || now <= base.at) return { sent: 0, received: 0 };
    const seconds = (now - base.at) / MICROS_PER_SECOND;
    const { sentBytes, receivedBytes } = talk.counts;
    return {
      sent: Math.max(0, sentBytes - base.sent) / seconds,
      received: Math.max(0, receivedBytes - base.received) / seconds,
    };
  }
}
