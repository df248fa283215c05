// BBR, version 3 of draft-ietf-ccwg-bbr: instead of waiting for losses it measures what the path
// carries and how long it takes, sends at that rate and keeps about one product of the two in
// flight. This file orders the steps of §5.2 and derives pacing rate, quantum and window (§5.6);
// model and phases have their own files. What we left out or changed: docs/congestion.md.

import { DATA_LIMITS } from '../data/limits.ts';
import type { Rng } from '../random.ts';
import type { Micros } from '../time.ts';
import { LossEpisode, inflightAtLoss } from './bbr-losses.ts';
import { BBR, BBR_GAINS } from './bbr-parameters.ts';
import { PathModel } from './bbr-path-model.ts';
import { BbrPhases } from './bbr-phases.ts';
import { SendWindow } from './bbr-window.ts';
import type { Controller, LossReport, LostPacket, RateSample } from './controller.ts';

/** What one path starts with. */
interface BbrOptions {
  /** The full size of this path's datagrams. */
  readonly datagramBytes: number;
  /** Spreads the probes of many flows over time. */
  readonly rng: Rng;
}

/** Everything about one path; made anew for another. */
interface PathState {
  readonly model: PathModel;
  readonly window: SendWindow;
  readonly phases: BbrPhases;
  readonly episode: LossEpisode;
  pacingRate: number;
  hasRtt: boolean;
}

/** Source: draft-ietf-ccwg-bbr. */
export class Bbr implements Controller {
  readonly name = 'bbr';
  readonly #rng: Rng;
  #datagramBytes: number;
  #path: PathState | undefined;

  constructor(options: BbrOptions) {
    this.#rng = options.rng;
    this.#datagramBytes = options.datagramBytes;
  }

  get phase(): string {
    return this.#path?.phases.phase ?? 'Startup';
  }

  get congestionWindow(): number {
    const bytes = this.#path?.window.bytes;
    return bytes ?? DATA_LIMITS.initialWindowDatagrams * this.#datagramBytes;
  }

  get pacingRate(): number {
    return this.#path?.pacingRate ?? this.#nominalRate(BBR.nominalRtt);
  }

