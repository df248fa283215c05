// The phases of BBR and every transition between them (draft-ietf-ccwg-bbr §5.3): Startup finds the
// bandwidth, Drain empties the queue that made, ProbeBW goes DOWN, CRUISE, REFILL, UP and round
// again, ProbeRTT looks at the empty path. The model says what is so, this file what is next.
// One rule is ours, and marked: the first probe of a cycle on an empty path lasts one round trip.

import type { Rng } from '../random.ts';
import { randomBelow, randomFraction } from '../random.ts';
import type { BbrPhase } from './bbr-parameters.ts';
import { BBR } from './bbr-parameters.ts';
import type { PathModel } from './bbr-path-model.ts';
import type { SendWindow } from './bbr-window.ts';
import type { RateSample } from './controller.ts';

/** What the acknowledgements that come in now were sent for. */
type AckPhase = 'init' | 'refilling' | 'probe-starting' | 'probe-feedback' | 'probe-stopping';

/** What was in flight when losses showed that it was too much. */
interface TooHigh {
  readonly txInFlight: number;
  readonly appLimited: boolean;
}

/** The state machine of one path. */
export class BbrPhases {
  readonly #model: PathModel;
  readonly #window: SendWindow;
  readonly #rng: Rng;
  #phase: BbrPhase = 'Startup';
  #drainStartRound = 0;
  // ProbeBW.
  #ackPhase: AckPhase = 'init';
  #isProbeSample = false;
  #cycleStart = 0;
  #probeWait = 0;
  #roundsSinceProbeUp = 0;
  #roundsAtProbeUp = 0;
  #probeUpRounds = 0;
  #probeUpAcked = 0;
  #probeUpAckedPerStep = Infinity;
  #wasTooHigh = false;
  #wasPrecautionary = false;
  // Ours: one round trip first, more if it brought something.
  #isBriefProbe = true;
  #bandwidthBefore = Infinity;
  // ProbeRTT.
  #probeRttEnd = 0;
  #hasProbeRttRound = false;
  #isIdleRestart = false;

  constructor(model: PathModel, window: SendWindow, rng: Rng) {
    this.#model = model;
    this.#window = window;
    this.#rng = rng;
  }

  get phase(): BbrPhase {
    return this.#phase;
  }

  get isProbeBandwidth(): boolean {
    return this.#phase.startsWith('ProbeBW');
  }

  /** Losses while we push are answered by the long-term bound alone. */
  get isProbing(): boolean {
    return (
      this.#phase === 'Startup' || this.#phase === 'ProbeBW_REFILL' || this.#phase === 'ProbeBW_UP'
    );
  }

  /** Packets of a probe for bandwidth are being acknowledged. */
  get isProbeSample(): boolean {
    return this.#isProbeSample;
  }

