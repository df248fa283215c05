// Puts one packet together: acknowledgement, control, messages, bulk, in that order, as far as
// window and pacer allow, padded so that its exact length tells nothing.

import { TAG_BYTES } from '../crypto.ts';
import type { Counts, EndReason } from '../ends.ts';
import { endCode } from '../ends.ts';
import type { Rng } from '../random.ts';
import { randomBelow } from '../random.ts';
import type { Micros } from '../time.ts';
import { NEVER } from '../time.ts';
import type { ConnectionParts } from './connection-parts.ts';
import { FRAME, datagramRoom, writeExpiry, writeNumbers, writePathFrame } from './frame.ts';
import { DATA_LIMITS } from './limits.ts';
import { HEADER_BYTES, PACKET_OVERHEAD_BYTES } from './packet.ts';
import type { PathMessage } from './path-validation.ts';
import type { Protection } from './protection.ts';
import type { SentPacket } from './sent-packets.ts';
import { PART } from './sent-packets.ts';
import { Writer } from './varint.ts';

const { paddingBytes, skipEveryMin, skipEveryMax } = DATA_LIMITS;

/** Builds the packets of one established talk. */
export class PacketBuilder {
  readonly #parts: ConnectionParts;
  readonly #rng: Rng;
  readonly #writer = new Writer();
  #untilSkip: number;
  /** A PING is wanted: after the handshake, and when the talk was quiet. */
  pingDue = false;
  /** When the pacer lets the next packet go, if it is what holds it back. */
  pacedUntil: Micros = NEVER;
  /** The last packet asked for an acknowledgement. */
  wasEliciting = false;

  constructor(parts: ConnectionParts, rng: Rng) {
    this.#parts = parts;
    this.#rng = rng;
    this.#untilSkip = this.#nextSkip();
  }

  /**
   * Writes and seals one packet into `into`; its size, or 0 when nothing may be sent now.
   * `fresh`: whether bytes that were never sent may go, too.
   */
  build(now: Micros, into: Uint8Array, protection: Protection, fresh: boolean): number {
    const { recovery, received } = this.#parts;
    const probe = this.#buildSizeProbe(now, into, protection);
    if (probe > 0) return probe;
    const fullSize = Math.min(this.#fullSize(), into.length);
    const maySend = this.#maySend(now, fullSize);
    const borrowed = fresh && !maySend ? this.#borrowable() : 0;
    const mayHurry = borrowed > 0;
    const size = mayHurry ? Math.min(fullSize, borrowed) : fullSize;
    if (!maySend && !mayHurry && !received.isDue(now)) return 0;
    this.#skipSometimes();
    const packet = recovery.beginPacket();
    const writer = this.#writer;
    writer.reset(into, HEADER_BYTES, size - TAG_BYTES);
    let acked = received.hasNews ? received.write(now, writer) : undefined;
    if (acked !== undefined && (maySend || mayHurry) && fresh && this.#crowdsOutMessage(writer)) {
      acked = undefined;
      writer.at = HEADER_BYTES;
    }
    const afterAck = writer.at;
    if (maySend) this.#writeFrames(writer, packet, fresh);
    else if (mayHurry) this.#parts.datagrams.write(writer, packet);
    const eliciting = writer.at > afterAck;
    if (!eliciting && maySend) {
      recovery.cancelProbes();
      recovery.onAppLimited();
    }
    if (!eliciting && (acked === undefined || !received.isDue(now))) {
      recovery.abandonPacket();
      return 0;
    }
    if (acked !== undefined) {
      received.onWritten();
      packet.add(PART.ack, acked);
    }
    if (eliciting && writer.room < paddingBytes) this.#parts.size.onFilled(now);
    return this.#seal(now, into, protection, packet, eliciting);
  }

  /** The full size now; a least one where larger ones may be what does not arrive. */
  #fullSize(): number {
    const { size, recovery } = this.#parts;
    return recovery.wantsSmall ? DATA_LIMITS.datagramBytesMin : size.current;
  }

