// Tells each part of a packet's content what became of it: acknowledged, lost, or to be sent again
// as a probe (RFC 9000 §13.3: what is repeated is the newest information, not the old packet).

import type { Datagrams } from './datagrams.ts';
import type { Expiry } from './expiry.ts';
import type { Meter } from './quota.ts';
import type { ReceivedPackets } from './received-packets.ts';
import type { PacketOwner } from './recovery.ts';
import { PART } from './sent-packets.ts';
import type { Streams } from './streams.ts';

/** Whom a packet's content concerns. */
interface FateParts {
  readonly received: ReceivedPackets;
  readonly streams: Streams;
  readonly datagrams: Datagrams;
  readonly meter: Meter;
  readonly expiry: Expiry;
}

/** The owner of everything that `packet-builder.ts` puts into a packet. */
export class PacketFate implements PacketOwner {
  readonly #parts: FateParts;

  constructor(parts: FateParts) {
    this.#parts = parts;
  }

  onPartAcked(kind: number, a: number, b: number, c: number): void {
    const { received, streams, datagrams } = this.#parts;
    if (kind === PART.stream || kind === PART.streamEnd) {
      streams.onAcked(a, b, c, kind === PART.streamEnd);
    } else if (kind === PART.ack) received.onAckAcknowledged(a);
    else if (kind === PART.datagram) datagrams.onAcked(a);
    else if (kind === PART.reset) streams.onResetAcked(a);
  }

  onPartLost(kind: number, a: number, b: number, c: number): void {
    if (kind === PART.datagram) this.#parts.datagrams.onLost(a);
    else this.onPartProbed(kind, a, b, c);
  }

  onPartProbed(kind: number, a: number, b: number, c: number): void {
    const { streams, meter, expiry } = this.#parts;
    if (kind === PART.stream || kind === PART.streamEnd) {
      streams.onLost(a, b, c, kind === PART.streamEnd);
    } else if (kind === PART.maxData) streams.sender.onMaxDataLost();
    else if (kind === PART.maxStreams) streams.sender.onMaxStreamsLost();
    else if (kind === PART.reset || kind === PART.stop || kind === PART.maxStreamData) {
      streams.sender.onControlLost(kind, a);
    } else if (kind === PART.quota) meter.onQuotaLost();
    else if (kind === PART.expiry) expiry.onLost(a);
  }

  onLateDatagrams(bytes: number): void {
    this.#parts.datagrams.onLate(bytes);
  }
}
