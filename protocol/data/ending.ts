// How a talk ends, exactly once [S1006, S4006, S5001]: either it first delivers what is in flight
// (`done`, `quota`), or it stops at once. Then one CLOSE, repeated until the peer's own CLOSE
// answers it, and for a short while in answer to packets (RFC 9000 §10.2); then silence for good.

import type { Counts, EndReason } from '../ends.ts';
import type { Micros } from '../time.ts';
import { NEVER, after, earlier, ms } from '../time.ts';
import { DATA_LIMITS } from './limits.ts';
import type { Timers } from './timers.ts';
import { TIMER } from './timers.ts';

type Stage = 'running' | 'finishing' | 'over';

/** The end and its bookkeeping. */
export class Ending {
  readonly #timers: Timers;
  #stage: Stage = 'running';
  #reason: EndReason = 'done';
  #counts: Counts | undefined;
  /** The peer said it first: we answer, and never ask. */
  #isAnswer = false;
  #peerKnows = false;
  #closeDue = false;
  #repeats = 0;
  #answers = 0;
  #said = false;
  #pause = 0;
  #finishBy: Micros = NEVER;
  #quietSince: Micros = NEVER;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  get isFinishing(): boolean {
    return this.#stage === 'finishing';
  }
  get isOver(): boolean {
    return this.#stage === 'over';
  }
  get reason(): EndReason {
    return this.#reason;
  }
  get counts(): Counts | undefined {
    return this.#counts;
  }
  /** A CLOSE waits to be sent. */
  get closeDue(): boolean {
    return this.#closeDue;
  }

  /** Delivers first; ends anyway at `deadline`. A `quota` overrides a `done`. */
  finish(now: Micros, reason: 'done' | 'quota'): void {
    if (this.#stage === 'over' || (this.#stage === 'finishing' && this.#reason === reason)) return;
    this.#stage = 'finishing';
    this.#reason = reason;
    const limit = reason === 'quota' ? DATA_LIMITS.finishMsMax : DATA_LIMITS.lingerMsMax;
    this.#finishBy = after(now, ms(limit));
    this.#timers.set(TIMER.finish, this.#finishBy);
  }

  /** A packet of the peer's: it is not quiet. */
  onHeard(): void {
    this.#quietSince = NEVER;
  }

  /** Something was delivered: a `done` waits on, a `quota` has only its time. */
  onProgress(now: Micros): void {
    if (this.#stage !== 'finishing' || this.#reason !== 'done') return;
    this.#timers.set(TIMER.finish, after(now, ms(DATA_LIMITS.lingerMsMax)));
  }

  /**
   * Our own flight is through and the peer may still have some: true once it was quiet for `grace`
   * microseconds.
   */
  graceIsOver(now: Micros, grace: number): boolean {
    if (this.#quietSince === NEVER) this.#quietSince = now;
    const at = earlier(after(this.#quietSince, grace), this.#finishBy);
    this.#timers.set(TIMER.finish, at);
    return at <= now;
  }

  /**
   * It is over. `pto`: microseconds, the pause between two CLOSEs; `speaks`: there are keys and a
   * proven path; `isAnswer`: the peer's CLOSE came first.
   */
  end(
    now: Micros,
    reason: EndReason,
    counts: Counts,
    how: { readonly pto: number; readonly speaks: boolean; readonly isAnswer: boolean },
  ): void {
    this.#stage = 'over';
    this.#reason = reason;
    this.#counts = counts;
    this.#isAnswer = how.isAnswer;
    this.#closeDue = how.speaks;
    this.#pause = how.pto;
    this.#timers.stopAll();
    if (!how.speaks) return;
    // As long as this lasts the talk keeps its socket. Who answers waits three PTO (RFC 9000
    // §10.2); who asks stops as soon as it is answered, so it may ask for longer.
    const asking = how.isAnswer ? 0 : ms(DATA_LIMITS.closingMsMax) / 2;
    const closing = Math.min(Math.max(3 * how.pto, asking), ms(DATA_LIMITS.closingMsMax));
    this.#timers.set(TIMER.closing, after(now, closing));
    if (!how.isAnswer) this.#timers.set(TIMER.close, after(now, how.pto));
  }

  /** A CLOSE could not be written or is written. */
  onCloseSent(): void {
    this.#closeDue = false;
  }

  /**
   * An authenticated packet after the end; `isClose`: it holds the peer's CLOSE. True if it is
   * answered: only then does it matter where it came from.
   */
  onPacket(isClose: boolean): boolean {
    if (isClose && !this.#isAnswer) {
      this.#peerKnows = true;
      this.#timers.stopAll();
      return false;
    }
    if (this.#peerKnows || this.#answers >= DATA_LIMITS.closeAnswersMax) return false;
    if (this.#isAnswer && !isClose) return false;
    if (!this.#timers.isSet(TIMER.closing)) return false;
    this.#answers++;
    this.#closeDue = true;
    return true;
  }

  handleTimeout(now: Micros): void {
    if (this.#timers.fires(TIMER.closing, now)) {
      this.#timers.stopAll();
      this.#closeDue = false;
      return;
    }
    if (!this.#timers.fires(TIMER.close, now)) return;
    if (this.#repeats >= DATA_LIMITS.closeRepeatsMax) return;
    this.#repeats++;
    this.#closeDue = true;
    this.#pause *= 2;
    this.#timers.set(TIMER.close, after(now, this.#pause));
  }

  /** `ended` can be said and was not. */
  get isEndedDue(): boolean {
    return this.#stage === 'over' && !this.#said && !this.#closeDue;
  }

  /** True once, when everything else was said and the first CLOSE has left. */
  takeEnded(): boolean {
    if (!this.isEndedDue) return false;
    this.#said = true;
    return true;
  }
}
