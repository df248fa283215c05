// The two clocks of a shell and its one timer. Cores get `now()`; wall time goes into the log and
// into memberships only.

import { type Micros, type WallMs, MICROS_PER_MS, NEVER, micros, wallMs } from '../time.ts';
import { IO_LIMITS } from './limits.ts';

/** The monotonic clock that cores run on, and the wall clock for the log. */
export class Clock {
  /** Whole microseconds since the process started; never decreases. */
  now(): Micros {
    return micros(Math.floor(performance.now() * MICROS_PER_MS));
  }

  /** Milliseconds since 1970-01-01 UTC, as the system has it now. */
  wall(): WallMs {
    return wallMs(Date.now());
  }
}

/**
 * A clock whose wall time follows the server's (design §3, Time): a Pi has none of its own at boot.
 * Until it is corrected it shows the system's; the system's clock itself is never touched, nor does
 * a change of it move this one afterwards.
 */
export class CorrectedClock extends Clock {
  #wallAtZero: number | undefined;

  override wall(): WallMs {
    if (this.#wallAtZero === undefined) return super.wall();
    return wallMs(Math.floor(this.#wallAtZero + this.now() / MICROS_PER_MS));
  }

  /** Milliseconds by which it is ahead of the system's; undefined: nobody corrected it yet. */
  get aheadMs(): number | undefined {
    return this.#wallAtZero === undefined ? undefined : this.wall() - super.wall();
  }

  /**
   * Somebody who knows it said that it was `unixMs` at some moment of the last `withinMs`
   * milliseconds. So it may be later by now, by so much: a clock that shows such a time is right
   * and only follows the monotonic clock from now on, any other is set to the nearest. An answer
   * that was held back turns back no clock.
   */
  correct(unixMs: number, withinMs = 0): void {
    const wall = Math.min(Math.max(this.wall(), unixMs), unixMs + withinMs);
    this.#wallAtZero = wall - this.now() / MICROS_PER_MS;
  }
}

/**
 * One timer: fires `onWake` once, at or after the armed instant.
 * A running timer that fires early enough is kept and armed again when it fires, so that moving the
 * instant back and forth (what every packet does) costs no timer call.
 */
export class WakeUp {
  readonly #clock: Clock;
  readonly #onWake: () => void;
  readonly #unref: boolean;
  #at: Micros = NEVER;
  #timer: NodeJS.Timeout | undefined;
  #timerAt: Micros = NEVER;
  #immediate: NodeJS.Immediate | undefined;

  /** `unref`: this timer alone does not keep the process alive (default false). */
  constructor(clock: Clock, onWake: () => void, options: { readonly unref?: boolean } = {}) {
    this.#clock = clock;
    this.#onWake = onWake;
    this.#unref = options.unref ?? false;
  }

  /** Sets the instant, in place of any earlier one; NEVER disarms. */
  arm(at: Micros): void {
    this.#at = at;
    if (at === NEVER) {
      this.#clear();
      return;
    }
    if (this.#immediate !== undefined) return;
    const now = this.#clock.now();
    // Sooner than a timer can tell: the loop goes round once more instead.
    if (at - now <= IO_LIMITS.spinMicrosMax) {
      this.#immediate = setImmediate(() => {
        this.#immediate = undefined;
        this.#fire();
      });
      if (this.#unref) this.#immediate.unref();
      return;
    }
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    const delayMs = Math.min(Math.ceil((at - now) / MICROS_PER_MS), IO_LIMITS.timerMsMax);
    this.#timerAt = micros(now + delayMs * MICROS_PER_MS);
    if (this.#timerAt > at) this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#timerAt = NEVER;
      this.#fire();
    }, delayMs);
    if (this.#unref) this.#timer.unref();
  }

  /** Disarms. */
  stop(): void {
    this.#at = NEVER;
    this.#clear();
  }

  #fire(): void {
    const at = this.#at;
    if (at === NEVER) return;
    if (this.#clock.now() < at) {
      // The instant moved later after the timer was set, or the timer came a hair early.
      this.arm(at);
      return;
    }
    this.#clear();
    this.#at = NEVER;
    this.#onWake();
  }

  #clear(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    if (this.#immediate !== undefined) clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#timerAt = NEVER;
    this.#immediate = undefined;
  }
}
