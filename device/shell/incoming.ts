// Talks that others asked for, on their way to whoever takes them: a handler, or loops over
// `agent.sessions()`. Streams of a talk wait until somebody has it.

import { Arrivals } from './arrivals.ts';
import type { Session } from './session.ts';

/** Talks that wait for a loop: chosen by us; one more is ended at once as `local`. */
const SESSIONS_WAITING_MAX = 16;

/** The incoming talks of one agent. */
export class Incoming {
  handler: ((session: Session) => void) | undefined;
  readonly #arrivals = new Arrivals<Session>({
    max: SESSIONS_WAITING_MAX,
    onLeft: (sessions) => {
      for (const session of sessions) session.finish('local');
    },
  });

  /** A talk that another terminal asked for; with nobody to take it, its streams are refused. */
  offer(session: Session): void {
    if (this.handler !== undefined) {
      this.handler(session);
      session.handOver();
    } else if (!this.#arrivals.isTaken) {
      session.handOver();
    } else if (!this.#arrivals.push(session)) {
      session.finish('local');
    }
  }

  /** No further one comes: loops end. */
  end(): void {
    this.#arrivals.end();
  }

  /** A loop over them; a session is handed over when the loop gets it. */
  iterate(): AsyncIterableIterator<Session, undefined> {
    const inner = this.#arrivals.iterate();
    const iterator: AsyncIterableIterator<Session, undefined> = {
      async next() {
        const result = await inner.next();
        if (result.done !== true) result.value.handOver();
        return result;
      },
      async return() {
        await inner.return?.();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }
}
