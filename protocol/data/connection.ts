// One talk between two terminals [S1005, S4005]: a pure core that wires handshake, protection,
// frames, streams, recovery, meter, expiry and end together. It only delegates; the rules are in
// its parts. It is long because it is the one junction: every method of both contracts stands here
// once. Drive it as protocol/core.ts says: one change, drain, arm one timer.

import { assert } from '../assert.ts';
import { type DatagramCore, type Path, type Transmit, samePath } from '../core.ts';
import type { Counts, EndReason } from '../ends.ts';
import type { Micros } from '../time.ts';
import { MICROS_PER_MS, after, earlier, micros, ms } from '../time.ts';
import { ConnectionHandshake } from './connection-handshake.ts';
import type { ConnectionParts } from './connection-parts.ts';
import { connectionParts } from './connection-parts.ts';
import type {
  ConnectionEvent,
  ConnectionOptions,
  StreamId,
  Talk,
  TalkState,
} from './connection-types.ts';
import { Ending } from './ending.ts';
import type { Extension } from './expiry.ts';
import { FRAME, datagramRoom, decodeFrames } from './frame.ts';
import { CRYPTO_LIMITS, DATA_LIMITS } from './limits.ts';
import { Liveness } from './liveness.ts';
import { PACKET_OVERHEAD_BYTES, packetKind } from './packet.ts';
import type { NoiseSecrets } from './noise.ts';
import { PacketBuilder } from './packet-builder.ts';
import { PeerError } from './peer-error.ts';
import { PeerFrames } from './peer-frames.ts';
import type { Preference } from './path-validation.ts';
import type { Protection } from './protection.ts';
import { Settlement } from './settlement.ts';
import { Silence } from './silence.ts';
import { TIMER, Timers } from './timers.ts';
import type { ConnectionStatistics } from './transport-state.ts';
import { connectionStatistics, transportState } from './transport-state.ts';
import { Reader } from './varint.ts';
import type { Trace } from '../trace/trace-event.ts';

/** One talk. Methods: inputs (`handle…`), polls (`poll…`), commands (the rest). */
export class Connection implements DatagramCore<ConnectionEvent>, Talk {
  readonly #parts: ConnectionParts;
  readonly #timers = new Timers();
  readonly #handshake: ConnectionHandshake;
  readonly #builder: PacketBuilder;
  readonly #frames: PeerFrames;
  readonly #ending: Ending;
  readonly #settlement: Settlement;
  readonly #liveness: Liveness;
  readonly #silence: Silence;
  readonly #reader = new Reader();
  readonly #trace: Trace | undefined;
  /** Where a packet came from after the end: its answer goes there, once. */
  #closePath: Path | undefined;
  #now = micros(0);
  #started = false;
  /** The last poll gave nothing, and nothing has happened since. */
  #drained = false;
  /** Of our keys when the update was last put off; none yet. */
  #keyPhase = -1;
  #wireBytes = 0;
  #dropped = 0;

  /** @throws UsageError for a configuration out of range. */
  constructor(options: ConnectionOptions) {
    this.#parts = connectionParts(options);
    this.#handshake = new ConnectionHandshake(options);
    this.#builder = new PacketBuilder(this.#parts, options.rng);
    this.#frames = new PeerFrames(this.#parts);
    this.#ending = new Ending(this.#timers);
    this.#settlement = new Settlement(this.#parts, this.#ending);
    this.#liveness = new Liveness(this.#timers, this.#parts.config);
    this.#silence = new Silence(this.#timers, this.#parts.rtt);
    this.#trace = options.trace;
  }

  /** Begins: the time to open runs. The first input does it by itself. */
  start(now: Micros): void {
    this.#advance(now);
  }

