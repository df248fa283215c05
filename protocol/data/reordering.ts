// How far a path reorders: packets that were declared lost are remembered for a while, and each one
// that is acknowledged after all makes recovery wait longer (RFC 9002 §6.1.1, §6.1.2).

import type { Micros } from '../time.ts';
import { micros } from '../time.ts';
import type { AckFrame } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import type { SentPacket } from './sent-packets.ts';

/** Lost a while ago: enough to see that it was not. */
interface FormerlyLost {
  readonly packetNumber: number;
  readonly bytes: number;
  readonly datagramBytes: number;
  readonly sentAt: Micros;
  /** Its loss was not told to congestion control. */
  readonly isSilent: boolean;
}

const NONE: readonly FormerlyLost[] = [];

/** What was lost, and the thresholds that follow from what was not. */
export class Reordering {
  /** Packets, and eighths of a round trip, after which one is declared lost. */
  packetThreshold: number = DATA_LIMITS.packetThreshold;
  timeThresholdEighths: number = DATA_LIMITS.timeThresholdEighths;
  #lost: FormerlyLost[] = [];
  #seenAt = micros(-1);

  /** Another path: what was lost on the one before says nothing of it. */
  onPathChange(): void {
    this.packetThreshold = DATA_LIMITS.packetThreshold;
    this.timeThresholdEighths = DATA_LIMITS.timeThresholdEighths;
    this.#lost = this.#lost.map((lost) => ({ ...lost, isSilent: true }));
  }

  /** A packet is declared lost; the oldest of `DATA_LIMITS.lostPacketsKept` is forgotten. */
  onLost({ packetNumber, bytes, datagramBytes, sentAt }: SentPacket, isSilent: boolean): void {
    this.#lost.push({ packetNumber, bytes, datagramBytes, sentAt, isSilent });
    if (this.#lost.length > DATA_LIMITS.lostPacketsKept) this.#lost.shift();
  }

  /** What `ack` covers after all; it is told once. */
  takeLate(now: Micros, ack: AckFrame): readonly FormerlyLost[] {
    const isLate = ({ packetNumber }: FormerlyLost): boolean => covers(ack, packetNumber);
    if (!this.#lost.some(isLate)) return NONE;
    const late = this.#lost.filter(isLate);
    this.#lost = this.#lost.filter((lost) => !isLate(lost));
    for (const { isSilent, packetNumber, sentAt } of late) {
      if (!isSilent) this.#onSeen(now, ack.largest - packetNumber, sentAt);
    }
    return late;
  }

  /** As many packets more as this one was late, and once a round trip an eighth of it. */
  #onSeen(now: Micros, distance: number, sentAt: Micros): void {
    const { packetThresholdMax, timeThresholdEighthsMax } = DATA_LIMITS;
    const least = Math.min(distance + 1, packetThresholdMax);
    this.packetThreshold = Math.max(this.packetThreshold, least);
    if (sentAt <= this.#seenAt) return;
    this.#seenAt = now;
    this.timeThresholdEighths = Math.min(this.timeThresholdEighths + 1, timeThresholdEighthsMax);
  }
}

function covers(ack: AckFrame, packetNumber: number): boolean {
  for (let i = 0; i < ack.ranges; i++) {
    if (ack.edges[i * 2] <= packetNumber && packetNumber <= ack.edges[i * 2 + 1]) return true;
  }
  return false;
}
