// How fast one terminal is read: a burst, then a rate, as a bucket of tokens that fills with time.
// What is over it stays in the sender's own TCP buffers: nothing is lost, and a terminal that
// floods waits for itself, not the session manager and not the other terminals. A bucket is the
// terminal's, not the connection's: whoever connects anew goes on with what is left of it.

import type { DeviceId } from '../protocol/ids.ts';
import { MICROS_PER_SECOND, type Micros } from '../protocol/time.ts';

/** Paces of those who left that are looked at when one comes: what it may add, twice. */
const FORGOTTEN_PER_VISIT = 2;

/** One terminal's pace. */
export class Pace {
  readonly #bytesPerSecond: number;
  readonly #burstBytes: number;
  #bytesLeft: number;
  #at: Micros | undefined;

  constructor(bytesPerSecond: number, burstBytes: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#burstBytes = burstBytes;
    this.#bytesLeft = burstBytes;
  }

  /** Whether the burst is whole, as of the last `take`. */
  get isWhole(): boolean {
    return this.#bytesLeft >= this.#burstBytes;
  }

  /** Counts bytes that were read at `now`; returns how many microseconds not to read any more. */
  take(now: Micros, bytes: number): number {
    const elapsed = this.#at === undefined ? 0 : Math.max(0, now - this.#at);
    const refilled = this.#bytesLeft + (elapsed * this.#bytesPerSecond) / MICROS_PER_SECOND;
    this.#at = now;
    this.#bytesLeft = Math.min(this.#burstBytes, refilled) - bytes;
    if (this.#bytesLeft >= 0) return 0;
    return Math.ceil((-this.#bytesLeft * MICROS_PER_SECOND) / this.#bytesPerSecond);
  }
}

/** The paces of all terminals; one for each that is connected, or that left in haste. */
export class Paces {
  readonly #bytesPerSecond: number;
  readonly #burstBytes: number;
  readonly #here = new Map<DeviceId, { readonly pace: Pace; connections: number }>();
  /** Who left with less than the burst, the longest ago first: forgotten when it is whole again. */
  readonly #left = new Map<DeviceId, Pace>();

  constructor(bytesPerSecond: number, burstBytes: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#burstBytes = burstBytes;
  }

  /** Paces that are kept. */
  get size(): number {
    return this.#here.size + this.#left.size;
  }

  /** One more connection of a terminal; `leave` is called once for each. */
  enter(now: Micros, device: DeviceId): Pace {
    this.#forget(now);
    const pace =
      this.#here.get(device)?.pace ??
      this.#left.get(device) ??
      new Pace(this.#bytesPerSecond, this.#burstBytes);
    this.#left.delete(device);
    const here = this.#here.get(device) ?? { pace, connections: 0 };
    here.connections += 1;
    this.#here.set(device, here);
    return pace;
  }

  /** One connection of a terminal is gone. */
  leave(device: DeviceId): void {
    const here = this.#here.get(device);
    if (here === undefined) return;
    here.connections -= 1;
    if (here.connections > 0) return;
    this.#here.delete(device);
    this.#left.set(device, here.pace);
  }

  #forget(now: Micros): void {
    let looked = 0;
    for (const [device, pace] of this.#left) {
      // One that is deep in debt must not keep those behind it: it goes to the end.
      this.#left.delete(device);
      pace.take(now, 0);
      if (!pace.isWhole) this.#left.set(device, pace);
      if (++looked === FORGOTTEN_PER_VISIT) return;
    }
  }
}
