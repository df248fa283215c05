// What BBR makes of losses (draft-ietf-ccwg-bbr §5.5.10 and §5.5.11): the short-term bounds, which
// follow the delivery process of the last round trip and are forgotten at the next probe, and what
// is given back when all losses of an episode turn out to have been late packets.

import type { LostPacket, RateSample } from './controller.ts';
import { BBR } from './bbr-parameters.ts';
import type { BbrPhase } from './bbr-parameters.ts';

/** The delivery process of the last round trip with loss, and the bounds that follow from it. */
export class ShortTermModel {
  #bandwidth = Infinity;
  #inflight = Infinity;
  #bandwidthLatest = 0;
  #inflightLatest = 0;
  #roundEnd = 0;
  #isRoundEndOpen = false;
  #isRoundStart = false;
  #isLossInRound = false;
  #lossEvents = 0;
  #rttLongest = 0;
  #rttShortest = Infinity;

  /** Bytes per microsecond, and bytes; Infinity: no loss since the last probe. */
  get bandwidth(): number {
    return this.#bandwidth;
  }
  get inflight(): number {
    return this.#inflight;
  }
  /** Most bytes that were delivered within one round trip. */
  get inflightLatest(): number {
    return this.#inflightLatest;
  }
  /** The acknowledgement being taken ends a round trip of loss counting. */
  get isRoundStart(): boolean {
    return this.#isRoundStart;
  }
  get isLossInRound(): boolean {
    return this.#isLossInRound;
  }
  /** Loss detections in this round trip that found something. */
  get lossEvents(): number {
    return this.#lossEvents;
  }

  onLostPacket(): void {
    if (this.#isLossInRound) return;
    this.#isLossInRound = true;
    // The acknowledgement at hand says how much is delivered by now.
    this.#isRoundEndOpen = true;
  }

  onLossEvent(): void {
    this.#lossEvents++;
  }

  /** Longest and shortest round-trip time in this round trip of loss counting. */
  get rttLongest(): number {
    return this.#rttLongest;
  }
  get rttShortest(): number {
    return this.#rttShortest;
  }

  /** First of all on an acknowledgement. */
  begin(sample: RateSample, rate: number): void {
    if (this.#isRoundEndOpen) {
      this.#roundEnd = sample.deliveredTotal;
      this.#isRoundEndOpen = false;
    }
    this.#bandwidthLatest = Math.max(this.#bandwidthLatest, rate);
    this.#inflightLatest = Math.max(this.#inflightLatest, sample.deliveredBytes);
    this.#rttLongest = Math.max(this.#rttLongest, sample.rttMicros);
    if (sample.rttMicros > 0) this.#rttShortest = Math.min(this.#rttShortest, sample.rttMicros);
    this.#isRoundStart = sample.priorDelivered >= this.#roundEnd;
    if (this.#isRoundStart) this.#roundEnd = sample.deliveredTotal;
  }

  /**
   * Once a round trip with loss, unless we probe: down to what was delivered, or by beta. Ours: a
   * little lower if a queue stood behind the loss, so that whoever shares it gets room.
   */
  adapt(maximumBandwidth: number, window: number, isQueued: boolean): void {
    const yielded = isQueued ? BBR.queueYield : 1;
    if (this.#bandwidth === Infinity) this.#bandwidth = maximumBandwidth;
    if (this.#inflight === Infinity) this.#inflight = window;
    this.#bandwidth = Math.max(yielded * this.#bandwidthLatest, BBR.beta * this.#bandwidth);
    this.#inflight = Math.max(yielded * this.#inflightLatest, BBR.beta * this.#inflight);
  }

  endLossRound(): void {
    this.#rttLongest = 0;
    this.#rttShortest = Infinity;
    this.#isLossInRound = false;
    this.#lossEvents = 0;
  }

  /** Last of all on an acknowledgement. */
  end(sample: RateSample, rate: number): void {
    if (!this.#isRoundStart) return;
    this.#bandwidthLatest = rate;
    this.#inflightLatest = sample.deliveredBytes;
  }

  /** A new ProbeBW cycle looks at new signals. */
  resetSignals(): void {
    this.#isLossInRound = false;
    this.#lossEvents = 0;
    this.#bandwidthLatest = 0;
    this.#inflightLatest = 0;
  }

  resetBounds(): void {
    this.#bandwidth = Infinity;
    this.#inflight = Infinity;
  }

  /** Never below what held before losses that were none. */
  restore(bandwidth: number, inflight: number): void {
    this.#isLossInRound = false;
    this.#bandwidth = Math.max(this.#bandwidth, bandwidth);
    this.#inflight = Math.max(this.#inflight, inflight);
  }
}

/** Bytes in flight at which losses crossed the threshold, inside this packet (§5.5.10.2). */
export function inflightAtLoss(packet: LostPacket, threshold: number): number {
  const before = packet.txInFlight - packet.bytes;
  const lostBefore = packet.lostBytes - packet.bytes;
  const prefix = (threshold * before - lostBefore) / (1 - threshold);
  return before + prefix;
}

interface Saved {
  readonly bandwidthShortTerm: number;
  readonly inflightShortTerm: number;
  readonly inflightLongTerm: number;
}

/**
 * One loss recovery episode: begins with a loss, ends when a packet sent after the last loss is
 * acknowledged. What it saved is good until the next begins.
 */
export class LossEpisode {
  #isOpen = false;
  #lastLossAt = -1;
  #lostBytes = 0;
  #saved: Saved | undefined;
  /** The phase that its losses ended; undefined: none. */
  endedPhase: BbrPhase | undefined;

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** True if this loss opens an episode. */
  onLoss(now: number, bytes: number, current: () => Saved): boolean {
    this.#lastLossAt = now;
    const opens = !this.#isOpen;
    if (opens) {
      this.#isOpen = true;
      this.#lostBytes = 0;
      this.#saved = current();
      this.endedPhase = undefined;
    }
    this.#lostBytes += bytes;
    return opens;
  }

  /** True if everything that the episode lost has arrived: it was none. */
  onSpuriousLoss(bytes: number): boolean {
    if (this.#saved === undefined) return false;
    this.#lostBytes -= bytes;
    return this.#lostBytes <= 0;
  }

  /** True if this acknowledgement ends it. */
  onAck(newestSentAt: number): boolean {
    if (!this.#isOpen || newestSentAt <= this.#lastLossAt) return false;
    this.#isOpen = false;
    return true;
  }

  /** What held before; it is given back once. */
  takeSaved(): Saved | undefined {
    const saved = this.#saved;
    this.#saved = undefined;
    this.#isOpen = false;
    return saved;
  }
}
