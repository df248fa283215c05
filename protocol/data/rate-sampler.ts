// Delivery rate estimation (draft-ietf-ccwg-bbr §4.1): what each packet takes with it when it
// leaves, and what its acknowledgement or its loss tells congestion control. Recovery calls it with
// the packets of one path; sizes are bytes of UDP payload, times microseconds.

import type { LostPacket, RateSample } from '../congestion/controller.ts';
import type { Micros } from '../time.ts';
import { micros } from '../time.ts';
import type { Rtt } from './rtt.ts';
import type { SentPacket } from './sent-packets.ts';

/** The counters of one sender, and the two objects that it lends. */
export class RateSampler {
  readonly #rtt: Rtt;
  #delivered = 0;
  #deliveredAt = micros(0);
  #firstSentAt = micros(0);
  #appLimitedUntil = 0;
  #lostBytes = 0;
  readonly #sample: RateSample = {
    ackedBytes: 0,
    newestSentAt: micros(0),
    priorDelivered: 0,
    deliveredBytes: 0,
    intervalMicros: 0,
    deliveredTotal: 0,
    txInFlight: 0,
    lostBytes: 0,
    rttMicros: 0,
    appLimited: false,
    bytesInFlight: 0,
  };
  readonly #lostPacket: LostPacket = { bytes: 0, txInFlight: 0, lostBytes: 0, appLimited: false };

  constructor(rtt: Rtt) {
    this.#rtt = rtt;
  }

  /** A packet leaves; `bytesInFlight`: before it. */
  onSent(now: Micros, packet: SentPacket, bytesInFlight: number): void {
    if (bytesInFlight === 0) {
      this.#firstSentAt = now;
      this.#deliveredAt = now;
    }
    packet.delivered = this.#delivered;
    packet.deliveredAt = this.#deliveredAt;
    packet.firstSentAt = this.#firstSentAt;
    packet.appLimited = this.#delivered < this.#appLimitedUntil;
    packet.lost = this.#lostBytes;
    packet.txInFlight = bytesInFlight + packet.bytes;
  }

  /** The window has room and there is nothing to fill it with. */
  onAppLimited(bytesInFlight: number): void {
    this.#appLimitedUntil = this.#delivered + bytesInFlight + 1;
  }

  /** What the loss of a packet tells. Lent until the next. */
  onLost(packet: SentPacket): LostPacket {
    this.#lostBytes += packet.bytes;
    const lost = this.#lostPacket;
    lost.bytes = packet.bytes;
    lost.txInFlight = packet.txInFlight;
    lost.lostBytes = this.#lostBytes - packet.lost;
    lost.appLimited = packet.appLimited;
    return lost;
  }

  /**
   * What an acknowledgement of `ackedBytes` tells whose newest packet is `newest`, after the losses
   * that it revealed; `rttMicros` 0: none measured. `arrivedAt`: when it would have come had the
   * peer not held it back; rates are of arrivals, not of answers. Lent until the next.
   */
  onAck(
    arrivedAt: Micros,
    newest: SentPacket,
    ackedBytes: number,
    rttMicros: number,
    bytesInFlight: number,
  ): RateSample {
    this.#delivered += ackedBytes;
    this.#deliveredAt = micros(Math.max(this.#deliveredAt, arrivedAt));
    const ackElapsed = this.#deliveredAt - newest.deliveredAt;
    const interval = Math.max(newest.sentAt - newest.firstSentAt, ackElapsed);
    this.#firstSentAt = newest.sentAt;
    const sample = this.#sample;
    sample.ackedBytes = ackedBytes;
    sample.newestSentAt = newest.sentAt;
    sample.priorDelivered = newest.delivered;
    sample.txInFlight = newest.txInFlight;
    sample.deliveredBytes = this.#delivered - newest.delivered;
    // Shorter than any round trip: no rate (§4.1.2.3).
    sample.intervalMicros = interval < this.#rtt.minimum ? 0 : interval;
    sample.deliveredTotal = this.#delivered;
    sample.lostBytes = this.#lostBytes - newest.lost;
    sample.rttMicros = rttMicros;
    sample.appLimited = newest.appLimited;
    sample.bytesInFlight = bytesInFlight;
    return sample;
  }
}