  /**
   * RFC 8899 §4.1: a PING and padding of the size in question. It may leave beyond the window, or a
   * window of small datagrams could never try a large one; `DATA_LIMITS` bounds how often.
   */
  #buildSizeProbe(now: Micros, into: Uint8Array, protection: Protection): number {
    const { recovery, size } = this.#parts;
    const bytes = size.due(now);
    if (bytes === 0) return 0;
    if (bytes > into.length || !recovery.hasRecord) {
      size.onProbeFailed(now);
      return 0;
    }
    this.#skipSometimes();
    const packet = recovery.beginPacket();
    packet.isSizeProbe = true;
    const writer = this.#writer;
    writer.reset(into, HEADER_BYTES, bytes - TAG_BYTES);
    writer.byte(FRAME.ping);
    this.pingDue = false;
    size.onProbeSent(packet);
    return this.#seal(now, into, protection, packet, true, bytes);
  }

  /** A message that would fit alone waits for no second ACK-free packet: the ACK comes next. */
  #crowdsOutMessage(writer: Writer): boolean {
    const { datagrams, meter } = this.#parts;
    const { nextBytes } = datagrams;
    if (nextBytes === 0 || nextBytes > meter.available()) return false;
    if (nextBytes <= datagramRoom(writer.room)) return false;
    return nextBytes <= datagramRoom(writer.end - HEADER_BYTES);
  }

  /**
   * Writes and seals a probing packet; its size. It is never in flight: what is not answered is
   * asked again, and another path's packets say nothing of this one's window and round trip.
   */
  buildPathMessage(
    now: Micros,
    into: Uint8Array,
    protection: Protection,
    message: PathMessage,
  ): number {
    const { kind, token, bytes } = message;
    const size = Math.min(bytes, into.length);
    const writer = this.#writer;
    this.#skipSometimes();
    writer.reset(into, HEADER_BYTES, size - TAG_BYTES);
    writePathFrame(writer, kind === 'challenge' ? FRAME.pathChallenge : FRAME.pathResponse, token);
    const packet = this.#parts.recovery.beginPacket();
    return this.#seal(now, into, protection, packet, false, size);
  }

  /** Writes and seals a CLOSE; its size. */
  buildClose(
    now: Micros,
    into: Uint8Array,
    protection: Protection,
    reason: EndReason,
    counts: Counts,
  ): number {
    const writer = this.#writer;
    writer.reset(into, HEADER_BYTES, into.length - TAG_BYTES);
    const { sentBytes, receivedBytes, lostBytes } = counts;
    writeNumbers(writer, FRAME.close, endCode(reason), sentBytes, receivedBytes, lostBytes);
    const packet = this.#parts.recovery.beginPacket();
    return this.#seal(now, into, protection, packet, false);
  }

  #maySend(now: Micros, size: number): boolean {
    const { recovery, pacer, controller, rtt } = this.#parts;
    this.pacedUntil = NEVER;
    if (recovery.probes > 0) return true;
    if (!recovery.hasRoom(size)) return false;
    pacer.refill(now, controller, rtt.smoothed);
    const at = pacer.next(now, size);
    if (at <= now) return true;
    this.pacedUntil = at;
    return false;
  }

  /**
   * A message waits behind bulk neither in the pacer's queue nor for the window, which ProbeRTT
   * halves in an instant: it borrows from both, a bounded share, and bulk pays it back. Bytes of a
   * datagram that may leave so, with all the messages that it takes along; 0: the next one waits.
   */
  #borrowable(): number {
    const { recovery, pacer, datagrams, meter, controller } = this.#parts;
    const { nextBytes } = datagrams;
    if (nextBytes === 0 || nextBytes > meter.available() || !recovery.hasRecord) return 0;
    const most = controller.congestionWindow * DATA_LIMITS.messageWindowShare;
    const bytes = Math.floor(Math.min(most - recovery.bytesInFlight, pacer.borrowable));
    return bytes < nextBytes + PACKET_OVERHEAD_BYTES + paddingBytes ? 0 : bytes;
  }

  #writeFrames(writer: Writer, packet: SentPacket, fresh: boolean): void {
    const { recovery, streams, datagrams, meter, expiry } = this.#parts;
    const start = writer.at;
    const message = expiry.due;
    if (message !== undefined && writeExpiry(writer, message.expiry, message.signature)) {
      expiry.onSent();
      packet.add(PART.expiry, expiry.revision);
    }
    this.#writeQuota(writer, packet);
    streams.sender.writeControl(writer, packet);
    if (fresh) datagrams.write(writer, packet);
    streams.sender.writeData(writer, packet, fresh);
    // Spending can make a QUOTA due at once; it shares the packet if there is room.
    if (meter.available() === 0) this.#writeQuota(writer, packet);
    const needsPing = recovery.probes === DATA_LIMITS.probesPerPto && writer.at === start;
    if ((this.pingDue || needsPing) && writer.room > 0) {
      writer.byte(FRAME.ping);
      this.pingDue = false;
    }
  }

  #writeQuota(writer: Writer, packet: SentPacket): void {
    // type and four of the longest numbers: asked only when the answer is sure to fit
    if (writer.room < 1 + 4 * 8) return;
    const quota = this.#parts.meter.pollQuota();
    if (quota === undefined) return;
    const { revision, given, wanted, spare } = quota;
    writeNumbers(writer, FRAME.quota, revision, given, wanted, spare);
    packet.add(PART.quota);
  }

  #seal(
    now: Micros,
    into: Uint8Array,
    protection: Protection,
    packet: SentPacket,
    eliciting: boolean,
    fullSize = 0,
  ): number {
    const writer = this.#writer;
    const length = Math.max(writer.at - HEADER_BYTES, fullSize - PACKET_OVERHEAD_BYTES);
    const padded = Math.min(
      Math.ceil(length / paddingBytes) * paddingBytes,
      writer.end - HEADER_BYTES,
    );
    into.fill(FRAME.padding, writer.at, HEADER_BYTES + padded);
    const size = protection.seal(into, packet.packetNumber, padded);
    const { recovery, pacer } = this.#parts;
    recovery.onPacketSent(now, packet, size, eliciting);
    if (eliciting) pacer.spend(size);
    this.wasEliciting = eliciting;
    this.#untilSkip--;
    return size;
  }

  #skipSometimes(): void {
    if (this.#untilSkip > 0) return;
    this.#parts.recovery.skipPacketNumber();
    this.#untilSkip = this.#nextSkip();
  }

  #nextSkip(): number {
    return skipEveryMin + randomBelow(this.#rng, skipEveryMax - skipEveryMin);
  }
}
