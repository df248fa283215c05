// CUBIC (RFC 9438) with HyStart++ (RFC 9406) under the rules of RFC 9002 §7. After a loss the
// window returns along a cubic of time, flat where the last loss was, so that it grows at the same
// speed whatever the round-trip time. Loss-based, a window only: the pacer takes window by
// round-trip time. Bytes and microseconds; the RFC's formulas are in datagrams and seconds.

import { DATA_LIMITS } from '../data/limits.ts';
import type { Micros } from '../time.ts';
import { MICROS_PER_SECOND } from '../time.ts';
import type { Controller, LossReport, RateSample } from './controller.ts';
import { HyStart } from './hystart.ts';

/** RFC 9438 §4.1, §4.3, §5.1. */
export const CUBIC = {
  /** What a loss leaves of the window. */
  beta: 0.7,
  /** Datagrams per cubic second. */
  c: 0.4,
  /** Datagrams per round trip that are as friendly as Reno with a half: 3 (1 - β) / (1 + β). */
  alpha: (3 * (1 - 0.7)) / (1 + 0.7),
  /** Most that the window grows in one round trip (§4.2). */
  targetGain: 1.5,
} as const;

const NONE = -1;

/** All that a loss changes, so that it can be undone (RFC 9438 §4.9). */
interface State {
  window: number;
  /** `ssthresh`. */
  threshold: number;
  /** `W_max`: where the cubic is flat; 0: no loss to return to. */
  plateau: number;
  /** `cwnd_prior`: the window before the last loss. */
  prior: number;
  /** `K` in seconds. */
  k: number;
  /** `t_epoch`: when congestion avoidance began, moved on by the time that did not count; NONE. */
  epoch: number;
  /** `W_est`: what Reno would have. */
  reno: number;
  /** Packets sent until then are of an episode that was answered already; NONE. */
  recoveryStart: number;
}

/** One loss episode, while it may still turn out not to have been one. */
interface Episode {
  readonly before: State;
  lostBytes: number;
}

/** RFC 9438; one per path. */
export class Cubic implements Controller {
  readonly name = 'cubic';
  readonly pacingRate = undefined;
  readonly sendQuantum = undefined;
  #datagramBytes: number;
  #state: State;
  #hystart = new HyStart();
  #episode: Episode | undefined;
  #isRecovering = false;
  #smoothedRtt = 0;
  #lastAckAt = 0;

  /** `datagramBytes`: the full size of this path's datagrams. */
  constructor(datagramBytes: number) {
    this.#datagramBytes = datagramBytes;
    this.#state = firstState(datagramBytes);
  }

