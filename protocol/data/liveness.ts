// Whether the peer is still there, and whether it can still reach us. A quiet talk sends a PING
// every keep-alive time. Who only receives says nothing by itself: when bytes stop coming, its own
// address may be what has changed, and only a packet of its own tells the peer (RFC 9000 §9.3). So
// after received bytes the first pause is short, and doubles back to the keep-alive time.

import type { Micros } from '../time.ts';
import { after, ms } from '../time.ts';
import type { ConnectionConfig } from './connection-types.ts';
import { DATA_LIMITS } from './limits.ts';
import type { Timers } from './timers.ts';
import { TIMER } from './timers.ts';

/** Keeps the idle timer and the keep-alive timer. */
export class Liveness {
  readonly #timers: Timers;
  readonly #config: ConnectionConfig;
  #pauseMs: number;
  #receivedBytes = 0;

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
      this.#pauseMs = Math.min(DATA_LIMITS.silencePauseMs, keepAliveMs);
    }
    this.onActivity(now);
  }

  /** Something left that the peer will acknowledge, or came. */
  onActivity(now: Micros): void {
    this.#timers.set(TIMER.keepAlive, after(now, ms(this.#pauseMs)));
  }

  /** True once when a PING is due. */
  isPingDue(now: Micros): boolean {
    if (!this.#timers.fires(TIMER.keepAlive, now)) return false;
    this.#pauseMs = Math.min(2 * this.#pauseMs, this.#config.keepAliveMs);
    return true;
  }
}
