// When an MQTT link that is gone is tried again: soon at first, then more and more slowly up to a
// bound, and never all at once: a fleet whose broker was away must not come back in step. Pure: the
// shell and the simulator wait by the same rule.

import { IO_LIMITS } from './limits.ts';

/** Doublings after which every pause is as long as it may be. */
const DOUBLINGS_MAX = 16;

/** The pauses of one link. */
export class LinkPauses {
  #failures = 0;

  /** The link is wanted anew: the next pause is a first one. */
  reset(): void {
    this.#failures = 0;
  }

  /**
   * Milliseconds until the next try: between half and all of what doubles from
   * IO_LIMITS.linkRetryFirstMs to linkRetryMaxMs, or to linkUnavailableMsMax for a broker that only
   * waits for its list. `heldMs`: how long the link was up; undefined: it did not come up.
   * `fraction`: random, in [0, 1).
   */
  next(gone: {
    readonly heldMs: number | undefined;
    readonly isUnavailable: boolean;
    readonly fraction: number;
  }): number {
    const { heldMs = 0, isUnavailable, fraction } = gone;
    // A link that held for a while starts over; one that is thrown out at once slows down.
    if (heldMs > 2 * IO_LIMITS.linkRetryFirstMs) this.#failures = 0;
    const most = Math.min(
      isUnavailable ? IO_LIMITS.linkUnavailableMsMax : IO_LIMITS.linkRetryMaxMs,
      IO_LIMITS.linkRetryFirstMs * 2 ** Math.min(this.#failures, DOUBLINGS_MAX),
    );
    this.#failures += 1;
    return most * (0.5 + fraction / 2);
  }
}
