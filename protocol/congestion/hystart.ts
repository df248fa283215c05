// HyStart++ (RFC 9406): leaves slow start when the round-trip time grows, before the queue at the
// bottleneck overflows. A growth that was only jitter is found out while the window grows slowly
// (Conservative Slow Start, CSS), and slow start goes on. We pace, so there is no limit L (§4.3).

import { ms } from '../time.ts';
import type { RateSample } from './controller.ts';

/** RFC 9406 §4.3; microseconds where it is a time. */
export const HYSTART = {
  rttThresholdLeast: ms(4),
  rttThresholdMost: ms(16),
  rttDivisor: 8,
  /** Samples of a round before it is judged. */
  samples: 8,
  /** How much slower the window grows in CSS, and for how many rounds. */
  growthDivisor: 4,
  rounds: 5,
} as const;

/** The first slow start of one path (RFC 9406 §4.2). */
export class HyStart {
  #roundEnd = 0;
  #lastMinimum = Infinity;
  #minimum = Infinity;
  #samples = 0;
  /** The minimum that made us careful; undefined: plain slow start. */
  #baseline: number | undefined;
  #careful = 0;
  #isOver = false;

  /** In Conservative Slow Start. */
  get isConservative(): boolean {
    return this.#baseline !== undefined;
  }

  /** Congestion avoidance begins here, without a loss. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Acknowledged bytes by this divisor are what the window grows. */
  get growthDivisor(): number {
    return this.isConservative ? HYSTART.growthDivisor : 1;
  }

  /** Takes one acknowledgement of slow start. */
  onAck({ priorDelivered, deliveredTotal, rttMicros }: RateSample): void {
    // What was sent after the round began is acknowledged: one round trip.
    if (priorDelivered >= this.#roundEnd) this.#beginRound(deliveredTotal);
    if (rttMicros === 0) return;
    this.#minimum = Math.min(this.#minimum, rttMicros);
    this.#samples++;
    if (this.#samples < HYSTART.samples) return;
    if (this.#baseline === undefined) {
      if (this.#minimum < this.#lastMinimum + threshold(this.#lastMinimum)) return;
      this.#baseline = this.#minimum;
      this.#careful = 0;
    } else if (this.#minimum < this.#baseline) {
      this.#baseline = undefined;
    }
  }

  #beginRound(deliveredTotal: number): void {
    this.#roundEnd = deliveredTotal;
    this.#lastMinimum = this.#minimum;
    this.#minimum = Infinity;
    this.#samples = 0;
    if (!this.isConservative) return;
    // The round in whose middle it began counts.
    this.#careful++;
    if (this.#careful >= HYSTART.rounds) this.#isOver = true;
  }
}

/** How much longer a round trip means a queue. */
function threshold(lastMinimum: number): number {
  const { rttThresholdLeast, rttThresholdMost, rttDivisor } = HYSTART;
  return Math.max(rttThresholdLeast, Math.min(lastMinimum / rttDivisor, rttThresholdMost));
}
