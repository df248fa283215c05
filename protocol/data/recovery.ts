// Loss detection (RFC 9002 §6): packet threshold, time threshold, probe timeout, persistent
// congestion. Congestion control hears of everything through its own interface; what a lost packet
// carried goes back to whoever sent it. It is long because all of it moves with one walk over one
// ledger, for every acknowledgement.

import type { Micros } from '../time.ts';
import { NEVER, after, earlier, micros, ms } from '../time.ts';
import type { Controller, RateSample } from '../congestion/controller.ts';
import type { Trace } from '../trace/trace-event.ts';
import type { AckFrame } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import { PeerError } from './peer-error.ts';
import { RateSampler } from './rate-sampler.ts';
import { Reordering } from './reordering.ts';
import type { Rtt } from './rtt.ts';
import type { SentPacket } from './sent-packets.ts';
import { SentPackets } from './sent-packets.ts';

/** Who answers for what was in a packet. */
export interface PacketOwner {
  onPartAcked(kind: number, a: number, b: number, c: number): void;
  onPartLost(kind: number, a: number, b: number, c: number): void;
  /** It is sent again as a probe; it may still arrive. */
  onPartProbed(kind: number, a: number, b: number, c: number): void;
  /** DATAGRAM payload that was counted as lost has arrived after all. */
  onLateDatagrams(bytes: number): void;
}

/** Who learns from which sizes arrive: `datagram-size.ts`. */
interface SizeWatch {
  onAcked(now: Micros, packet: SentPacket): void;
  onLost(now: Micros, packet: SentPacket): void;
}

/** One packet number space's recovery. */
export class Recovery {
  readonly #rtt: Rtt;
  readonly #controller: Controller;
  readonly #owner: PacketOwner;
  readonly #trace: Trace | undefined;
  readonly #sizes: SizeWatch | undefined;
  readonly #sampler: RateSampler;
  readonly #sent = new SentPackets();
  readonly #reordering = new Reordering();
  #bytesInFlight = 0;
  #elicitingInFlight = 0;
  #largestAcked = -1;
  #lastElicitingAt = micros(0);
  /** Since when nothing was acknowledged of what is in flight. */
  #waitingSince = micros(0);
  #lossTime: Micros = NEVER;
  #ptoCount = 0;
  #probes = 0;
  #firstSampleAt: Micros = NEVER;
  /** What left before was under way while we stood still: how long it took is not known. */
  #timedFrom = micros(0);
  #lastSkipped = -1;
  /** Packets below went along another path: they are not in flight on this one. */
  #pathStart = 0;
  #spuriousLosses = 0;
  #lostPackets = 0;
  /** The controller's phase as last traced. */
  #phase = '';

  constructor(
    rtt: Rtt,
    controller: Controller,
    owner: PacketOwner,
    trace?: Trace,
    sizes?: SizeWatch,
  ) {
    this.#rtt = rtt;
    this.#controller = controller;
    this.#owner = owner;
    this.#trace = trace;
    this.#sizes = sizes;
    this.#sampler = new RateSampler(rtt);
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }
  get isIdle(): boolean {
    return this.#elicitingInFlight === 0;
  }
  get nextPacketNumber(): number {
    return this.#sent.next;
  }
  /** Probes that may leave whatever the window says (RFC 9002 §7.5). */
  get probes(): number {
    return this.#probes;
  }
  get spuriousLosses(): number {
    return this.#spuriousLosses;
  }
  get lostPackets(): number {
    return this.#lostPackets;
  }

  /** So many probe timeouts in a row that the size of our packets may be the trouble. */
  get wantsSmall(): boolean {
    return this.#ptoCount >= DATA_LIMITS.smallProbeAfter;
  }
  /** Room in the ledger for one more packet. */
  get hasRecord(): boolean {
    return this.#sent.count < DATA_LIMITS.sentPacketsMax;
  }

