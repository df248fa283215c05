// What recovery tells a congestion controller, and what it asks back. The samples carry what
// model-based control needs (draft-ietf-ccwg-bbr §4.1, delivery rate estimation); loss-based
// control ignores most of it. Sizes are bytes of UDP payload, times microseconds.

import type { Micros } from '../time.ts';

/** What one acknowledgement tells. Lent: recovery fills the same object each time. */
export interface RateSample {
  /** Bytes this acknowledgement newly covers. */
  ackedBytes: number;
  /** Send time of the newest packet it covers. */
  newestSentAt: Micros;
  /** All bytes delivered when that packet left: tells round trips apart. */
  priorDelivered: number;
  /** Bytes delivered since then, and the microseconds they took; interval 0: no rate. */
  deliveredBytes: number;
  intervalMicros: number;
  /** All bytes delivered so far. */
  deliveredTotal: number;
  /** Bytes in flight when that packet left, itself included. */
  txInFlight: number;
  /** Bytes declared lost between its sending and now. */
  lostBytes: number;
  /** Round-trip time of this acknowledgement; 0: none. */
  rttMicros: number;
  /** The sender had nothing to send when that packet left: the rate is a lower bound. */
  appLimited: boolean;
  /** After this acknowledgement and its loss detection. */
  bytesInFlight: number;
}

/** One packet declared lost. Lent. */
export interface LostPacket {
  bytes: number;
  /** Bytes in flight when it left, itself included. */
  txInFlight: number;
  /** Bytes declared lost between its sending and now, itself included. */
  lostBytes: number;
  appLimited: boolean;
}

/** What one loss detection found, after `onPacketLost` for each packet. */
export interface LossReport {
  readonly lostBytes: number;
  /** Send time of the newest lost packet. */
  readonly newestSentAt: Micros;
  readonly bytesInFlight: number;
  /** RFC 9002 §7.6. */
  readonly persistent: boolean;
}

/** A congestion controller; one per path. */
export interface Controller {
  readonly name: string;
  /** What it is doing, `Startup` or `recovery` say: for traces and `nakodo status`. */
  readonly phase: string;
  /** Bytes that may be in flight. */
  readonly congestionWindow: number;
  /** Bytes per microsecond; undefined: the pacer takes window by rtt (RFC 9002 §7.7). */
  readonly pacingRate: number | undefined;
  /** Bytes that may leave at once; undefined: the pacer's own burst. */
  readonly sendQuantum: number | undefined;
  readonly inSlowStart: boolean;
  /** `bytesInFlight`: this packet included. `appLimited`: nothing more was waiting before it. */
  onPacketSent(now: Micros, bytes: number, bytesInFlight: number, appLimited: boolean): void;
  /** Before the `onLoss` of the same detection. */
  onPacketLost(now: Micros, packet: LostPacket): void;
  onLoss(now: Micros, report: LossReport): void;
  /** After the losses that the same acknowledgement revealed. */
  onAck(now: Micros, sample: RateSample): void;
  /** A packet of `bytes`, sent at `sentAt` and declared lost, was acknowledged after all. */
  onSpuriousLoss(now: Micros, bytes: number, sentAt: Micros): void;
  /** The path's datagrams have another full size from now on. */
  onDatagramBytes(datagramBytes: number): void;
  /** Begins anew, for another path (RFC 9000 §9.4). */
  reset(now: Micros): void;
}
