// Wall time inside the core: inputs bring it, and between two inputs it runs with the monotonic
// clock. It decides only what a restart must not prolong, memberships, tickets and the log.

import { MICROS_PER_MS, type Micros, type WallMs, wallMs } from '../protocol/time.ts';

/** The last wall time an input brought, carried forward. */
export class WallClock {
  #anchor: Micros = 0 as Micros;
  #wall: WallMs = wallMs(0);

  /** An input says what time it is. */
  set(now: Micros, wall: WallMs): void {
    this.#anchor = now;
    this.#wall = wall;
  }

  /** Wall time at `now`, whole milliseconds. */
  at(now: Micros): WallMs {
    return wallMs(Math.floor(this.#wall + (now - this.#anchor) / MICROS_PER_MS));
  }
}
