// Live messages in order: what came over a path that loses and overtakes goes to a player in order,
// and nothing waits long for what may never come. A jitter buffer as of RTP receivers (RFC 3550
// §6.4.1 names the trouble), without its timestamps: the player's own clock paces, and the first
// message is held back for as long as others may be late. Pure; both ends of `live` use it.

import { type Micros, NEVER, micros } from '../protocol/time.ts';

/** Messages kept at once: chosen by us, 300 kB of the default size. */
export const LIVE_HELD_MAX = 256;

interface Held {
  readonly frame: Uint8Array;
  readonly arrivedAt: Micros;
}

/** How long to wait. */
interface LiveOrderOptions {
  /** The first message, and a gap, wait so long; 0: not at all, what is overtaken is late. */
  readonly waitMicros: number;
  /** After the end was told, what is missing may still take so long. */
  readonly endWaitMicros: number;
}

/** What became of the messages until now. */
interface LiveOrderCounts {
  /** Handed on, in order. */
  readonly received: number;
  /** Passed over; a late one is among them. */
  readonly lost: number;
  /** Came when they had been passed over. */
  readonly late: number;
}

/** Brings the messages of one direction into order. */
export class LiveOrder {
  readonly #options: LiveOrderOptions;
  readonly #held = new Map<number, Held>();
  /** The number that is handed on next. */
  #next = 0;
  #startAt: Micros | undefined;
  #total: number | undefined;
  #endAt: Micros = NEVER;
  #received = 0;
  #lost = 0;
  #late = 0;

  constructor(options: LiveOrderOptions) {
    this.#options = options;
  }

  /**
   * Takes a message; `number`: its 32 bits from the wire; `frame` is kept until it is handed on.
   * With LIVE_HELD_MAX waiting, since nobody polls, the oldest is given up.
   */
  handleMessage(now: Micros, number: number, frame: Uint8Array): void {
    this.#startAt ??= micros(now + this.#options.waitMicros);
    // The nearest number with these 32 bits: nobody is half of them late.
    const at = this.#next + ((number - this.#next) | 0);
    if (at < this.#next || this.#held.has(at)) {
      this.#late += 1;
      return;
    }
    if (this.#total !== undefined && at >= this.#total) return;
    if (this.#held.size >= LIVE_HELD_MAX) {
      const oldest = this.#lowest();
      this.#held.delete(oldest);
      this.#passOver(oldest + 1);
    }
    this.#held.set(at, { frame, arrivedAt: now });
  }

  /** The peer has sent `total` messages, and no more. */
  handleEnd(now: Micros, total: number): void {
    if (this.#total !== undefined) return;
    this.#total = Math.max(total, this.#next);
    this.#endAt = micros(now + this.#options.endWaitMicros);
  }

  /** The next message that is due; to be called until undefined. */
  pollFrame(now: Micros): Uint8Array | undefined {
    if (this.#held.size === 0) {
      if (now >= this.#endAt && this.#total !== undefined) this.#passOver(this.#total);
      return undefined;
    }
    const isFull = this.#held.size >= LIVE_HELD_MAX;
    if (!isFull && now < this.#dueAt()) return undefined;
    const lowest = this.#lowest();
    const held = this.#held.get(lowest);
    this.#held.delete(lowest);
    this.#passOver(lowest);
    this.#next = lowest + 1;
    this.#received += 1;
    return held?.frame;
  }

  /** When to poll again though nothing came; NEVER: not before something does. */
  get wakeAt(): Micros {
    if (this.#held.size > 0) return this.#dueAt();
    return this.isOver ? NEVER : this.#endAt;
  }

  /** Everything was handed on or passed over. */
  get isOver(): boolean {
    return this.#total !== undefined && this.#next >= this.#total;
  }

  get counts(): LiveOrderCounts {
    return { received: this.#received, lost: this.#lost, late: this.#late };
  }

  /** When the lowest that is held may go; some are held. */
  #dueAt(): Micros {
    const start = this.#startAt ?? NEVER;
    // The end needs no cushion: a player has had the beginning.
    if (this.#held.has(this.#next)) return this.#total === undefined ? start : micros(0);
    const first = this.#held.get(this.#lowest())?.arrivedAt ?? NEVER;
    const gap = Math.max(first + this.#options.waitMicros, start);
    return micros(Math.min(gap, this.#endAt));
  }

  #lowest(): number {
    let lowest = Infinity;
    for (const number of this.#held.keys()) lowest = Math.min(lowest, number);
    return lowest;
  }

  #passOver(next: number): void {
    if (next <= this.#next) return;
    this.#lost += next - this.#next;
    this.#next = next;
  }
}
