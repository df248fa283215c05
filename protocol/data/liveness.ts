// Whether the peer is still there, and whether it can still reach us. A quiet talk sends a PING
// every keep-alive time. Who only receives says nothing by itself: when bytes stop coming, its own
// address may be what has changed, and only a packet of its own tells the peer (RFC 9000 §9.3). So
// after received bytes the first pause is short, the shorter the more steadily they came, and
// doubles back to the keep-alive time.

import type { Micros } from '../time.ts';
import { MICROS_PER_MS, after, ms } from '../time.ts';
import type { ConnectionConfig } from './connection-types.ts';
import { DATA_LIMITS } from './limits.ts';
import type { Timers } from './timers.ts';
import { TIMER } from './timers.ts';

/** Keeps the idle timer and the keep-alive timer. */
export class Liveness {
  readonly #timers: Timers;
  readonly #config: ConnectionConfig;
  #pauseMs: number;
  /** The pause is the short one after bytes that came steadily; a PING ends it. */
  #isSteady = false;
  #isMissing = false;
  #receivedBytes = 0;
  #receivedAt: Micros | undefined;
  /** Milliseconds between two packets with bytes, smoothed. */
  #gapMs: number = DATA_LIMITS.silencePauseMs;

  constructor(timers: Timers, config: ConnectionConfig) {
    this.#timers = timers;
    this.#config = config;
    this.#pauseMs = config.keepAliveMs;
  }

  /** An authenticated packet came; `receivedBytes`: all stream and message bytes before it. */
  onHeard(now: Micros, receivedBytes: number): void {
    const { idleTimeoutMs, keepAliveMs } = this.#config;
    this.#timers.set(TIMER.idle, after(now, ms(idleTimeoutMs)));
    if (receivedBytes !== this.#receivedBytes) {
      this.#receivedBytes = receivedBytes;
      this.#pauseMs = Math.min(this.#steadyPauseMs(now), keepAliveMs);
      this.#isSteady = this.#pauseMs < DATA_LIMITS.silencePauseMs;
    }
    this.onActivity(now);
  }

  /** What comes steadily is missed early: a receiver has nothing else to notice a dead path by. */
  #steadyPauseMs(now: Micros): number {
    const { silencePauseMs, silencePauseMsLeast, silenceGaps } = DATA_LIMITS;
    const gap = (now - (this.#receivedAt ?? now)) / MICROS_PER_MS;
    this.#receivedAt = now;
    this.#gapMs += (Math.min(gap, silencePauseMs) - this.#gapMs) / 8;
    return Math.max(silencePauseMsLeast, Math.min(silenceGaps * this.#gapMs, silencePauseMs));
  }

  /** Something left that the peer will acknowledge, or came. */
  onActivity(now: Micros): void {
    this.#timers.set(TIMER.keepAlive, after(now, ms(this.#pauseMs)));
  }

  /** True once when a PING is due. */
  isPingDue(now: Micros): boolean {
    if (!this.#timers.fires(TIMER.keepAlive, now)) return false;
    this.#pauseMs = Math.min(2 * this.#pauseMs, this.#config.keepAliveMs);
    this.#isMissing = this.#isSteady;
    this.#isSteady = false;
    return true;
  }

  /** Whether the PING that is due is the first one after bytes that came steadily. */
  get isMissing(): boolean {
    return this.#isMissing;
  }
}
