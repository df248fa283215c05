// The estimators that BBR's model of the path is made of (draft-ietf-ccwg-bbr §5.5): largest
// bandwidth, smallest round-trip time, excess of aggregated acknowledgements, "the pipe is full".
// Bytes, microseconds, bytes per microsecond. Each holds a few numbers, whatever the traffic.

import type { RateSample } from './controller.ts';
import { BBR } from './bbr-parameters.ts';

/** The largest delivery rate of this ProbeBW cycle and the one before. Source: §5.5.5. */
export class MaximumBandwidth {
  #previous = 0;
  #current = 0;

  /** Bytes per microsecond; 0: nothing measured. */
  get value(): number {
    return Math.max(this.#previous, this.#current);
  }

  /** An application-limited rate is a lower bound: it counts only if it is the largest. */
  update(rate: number, appLimited: boolean): void {
    if (rate >= this.value || !appLimited) this.#current = Math.max(this.#current, rate);
  }

  /** A new cycle; one that measured nothing does not displace the one before. */
  advance(): void {
    if (this.#current === 0) return;
    this.#previous = this.#current;
    this.#current = 0;
  }
}

/** The largest of the values seen in the last so many ticks of any counter; three are kept. */
export class WindowedMaximum {
  readonly #values = [0, 0, 0];
  readonly #times = [0, 0, 0];

  get value(): number {
    return this.#values[0];
  }

  /** `time` never decreases. Values that newer and larger ones outlive are forgotten. */
  update(value: number, time: number, length: number): void {
    if (value >= this.#values[0] || time - this.#times[2] > length) {
      this.#set(0, value, time);
      return;
    }
    if (value >= this.#values[1]) this.#set(1, value, time);
    else if (value >= this.#values[2]) this.#set(2, value, time);
    this.#age(value, time, length);
  }

  #age(value: number, time: number, length: number): void {
    const values = this.#values;
    const times = this.#times;
    const elapsed = time - times[0];
    if (elapsed > length) {
      // The best is too old: the next two move up, and again if need be.
      for (let moves = 0; moves < 2 && time - times[0] > length; moves++) {
        values[0] = values[1];
        times[0] = times[1];
        this.#set(1, values[2], times[2]);
        values[2] = value;
        times[2] = time;
      }
    } else if (times[1] === times[0] && elapsed > length / 4) {
      this.#set(1, value, time);
    } else if (times[2] === times[1] && elapsed > length / 2) {
      this.#set(2, value, time);
    }
  }

  #set(from: number, value: number, time: number): void {
    for (let i = from; i < 3; i++) {
      this.#values[i] = value;
      this.#times[i] = time;
    }
  }
}

/** The smallest round-trip time, and when it is due for another look. Source: §5.3.4.3. */
export class MinimumRtt {
  #value = Infinity;
  #at: number;
  #probeValue = Infinity;
  #probeAt: number;
  #isProbeDue = false;

  constructor(now: number) {
    this.#at = now;
    this.#probeAt = now;
  }

  /** Microseconds over the last 10 s; Infinity: no sample. */
  get value(): number {
    return this.#value;
  }

  /** Not lowered for 5 s: ProbeRTT has to drain the path, or an idle time has. */
  get isProbeDue(): boolean {
    return this.#isProbeDue;
  }

  /** `rtt`: 0 for none. */
  update(now: number, rtt: number): void {
    this.#isProbeDue = now > this.#probeAt + BBR.probeRttInterval;
    if (rtt > 0 && (rtt < this.#probeValue || this.#isProbeDue)) {
      this.#probeValue = rtt;
      this.#probeAt = now;
    }
    const hasExpired = now > this.#at + BBR.minimumRttWindow;
    if (this.#probeValue < this.#value || hasExpired) {
      this.#value = this.#probeValue;
      this.#at = this.#probeAt;
    }
  }

  onProbed(now: number): void {
    this.#probeAt = now;
  }
}

/** Packet-timed round trips. Source: §5.5.1. */
export class RoundCounter {
  #end = 0;
  #isEndOpen = false;
  #isStart = false;
  count = 0;

  /** The acknowledgement taken last began a round trip. */
  get isStart(): boolean {
    return this.#isStart;
  }

  update(sample: RateSample): void {
    if (this.#isEndOpen) this.start(sample.deliveredTotal);
    this.#isStart = sample.priorDelivered >= this.#end;
    if (!this.#isStart) return;
    this.count++;
    this.start(sample.deliveredTotal);
  }

  /** A round trip ends with the first packet that leaves when all of `delivered` has arrived. */
  start(delivered: number): void {
    this.#end = delivered;
    this.#isEndOpen = false;
  }

  /** From the acknowledgement on that is being worked on. */
  startSoon(): void {
    this.#isEndOpen = true;
  }
}

/** "Three round trips without growth: the pipe is full." Source: §5.3.1.2. */
export class FullBandwidth {
  #baseline = 0;
  #rounds = 0;
  #isFull = false;

  /** Since the last reset. */
  get isFull(): boolean {
    return this.#isFull;
  }
  /** Round trips without growth. */
  get rounds(): number {
    return this.#rounds;
  }

  reset(baseline = 0): void {
    this.#baseline = baseline;
    this.#rounds = 0;
    this.#isFull = false;
  }

  /** Once a round trip, with a rate that the application did not limit. */
  update(rate: number): void {
    if (this.#isFull) return;
    if (rate >= this.#baseline * BBR.fullBandwidthGrowth) {
      this.reset(rate);
      return;
    }
    this.#rounds++;
    this.#isFull = this.#rounds >= BBR.fullBandwidthRounds;
  }
}

/** How much more than expected acknowledgements bring at once. Source: §5.5.9. */
export class AckAggregation {
  readonly #filter = new WindowedMaximum();
  #intervalStart: number;
  #delivered = 0;

  constructor(now: number) {
    this.#intervalStart = now;
  }

  /** Bytes. */
  get extraAcked(): number {
    return this.#filter.value;
  }

  restart(now: number): void {
    this.#intervalStart = now;
    this.#delivered = 0;
  }

  update(
    now: number,
    ackedBytes: number,
    model: {
      readonly bandwidth: number;
      readonly window: number;
      readonly round: number;
      readonly rounds: number;
    },
  ): void {
    let expected = model.bandwidth * (now - this.#intervalStart);
    if (this.#delivered <= expected) {
      this.restart(now);
      expected = 0;
    }
    this.#delivered += ackedBytes;
    const extra = Math.min(this.#delivered - expected, model.window);
    this.#filter.update(extra, model.round, model.rounds);
  }
}
