// A receive window that grows with the path: a peer that fills a whole window within two round
// trips is held back by it, not by the path. It doubles, up to a bound, and never shrinks: what was
// promised stays promised (RFC 9000 §4.1). On a path shorter than some milliseconds it stays as it
// is, since there the receive buffer of the kernel is what limits.

import type { Micros } from '../time.ts';
import { micros, ms } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';

/** The connection's time and round trip, shared by all its windows; µs. */
export interface PathClock {
  now: Micros;
  readonly rtt: { readonly smoothed: number; readonly hasSample: boolean };
}

/** Bytes that may come beyond what was read, of one stream or of all together. */
export class TunedWindow {
  readonly #clock: PathClock;
  readonly #most: () => number;
  #bytes: number;
  #since = micros(0);
  #from = 0;

  /** Begins with `bytes`; `most`: what it may grow to, as of now. */
  constructor(bytes: number, most: () => number, clock: PathClock) {
    this.#bytes = bytes;
    this.#most = most;
    this.#clock = clock;
    this.#since = clock.now;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** `consumed`: all bytes taken off the peer's hands so far. */
  onConsumed(consumed: number): void {
    if (consumed - this.#from < this.#bytes) return;
    const { now, rtt } = this.#clock;
    const elapsed = now - this.#since;
    this.#since = now;
    this.#from = consumed;
    if (!rtt.hasSample || rtt.smoothed < ms(DATA_LIMITS.windowGrowthRttMsLeast)) return;
    if (elapsed > DATA_LIMITS.windowGrowthRtts * rtt.smoothed) return;
    this.#bytes = Math.max(this.#bytes, Math.min(2 * this.#bytes, this.#most()));
  }
}
