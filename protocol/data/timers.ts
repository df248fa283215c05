// The one table of a connection's timers: a name for each deadline, the earliest of all in one look.

import type { Micros } from '../time.ts';
import { NEVER } from '../time.ts';

/** Every timer of a connection, by what it waits for. */
export const TIMER = {
  /** The handshake gives up. */
  handshake: 0,
  /** The initiation is repeated. */
  initiation: 1,
  /** A packet is lost by time, or a probe is due (RFC 9002 §6.1.2, §6.2). */
  recovery: 2,
  /** An acknowledgement leaves by itself. */
  ack: 3,
  /** The pacer lets the next packet go. */
  pace: 4,
  /** Nothing authenticated for too long. */
  idle: 5,
  /** A quiet talk sends a PING. */
  keepAlive: 6,
  /** 70 % of the granted time. */
  near: 7,
  /** The granted time is up. */
  expiry: 8,
  /** What is in flight has had its time. */
  finish: 9,
  /** The CLOSE is repeated. */
  close: 10,
  /** The ended connection falls silent for good. */
  closing: 11,
} as const;
export type Timer = (typeof TIMER)[keyof typeof TIMER];

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
