// What each frame of an authenticated packet does (RFC 9000 §19). A frame that the protocol forbids
// throws a PeerError, which `Connection.handleDatagram` turns into the end of the talk.

import type { Path } from '../core.ts';
import type { EndReason } from '../ends.ts';
import { endReason } from '../ends.ts';
import type { Micros } from '../time.ts';
import { micros } from '../time.ts';
import type { ConnectionParts } from './connection-parts.ts';
import type { AckFrame, CloseNumbers, FrameHandler, QuotaNumbers } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import { PeerError } from './peer-error.ts';
import type { Protection } from './protection.ts';

const NO_BYTES = new Uint8Array(0);

/** A CLOSE as it came: why, and how many metered bytes the peer has received of ours. */
interface PeerClose {
  readonly reason: EndReason;
  readonly receivedBytes: number;
}

/** Takes the frames of one packet after another. */
export class PeerFrames implements FrameHandler {
  readonly #parts: ConnectionParts;
  #now = micros(0);
  #protection: Protection | undefined;
  #path: Path | undefined;
  /** Of a PATH_CHALLENGE in the packet, the last one: one datagram gets one answer. */
  #challenge: Uint8Array | undefined;
  #refused = false;
  #hasAck = false;
  /** Messages of the packet: start, end, start, end … in `#bytes`. */
  readonly #messages: number[] = [];
  #bytes: Uint8Array = NO_BYTES;
  #close: PeerClose | undefined;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
  }

  begin(now: Micros, protection: Protection, path: Path): void {
    this.#now = now;
    this.#path = path;
    this.#challenge = undefined;
    this.#protection = protection;
    this.#refused = false;
    this.#close = undefined;
    this.#hasAck = false;
    this.#messages.length = 0;
  }

  /**
   * Ends the packet; false when it was not taken because a stream has too many gaps: it must not be
   * acknowledged, and comes again.
   * @throws PeerError when the grant is overdrawn [claim 15].
   */
  finish(): boolean {
    if (this.#refused) return false;
    if (this.#messages.length > 0) this.#takeMessages();
    if (this.#parts.meter.isOverdrawn()) throw new PeerError('more bytes than were granted');
    return true;
  }

  #takeMessages(): void {
    const { datagrams, events } = this.#parts;
    const messages = this.#messages;
    // Those that others of the same packet would push out are counted and not copied.
    const firstKept = messages.length - 2 * DATA_LIMITS.datagramsReceiveMax;
    for (let i = 0; i < messages.length; i += 2) {
      const [start, end] = [messages[i], messages[i + 1]];
      if (i < firstKept) datagrams.onPushedOut(end - start);
      else datagrams.onReceived(this.#bytes.slice(start, end));
    }
    this.#bytes = NO_BYTES;
    events.datagram();
  }

  /** The packet came in a datagram of `bytes`: whatever became of its content, it proves a path. */
  onDatagramBytes(bytes: number, isNewest: boolean): void {
    const path = this.#path;
    if (path === undefined) return;
    const { paths, rtt } = this.#parts;
    paths.onPacket(this.#now, path, bytes, isNewest, rtt.patience);
    if (this.#challenge !== undefined) paths.onChallenge(path, this.#challenge, bytes);
  }

  /** The CLOSE in the packet, if there was one. */
  get close(): PeerClose | undefined {
    return this.#close;
  }

  /** @throws PeerError for a second one in a packet: each costs a walk over what is in flight. */
  onAck(ack: AckFrame): void {
    if (this.#hasAck) throw new PeerError('two ACKs in one packet');
    this.#hasAck = true;
    const { recovery, streams, controller } = this.#parts;
    recovery.onAck(this.#now, ack);
    streams.onCongestionWindow(controller.congestionWindow);
    this.#protection?.onAcknowledged(ack.largest);
  }

  onReset(stream: number, code: number, finalSize: number): void {
    this.#parts.streams.onReset(stream, code, finalSize);
  }

  onStop(stream: number, code: number): void {
    this.#parts.streams.onStop(stream, code);
  }

  onStream(
    stream: number,
    offset: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    fin: boolean,
  ): void {
    const taken = this.#parts.streams.onStream(stream, offset, bytes, start, end, fin);
    if (!taken) this.#refused = true;
  }

  onMaxData(total: number): void {
    this.#parts.streams.onMaxData(total);
  }

  onMaxStreamData(stream: number, total: number): void {
    this.#parts.streams.onMaxStreamData(stream, total);
  }

  onMaxStreams(total: number): void {
    this.#parts.streams.onMaxStreams(total);
  }

  onPathChallenge(token: Uint8Array): void {
    this.#challenge = token;
  }

  onPathResponse(token: Uint8Array): void {
    const path = this.#path;
    if (path !== undefined) this.#parts.paths.onResponse(this.#now, path, token);
  }

  onDatagram(bytes: Uint8Array, start: number, end: number): void {
    // Not before the whole packet is taken: one that comes again must not be counted twice.
    this.#bytes = bytes;
    this.#messages.push(start, end);
  }

  onClose(close: CloseNumbers): void {
    const reason = endReason(close.code);
    if (reason === undefined) throw new PeerError('unknown reason in a CLOSE');
    this.#close = { reason, receivedBytes: close.receivedBytes };
  }

  onQuota(quota: QuotaNumbers): void {
    if (!this.#parts.meter.onQuota(quota)) throw new PeerError('impossible QUOTA');
  }

  /** [S5005]: the peer passes on a new expiry; its signature is the owner's to check. */
  onExpiry(expiry: Uint8Array, signature: Uint8Array): void {
    const copy = expiry.slice();
    if (!this.#parts.expiry.onHeard(copy)) return;
    this.#parts.events.expiry(copy, signature.slice());
  }
}
