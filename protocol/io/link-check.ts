// Whether an MQTT link that looks as if it were up still is: a ping, and a time for its answer. A
// TCP connection whose NAT has forgotten it, or whose machine has moved, says nothing by itself.
// Who asks brings the reason, and with it the patience; the shortest of all that wait counts.

interface LinkCheckOptions {
  /** When a whole packet came last, by `performance.now()`. */
  readonly heardAtMs: () => number;
  /** The ping was not answered in time: the connection is given up. */
  readonly onGone: () => void;
}

/** The question that one link has open, if any. */
export class LinkCheck {
  readonly #options: LinkCheckOptions;
  #askedAtMs: number | undefined;
  #untilMs = Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LinkCheckOptions) {
    this.#options = options;
  }

  /** Somebody doubts it, and nothing has come since. */
  get isOpen(): boolean {
    return this.#askedAtMs !== undefined && this.#options.heardAtMs() < this.#askedAtMs;
  }

  /** Asks, or waits less long for the answer that is waited for already. */
  ask(ping: () => void, patienceMs: number): void {
    const now = performance.now();
    if (!this.isOpen) {
      this.stop();
      this.#askedAtMs = now;
      ping();
    }
    if (now + patienceMs >= this.#untilMs) return;
    clearTimeout(this.#timer);
    this.#untilMs = now + patienceMs;
    this.#timer = setTimeout(() => {
      if (this.isOpen) this.#options.onGone();
    }, patienceMs);
  }

  /** The connection is another one, or none. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#askedAtMs = undefined;
    this.#untilMs = Infinity;
  }
}
