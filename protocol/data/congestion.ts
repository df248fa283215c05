// How much may be in flight. `Controller` has the shape that model-based controllers (BBR) need, a
// delivery rate sample with each acknowledgement; `NewReno` is RFC 9002 §7 and ignores it.

import type { Micros } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';

/** What one acknowledgement tells (draft-ietf-ccwg-bbr §4.1, delivery rate estimation). */
export interface RateSample {
  /** Bytes this acknowledgement newly covers. */
  ackedBytes: number;
  /** Send time of the newest packet it covers. */
  newestSentAt: Micros;
  /** Bytes delivered since that packet was sent, and the microseconds they took; 0: no sample. */
  deliveredBytes: number;
  intervalMicros: number;
  /** All bytes delivered so far. */
  deliveredTotal: number;
  /** Round-trip time of this acknowledgement; 0: none. */
  rttMicros: number;
  /** The sender had nothing to send when that packet left: the rate is a lower bound. */
  appLimited: boolean;
  /** After this acknowledgement. */
  bytesInFlight: number;
}

/** What one loss detection found. */
interface LossReport {
  lostBytes: number;
  /** Send time of the newest lost packet. */
  newestSentAt: Micros;
  bytesInFlight: number;
  /** RFC 9002 §7.6. */
  persistent: boolean;
}

/** A congestion controller; one per path. All sizes in bytes of UDP payload. */
export interface Controller {
  readonly name: string;
  readonly congestionWindow: number;
  /** Bytes per microsecond; undefined: the pacer takes window by rtt (RFC 9002 §7.7). */
  readonly pacingRate: number | undefined;
  readonly inSlowStart: boolean;
  onPacketSent(now: Micros, bytes: number, bytesInFlight: number): void;
  onAck(now: Micros, sample: RateSample): void;
  onLoss(now: Micros, report: LossReport): void;
  /** A packet declared lost was acknowledged after all. */
  onSpuriousLoss(now: Micros, bytes: number): void;
}

/** RFC 9002 §7, the QUIC form of NewReno. */
export class NewReno implements Controller {
  readonly name = 'newreno';
  readonly pacingRate = undefined;
  readonly #datagramBytes: number;
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

  onPacketSent(): void {}

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