  /** About a millisecond's worth, two datagrams at least (§5.6.3). */
  get sendQuantum(): number {
    const rate = this.pacingRate;
    const datagrams = rate < BBR.slowRate ? 1 : BBR.quantumDatagrams;
    const bytes = Math.min(rate * BBR.quantumTime, BBR.quantumBytesMax);
    return Math.max(bytes, datagrams * this.#datagramBytes);
  }

  get inSlowStart(): boolean {
    return this.phase === 'Startup';
  }

  onPacketSent(now: Micros, bytes: number, bytesInFlight: number, appLimited: boolean): void {
    const path = this.#at(now);
    if (appLimited && bytesInFlight === bytes) {
      path.phases.onIdleRestart(now);
      if (path.phases.isProbeBandwidth) this.#setPacingRate(path, 1);
    }
    path.window.onSent(bytesInFlight, this.#datagramBytes);
  }

  onPacketLost(now: Micros, packet: LostPacket): void {
    const { model, phases, window, episode } = this.#at(now);
    model.shortTerm.onLostPacket();
    const opens = episode.onLoss(now, packet.bytes, () => ({
      bandwidthShortTerm: model.shortTerm.bandwidth,
      inflightShortTerm: model.shortTerm.inflight,
      inflightLongTerm: model.inflightLongTerm,
    }));
    if (opens) window.save(phases.phase === 'ProbeRTT');
    if (!phases.isProbeSample || !model.isInflightTooHigh(packet)) return;
    const { appLimited } = packet;
    const txInFlight = inflightAtLoss(packet, model.lossThreshold);
    const ended = phases.onInflightTooHigh(now, { txInFlight, appLimited });
    if (ended !== undefined) episode.endedPhase = ended;
  }

  onLoss(now: Micros, report: LossReport): void {
    const { model, window, phases } = this.#at(now);
    model.shortTerm.onLossEvent();
    if (!report.persistent) return;
    // Nothing came back for long: begin with one datagram, and climb as acknowledgements come.
    window.save(phases.phase === 'ProbeRTT');
    window.bytes = report.bytesInFlight + this.#datagramBytes;
  }

  onAck(now: Micros, sample: RateSample): void {
    const path = this.#at(now);
    const { model, phases, window, episode } = path;
    if (!path.hasRtt && sample.rttMicros > 0) {
      path.hasRtt = true;
      path.pacingRate = this.#nominalRate(sample.rttMicros);
    }
    model.begin(now, sample, window.bytes);
    this.#respondToLoss(path, sample);
    phases.update(now, sample);
    model.end(sample);
    const isDraining = phases.phase === 'ProbeBW_CRUISE' && model.isDraining;
    this.#setPacingRate(path, BBR_GAINS[isDraining ? 'ProbeBW_DOWN' : phases.phase].pacing);
    model.sendQuantum = this.sendQuantum;
    if (episode.onAck(sample.newestSentAt)) window.restore();
    this.#setWindow(path, sample);
  }

  onSpuriousLoss(now: Micros, bytes: number): void {
    const { model, phases, window, episode } = this.#at(now);
    if (!episode.onSpuriousLoss(bytes)) return;
    const { endedPhase } = episode;
    const saved = episode.takeSaved();
    if (saved === undefined) return;
    window.restore();
    model.shortTerm.restore(saved.bandwidthShortTerm, saved.inflightShortTerm);
    model.inflightLongTerm = Math.max(model.inflightLongTerm, saved.inflightLongTerm);
    phases.return(endedPhase);
  }

  onDatagramBytes(datagramBytes: number): void {
    this.#datagramBytes = datagramBytes;
    if (this.#path === undefined) return;
    const { model, window } = this.#path;
    model.datagramBytes = datagramBytes;
    const least = model.product() === undefined ? model.initialWindow : model.minimumWindow;
    window.bytes = Math.max(window.bytes, least);
  }

  reset(now: Micros): void {
    this.#path = this.#begin(now);
  }

  #at(now: Micros): PathState {
    this.#path ??= this.#begin(now);
    return this.#path;
  }

  #begin(now: Micros): PathState {
    const model = new PathModel(now, this.#datagramBytes);
    const window = new SendWindow(model.initialWindow);
    const phases = new BbrPhases(model, window, this.#rng);
    const pacingRate = this.#nominalRate(BBR.nominalRtt);
    return { model, window, phases, episode: new LossEpisode(), pacingRate, hasRtt: false };
  }

  /** §5.6.2: the initial window in one round-trip time, at the gain of Startup. */
  #nominalRate(rtt: number): number {
    const window = DATA_LIMITS.initialWindowDatagrams * this.#datagramBytes;
    return (BBR_GAINS.Startup.pacing * window) / rtt;
  }

  #setPacingRate(path: PathState, gain: number): void {
    const { model } = path;
    const rate = gain * model.bandwidth * (1 - BBR.pacingMargin);
    if ((model.hasFilledPipe && rate > 0) || rate > path.pacingRate) path.pacingRate = rate;
  }

  /** Once a round trip (§5.3.1.3, §5.5.10.3). */
  #respondToLoss(path: PathState, sample: RateSample): void {
    const { model, phases, window, episode } = path;
    const { shortTerm } = model;
    if (!shortTerm.isRoundStart) return;
    // Ours: losses below the threshold are weather; the draft slows down after each of them.
    if (shortTerm.isLossInRound && model.isInflightTooHigh(sample)) {
      const isQueued = model.hasQueued(shortTerm.rttLongest);
      if (!phases.isProbing) {
        shortTerm.adapt(model.maximumBandwidth.value, window.bytes, isQueued);
      }
      if (phases.phase === 'Startup' && shortTerm.lossEvents >= BBR.startupLossEvents) {
        phases.onStartupLoss();
        episode.endedPhase = 'Startup';
      }
    }
    shortTerm.endLossRound();
  }

  /** §5.6.4. */
  #setWindow(path: PathState, sample: RateSample): void {
    const { model, phases, window } = path;
    const { phase } = phases;
    let target = model.inflight(
      BBR_GAINS[phase].window,
      model.bandwidth,
      model.aggregation.extraAcked,
    );
    if (phase === 'ProbeBW_UP') target += 2 * this.#datagramBytes;
    let bytes = window.bytes;
    if (model.hasFilledPipe) bytes = Math.min(bytes + sample.ackedBytes, target);
    else if (bytes < target || sample.deliveredTotal < model.initialWindow) {
      bytes += sample.ackedBytes;
    }
    bytes = Math.max(bytes, model.minimumWindow);
    if (phase === 'ProbeRTT') bytes = Math.min(bytes, phases.probeRttInflight);
    bytes = Math.min(bytes, Math.max(this.#bound(path), model.minimumWindow));
    window.bytes = Math.min(bytes, DATA_LIMITS.congestionWindowMax);
  }

  /** What losses have taught, as the phase heeds it (§5.6.4.7). */
  #bound({ model, phases }: PathState): number {
    const { phase } = phases;
    let bound = Infinity;
    if (phase === 'ProbeRTT' || phase === 'ProbeBW_CRUISE') bound = model.inflightWithHeadroom;
    else if (phases.isProbeBandwidth) bound = model.inflightLongTerm;
    return Math.min(bound, model.shortTerm.inflight);
  }
}
