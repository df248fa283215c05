// A token bucket (RFC 9002 §7.7): the window leaves over a round trip, not at once, so that a queue
// on the path is not filled by our own bursts.

import type { Micros } from '../time.ts';
import { after, micros, ms } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';

// RFC 9002 §7.7: a little faster than window by rtt, so that pacing is never what limits;
// twice that while the window doubles every round trip.
const GAIN = 1.25;
const SLOW_START_GAIN = 2.5;

/** What the pacer derives its rate from. */
interface Pace {
  readonly congestionWindow: number;
  readonly pacingRate: number | undefined;
  /** Bytes that may leave at once; undefined: 16 datagrams, or 2 ms of the rate if more. */
  readonly sendQuantum: number | undefined;
  readonly inSlowStart: boolean;
}

/** Spreads datagrams over time. */
export class Pacer {
  #datagramBytes: number;
  #tokens: number;
  #burst: number;
  #quantum = 0;
  #rate = 0;
  #at = micros(0);
  /** When the datagram that had to wait was to leave; 0: none waits. */
  #due = 0;
  /** Bytes that may leave beyond the burst because the timer came late. */
  #credit = 0;

  constructor(datagramBytes: number) {
    this.#datagramBytes = datagramBytes;
    this.#burst = this.#burstLeast;
    this.#tokens = this.#burst;
  }

  /** Datagrams have another full size from now on. */
  onDatagramBytes(datagramBytes: number): void {
    this.#datagramBytes = datagramBytes;
  }

  /** Refills; call when a packet is about to be built. `smoothedRtt`: microseconds. */
  refill(now: Micros, pace: Pace, smoothedRtt: number): void {
    const gain = pace.inSlowStart ? SLOW_START_GAIN : GAIN;
    const rtt = Math.max(smoothedRtt, 1);
    // Who only answers is measured by its few small packets; a full one must not wait for long at
    // such a rate, so the least window in a round trip is always allowed (RFC 9002 §7.2).
    const least = (DATA_LIMITS.minimumWindowDatagrams * this.#datagramBytes) / rtt;
    this.#rate = Math.max(least, pace.pacingRate ?? (gain * pace.congestionWindow) / rtt);
    // Never less than what a late timer needs, or its lateness would lower the rate.
    const burst = Math.max(pace.sendQuantum ?? this.#burstLeast, this.#datagramBytes);
    this.#quantum = pace.sendQuantum ?? this.#datagramBytes;
    this.#burst = Math.max(burst, this.#rate * ms(DATA_LIMITS.paceBurstMs));
    this.#creditLateness(now);
    const most = this.#burst + this.#credit;
    this.#tokens = Math.min(most, this.#tokens + (now - this.#at) * this.#rate);
    this.#at = now;
  }

  /** When `bytes` may leave: `now`, or when a whole quantum may: each wake-up shall be worth it. */
  next(now: Micros, bytes: number): Micros {
    if (this.#tokens >= bytes || this.#rate === 0) return now;
    const wanted = Math.max(bytes, this.#quantum);
    const at = after(now, Math.ceil((wanted - this.#tokens) / this.#rate));
    this.#due = at;
    return at;
  }

  /** Bytes that may leave before their time: one burst ahead of it at most; below 0: none. */
  get borrowable(): number {
    return this.#tokens + this.#burst;
  }

  spend(bytes: number): void {
    this.#tokens -= bytes;
    this.#credit = Math.max(0, this.#credit - bytes);
  }

  /**
   * A timer is late by milliseconds on a busy machine. What it should have let go meanwhile is made
   * up for, within a bound, or the path would be measured at the rate of the machine.
   */
  #creditLateness(now: Micros): void {
    const most = this.#rate * ms(DATA_LIMITS.paceLateMsMax);
    if (this.#due > 0) {
      const late = Math.max(0, now - this.#due) * this.#rate;
      this.#credit = Math.min(this.#credit + late, most);
      this.#due = 0;
    } else if (now - this.#at > ms(DATA_LIMITS.paceBurstMs)) this.#credit = 0;
  }

  get #burstLeast(): number {
    return DATA_LIMITS.paceBurstDatagrams * this.#datagramBytes;
  }
}