  get congestionWindow(): number {
    return Math.floor(this.#state.window);
  }

  get inSlowStart(): boolean {
    return this.#state.window < this.#state.threshold;
  }

  get phase(): string {
    if (this.#isRecovering) return 'recovery';
    if (!this.inSlowStart) return 'congestion avoidance';
    return this.#usesHyStart && this.#hystart.isConservative
      ? 'conservative slow start'
      : 'slow start';
  }

  onPacketSent(): void {}

  onPacketLost(): void {}

  onAck(now: Micros, sample: RateSample): void {
    const passed = now - this.#lastAckAt;
    this.#lastAckAt = now;
    this.#onRtt(sample.rttMicros);
    if (sample.newestSentAt <= this.#state.recoveryStart) return;
    this.#isRecovering = false;
    if (sample.appLimited) {
      // An application that does not fill the window proves nothing about the path (RFC 9002
      // §7.8), and time in which the window stands still is none (RFC 9438 §4.2, §5.8).
      if (this.#state.epoch !== NONE) this.#state.epoch += passed;
      return;
    }
    if (this.inSlowStart) this.#slowStart(sample);
    else this.#avoidCongestion(now, sample.ackedBytes);
  }

  onLoss(now: Micros, report: LossReport): void {
    if (report.newestSentAt > this.#state.recoveryStart) this.#onEpisode(now, report.lostBytes);
    else if (this.#episode !== undefined) this.#episode.lostBytes += report.lostBytes;
    if (report.persistent) this.#onPersistent();
  }

  /**
   * RFC 9438 §4.9.2: all that the episode lost has arrived after all, so nothing happened. What an
   * earlier episode lost says nothing of this one.
   */
  onSpuriousLoss(_now: Micros, bytes: number, sentAt: Micros): void {
    const episode = this.#episode;
    if (episode === undefined) return;
    const isOfIt = sentAt > episode.before.recoveryStart && sentAt <= this.#state.recoveryStart;
    if (!isOfIt) return;
    episode.lostBytes -= bytes;
    if (episode.lostBytes > 0) return;
    this.#episode = undefined;
    this.#isRecovering = false;
    if (this.#state.window < this.#state.prior) this.#state = episode.before;
  }

  onDatagramBytes(datagramBytes: number): void {
    const state = this.#state;
    const isFirst = state.window === firstState(this.#datagramBytes).window;
    this.#datagramBytes = datagramBytes;
    // RFC 9002 §7.2: a first window that nothing has tested yet is that of the new size.
    if (isFirst && state.threshold === Infinity) state.window = firstState(datagramBytes).window;
    state.window = Math.max(state.window, this.#least);
  }

  reset(): void {
    this.#state = firstState(this.#datagramBytes);
    this.#hystart = new HyStart();
    this.#episode = undefined;
    this.#isRecovering = false;
    this.#smoothedRtt = 0;
  }

  get #least(): number {
    return DATA_LIMITS.minimumWindowDatagrams * this.#datagramBytes;
  }

  /** RFC 9406 §4.3: only in the first slow start. */
  get #usesHyStart(): boolean {
    return this.#state.threshold === Infinity;
  }

  #onRtt(rttMicros: number): void {
    if (rttMicros === 0) return;
    const smoothed = this.#smoothedRtt === 0 ? rttMicros : this.#smoothedRtt;
    this.#smoothedRtt = (7 * smoothed + rttMicros) / 8;
  }

  #slowStart(sample: RateSample): void {
    if (!this.#usesHyStart) {
      this.#grow(sample.ackedBytes);
      return;
    }
    this.#grow(sample.ackedBytes / this.#hystart.growthDivisor);
    this.#hystart.onAck(sample);
    if (this.#hystart.isOver) this.#state.threshold = this.#state.window;
  }

  /** RFC 9438 §4.2 to §4.5. */
  #avoidCongestion(now: Micros, ackedBytes: number): void {
    const state = this.#state;
    if (state.epoch === NONE) this.#beginEpoch(now);
    const datagram = this.#datagramBytes;
    const alpha = state.reno >= state.prior ? 1 : CUBIC.alpha;
    state.reno += (alpha * datagram * ackedBytes) / state.window;
    const t = now - state.epoch;
    if (this.#cubicAt(t) < state.reno) {
      this.#grow(Math.max(0, state.reno - state.window));
      return;
    }
    const wanted = this.#cubicAt(t + this.#smoothedRtt);
    const target = Math.min(wanted, CUBIC.targetGain * state.window);
    this.#grow(Math.max(0, ((target - state.window) * ackedBytes) / state.window));
  }

  /** Congestion avoidance begins at this window (§4.2; §4.8, §4.10 without a loss before it). */
  #beginEpoch(now: Micros): void {
    const state = this.#state;
    state.epoch = now;
    state.reno = state.window;
    state.plateau = Math.max(state.plateau, state.window);
    state.k = Math.cbrt((state.plateau - state.window) / this.#datagramBytes / CUBIC.c);
  }

  /** `W_cubic(t)`, in bytes; `elapsed` microseconds. */
  #cubicAt(elapsed: number): number {
    const { k, plateau } = this.#state;
    const seconds = elapsed / MICROS_PER_SECOND - k;
    return CUBIC.c * seconds ** 3 * this.#datagramBytes + plateau;
  }

  /** RFC 9438 §4.6, §4.7. */
  #onEpisode(now: Micros, lostBytes: number): void {
    const { window, plateau, ...rest } = this.#state;
    this.#episode = { before: { ...rest, window, plateau }, lostBytes };
    const reduced = Math.max(window * CUBIC.beta, this.#least);
    this.#state = {
      ...rest,
      // A loss below the last one: somebody else came, so leave room.
      plateau: window < plateau ? (window * (1 + CUBIC.beta)) / 2 : window,
      prior: window,
      window: reduced,
      threshold: reduced,
      epoch: NONE,
      recoveryStart: now,
    };
    this.#isRecovering = true;
  }

  /** RFC 9002 §7.6.2, RFC 9438 §4.8: slow start to the threshold, and a new cubic from there. */
  #onPersistent(): void {
    const state = this.#state;
    state.window = this.#least;
    state.plateau = 0;
    state.epoch = NONE;
    state.recoveryStart = NONE;
    this.#episode = undefined;
    this.#isRecovering = false;
  }

  #grow(bytes: number): void {
    const state = this.#state;
    state.window = Math.min(state.window + bytes, DATA_LIMITS.congestionWindowMax);
  }
}

function firstState(datagramBytes: number): State {
  return {
    window: DATA_LIMITS.initialWindowDatagrams * datagramBytes,
    threshold: Infinity,
    plateau: 0,
    prior: 0,
    k: 0,
    epoch: NONE,
    reno: 0,
    recoveryStart: NONE,
  };
}
