// BBR's model of one path (draft-ietf-ccwg-bbr §5.5): what it carries, how long it takes, how
// lumpy its acknowledgements are, and what follows from these for the bytes in flight. The phases
// (bbr-phases.ts) decide what to try next; this file only estimates.

import { DATA_LIMITS } from '../data/limits.ts';
import { ms } from '../time.ts';
import {
  AckAggregation,
  FullBandwidth,
  MaximumBandwidth,
  MinimumRtt,
  RoundCounter,
} from './bbr-filters.ts';
import { ShortTermModel } from './bbr-losses.ts';
import { BBR } from './bbr-parameters.ts';
import type { RateSample } from './controller.ts';

const ACK_DELAY = ms(DATA_LIMITS.ackDelayMs);

/** The estimates of one path. Bytes, microseconds, bytes per microsecond. */
export class PathModel {
  readonly maximumBandwidth = new MaximumBandwidth();
  readonly rounds = new RoundCounter();
  readonly fullBandwidth = new FullBandwidth();
  readonly shortTerm = new ShortTermModel();
  readonly minimumRtt: MinimumRtt;
  readonly aggregation: AckAggregation;
  datagramBytes: number;
  /** Ever since the beginning the path was full at least once. */
  hasFilledPipe = false;
  /** Largest bytes in flight that the last probes found to be safe. */
  inflightLongTerm = Infinity;
  /** Bytes that leave together; part of what must fit into the window. */
  sendQuantum = 0;
  #bandwidth = 0;
  #rate = 0;
  #isAppLimited = false;
  #lowRateUntil = -1;
  #isDraining = false;
  /** The shortest of the last round trip. */
  #rttOfRound = Infinity;
  /** Shortest round-trip time since the round trip began. */
  #rttShortest = Infinity;

  constructor(now: number, datagramBytes: number) {
    this.datagramBytes = datagramBytes;
    this.minimumRtt = new MinimumRtt(now);
    this.aggregation = new AckAggregation(now);
  }

  /** What sending is matched to: the largest bandwidth, or less after losses. */
  get bandwidth(): number {
    return this.#bandwidth;
  }
  /** The delivery rate of the newest sample; 0: none. */
  get rate(): number {
    return this.#rate;
  }
  /**
   * Ours: every packet of the last round trip has waited, and the round trip before was not one of
   * giving way. A largest sample is a little larger than the path, by how late two processes are.
   */
  get isDraining(): boolean {
    return this.#isDraining;
  }
  /** The newest sample shows what we sent, not what the path carries. */
  get isAppLimited(): boolean {
    return this.#isAppLimited;
  }

  /** A packet of this round-trip time has waited in somebody's queue. */
  hasQueued(rtt: number): boolean {
    return rtt > BBR.queuedRtt * this.minimumRtt.value + ACK_DELAY;
  }

  /** Ours: all of the last round trip waited longer than our own rules let a queue of ours grow. */
  get isShared(): boolean {
    const rtt = this.#rttOfRound;
    return rtt !== Infinity && rtt > BBR.sharedRtt * this.minimumRtt.value + ACK_DELAY;
  }

  /** The share of what was in flight whose loss means that it was too much (§5.5.10.2). */
  get lossThreshold(): number {
    const rtt = this.shortTerm.rttShortest;
    const isQueued = rtt !== Infinity && this.hasQueued(rtt);
    return isQueued ? BBR.lossThreshold : BBR.lossThresholdUnqueued;
  }

  isInflightTooHigh({
    lostBytes,
    txInFlight,
  }: Pick<RateSample, 'lostBytes' | 'txInFlight'>): boolean {
    return lostBytes > txInFlight * this.lossThreshold;
  }

