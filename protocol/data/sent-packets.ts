// The ledger of what is in flight: a ring indexed by packet number, so that finding, settling and
// forgetting a packet cost the same however many there are. Records are reused; what a packet
// carried is kept as plain numbers, four to a part.

import type { Micros } from '../time.ts';
import { micros } from '../time.ts';

/** What a packet carried that has a fate: kind, then three numbers of its own. */
export const PART = {
  /** stream, offset, length */
  stream: 0,
  /** The same, with the end of the stream. */
  streamEnd: 1,
  /** stream */
  reset: 2,
  /** stream */
  stop: 3,
  maxData: 4,
  /** stream */
  maxStreamData: 5,
  maxStreams: 6,
  /** payload bytes */
  datagram: 7,
  quota: 8,
  /** revision */
  expiry: 9,
  /** largest acknowledged */
  ack: 10,
} as const;

const PART_NUMBERS = 4;
/** Records at first: an idle talk needs no more. */
const RING_LEAST = 16;
/** A ring above this is let go when everything is settled: the flight that needed it is over. */
const RING_KEPT = 1_024;

type PacketFateState = 'outstanding' | 'acknowledged' | 'lost' | 'skipped';

/** One sent packet; owned by the ledger, reused after it is settled. */
export class SentPacket {
  packetNumber = -1;
  state: PacketFateState = 'skipped';
  sentAt: Micros = micros(0);
  /** UDP payload. */
  bytes = 0;
  /** Ack-eliciting, hence in flight (RFC 9002 §2). */
  eliciting = false;
  /** Delivery rate estimation: the state when it left. */
  delivered = 0;
  deliveredAt: Micros = micros(0);
  firstSentAt: Micros = micros(0);
  appLimited = false;
  /** All bytes declared lost when it left; bytes in flight then, itself included. */
  lost = 0;
  txInFlight = 0;
  /** A datagram larger than any before: its loss says nothing of congestion (RFC 9000 §14.4). */
  isSizeProbe = false;
  readonly #parts: number[] = [];
  #length = 0;

  begin(packetNumber: number, state: PacketFateState): void {
    this.packetNumber = packetNumber;
    this.state = state;
    this.bytes = 0;
    this.eliciting = false;
    this.isSizeProbe = false;
    this.#length = 0;
  }

  add(kind: number, a = 0, b = 0, c = 0): void {
    const parts = this.#parts;
    parts[this.#length++] = kind;
    parts[this.#length++] = a;
    parts[this.#length++] = b;
    parts[this.#length++] = c;
  }

  eachPart(visit: (kind: number, a: number, b: number, c: number) => void): void {
    const parts = this.#parts;
    for (let i = 0; i < this.#length; i += PART_NUMBERS) {
      visit(parts[i], parts[i + 1], parts[i + 2], parts[i + 3]);
    }
  }

  /** Payload bytes of the DATAGRAM frames in it. */
  get datagramBytes(): number {
    let sum = 0;
    this.eachPart((kind, bytes) => {
      if (kind === PART.datagram) sum += bytes;
    });
    return sum;
  }
}

/** Packets `[base, next)`; the one at `base` is outstanding unless the ledger is empty. */
export class SentPackets {
  #ring: SentPacket[] = [];
  #base = 0;
  #next = 0;

  /** The oldest packet number still kept. */
  get base(): number {
    return this.#base;
  }

  /** The packet number after the last one given out. */
  get next(): number {
    return this.#next;
  }

  /** Records kept, the settled ones between outstanding ones included. */
  get count(): number {
    return this.#next - this.#base;
  }

  /** The record of the next packet number, to be filled by the caller. */
  begin(state: PacketFateState): SentPacket {
    if (this.count >= this.#ring.length) this.#grow();
    const packet = this.at(this.#next);
    packet.begin(this.#next, state);
    this.#next++;
    return packet;
  }

  /** Takes the last `begin` back: the packet does not leave. */
  abandon(): void {
    this.#next--;
  }

  /** `packetNumber` must lie in `[base, next)`. */
  at(packetNumber: number): SentPacket {
    return this.#ring[packetNumber % this.#ring.length];
  }

  /** Forgets settled packets at the old end. */
  settle(): void {
    while (this.#base < this.#next && this.at(this.#base).state !== 'outstanding') this.#base++;
    if (this.#base === this.#next && this.#ring.length > RING_KEPT) this.#ring = [];
  }

  /** Records that are held, in use or not. */
  get held(): number {
    return this.#ring.length;
  }

  #grow(): void {
    const length = Math.max(RING_LEAST, this.#ring.length * 2);
    const ring = Array.from({ length }, () => new SentPacket());
    for (let i = this.#base; i < this.#next; i++) ring[i % length] = this.at(i);
    this.#ring = ring;
  }
}
