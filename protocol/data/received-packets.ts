// Which packets came, and when to say so (RFC 9000 §13.2): at once on a gap or a late packet, else
// after 16 datagrams, 128 KiB or 2 ms, and along with whatever leaves anyway. The replay window
// below us has already dropped duplicates.

import type { Micros } from '../time.ts';
import { NEVER, after, micros, ms } from '../time.ts';
import { TAG_BYTES } from '../crypto.ts';
import { FRAME } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import { HEADER_BYTES } from './packet.ts';
import { Ranges } from './ranges.ts';
import type { Writer } from './varint.ts';
import { varintSize } from './varint.ts';

/** The receiving half of acknowledgement. */
export class ReceivedPackets {
  readonly #ranges = new Ranges();
  #largest = -1;
  #largestAt = micros(0);
  #unacknowledged = 0;
  /** Bytes of packets that came since the last ACK. */
  #bytes = 0;
  /** Anything to tell that was not told. */
  #news = false;
  #atOnce = false;
  #deadline: Micros = NEVER;

  /** `bytes`: of the whole packet. */
  onPacket(now: Micros, packetNumber: number, eliciting: boolean, bytes: number): void {
    this.#bytes += bytes;
    const inOrder = packetNumber === this.#largest + 1;
    this.#ranges.insert(packetNumber, packetNumber + 1);
    if (this.#ranges.count > DATA_LIMITS.ackRangesSent) this.#ranges.dropFirst();
    if (packetNumber > this.#largest) {
      this.#largest = packetNumber;
      this.#largestAt = now;
    }
    if (!eliciting) return;
    this.#news = true;
    this.#unacknowledged++;
    const isMuch =
      this.#unacknowledged >= DATA_LIMITS.ackEvery || this.#bytes >= DATA_LIMITS.ackEveryBytes;
    if (!inOrder || isMuch) this.#atOnce = true;
    if (this.#deadline === NEVER) this.#deadline = after(now, ms(DATA_LIMITS.ackDelayMs));
  }

  /** The highest packet number that was taken; -1: none. */
  get largest(): number {
    return this.#largest;
  }

  /** When an ACK must leave by itself; NEVER when there is nothing to tell. */
  get deadline(): Micros {
    return this.#deadline;
  }

  isDue(now: Micros): boolean {
    return this.#news && (this.#atOnce || this.#deadline <= now);
  }

  /** Worth adding to a packet that leaves anyway. */
  get hasNews(): boolean {
    return this.#news;
  }

  /** The peer has seen our ACK up to here: older ranges need no repeating (RFC 9000 §13.2.4). */
  onAckAcknowledged(largest: number): void {
    this.#ranges.remove(0, largest - DATA_LIMITS.packetThreshold);
  }

  /**
   * Writes an ACK; returns the largest packet number in it, undefined if not even one range fits.
   * The whole packet stays within `ackAmplificationMax` of what came, unless one range is more.
   * Counts as told only when `onWritten` follows: the packet may still be given up.
   */
  write(now: Micros, writer: Writer): number | undefined {
    const count = this.#ranges.count;
    if (count === 0) return undefined;
    const delay = Math.max(0, Math.round(now - this.#largestAt));
    const top = count - 1;
    const largest = this.#ranges.end(top) - 1;
    const first = largest - this.#ranges.start(top);
    const head = 1 + varintSize(largest) + varintSize(delay) + 1 + varintSize(first);
    if (head > writer.room) return undefined;
    const least = HEADER_BYTES + TAG_BYTES + DATA_LIMITS.paddingBytes;
    const room = Math.min(writer.room, DATA_LIMITS.ackAmplificationMax * this.#bytes - least);
    let size = head;
    let ranges = 1;
    while (ranges < count) {
      const more = this.#pairSize(top - ranges);
      if (size + more > room) break;
      size += more;
      ranges++;
    }
    writer.byte(FRAME.ack);
    writer.varint(largest);
    writer.varint(delay);
    writer.varint(ranges - 1);
    writer.varint(first);
    for (let i = top - 1; i > top - ranges; i--) {
      writer.varint(this.#ranges.start(i + 1) - this.#ranges.end(i) - 1);
      writer.varint(this.#ranges.end(i) - 1 - this.#ranges.start(i));
    }
    return largest;
  }

  /** The packet with the ACK leaves. */
  onWritten(): void {
    this.#news = false;
    this.#atOnce = false;
    this.#unacknowledged = 0;
    this.#bytes = 0;
    this.#deadline = NEVER;
  }

  #pairSize(i: number): number {
    const gap = this.#ranges.start(i + 1) - this.#ranges.end(i) - 1;
    return varintSize(gap) + varintSize(this.#ranges.end(i) - 1 - this.#ranges.start(i));
  }
}