  /**
   * Room in window and ledger for one more datagram of `bytes`. One may always be in flight: a
   * window can be smaller than a datagram whose size has just grown.
   */
  hasRoom(bytes: number): boolean {
    const window = Math.max(this.#controller.congestionWindow, bytes);
    return this.#bytesInFlight + bytes <= window && this.hasRecord;
  }

  /** Leaves out one number: whoever acknowledges it lies (RFC 9000 §21.4). */
  skipPacketNumber(): void {
    this.#lastSkipped = this.#sent.begin('skipped').packetNumber;
    this.#sent.settle();
  }

  /** The record of the packet about to be sent. */
  beginPacket(): SentPacket {
    return this.#sent.begin('outstanding');
  }

  /** The packet just begun has nothing to carry; its number is used for the next. */
  abandonPacket(): void {
    this.#sent.abandon();
  }

  /** Nothing is left that a probe could carry; one is enough to hear from the peer. */
  cancelProbes(): void {
    this.#probes = 0;
  }

  onPacketSent(now: Micros, packet: SentPacket, bytes: number, eliciting: boolean): void {
    packet.sentAt = now;
    packet.bytes = bytes;
    packet.eliciting = eliciting;
    if (this.#trace !== undefined) {
      const { packetNumber } = packet;
      this.#trace({ kind: 'packetSent', at: now, packetNumber, bytes, eliciting });
    }
    if (!eliciting) {
      // Nobody will acknowledge it in time; it is not in flight, only its number was used.
      packet.state = 'acknowledged';
      this.#sent.settle();
      if (this.#sent.count - this.#elicitingInFlight > DATA_LIMITS.settledPacketsMax) {
        this.#giveUpOldest(now);
      }
      return;
    }
    this.#sampler.onSent(now, packet, this.#bytesInFlight);
    this.#bytesInFlight += bytes;
    if (this.#elicitingInFlight === 0) this.#waitingSince = now;
    this.#elicitingInFlight++;
    this.#lastElicitingAt = now;
    if (this.#probes > 0) this.#probes--;
    this.#controller.onPacketSent(now, bytes, this.#bytesInFlight, packet.appLimited);
  }

  /** The window has room and there is nothing to fill it with. */
  onAppLimited(): void {
    this.#sampler.onAppLimited(this.#bytesInFlight);
  }

  /**
   * Takes an ACK.
   * @throws PeerError for a packet number that was never sent.
   */
  onAck(now: Micros, ack: AckFrame): void {
    if (ack.largest >= this.#sent.next) throw new PeerError('ACK of a packet that was not sent');
    if (this.#trace !== undefined) this.#traceAck(now, ack);
    let newest: SentPacket | undefined;
    let ackedBytes = 0;
    let isNews = false;
    for (let i = 0; i < ack.ranges; i++) {
      const smallest = ack.edges[i * 2];
      const largest = ack.edges[i * 2 + 1];
      if (smallest <= this.#lastSkipped && this.#lastSkipped <= largest) {
        throw new PeerError('ACK of a packet number that was left out');
      }
      const from = Math.max(smallest, this.#sent.base);
      for (let number = largest; number >= from; number--) {
        const packet = this.#sent.at(number);
        if (packet.state !== 'outstanding') continue;
        if (packet.packetNumber > this.#largestAcked) this.#largestAcked = packet.packetNumber;
        this.#onAcked(now, packet);
        isNews = true;
        if (!this.#isOfThisPath(packet)) continue;
        newest ??= packet;
        ackedBytes += packet.bytes;
      }
    }
    this.#onLateAcks(now, ack);
    if (newest === undefined) {
      if (isNews) this.#detectLost(now);
      return;
    }
    const isTimed = newest.packetNumber === ack.largest && newest.sentAt >= this.#timedFrom;
    const rttMicros = isTimed ? now - newest.sentAt : 0;
    if (rttMicros > 0) {
      this.#rtt.update(rttMicros, ack.delayMicros);
      if (this.#firstSampleAt === NEVER) this.#firstSampleAt = now;
    }
    this.#ptoCount = 0;
    this.#probes = 0;
    this.#waitingSince = now;
    // Losses first (RFC 9002 A.7): what is acknowledged out of a bad round trip opens no window.
    this.#detectLost(now);
    const held = rttMicros > 0 ? Math.min(ack.delayMicros, ms(DATA_LIMITS.peerAckDelayMs)) : 0;
    const arrivedAt = micros(now - held);
    const inFlight = this.#bytesInFlight;
    const sample = this.#sampler.onAck(arrivedAt, newest, ackedBytes, rttMicros, inFlight);
    this.#controller.onAck(now, sample);
    if (this.#trace !== undefined) this.#traceMetrics(now, sample);
  }

  /** A round trip that was measured by other means than packets, in microseconds; 0: none was. */
  onRoundTrip(now: Micros, rttMicros: number): void {
    if (rttMicros <= 0) return;
    this.#rtt.update(rttMicros, 0);
    this.#trace?.({ kind: 'roundTrip', at: now, micros: rttMicros });
  }

  /** The PTO backed off, plain; also the unit of the closing period (RFC 9000 §10.2). */
  get pto(): number {
    const backedOff = this.#rtt.pto * 2 ** Math.min(this.#ptoCount, 16);
    return Math.min(backedOff, Math.max(ms(DATA_LIMITS.ptoMsMax), this.#rtt.pto));
  }

  nextTimeout(): Micros {
    if (this.#lossTime !== NEVER) return this.#lossTime;
    if (this.#elicitingInFlight === 0) return NEVER;
    // RFC 9002 §6.2.1 begins anew with each packet: who sends often would never notice a silence.
    const steady = after(this.#waitingSince, DATA_LIMITS.steadyPtos * this.pto);
    return earlier(after(this.#lastElicitingAt, this.pto), steady);
  }

  handleTimeout(now: Micros): void {
    if (this.#lossTime <= now) {
      this.#detectLost(now);
      return;
    }
    if (this.#elicitingInFlight > 0) this.#onProbeTimeout(now);
  }

  /**
   * RFC 9000 §9.4: everything from now on goes along another path. What is under way keeps its
   * fate, but is no evidence for the new path; probes at once find out what has arrived.
   */
  onPathChange(now: Micros): void {
    this.#pathStart = this.#sent.next;
    this.#bytesInFlight = 0;
    this.#ptoCount = 0;
    this.#lossTime = NEVER;
    this.#firstSampleAt = NEVER;
    this.#reordering.onPathChange();
    this.#probe(now);
  }

  /**
   * The peer is heard again after it was silent: a timer that has backed off is due now. Only an
   * acknowledgement ends the backing off (RFC 9002 §6.2.1).
   */
  onHeardAgain(now: Micros): void {
    if (this.#ptoCount > 0 && this.#elicitingInFlight > 0) this.#onProbeTimeout(now);
  }

  #onProbeTimeout(now: Micros): void {
    this.#ptoCount++;
    this.#trace?.({ kind: 'timeout', at: now, count: this.#ptoCount });
    this.#probe(now);
  }

  /** The process has stood still until now, and reads what came meanwhile. */
  onStoodStill(now: Micros): void {
    this.#timedFrom = now;
  }

  #probe(now: Micros): void {
    this.#probes = DATA_LIMITS.probesPerPto;
    // A probe that carries what was not acknowledged repairs a lost tail in the same round trip.
    let left = DATA_LIMITS.probesPerPto;
    for (let number = this.#sent.base; number < this.#sent.next && left > 0; number++) {
      const packet = this.#sent.at(number);
      if (packet.state !== 'outstanding') continue;
      packet.eachPart((kind, a, b, c) => this.#owner.onPartProbed(kind, a, b, c));
      left--;
    }
    // Measured from the probe that is about to leave, or from now if it cannot.
    this.#lastElicitingAt = now;
    this.#waitingSince = now;
  }

  #onAcked(now: Micros, packet: SentPacket): void {
    packet.state = 'acknowledged';
    if (this.#isOfThisPath(packet)) {
      this.#sizes?.onAcked(now, packet);
      this.#bytesInFlight -= packet.bytes;
    }
    this.#elicitingInFlight--;
    packet.eachPart((kind, a, b, c) => this.#owner.onPartAcked(kind, a, b, c));
  }

  #isOfThisPath(packet: SentPacket): boolean {
    return packet.packetNumber >= this.#pathStart;
  }

  /** Of a size probe's loss nothing follows but that its size does not arrive. */
  #isEvidence(packet: SentPacket): boolean {
    return !packet.isSizeProbe && this.#isOfThisPath(packet);
  }

  #onLateAcks(now: Micros, ack: AckFrame): void {
    for (const lost of this.#reordering.takeLate(now, ack)) {
      this.#spuriousLosses++;
      this.#trace?.({ kind: 'spuriousLoss', at: now, packetNumber: lost.packetNumber });
      if (lost.datagramBytes > 0) this.#owner.onLateDatagrams(lost.datagramBytes);
      if (!lost.isSilent) this.#controller.onSpuriousLoss(now, lost.bytes, lost.sentAt);
    }
  }

  /**
   * RFC 9002 §6.1. After it at most `packetThreshold` numbers below the largest are outstanding.
   */
  #detectLost(now: Micros): void {
    this.#lossTime = NEVER;
    const { packetThreshold, timeThresholdEighths } = this.#reordering;
    const lossDelay = this.#rtt.lossDelay(timeThresholdEighths);
    const byNumber = this.#largestAcked - packetThreshold;
    let lostBytes = 0;
    let newestSentAt = micros(0);
    let runStart: Micros = NEVER;
    let longest = 0;
    for (let number = this.#sent.base; number <= this.#largestAcked; number++) {
      const packet = this.#sent.at(number);
      if (packet.state === 'acknowledged') runStart = NEVER;
      if (packet.state !== 'outstanding') continue;
      const lostAt = after(packet.sentAt, lossDelay);
      if (number > byNumber && lostAt > now) {
        this.#lossTime = earlier(this.#lossTime, lostAt);
        continue;
      }
      if (this.#isEvidence(packet)) {
        lostBytes += packet.bytes;
        newestSentAt = packet.sentAt;
        if (packet.sentAt > this.#firstSampleAt && runStart === NEVER) runStart = packet.sentAt;
        if (runStart !== NEVER) longest = Math.max(longest, packet.sentAt - runStart);
      }
      this.#onLost(now, packet);
    }
    this.#sent.settle();
    if (lostBytes === 0) return;
    this.#controller.onLoss(now, {
      lostBytes,
      newestSentAt,
      bytesInFlight: this.#bytesInFlight,
      persistent: longest > this.#rtt.pto * DATA_LIMITS.persistentPtos,
    });
  }

  /** A peer that talks and never acknowledges this one packet would make the ledger grow. */
  #giveUpOldest(now: Micros): void {
    const packet = this.#sent.at(this.#sent.base);
    const { bytes, sentAt } = packet;
    this.#onLost(now, packet);
    this.#sent.settle();
    if (!this.#isEvidence(packet)) return;
    this.#controller.onLoss(now, {
      lostBytes: bytes,
      newestSentAt: sentAt,
      bytesInFlight: this.#bytesInFlight,
      persistent: false,
    });
  }

  #onLost(now: Micros, packet: SentPacket): void {
    packet.state = 'lost';
    if (this.#isOfThisPath(packet)) {
      this.#bytesInFlight -= packet.bytes;
      this.#sizes?.onLost(now, packet);
    }
    this.#elicitingInFlight--;
    this.#lostPackets++;
    const { packetNumber, bytes } = packet;
    this.#trace?.({ kind: 'packetLost', at: now, packetNumber, bytes });
    const isSilent = !this.#isEvidence(packet);
    if (!isSilent) this.#controller.onPacketLost(now, this.#sampler.onLost(packet));
    this.#reordering.onLost(packet, isSilent);
    packet.eachPart((kind, a, b, c) => this.#owner.onPartLost(kind, a, b, c));
  }

  /** Only what may be news: an ACK repeats what was acknowledged long ago. */
  #traceAck(at: Micros, { edges, ranges: count }: AckFrame): void {
    const ranges: (readonly [number, number])[] = [];
    for (let i = 0; i < count; i++) {
      const from = Math.max(edges[i * 2], this.#sent.base);
      if (from <= edges[i * 2 + 1]) ranges.push([from, edges[i * 2 + 1]]);
    }
    this.#trace?.({ kind: 'acknowledged', at, ranges });
  }

  #traceMetrics(at: Micros, { deliveredBytes, intervalMicros }: RateSample): void {
    const { congestionWindow, pacingRate, phase } = this.#controller;
    this.#trace?.({
      kind: 'metrics',
      at,
      congestionWindow,
      bytesInFlight: this.#bytesInFlight,
      pacingRate,
      deliveryRate: intervalMicros > 0 ? deliveredBytes / intervalMicros : undefined,
      smoothedRtt: this.#rtt.smoothed,
      latestRtt: this.#rtt.latest,
      minimumRtt: this.#rtt.minimum,
    });
    if (phase === this.#phase) return;
    this.#trace?.({ kind: 'phase', at, from: this.#phase, to: phase });
    this.#phase = phase;
  }
}
