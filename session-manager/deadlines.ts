// The manager's timers: what to do, and when, on the shared heap (protocol/deadlines.ts). Bounded
// by what owns them: at most one for each introduction, session, extension and end waiter.

import { DeadlineHeap, type Due, notArmed } from '../protocol/deadlines.ts';
import type { Micros } from '../protocol/time.ts';

/** One deadline; owned by whoever made it. */
export interface Deadline extends Due {
  readonly fire: (now: Micros) => void;
}

/** All deadlines of one manager. */
export class Deadlines extends DeadlineHeap<Deadline> {
  /** Makes a disarmed deadline. */
  make(fire: (now: Micros) => void): Deadline {
    return { fire, ...notArmed() };
  }

  /** Fires what is due, earliest first, at most `firesMax` of them. */
  run(now: Micros, firesMax: number): void {
    for (let fired = 0; fired < firesMax; fired++) {
      const deadline = this.popDue(now);
      if (deadline === undefined) return;
      deadline.fire(now);
    }
  }
}