  /** Nothing was in flight and the application begins again (§5.4). */
  onIdleRestart(now: number): void {
    this.#isIdleRestart = true;
    this.#model.aggregation.restart(now);
    if (this.#phase === 'ProbeRTT') this.#leaveProbeRttIfDone(now);
  }

  /** All decisions of one acknowledgement. */
  update(now: number, sample: RateSample): void {
    if (this.#model.rounds.isStart) this.#window.onRoundStart();
    if (this.#phase === 'Startup' && this.#model.hasFilledPipe) this.#startDrain();
    if (this.#phase === 'Drain') this.#leaveDrainIfDone(now, sample);
    this.#updateCycle(now, sample);
    this.#model.minimumRtt.update(now, sample.rttMicros);
    this.#updateProbeRtt(now, sample);
  }

  /** Startup met heavy loss: the path is full, and this much was safe (§5.3.1.3). */
  onStartupLoss(): void {
    const model = this.#model;
    model.hasFilledPipe = true;
    model.inflightLongTerm = Math.max(model.product() ?? 0, model.shortTerm.inflightLatest);
  }

  /** A probe for bandwidth went too far (§5.5.10.2); the phase that it ended, if any. */
  onInflightTooHigh(now: number, found: TooHigh): BbrPhase | undefined {
    this.#wasTooHigh = true;
    this.#isProbeSample = false;
    const model = this.#model;
    if (!found.appLimited) {
      model.inflightLongTerm = Math.max(found.txInFlight, this.#targetInflight * BBR.beta);
    }
    if (this.#phase !== 'ProbeBW_UP') return undefined;
    this.#startDown(now);
    model.rounds.startSoon();
    return 'ProbeBW_UP';
  }

  /** Losses were none: back to where they threw us out (§5.5.11.2). */
  return(to: BbrPhase | undefined): void {
    const model = this.#model;
    model.fullBandwidth.reset();
    if (to === 'Startup' && this.#phase !== 'Startup') {
      model.hasFilledPipe = false;
      if (this.#phase !== 'ProbeRTT') this.#phase = 'Startup';
    } else if (to === 'ProbeBW_UP' && this.#phase !== 'ProbeBW_UP') {
      if (this.#phase === 'ProbeRTT') return;
      this.#startRefill();
      model.rounds.startSoon();
    }
  }

  get #targetInflight(): number {
    return Math.min(this.#model.product() ?? Infinity, this.#window.bytes);
  }

  #startDrain(): void {
    this.#phase = 'Drain';
    this.#drainStartRound = this.#model.rounds.count;
  }

  #leaveDrainIfDone(now: number, sample: RateSample): void {
    const { rounds } = this.#model;
    const isLate = rounds.count > this.#drainStartRound + BBR.drainRoundsMax;
    if (!isLate && sample.bytesInFlight > this.#model.inflight(1)) return;
    this.#startDown(now);
    rounds.start(sample.deliveredTotal);
  }

  #startDown(now: number): void {
    this.#model.shortTerm.resetSignals();
    this.#probeUpAckedPerStep = Infinity;
    this.#roundsAtProbeUp = this.#model.rounds.count;
    this.#roundsSinceProbeUp = randomBelow(this.#rng, 2);
    this.#probeWait = BBR.probeWait + randomFraction(this.#rng) * BBR.probeWaitSpread;
    this.#cycleStart = now;
    this.#ackPhase = 'probe-stopping';
    this.#phase = 'ProbeBW_DOWN';
  }

  #startRefill(): void {
    this.#model.shortTerm.resetBounds();
    this.#probeUpRounds = 0;
    this.#probeUpAcked = 0;
    this.#wasPrecautionary = false;
    this.#ackPhase = 'refilling';
    this.#phase = 'ProbeBW_REFILL';
  }

  #startUp(): void {
    const model = this.#model;
    this.#ackPhase = 'probe-starting';
    model.fullBandwidth.reset(model.rate);
    this.#bandwidthBefore = model.maximumBandwidth.value;
    this.#phase = 'ProbeBW_UP';
    this.#steepenBound();
  }

  /** The ProbeBW cycle (§5.3.3.6). */
  #updateCycle(now: number, sample: RateSample): void {
    const { rounds } = this.#model;
    if (!this.#model.hasFilledPipe) return;
    if (this.#adaptLongTerm(now, sample)) return;
    switch (this.#phase) {
      case 'ProbeBW_DOWN':
        if (this.#isTimeToProbe(now)) this.#startCycleProbe(sample);
        else if (this.#isTimeToCruise(sample)) this.#phase = 'ProbeBW_CRUISE';
        return;
      case 'ProbeBW_CRUISE':
        if (this.#isTimeToProbe(now)) this.#startCycleProbe(sample);
        return;
      case 'ProbeBW_REFILL':
        if (!rounds.isStart) return;
        this.#isProbeSample = true;
        this.#startUp();
        rounds.start(sample.deliveredTotal);
        return;
      case 'ProbeBW_UP':
        if (!this.#isTimeToGoDown(sample)) return;
        this.#wasTooHigh = false;
        this.#startDown(now);
        rounds.start(sample.deliveredTotal);
        return;
      default:
    }
  }

  #startCycleProbe(sample: RateSample): void {
    // Where others keep a queue already, a brief probe would only lose against theirs.
    this.#isBriefProbe = !this.#model.isShared;
    this.#startRefill();
    this.#model.rounds.start(sample.deliveredTotal);
  }

  /** True if it decided on a transition. */
  #adaptLongTerm(now: number, sample: RateSample): boolean {
    const model = this.#model;
    if (model.rounds.isStart) {
      if (this.#ackPhase === 'probe-starting') this.#ackPhase = 'probe-feedback';
      else if (this.#ackPhase === 'probe-stopping' && this.#endFeedback(sample)) return true;
    }
    if (model.isInflightTooHigh(sample)) return false;
    if (model.inflightLongTerm === Infinity) return false;
    if (sample.txInFlight > model.inflightLongTerm) model.inflightLongTerm = sample.txInFlight;
    if (this.#phase === 'ProbeBW_UP') this.#raiseBound(sample);
    return false;
  }

  /** The last samples of a probe are in. True if they are worth another at once. */
  #endFeedback(sample: RateSample): boolean {
    const model = this.#model;
    this.#isProbeSample = false;
    this.#ackPhase = 'init';
    if (!this.isProbeBandwidth) return false;
    const hasFoundMore =
      this.#isBriefProbe &&
      model.maximumBandwidth.value >= BBR.probeSuccess * this.#bandwidthBefore;
    this.#bandwidthBefore = Infinity;
    if (!model.isAppLimited) model.maximumBandwidth.advance();
    if (this.#wasTooHigh || !(this.#wasPrecautionary || hasFoundMore)) return false;
    this.#isBriefProbe = false;
    this.#startRefill();
    model.rounds.start(sample.deliveredTotal);
    return true;
  }

  #isTimeToProbe(now: number): boolean {
    if (now > this.#cycleStart + this.#probeWait) return true;
    // Reno would have won back a window's worth by now.
    const { rounds, datagramBytes } = this.#model;
    const elapsed = this.#roundsSinceProbeUp + rounds.count - this.#roundsAtProbeUp;
    return elapsed >= Math.min(this.#targetInflight / datagramBytes, BBR.probeWaitRoundsMax);
  }

  #isTimeToCruise(sample: RateSample): boolean {
    const model = this.#model;
    if (sample.bytesInFlight > model.inflightWithHeadroom) return false;
    return sample.bytesInFlight <= model.inflight(1, model.maximumBandwidth.value);
  }

  #isTimeToGoDown(sample: RateSample): boolean {
    const model = this.#model;
    if (this.#wasTooHigh && sample.bytesInFlight >= model.inflightLongTerm) {
      this.#wasPrecautionary = true;
      return true;
    }
    // Ours: one round trip at 1.25 tells what there is; its answer comes while we drain.
    if (this.#isBriefProbe && model.rounds.isStart) return true;
    if (this.#window.isLimiting && this.#window.bytes >= model.inflightLongTerm) {
      model.fullBandwidth.reset(model.rate);
      return false;
    }
    return model.fullBandwidth.isFull;
  }

  #steepenBound(): void {
    const growth = 2 ** this.#probeUpRounds;
    this.#probeUpRounds = Math.min(this.#probeUpRounds + 1, BBR.probeUpDoublingsMax);
    this.#probeUpAckedPerStep = Math.max(this.#window.bytes / growth, this.#model.datagramBytes);
  }

  #raiseBound(sample: RateSample): void {
    const model = this.#model;
    if (!this.#window.isLimiting || this.#window.bytes < model.inflightLongTerm) return;
    this.#probeUpAcked += sample.ackedBytes;
    if (this.#probeUpAcked >= this.#probeUpAckedPerStep) {
      const steps = Math.floor(this.#probeUpAcked / this.#probeUpAckedPerStep);
      this.#probeUpAcked -= steps * this.#probeUpAckedPerStep;
      model.inflightLongTerm += steps * model.datagramBytes;
    }
    if (model.rounds.isStart) this.#steepenBound();
  }

  /** Half a product of bytes in flight (§5.6.4.5). */
  get probeRttInflight(): number {
    const model = this.#model;
    return Math.max(0.5 * (model.product() ?? model.initialWindow), model.minimumWindow);
  }

  #updateProbeRtt(now: number, sample: RateSample): void {
    const { rounds, minimumRtt } = this.#model;
    if (this.#phase !== 'ProbeRTT' && minimumRtt.isProbeDue && !this.#isIdleRestart) {
      this.#window.save(false);
      this.#phase = 'ProbeRTT';
      this.#probeRttEnd = 0;
      this.#ackPhase = 'probe-stopping';
      rounds.start(sample.deliveredTotal);
    }
    if (this.#phase === 'ProbeRTT') this.#holdProbeRtt(now, sample);
    if (sample.deliveredBytes > 0) this.#isIdleRestart = false;
  }

  #holdProbeRtt(now: number, sample: RateSample): void {
    const { rounds } = this.#model;
    this.#model.onHeldBack(sample);
    if (this.#probeRttEnd === 0) {
      if (sample.bytesInFlight > this.probeRttInflight) return;
      this.#probeRttEnd = now + BBR.probeRttDuration;
      this.#hasProbeRttRound = false;
      rounds.start(sample.deliveredTotal);
      return;
    }
    if (rounds.isStart) this.#hasProbeRttRound = true;
    if (this.#hasProbeRttRound) this.#leaveProbeRttIfDone(now);
  }

  #leaveProbeRttIfDone(now: number): void {
    if (this.#probeRttEnd === 0 || now <= this.#probeRttEnd) return;
    const model = this.#model;
    model.minimumRtt.onProbed(now);
    this.#window.restore();
    model.shortTerm.resetBounds();
    if (!model.hasFilledPipe) {
      this.#phase = 'Startup';
      return;
    }
    this.#startDown(now);
    model.rounds.startSoon();
    this.#phase = 'ProbeBW_CRUISE';
  }
}
