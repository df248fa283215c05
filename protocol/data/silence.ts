// Whether the peer's word is missing: from the first packet that waits for an acknowledgement on,
// two probe timeouts without anything authentic; one, where bytes came steadily until a moment ago
// and a PING that asked for them is what waits. It is told again after pauses that double; whoever
// looks for another way decides what follows. RFC 9002's own timers say what to send again; they
// back off, and each packet that leaves would put this off.

import type { Micros } from '../time.ts';
import { after, ms } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';
import type { Rtt } from './rtt.ts';
import type { Timers } from './timers.ts';
import { TIMER } from './timers.ts';

/** Keeps the silence timer. */
export class Silence {
  readonly #timers: Timers;
  readonly #rtt: Rtt;
  #heardAt: Micros | undefined;
  /** Times that it was told since. */
  #told = 0;
  /** Bytes that came steadily have stopped coming. */
  #isMissed = false;

  constructor(timers: Timers, rtt: Rtt) {
    this.#timers = timers;
    this.#rtt = rtt;
  }

  /** Microseconds since anything of the peer's came; 0 before the talk is open. */
  lasts(now: Micros): number {
    return this.#heardAt === undefined ? 0 : Math.max(0, now - this.#heardAt);
  }

  /** Anything authentic came; true if silence was told before it. */
  onHeard(now: Micros): boolean {
    const wasTold = this.#told > 0;
    this.#heardAt = now;
    this.#told = 0;
    this.#isMissed = false;
    this.#timers.stop(TIMER.silence);
    return wasTold;
  }

  /** What came steadily comes no more, and a PING is about to ask. */
  onMissed(): void {
    this.#isMissed = true;
  }

  /** Something left that the peer acknowledges; what leaves later does not put it off. */
  onSent(now: Micros): void {
    if (!this.#timers.isSet(TIMER.silence)) this.#arm(now);
  }

  /** True when it is to be told. */
  fires(now: Micros): boolean {
    if (!this.#timers.fires(TIMER.silence, now)) return false;
    this.#told = Math.min(this.#told + 1, DATA_LIMITS.silenceDoublingsMax);
    this.#arm(now);
    return true;
  }

  #arm(now: Micros): void {
    const { silencePtos, silencePtosMissed, silenceMsLeast, silenceMsLeastMissed } = DATA_LIMITS;
    const [ptos, least] = this.#isMissed
      ? [silencePtosMissed, silenceMsLeastMissed]
      : [silencePtos, silenceMsLeast];
    const patience = Math.max(ptos * this.#rtt.patience, ms(least)) * 2 ** this.#told;
    this.#timers.set(TIMER.silence, after(now, patience));
  }
}
