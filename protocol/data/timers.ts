// The one table of a connection's timers: a name for each deadline, the earliest of all in one
// look. Recovery and acknowledgement keep their own, because they move with every packet.

import type { Micros } from '../time.ts';
import { NEVER } from '../time.ts';

/** Every timer of a connection, by what it waits for. */
export const TIMER = {
  /** The handshake gives up. */
  handshake: 0,
  /** The initiation is repeated. */
  initiation: 1,
  /** The pacer lets the next packet go. */
  pace: 2,
  /** Nothing authenticated for too long. */
  idle: 3,
  /** A quiet talk sends a PING. */
  keepAlive: 4,
  /** 70 % of the granted time. */
  near: 5,
  /** The granted time is up. */
  expiry: 6,
  /** What is in flight has had its time. */
  finish: 7,
  /** The CLOSE is repeated. */
  close: 8,
  /** The ended connection falls silent for good. */
  closing: 9,
  /** The keys are old. */
  keyUpdate: 10,
  /** Nothing has come since something left that the peer acknowledges. */
  silence: 11,
} as const;
type Timer = (typeof TIMER)[keyof typeof TIMER];

/** A dozen deadlines. */
export class Timers {
  readonly #at: Micros[] = Object.values(TIMER).map(() => NEVER);

  set(timer: Timer, at: Micros): void {
    this.#at[timer] = at;
  }

  stop(timer: Timer): void {
    this.#at[timer] = NEVER;
  }

  stopAll(): void {
    this.#at.fill(NEVER);
  }

  isSet(timer: Timer): boolean {
    return this.#at[timer] !== NEVER;
  }

  /** True once when due; the timer is stopped. */
  fires(timer: Timer, now: Micros): boolean {
    if (this.#at[timer] > now) return false;
    this.#at[timer] = NEVER;
    return true;
  }

  next(): Micros {
    let next = NEVER;
    for (const at of this.#at) if (at < next) next = at;
    return next;
  }
}
