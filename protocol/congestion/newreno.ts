// RFC 9002 §7: the QUIC form of NewReno. Loss-based, a window only: the pacer derives its rate from
// window and round-trip time.

import { DATA_LIMITS } from '../data/limits.ts';
import type { Micros } from '../time.ts';
import type { Controller, LossReport, RateSample } from './controller.ts';

/** RFC 9002 §7, the QUIC form of NewReno. */
export class NewReno implements Controller {
  readonly name = 'newreno';
  readonly pacingRate = undefined;
  readonly sendQuantum = undefined;
  #datagramBytes: number;
  #window: number;
  #threshold = Infinity;
  /** Packets sent before this are of the episode that was answered already. */
  #recoveryStart = -1;
  #ackedInAvoidance = 0;

  /** `datagramBytes`: the full size of this path's datagrams. */
  constructor(datagramBytes: number) {
    this.#datagramBytes = datagramBytes;
    this.#window = DATA_LIMITS.initialWindowDatagrams * datagramBytes;
  }

  get congestionWindow(): number {
    return this.#window;
  }

  get inSlowStart(): boolean {
    return this.#window < this.#threshold;
  }

  get phase(): string {
    return this.inSlowStart ? 'slow start' : 'congestion avoidance';
  }

  onPacketSent(): void {}

  onPacketLost(): void {}

  onDatagramBytes(datagramBytes: number): void {
    this.#datagramBytes = datagramBytes;
  }

  reset(): void {
    this.#window = DATA_LIMITS.initialWindowDatagrams * this.#datagramBytes;
    this.#threshold = Infinity;
    this.#recoveryStart = -1;
    this.#ackedInAvoidance = 0;
  }

  onAck(_now: Micros, sample: RateSample): void {
    // An application that does not fill the window proves nothing about the path (RFC 9002 §7.8).
    if (sample.appLimited || sample.newestSentAt <= this.#recoveryStart) return;
    if (this.inSlowStart) {
      this.#grow(sample.ackedBytes);
      return;
    }
    this.#ackedInAvoidance += sample.ackedBytes;
    if (this.#ackedInAvoidance >= this.#window) {
      this.#ackedInAvoidance -= this.#window;
      this.#grow(this.#datagramBytes);
    }
  }

  onLoss(now: Micros, report: LossReport): void {
    const least = DATA_LIMITS.minimumWindowDatagrams * this.#datagramBytes;
    if (report.newestSentAt > this.#recoveryStart) {
      this.#recoveryStart = now;
      this.#threshold = Math.max(this.#window / 2, least);
      this.#window = this.#threshold;
      this.#ackedInAvoidance = 0;
    }
    if (report.persistent) {
      this.#window = least;
      this.#recoveryStart = -1;
    }
  }

  onSpuriousLoss(): void {}

  #grow(bytes: number): void {
    this.#window = Math.min(this.#window + bytes, DATA_LIMITS.congestionWindowMax);
  }
}