  /** Takes the signals of one acknowledgement, before any decision. `window`: congestion window. */
  begin(now: number, sample: RateSample, window: number): void {
    const { deliveredBytes, intervalMicros } = sample;
    this.#rate = intervalMicros > 0 ? deliveredBytes / intervalMicros : 0;
    this.#isAppLimited = sample.appLimited || sample.priorDelivered <= this.#lowRateUntil;
    this.shortTerm.begin(sample, this.#rate);
    this.rounds.update(sample);
    if (this.#rate > 0) this.maximumBandwidth.update(this.#rate, this.#isAppLimited);
    this.aggregation.update(now, sample.ackedBytes, {
      bandwidth: this.#bandwidth,
      window,
      round: this.rounds.count,
      rounds: this.hasFilledPipe ? BBR.extraAckedRounds : 1,
    });
    if (sample.rttMicros > 0) this.#rttShortest = Math.min(this.#rttShortest, sample.rttMicros);
    if (!this.rounds.isStart) return;
    this.#endRound();
  }

  #endRound(): void {
    const rtt = this.#rttShortest;
    this.#rttShortest = Infinity;
    this.#rttOfRound = rtt;
    // Ours: every packet of a round trip has waited, so the queue is ours and the pipe is full.
    // What leaves a queue leaves at the rate of the path: the estimate is right, or soon will be.
    // Of somebody who only answers that is not so: the queue is made by who sends to it.
    const isQueued = rtt !== Infinity && this.hasQueued(rtt);
    if (isQueued && !this.#isAppLimited) this.hasFilledPipe = true;
    const isLong = this.minimumRtt.value >= BBR.drainRttLeast;
    this.#isDraining = isQueued && isLong && !this.#isDraining;
    if (this.#isAppLimited) return;
    this.fullBandwidth.update(this.#rate);
    if (this.fullBandwidth.isFull) this.hasFilledPipe = true;
  }

  /** After all decisions: the bandwidth that pacing and window are derived from. */
  end(sample: RateSample): void {
    this.shortTerm.end(sample, this.#rate);
    this.#bandwidth = Math.min(this.maximumBandwidth.value, this.shortTerm.bandwidth);
  }

  /** We hold back on purpose: what is in flight until now says nothing of the path. */
  onHeldBack(sample: RateSample): void {
    this.#lowRateUntil = sample.deliveredTotal + sample.bytesInFlight;
  }

  /** Bandwidth-delay product; undefined without a round-trip time. */
  product(bandwidth = this.#bandwidth): number | undefined {
    const rtt = this.minimumRtt.value;
    return rtt === Infinity ? undefined : bandwidth * rtt;
  }

  /** Bytes in flight that fill the path `gain` times; `extra`: more, for lumpy acknowledgements. */
  inflight(gain: number, bandwidth = this.#bandwidth, extra = 0): number {
    const product = this.product(bandwidth);
    const wanted = product === undefined ? this.initialWindow : gain * product;
    return Math.max(wanted + extra, this.#offloadBudget, this.minimumWindow);
  }

  get initialWindow(): number {
    return DATA_LIMITS.initialWindowDatagrams * this.datagramBytes;
  }

  /**
   * The least window that keeps data flowing: four datagrams (§5.6.4.3) more than the peer may
   * leave unacknowledged at this rate.
   */
  get minimumWindow(): number {
    return BBR.minimumWindowDatagrams * this.datagramBytes + this.#unacknowledged;
  }

  /** The long-term bound less what is left free for others (§5.3.3.6). */
  get inflightWithHeadroom(): number {
    const bound = this.inflightLongTerm;
    if (bound === Infinity) return Infinity;
    const headroom = Math.max(this.datagramBytes, BBR.headroom * bound);
    return Math.max(bound - headroom, this.minimumWindow);
  }

  /** What the peer collects before it acknowledges: so many datagrams or so long (§5.5.8). */
  get #unacknowledged(): number {
    return Math.min(
      DATA_LIMITS.ackEvery * this.datagramBytes,
      DATA_LIMITS.ackEveryBytes + this.datagramBytes,
      ms(DATA_LIMITS.ackDelayMs) * this.maximumBandwidth.value,
    );
  }

  /** §5.5.8: what must be under way beside the product so that nobody waits for anybody. */
  get #offloadBudget(): number {
    return this.sendQuantum + BBR.aggregatesInFlight * this.#unacknowledged;
  }
}
