// A link in virtual time that joins two ends: seeded loss, bursts, delay, reordering, duplication,
// bit flips, a rate with a finite queue in each direction. It keeps no clock: every call is told
// the time, and what was sent arrives when it is taken.

import type { Path } from '../protocol/core.ts';
import { type Micros, NEVER, micros, ms } from '../protocol/time.ts';

/** What the link does to datagrams; fractions of 1. */
export interface Faults {
  readonly loss: number;
  /** Chance that a loss goes on with the next datagram. */
  readonly burst: number;
  readonly duplicate: number;
  readonly corrupt: number;
  /** One-way delay; each datagram adds up to `jitterMs`, which reorders. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Infinity: no bottleneck. */
  readonly bytesPerSecond: number;
  readonly queueBytes: number;
}

/** A short link without faults. */
export const CLEAN: Faults = {
  loss: 0,
  burst: 0,
  duplicate: 0,
  corrupt: 0,
  delayMs: 5,
  jitterMs: 0,
  bytesPerSecond: Infinity,
  queueBytes: Infinity,
};

/** A datagram under way. */
interface Arrival<To> {
  readonly at: Micros;
  readonly to: To;
  readonly from: Path;
  readonly bytes: Uint8Array;
}

/** The link; `To` names its ends. */
export class Link<To> {
  /** Whoever changes them changes what is sent from now on. */
  faults: Faults;
  readonly #random: () => number;
  /** In the order of arrival. */
  #flying: Arrival<To>[] = [];
  #inBurst = false;
  readonly #lineFreeAt = new Map<To, number>();

  /** `random`: 0 to 1, 1 excluded; the same sequence gives the same link. */
  constructor(random: () => number, faults: Faults) {
    this.#random = random;
    this.faults = faults;
  }

  /** When the next datagram arrives; NEVER when none is under way. */
  get nextArrival(): Micros {
    return this.#flying.length === 0 ? NEVER : this.#flying[0].at;
  }

  /** Sends a copy of `bytes` to an end; `from` is what it will see as their source. */
  send(now: Micros, to: To, from: Path, bytes: Uint8Array): void {
    const { burst, loss, duplicate } = this.faults;
    const isLost = this.#random() < (this.#inBurst ? burst : loss);
    this.#inBurst = isLost && burst > 0;
    if (isLost) return;
    this.#fly(now, to, from, bytes);
    if (this.#random() < duplicate) this.#fly(now, to, from, bytes);
  }

  /** Has a datagram arrive then, whatever the faults; `bytes` are the link's. */
  arrive(at: Micros, to: To, from: Path, bytes: Uint8Array): void {
    // Almost always the last one: look from the back.
    let index = this.#flying.length;
    while (index > 0 && this.#flying[index - 1].at > at) index--;
    this.#flying.splice(index, 0, { at, to, from, bytes });
  }

  /** One datagram that has arrived by now; it is the taker's. */
  take(now: Micros): Arrival<To> | undefined {
    return this.nextArrival <= now ? this.#flying.shift() : undefined;
  }

  #fly(now: Micros, to: To, from: Path, original: Uint8Array): void {
    const { corrupt, bytesPerSecond, queueBytes, delayMs, jitterMs } = this.faults;
    const bytes = original.slice();
    if (this.#random() < corrupt) {
      bytes[Math.floor(this.#random() * bytes.length)] ^= 1 << Math.floor(this.#random() * 8);
    }
    let at: number = now;
    if (bytesPerSecond !== Infinity) {
      const start = Math.max(at, this.#lineFreeAt.get(to) ?? 0);
      if ((start - at) * (bytesPerSecond / 1e6) > queueBytes) return;
      at = start + (bytes.length * 1e6) / bytesPerSecond;
      this.#lineFreeAt.set(to, at);
    }
    at += ms(delayMs) + this.#random() * ms(jitterMs);
    this.arrive(micros(at), to, from, bytes);
  }
}
