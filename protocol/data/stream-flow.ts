// Flow control of the whole connection (RFC 9000 §4.1) and the meter's view of it: sums over all
// streams of highest offsets, sent and received, and of what was read.

import { DATA_LIMITS } from './limits.ts';
import { PeerError } from './peer-error.ts';
import type { PathClock } from './tuned-window.ts';
import { TunedWindow } from './tuned-window.ts';

/** MAX_DATA and MAX_STREAMS in both directions, cumulative totals. */
export class StreamFlow {
  readonly #window: TunedWindow;
  #sendMax: number = DATA_LIMITS.initialMaxData;
  #sent = 0;
  #receiveMax: number = DATA_LIMITS.initialMaxData;
  #received = 0;
  #consumed = 0;
  /** Streams we may open, streams the peer may open. */
  #openMax: number = DATA_LIMITS.streamsMax;
  #acceptMax: number = DATA_LIMITS.streamsMax;
  #acceptAnnounced: number = DATA_LIMITS.streamsMax;
  maxDataDue = false;
  maxStreamsDue = false;

  /** Both ends begin with the wire constant; the first MAX_DATA tells the window. */
  constructor(windowBytes: number, windowBytesMax: number, clock: PathClock) {
    const bytes = Math.max(windowBytes, DATA_LIMITS.initialMaxData);
    this.#window = new TunedWindow(bytes, () => windowBytesMax, clock);
    this.onConsumed(0);
  }

  get sendCredit(): number {
    return this.#sendMax - this.#sent;
  }
  /** Bytes that the peer may send beyond what was read. */
  get window(): number {
    return this.#window.bytes;
  }
  get receiveMax(): number {
    return this.#receiveMax;
  }
  get acceptMax(): number {
    return this.#acceptMax;
  }
  get openMax(): number {
    return this.#openMax;
  }

  onSent(bytes: number): void {
    this.#sent += bytes;
  }

  /** @throws PeerError beyond the limit. */
  onReceived(bytes: number): void {
    this.#received += bytes;
    if (this.#received > this.#receiveMax) throw new PeerError('data beyond the limit');
  }

  onConsumed(bytes: number): void {
    this.#consumed += bytes;
    this.#window.onConsumed(this.#consumed);
    const { window } = this;
    const max = this.#consumed + window;
    if (max - this.#receiveMax < window / 4) return;
    this.#receiveMax = max;
    this.maxDataDue = true;
  }

  /**
   * A stream of the peer's is over: it may open another. Announced by the quarter, and at once to
   * a peer that has all but used up what it knows of. `opened`: the streams that it ever opened.
   */
  onPeerStreamClosed(opened: number): void {
    const quarter = DATA_LIMITS.streamsMax / 4;
    this.#acceptMax = Math.min(this.#acceptMax + 1, DATA_LIMITS.streamsEver);
    const isSoon = this.#acceptAnnounced - opened < quarter;
    if (this.#acceptMax - this.#acceptAnnounced < quarter && !isSoon) return;
    this.#acceptAnnounced = this.#acceptMax;
    this.maxStreamsDue = true;
  }

  onMaxData(total: number): boolean {
    if (total <= this.#sendMax) return false;
    this.#sendMax = total;
    return true;
  }

  onMaxStreams(total: number): void {
    this.#openMax = Math.max(this.#openMax, Math.min(total, DATA_LIMITS.streamsEver));
  }
}