  handleDatagram(now: Micros, path: Path, bytes: Uint8Array): boolean {
    this.#arrive(now);
    const kind = packetKind(bytes);
    let taken = false;
    if (kind === 'transport') taken = this.#onTransport(path, bytes);
    else if (kind !== undefined && this.#path === undefined && !this.#ending.isOver) {
      taken =
        kind === 'initiation' ? this.#onInitiation(path, bytes) : this.#onResponse(path, bytes);
    }
    if (taken) this.#drained = false;
    else this.#dropped++;
    return !this.isDrained;
  }

  handleTimeout(now: Micros): void {
    this.#advance(now);
    if (this.#ending.isOver) {
      this.#ending.handleTimeout(this.#now);
      return;
    }
    const timers = this.#timers;
    const at = this.#now;
    if (timers.fires(TIMER.handshake, at)) return this.#end('path-lost');
    if (timers.fires(TIMER.idle, at)) return this.#end('peer-gone');
    if (timers.fires(TIMER.finish, at) && this.#ending.isFinishing) {
      return this.#end(this.#settlement.reasonAtTimeout);
    }
    if (timers.fires(TIMER.near, at)) this.#sayNear('time');
    if (this.#liveness.isPingDue(at)) {
      this.#builder.pingDue = true;
      if (this.#liveness.isMissing) this.#silence.onMissed();
    }
    if (timers.fires(TIMER.keyUpdate, at)) this.#onKeyUpdateTimeout();
    timers.fires(TIMER.pace, at);
    const { paths, recovery, rtt } = this.#parts;
    if (this.#silence.fires(at)) {
      this.#parts.events.push({ kind: 'silent' });
      paths.onUnheard(at);
    }
    paths.handleTimeout(at, rtt.patience);
    if (recovery.nextTimeout() > at) return;
    recovery.handleTimeout(at);
    if (!recovery.wantsSmall) return;
    paths.onSilence(at, rtt.patience);
  }

  nextTimeout(): Micros {
    if (!this.#started) return this.#now;
    if (this.#hasEvents()) return this.#now;
    if (this.#ending.isOver) return this.#ending.closeDue ? this.#now : this.#timers.next();
    if (!this.#drained) return this.#now;
    const { recovery, received, size, paths } = this.#parts;
    const own = earlier(recovery.nextTimeout(), earlier(received.deadline, size.deadline));
    const next = earlier(this.#timers.next(), earlier(own, paths.deadline));
    // A deadline that has passed is due now, never before.
    return next < this.#now ? this.#now : next;
  }

  /** The last poll had nothing to send, and nothing has happened since. */
  get isDrained(): boolean {
    return this.#drained && !this.#ending.closeDue;
  }

  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined {
    this.#tick(now);
    this.#endIfTimeIsUp();
    const transmit = this.#ending.isOver ? this.#pollClose(into) : this.#pollPacket(into);
    this.#drained = transmit === undefined;
    if (transmit !== undefined) this.#wireBytes += transmit.size;
    return transmit;
  }

  pollEvent(): ConnectionEvent | undefined {
    const event = this.#parts.events.poll();
    if (event !== undefined) return event;
    const { counts, reason } = this.#ending;
    if (counts === undefined || !this.#ending.takeEnded()) return undefined;
    return { kind: 'ended', reason, counts };
  }

  /**
   * [S5005, S5006, claim 4]: adopts a new expiry that the owner has checked, and repeats the signed
   * bytes to the peer. Cumulative totals; a revision that holds already changes nothing, and one
   * that comes after the end, or after the quota has ended the talk, is unused: false.
   */
  extend(now: Micros, extension: Extension): boolean {
    this.#advance(now);
    const { expiry, meter } = this.#parts;
    if (this.#ending.isOver || this.#settlement.isQuotaFinishing || !expiry.extend(extension))
      return false;
    meter.extend(extension.revision, extension.bytes);
    this.#armExpiry();
    return true;
  }

  /**
   * Ends the talk. `done` first delivers everything written; every other reason, `operator` say
   * [S5001, claim 6], stops at once.
   */
  close(now: Micros, reason: EndReason): void {
    this.#advance(now);
    if (this.#ending.isOver) return;
    if (reason === 'done' && this.#path !== undefined) {
      if (!this.#ending.isFinishing) this.#ending.finish(this.#now, 'done');
      return;
    }
    this.#end(reason);
  }

  /** Caller: knocks at this address, if nobody has opened yet. */
  knock(path: Path): void {
    if (this.#path !== undefined || this.#ending.isOver) return;
    this.#drained = false;
    this.#handshake.knock(path);
  }

  /** Both ends have had their keys from the start: then probes prove the peer. */
  get probeSecrets(): NoiseSecrets | undefined {
    return this.#handshake.secrets;
  }

  /** With keys: the peer has been heard on the path that the caller chose, and the talk is open. */
  open(now: Micros, path: Path): void {
    this.#advance(now);
    if (this.#path !== undefined || this.#ending.isOver) return;
    if (this.#handshake.protection === undefined) return;
    this.#establish(path);
    // Its source may be forged, or the path lead one way only: the talk has as long to be answered.
    this.#timers.set(TIMER.handshake, after(this.#now, ms(this.#parts.config.handshakeTimeoutMs)));
    // A packet of ours confirms it to the peer.
    this.#builder.pingDue = true;
  }

  /** Whether the talk is over by now, however late its timer is [claim 14]. */
  isOverAt(now: Micros): boolean {
    this.#tick(now);
    this.#endIfTimeIsUp();
    return this.#ending.isOver;
  }

  /** A round trip that was measured on this path by other means than packets; microseconds. */
  onRoundTrip(path: Path, micros: number): void {
    const { recovery, rtt } = this.#parts;
    const isHere = this.#path !== undefined && samePath(this.#path, path);
    if (isHere && !rtt.hasSample) recovery.onRoundTrip(this.#now, micros);
  }

  /**
   * The peer has proven that it is there as well: taken if the owner likes that path better than
   * the present one, or the present one does not answer.
   */
  prefer(now: Micros, path: Path, why: Preference): void {
    this.#advance(now);
    const { paths, rtt } = this.#parts;
    if (this.#isOpen()) paths.prefer(this.#now, path, rtt.patience, why);
  }

  /** Microseconds since anything of the peer's came; 0 before the talk is open. */
  quietMicros(now: Micros): number {
    return this.#silence.lasts(now);
  }

  openStream(): StreamId | undefined {
    return this.#isOpen() ? this.#parts.streams.open() : undefined;
  }

  write(stream: StreamId, bytes: Uint8Array): number {
    if (!this.#isOpen()) return 0;
    this.#drained = false;
    return this.#parts.streams.write(stream, bytes);
  }

  finish(stream: StreamId): void {
    if (this.#ending.isOver) return;
    this.#drained = false;
    this.#parts.streams.finish(stream);
  }

  setWeight(stream: StreamId, weight: number): void {
    this.#parts.streams.setWeight(stream, weight);
  }

  /** What arrived before the end stays readable after it. */
  read(stream: StreamId, into: Uint8Array): number {
    this.#drained = false;
    return this.#parts.streams.read(stream, into);
  }

  reset(stream: StreamId, code: number): void {
    if (this.#ending.isOver) return;
    this.#drained = false;
    this.#parts.streams.reset(stream, code);
  }

  stop(stream: StreamId, code: number): void {
    if (this.#ending.isOver) return;
    this.#drained = false;
    this.#parts.streams.stop(stream, code);
  }

  get maxDatagramBytes(): number {
    return datagramRoom(this.#packetRoom);
  }

  sendDatagram(bytes: Uint8Array): boolean {
    if (!this.#isOpen()) return false;
    this.#drained = false;
    return this.#parts.datagrams.send(bytes, this.#packetRoom);
  }

  /** Bytes of frames in one packet. */
  get #packetRoom(): number {
    return this.#parts.size.current - PACKET_OVERHEAD_BYTES;
  }

  readDatagram(): Uint8Array | undefined {
    return this.#parts.datagrams.read();
  }

  state(now: Micros): TalkState {
    const { expiry, meter, rtt } = this.#parts;
    const { bytes } = expiry;
    return {
      state: this.#stateName(),
      counts: this.counts(now),
      secondsLeft: expiry.secondsLeft(micros(Math.max(now, this.#now))),
      bytesLeft: bytes === undefined ? undefined : Math.max(0, bytes - meter.usedTotal()),
      rttMs: rtt.hasSample ? rtt.smoothed / MICROS_PER_MS : undefined,
      path: this.#path,
      droppedMessages: this.#parts.datagrams.dropped,
      transport: transportState(this.#parts),
    };
  }

  /** [S5007]: what the end notice will say, as of now; frozen at the end. */
  counts(now: Micros): Counts {
    if (this.#ending.counts !== undefined) return this.#ending.counts;
    const { streams, datagrams, expiry } = this.#parts;
    const at = micros(Math.max(now, this.#now));
    return {
      sentBytes: streams.sender.sentBytes + datagrams.sentBytes,
      receivedBytes: streams.receivedBytes + datagrams.receivedBytes,
      lostBytes: datagrams.lostBytes,
      wireBytes: this.#wireBytes,
      durationMs: Math.round(expiry.elapsedMicros(at) / MICROS_PER_MS),
    };
  }

  statistics(): ConnectionStatistics {
    return connectionStatistics(this.#parts, this.#dropped);
  }

  /** Undefined until the handshake is done at both ends, as far as this one knows. */
  get #path(): Path | undefined {
    return this.#parts.paths.main;
  }

  /** Every input that changes something passes here: there is work to drain. */
  #advance(now: Micros): void {
    this.#arrive(now);
    this.#drained = false;
  }

  /** Every input passes here: time only grows, and the first one starts. */
  #arrive(now: Micros): void {
    this.#tick(now);
    this.#parts.clock.now = this.#now;
    this.#endIfTimeIsUp();
    if (this.#started) return;
    this.#started = true;
    this.#drained = false;
    this.#timers.set(TIMER.handshake, after(this.#now, ms(this.#parts.config.handshakeTimeoutMs)));
  }

  /** Time only grows; where it went on without us, what was measured across it says nothing. */
  #tick(now: Micros): void {
    if (now <= this.#now) return;
    const missed = ms(DATA_LIMITS.stoodStillMs);
    const stoodStill = now - this.#now > missed && now - this.nextTimeout() > missed;
    this.#now = now;
    if (!stoodStill || this.#path === undefined || this.#ending.isOver) return;
    this.#parts.recovery.onStoodStill(now);
    // The way may be gone, and the peer have given us up.
    this.#builder.pingDue = true;
    this.#drained = false;
  }

  /**
   * claim 14: before anything else happens. A process that was suspended past its expiry reads its
   * sockets before its timer fires; what came meanwhile is not taken, what waits is not sent.
   */
  #endIfTimeIsUp(): void {
    if (!this.#timers.fires(TIMER.expiry, this.#now)) return;
    this.#end(this.#settlement.isQuotaFinishing ? 'quota' : 'time');
  }

  #onInitiation(path: Path, bytes: Uint8Array): boolean {
    const kind = this.#handshake.onInitiation(path, bytes);
    if (kind === undefined) return false;
    this.#wireBytes += bytes.length;
    if (kind === 'fresh') this.#startClock();
    return true;
  }

  #onResponse(path: Path, bytes: Uint8Array): boolean {
    if (!this.#handshake.onResponse(bytes)) return false;
    this.#startClock();
    this.#wireBytes += bytes.length;
    this.#establish(path);
    // The callee says nothing before our first packet (design §5).
    this.#builder.pingDue = true;
    return true;
  }

  #onTransport(path: Path, bytes: Uint8Array): boolean {
    const { protection } = this.#handshake;
    if (protection === undefined) return false;
    if (this.#ending.isOver && !this.#timers.isSet(TIMER.closing)) return false;
    const opened = protection.open(bytes);
    if (opened === undefined) {
      if (protection.mustEnd && !this.#ending.isOver) this.#end('protocol-error');
      return false;
    }
    const { packetNumber, start, end } = opened;
    if (this.#trace !== undefined) {
      const { length } = bytes;
      this.#trace({ kind: 'packetReceived', at: this.#now, packetNumber, bytes: length });
    }
    if (this.#ending.isOver) {
      // A CLOSE is alone in its packet; after the end only it matters: whether the peer knows.
      const isAnswered = this.#ending.onPacket(bytes[start] === FRAME.close);
      // The peer may have moved meanwhile; a CLOSE is smaller than three of the smallest packets.
      // What is repeated unasked goes where the talk was: nobody who forwards packets steers that.
      if (isAnswered) this.#closePath = path;
      return true;
    }
    this.#wireBytes += bytes.length;
    if (this.#path === undefined) this.#establish(path);
    this.#timers.stop(TIMER.handshake);
    this.#onKeyPhase(protection);
    const { streams, datagrams, recovery } = this.#parts;
    const isHeardAgain = this.#silence.onHeard(this.#now);
    this.#liveness.onHeard(this.#now, streams.receivedBytes + datagrams.receivedBytes);
    this.#ending.onHeard();
    try {
      this.#takeFrames(protection, path, bytes, packetNumber, start, end);
      // Where the way is another one, its change does the same.
      if (isHeardAgain && !this.#ending.isOver && samePath(path, this.#path ?? path))
        recovery.onHeardAgain(this.#now);
    } catch (error) {
      if (!(error instanceof PeerError)) throw error;
      this.#end('protocol-error');
    }
    return true;
  }

  #takeFrames(
    protection: Protection,
    path: Path,
    bytes: Uint8Array,
    packetNumber: number,
    start: number,
    end: number,
  ): void {
    const { received } = this.#parts;
    this.#frames.begin(this.#now, protection, path);
    this.#reader.reset(bytes, start, end);
    const eliciting = decodeFrames(this.#reader, this.#frames);
    if (eliciting === undefined) throw new PeerError('malformed packet');
    const taken = this.#frames.finish();
    this.#frames.onDatagramBytes(bytes.length, packetNumber > received.largest);
    if (taken) received.onPacket(this.#now, packetNumber, eliciting, bytes.length);
    const { close } = this.#frames;
    if (close !== undefined) this.#endByPeer(close.reason, close.receivedBytes);
  }

  /** The first packet that only the true peer can have sent: the talk is open, on this path. */
  #establish(path: Path): void {
    this.#startClock();
    this.#silence.onHeard(this.#now);
    this.#parts.paths.establish(path);
    this.#parts.recovery.onRoundTrip(this.#now, this.#handshake.roundTrip(this.#now, path));
    this.#handshake.stop();
    this.#timers.stop(TIMER.handshake);
    this.#liveness.onHeard(this.#now, 0);
    this.#parts.size.open(this.#now);
    this.#parts.events.push({ kind: 'established', path });
  }

  /** Whoever began it, by time or by packets: the next update is due so long after the last one. */
  #onKeyPhase({ keyPhase }: Protection): void {
    if (keyPhase === this.#keyPhase) return;
    this.#keyPhase = keyPhase;
    this.#timers.set(TIMER.keyUpdate, after(this.#now, ms(CRYPTO_LIMITS.keyPhaseMs)));
  }

  /** [claim 7]: the next key; a little later if the last update is not through yet. */
  #onKeyUpdateTimeout(): void {
    const { protection } = this.#handshake;
    if (protection === undefined) return;
    if (protection.updateKeys()) this.#onKeyPhase(protection);
    else this.#timers.set(TIMER.keyUpdate, after(this.#now, ms(CRYPTO_LIMITS.keyUpdateRetryMs)));
  }

  #startClock(): void {
    this.#parts.expiry.start(this.#now);
    this.#armExpiry();
  }

  #armExpiry(): void {
    const { expiry } = this.#parts;
    this.#timers.set(TIMER.expiry, expiry.deadline);
    this.#timers.set(TIMER.near, expiry.nearAt);
  }

  /** [S5003, ¶0036]: once for each expiry. */
  #sayNear(by: 'time' | 'bytes'): void {
    this.#parts.expiry.onNearSaid();
    this.#timers.stop(TIMER.near);
    this.#parts.events.push({ kind: 'expiryNear', by });
  }

  #pollPacket(into: Uint8Array): Transmit | undefined {
    const path = this.#path;
    if (path === undefined) return this.#handshake.poll(this.#now, into);
    const { expiry, meter } = this.#parts;
    if (expiry.isNearByBytes(meter.usedTotal())) this.#sayNear('bytes');
    const reason = this.#settlement.review(this.#now);
    if (reason !== undefined) {
      this.#end(reason);
      return this.#pollClose(into);
    }
    const { protection } = this.#handshake;
    assert(protection !== undefined, 'an open talk has keys');
    const builder = this.#builder;
    const message = this.#parts.paths.poll(this.#now);
    if (message !== undefined) {
      const size = builder.buildPathMessage(this.#now, into, protection, message);
      this.#parts.paths.onSent(message.path, size);
      return { path: message.path, size };
    }
    const fresh = !this.#settlement.isQuotaFinishing;
    const size = builder.build(this.#now, into, protection, fresh);
    this.#onKeyPhase(protection);
    this.#timers.set(TIMER.pace, builder.pacedUntil);
    if (size === 0) return undefined;
    this.#settlement.onSent();
    if (builder.wasEliciting) {
      this.#liveness.onActivity(this.#now);
      this.#silence.onSent(this.#now);
    }
    return { path, size };
  }

  #pollClose(into: Uint8Array): Transmit | undefined {
    const { closeDue, reason, counts } = this.#ending;
    const { protection } = this.#handshake;
    if (!closeDue || counts === undefined) return undefined;
    this.#ending.onCloseSent();
    const path = this.#closePath ?? this.#path;
    this.#closePath = undefined;
    if (path === undefined || protection === undefined) return undefined;
    const size = this.#builder.buildClose(this.#now, into, protection, reason, counts);
    return { path, size };
  }

  #isOpen(): boolean {
    return this.#path !== undefined && !this.#ending.isFinishing && !this.#ending.isOver;
  }

  #stateName(): TalkState['state'] {
    if (this.#ending.isOver) return 'ended';
    if (this.#ending.isFinishing) return 'finishing';
    return this.#path === undefined ? 'handshake' : 'open';
  }

  #hasEvents(): boolean {
    return !this.#parts.events.isEmpty || this.#ending.isEndedDue;
  }

  /** [S5007]: over, for this reason; the CLOSE tells the peer if there is a way to it. */
  #end(reason: EndReason): void {
    this.#finishWith(reason, this.counts(this.#now), false);
  }

  /** The peer said CLOSE. */
  #endByPeer(reason: EndReason, peerReceived: number): void {
    const counts = this.counts(this.#now);
    const lostBytes = this.#settlement.lostAtClose(counts, peerReceived);
    this.#finishWith(reason, { ...counts, lostBytes }, true);
  }

  #finishWith(reason: EndReason, counts: Counts, isAnswer: boolean): void {
    this.#handshake.stop();
    this.#drained = false;
    this.#trace?.({ kind: 'ended', at: this.#now, reason });
    const speaks = this.#path !== undefined;
    this.#ending.end(this.#now, reason, counts, {
      pto: this.#parts.recovery.pto,
      speaks,
      isAnswer,
    });
  }
}
