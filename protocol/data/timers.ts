// The one table of a connection's timers: a name for each deadline, the earliest of all in one
// look. Recovery and acknowledgement keep their own, because they move with every packet.

import type { Micros } from '../time.ts';
import { NEVER } from '../time.ts';

/** Every timer of a connection, by what it waits for. */
export const TIMER = {
  /** The handshake gives up. */
  handshake: 0,
  /** The pacer lets the next packet go. */
  pace: 1,
  /** Nothing authenticated for too long. */
  idle: 2,
  /** A quiet talk sends a PING. */
  keepAlive: 3,
  /** 70 % of the granted time. */
  near: 4,
  /** The granted time is up. */
  expiry: 5,
  /** What is in flight has had its time. */
  finish: 6,
  /** The CLOSE is repeated. */
  close: 7,
  /** The ended connection falls silent for good. */
  closing: 8,
  /** The keys are old. */
  keyUpdate: 9,
  /** Nothing has come since something left that the peer acknowledges. */
  silence: 10,
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
