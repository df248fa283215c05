// BBR's congestion window as a thing of its own: whether it is what holds the sender back, and the
// last good value, which comes back after ProbeRTT and after loss recovery (draft-ietf-ccwg-bbr
// §5.6.4.4).

/** Bytes that may be in flight. */
export class SendWindow {
  bytes: number;
  #prior = 0;
  #wasLimited = false;
  #wasLimitedBefore = false;

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  /** It was full at some point of this round trip or the last. */
  get isLimiting(): boolean {
    return this.#wasLimited || this.#wasLimitedBefore;
  }

  onSent(bytesInFlight: number, datagramBytes: number): void {
    if (bytesInFlight + datagramBytes > this.bytes) this.#wasLimited = true;
  }

  onRoundStart(): void {
    this.#wasLimitedBefore = this.#wasLimited;
    this.#wasLimited = false;
  }

  /** `isModulated`: in ProbeRTT or loss recovery, when the value is not our best. */
  save(isModulated: boolean): void {
    this.#prior = isModulated ? Math.max(this.#prior, this.bytes) : this.bytes;
  }

  restore(): void {
    this.bytes = Math.max(this.bytes, this.#prior);
  }
}
