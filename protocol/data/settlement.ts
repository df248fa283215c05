// Looks at a talk before each packet: what the meter must know, whether the quota is used up
// [claim 15], and whether a finishing talk has delivered everything it still may.

import type { Counts, EndReason } from '../ends.ts';
import type { Micros } from '../time.ts';
import { ms } from '../time.ts';
import type { ConnectionParts } from './connection-parts.ts';
import type { Ending } from './ending.ts';
import { DATA_LIMITS } from './limits.ts';

const { quietPtos, quietMsLeast } = DATA_LIMITS;

/** What stands between a talk and its end. */
export class Settlement {
  readonly #parts: ConnectionParts;
  readonly #ending: Ending;
  /** What the meter was told to be waiting. */
  #told = 0;
  /** Not yet delivered when a finishing talk was last looked at. */
  #outstanding = Infinity;

  constructor(parts: ConnectionParts, ending: Ending) {
    this.#parts = parts;
    this.#ending = ending;
  }

  get isQuotaFinishing(): boolean {
    return this.#ending.isFinishing && this.#ending.reason === 'quota';
  }

  /** [S1006, S4006, claim 15]: the reason for which the talk ends now, if it does. */
  review(now: Micros): EndReason | undefined {
    const { meter } = this.#parts;
    const waiting = this.isQuotaFinishing ? 0 : this.#waitingBytes();
    if (waiting !== this.#told) {
      meter.want(waiting);
      this.#told = waiting;
    }
    if (waiting > 0 && (meter.exhausted() || this.#isMessageTooLarge())) {
      this.#ending.finish(now, 'quota');
    }
    return this.#ending.isFinishing ? this.#reviewFinish(now) : undefined;
  }

  /** A packet left: spending has lowered the meter's own level by the same. */
  onSent(): void {
    this.#told = this.isQuotaFinishing ? 0 : this.#waitingBytes();
  }

  /** What a finishing talk comes to when its time is up. */
  get reasonAtTimeout(): EndReason {
    return this.isQuotaFinishing ? 'quota' : 'peer-gone';
  }

  /**
   * Bytes of ours that count as lost when the peer ends the talk. What it has not received of the
   * unacknowledged ones never will be: so the counts of both ends agree.
   */
  lostAtClose(counts: Counts, peerReceived: number): number {
    const { streams, datagrams } = this.#parts;
    const uncertain = streams.unackedBytes + datagrams.inFlightBytes;
    const missing = counts.sentBytes - counts.lostBytes - peerReceived;
    return counts.lostBytes + Math.max(0, Math.min(missing, uncertain));
  }

  #reviewFinish(now: Micros): EndReason | undefined {
    const { meter, recovery, streams, datagrams } = this.#parts;
    const inFlight = streams.unackedBytes + datagrams.inFlightBytes;
    const outstanding = this.#waitingBytes() + inFlight;
    if (outstanding < this.#outstanding) this.#ending.onProgress(now);
    this.#outstanding = outstanding;
    if (datagrams.inFlightBytes > 0 || !streams.isAllAcked) return undefined;
    if (!this.isQuotaFinishing) return this.#waitingBytes() === 0 ? 'done' : undefined;
    // The peer's last bytes may still be under way: wait, so that both ends count the same.
    const isAllHere = meter.total !== undefined && meter.usedTotal() >= meter.total;
    const grace = Math.max(quietPtos * recovery.pto, ms(quietMsLeast));
    return isAllHere || this.#ending.graceIsOver(now, grace) ? 'quota' : undefined;
  }

  /** Metered bytes that the owner wrote and that were never sent. */
  #waitingBytes(): number {
    return this.#parts.streams.sender.unsentBytes + this.#parts.datagrams.waitingBytes;
  }

  /** Only a message waits, and all that is left of the grant cannot carry it. */
  #isMessageTooLarge(): boolean {
    const { meter, datagrams, streams } = this.#parts;
    const { total } = meter;
    if (total === undefined || streams.sender.unsentBytes > 0) return false;
    return datagrams.nextBytes > total - meter.usedTotal();
  }
}
