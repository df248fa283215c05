// A peer that is who it says and breaks the rules: it completes the real handshake, in either role,
// and then seals whatever frames it likes, under any packet number and key phase, against a real
// connection, the victim. Virtual time. It counts what the victim does for each datagram, so that
// a test can bound the work, and it can behave, so that a test can show that the talk goes on.

import { asciiBytes } from '../bytes.ts';
import type { Path, Port } from '../core.ts';
import { drain } from '../core.ts';
import type { AeadKey } from '../crypto.ts';
import { NONCE_BYTES } from '../crypto.ts';
import { Connection } from '../data/connection.ts';
import type {
  ConnectionConfig,
  ConnectionEvent,
  Role,
  StreamId,
  TalkLimits,
} from '../data/connection-types.ts';
import { FRAME, decodeFrames } from '../data/frame.ts';
import { Handshake } from '../data/handshake.ts';
import {
  HEADER_BYTES,
  encodeTransportHeader,
  keyPhaseOf,
  packetNonce,
  packetNumberOf,
  receiverIndex,
} from '../data/packet.ts';
import { Reader } from '../data/varint.ts';
import { randomSessionId } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { randomBytes, seededRng } from '../random.ts';
import type { Micros } from '../time.ts';
import { after, micros, ms } from '../time.ts';
import { Heard } from './heard-frames.ts';
import { data, honestAck, numbers } from './peer-frames-made.ts';

const PATH: Path = { host: '192.0.2.1', port: 1 };
const TAG_BYTES = 16;
const DRAIN_STEPS = 10_000;
const BUFFER_BYTES = 65_536;

export interface PeerOptions {
  /** Of the peer; the victim has the other one. */
  readonly role?: Role;
  readonly limits?: TalkLimits;
  readonly config?: Partial<ConnectionConfig>;
  /** The owner at the victim reads nothing. */
  readonly deaf?: boolean;
  readonly seed?: number;
}

/** One key after another, by phase; nothing refuses an early change or an old key. */
class Keys {
  readonly #keys: AeadKey[] = [];
  #secret: Uint8Array;

  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  at(phase: number): AeadKey {
    while (this.#keys.length <= phase) {
      const key = nodeSuite.hmacBlake2s(this.#secret, asciiBytes('nakodo/1/key'));
      this.#keys.push(nodeSuite.aead.importKey(key));
      this.#secret = nodeSuite.hmacBlake2s(this.#secret, asciiBytes('nakodo/1/key update'));
    }
    return this.#keys[phase];
  }
}

/** What the victim did since the count began. */
export interface Work {
  datagramsIn: number;
  bytesIn: number;
  datagramsOut: number;
  bytesOut: number;
  /** Turns of the drain: events and polls. */
  steps: number;
  events: number;
}

const NO_WORK: Work = {
  datagramsIn: 0,
  bytesIn: 0,
  datagramsOut: 0,
  bytesOut: 0,
  steps: 0,
  events: 0,
};

/** The peer, with its victim. */
export class MisbehavingPeer {
  readonly victim: Connection;
  readonly heard = new Heard();
  readonly path = PATH;
  now: Micros = micros(1_000_000);
  work: Work = { ...NO_WORK };
  ended: (ConnectionEvent & { readonly kind: 'ended' }) | undefined;
  endedTimes = 0;
  /** The peer's own handshake message, for replays. */
  readonly handshakeMessage: Uint8Array;
  /** Bytes that the victim's owner has read of each stream. */
  readonly read = new Map<number, Uint8Array[]>();
  readonly delivered = new Set<number>();
  readonly expiriesHeard: Uint8Array[] = [];
  nextNumber = 0;
  largestSaid = -1;
  phase = 0;
  /** The owner at the victim reads nothing. */
  isDeaf: boolean;
  onEvent: (event: ConnectionEvent) => void = () => {};
  readonly #role: Role;
  readonly #keys: Keys;
  readonly #victimKeys: Keys;
  readonly #victimIndex: number;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #into = new Uint8Array(BUFFER_BYTES);
  readonly #nonce = new Uint8Array(NONCE_BYTES);
  readonly #reader = new Reader();
  /** Index 0 is left for those who name it. */
  #streams = 1;

  constructor(options: PeerOptions = {}) {
    this.#role = options.role ?? 'caller';
    this.isDeaf = options.deaf ?? false;
    const rng = seededRng(options.seed ?? 3);
    const victimRole: Role = this.#role === 'caller' ? 'callee' : 'caller';
    const [peerKey, victimKey] = [0, 1].map(() => nodeSuite.dhKey(randomBytes(rng, 32)));
    const session = randomSessionId(rng);
    const sessionKey = randomBytes(rng, 32);
    const grantBytes = randomBytes(rng, 50);
    this.victim = new Connection({
      role: victimRole,
      session,
      grantBytes,
      limits: options.limits ?? { seconds: 3600, bytes: undefined },
      sessionKey,
      localKey: victimKey,
      remotePublicKey: peerKey.publicKey,
      suite: nodeSuite,
      rng,
      config: options.config ?? {},
    });
    const handshake = new Handshake({
      role: this.#role,
      suite: nodeSuite,
      prologue: grantBytes,
      sessionKey,
      localKey: peerKey,
      remotePublicKey: victimKey.publicKey,
      ephemeral: nodeSuite.dhKey(randomBytes(rng, 32)),
    });
    this.#victimIndex = receiverIndex(nodeSuite, session, victimRole);
    this.handshakeMessage =
      this.#role === 'caller' ? this.#call(handshake) : this.#respond(handshake);
    const { secrets } = handshake;
    if (secrets === undefined) throw new Error('no secrets');
    this.#keys = new Keys(secrets.send);
    this.#victimKeys = new Keys(secrets.receive);
    this.say(numbers(FRAME.ping));
    this.work = { ...NO_WORK };
  }

  #call(handshake: Handshake): Uint8Array {
    const buffer = new Uint8Array(2000);
    const message = buffer.slice(0, handshake.writeInitiation(this.#victimIndex, buffer));
    this.victim.handleDatagram(this.now, PATH, message.slice());
    const transmit = this.victim.pollTransmit(this.now, buffer);
    const response = buffer.slice(0, transmit?.size ?? 0);
    if (!handshake.readResponse(response)) throw new Error('no answer');
    return message;
  }

  #respond(handshake: Handshake): Uint8Array {
    const buffer = new Uint8Array(2000);
    this.victim.start(this.now);
    this.victim.knock(PATH);
    const transmit = this.victim.pollTransmit(this.now, buffer);
    handshake.readInitiation(buffer.slice(0, transmit?.size ?? 0));
    const message = buffer.slice(0, handshake.writeResponse(this.#victimIndex, buffer));
    this.now = after(this.now, ms(5));
    this.victim.handleDatagram(this.now, PATH, message.slice());
    return message;
  }

  /** Seals frames under any number and phase. */
  packet(
    payload: Uint8Array,
    packetNumber = this.nextNumber++,
    phase = this.phase,
    receiver = this.#victimIndex,
  ): Uint8Array {
    this.largestSaid = Math.max(this.largestSaid, packetNumber);
    const packet = new Uint8Array(HEADER_BYTES + payload.length + TAG_BYTES);
    packet.set(payload, HEADER_BYTES);
    encodeTransportHeader(packet, { keyPhase: phase & 1, receiverIndex: receiver, packetNumber });
    packetNonce(packetNumber, this.#nonce);
    const header = packet.slice(0, HEADER_BYTES);
    this.#keys.at(phase).seal(this.#nonce, header, packet, HEADER_BYTES, payload.length);
    return packet;
  }

  /** Hands a datagram over as it is, and takes what comes back. The victim may change it. */
  deliver(bytes: Uint8Array, path: Path = PATH): void {
    this.work.datagramsIn++;
    this.work.bytesIn += bytes.length;
    this.victim.handleDatagram(this.now, path, bytes);
    this.hear();
  }

  /** Frames in one packet under the next number. */
  say(...frames: readonly Uint8Array[]): void {
    this.deliver(this.packet(frames.length === 1 ? frames[0] : Buffer.concat(frames)));
  }

  /** Empties the victim as the shell does. */
  hear(): void {
    const port: Port<ConnectionEvent> = {
      borrow: () => this.#buffer,
      release: () => {
        this.work.steps++;
      },
      send: ({ size }, buffer) => {
        this.work.steps++;
        this.work.datagramsOut++;
        this.work.bytesOut += size;
        this.#onPacket(buffer.slice(0, size));
      },
      event: (event) => {
        this.work.steps++;
        this.work.events++;
        this.#onEvent(event);
      },
    };
    drain(this.victim, this.now, port, DRAIN_STEPS);
  }

  /** Lets time pass in steps as the victim asks for them; bounded by `wakesMax` wake-ups. */
  pass(milliseconds: number, wakesMax = 10_000): void {
    const until = after(this.now, ms(milliseconds));
    for (let wakes = 0; this.victim.nextTimeout() <= until; wakes++) {
      if (wakes >= wakesMax) throw new Error('the victim spins');
      this.now = micros(Math.max(this.now, this.victim.nextTimeout()));
      this.victim.handleTimeout(this.now);
      this.hear();
    }
    this.now = until;
  }

  get reason(): string | undefined {
    return this.ended?.reason;
  }
  /** The number of the victim's newest packet. */
  get largestHeard(): number {
    return this.heard.largest;
  }

  bytesRead(stream: number): Uint8Array {
    return Buffer.concat(this.read.get(stream) ?? []);
  }

  /** The victim permits one more stream. */
  get mayOpen(): boolean {
    return this.#streams < this.heard.maxStreams;
  }

  /** The id of the peer's own stream with this index. */
  own(index: number): number {
    return index * 2 + (this.#role === 'caller' ? 0 : 1);
  }

  /** The id of the victim's stream with this index. */
  theirs(index: number): number {
    return index * 2 + (this.#role === 'caller' ? 1 : 0);
  }

  /** A stream id of the peer's own, never used. */
  newStream(): number {
    return this.own(this.#streams++);
  }

  /** Acknowledges all that was heard, as an honest peer would. */
  acknowledge(): void {
    const { unacknowledged } = this.heard;
    if (unacknowledged.count === 0) return;
    this.say(honestAck(unacknowledged));
  }

  /** Writes `bytes` to a stream of the victim's and acknowledges until all is delivered. */
  victimSends(bytes: number, limitMs = 120_000): boolean {
    const stream = this.victim.openStream();
    if (stream === undefined) return false;
    this.victim.write(stream, new Uint8Array(bytes));
    this.victim.finish(stream);
    const until = after(this.now, ms(limitMs));
    while (!this.delivered.has(stream) && this.ended === undefined && this.now < until) {
      this.hear();
      this.acknowledge();
      this.pass(5);
    }
    return this.delivered.has(stream);
  }

  /** Sends `bytes` on a new stream and tells whether the owner there read them all. */
  victimReceives(bytes: number): boolean {
    const stream = this.newStream();
    this.say(data(stream, 0, bytes, true, 7));
    this.acknowledge();
    return this.bytesRead(stream).length === bytes;
  }

  #onPacket(packet: Uint8Array): void {
    const packetNumber = packetNumberOf(packet);
    if (!this.#open(packet, packetNumber)) return;
    if (packetNumber > this.heard.largest + 1) this.heard.missing = packetNumber - 1;
    this.heard.largest = Math.max(this.heard.largest, packetNumber);
    this.#reader.reset(packet, HEADER_BYTES, packet.length - TAG_BYTES);
    if (decodeFrames(this.#reader, this.heard) === undefined) throw new Error('malformed');
    const { unacknowledged } = this.heard;
    unacknowledged.insert(packetNumber, packetNumber + 1);
    if (unacknowledged.count > 32) unacknowledged.dropFirst();
  }

  /** The victim is in our newest phase, or one of the few before it. */
  #open(packet: Uint8Array, packetNumber: number): boolean {
    packetNonce(packetNumber, this.#nonce);
    const header = packet.slice(0, HEADER_BYTES);
    const length = packet.length - HEADER_BYTES;
    for (let phase = this.phase + 1; phase >= Math.max(0, this.phase - 2); phase--) {
      if ((phase & 1) !== keyPhaseOf(packet)) continue;
      const copy = packet.slice();
      if (!this.#victimKeys.at(phase).open(this.#nonce, header, copy, HEADER_BYTES, length))
        continue;
      packet.set(copy);
      return true;
    }
    return false;
  }

  #onEvent(event: ConnectionEvent): void {
    if (event.kind === 'ended') {
      this.ended = event;
      this.endedTimes++;
    } else if (event.kind === 'delivered') this.delivered.add(event.stream);
    else if (event.kind === 'expiry') this.expiriesHeard.push(event.expiry);
    else if (event.kind === 'readable' && !this.isDeaf) this.#readAll(event.stream);
    else if (event.kind === 'datagram' && !this.isDeaf) {
      while (this.victim.readDatagram() !== undefined);
    }
    this.onEvent(event);
  }

  #readAll(stream: StreamId): void {
    const chunks = this.read.get(stream) ?? [];
    for (;;) {
      const length = this.victim.read(stream, this.#into);
      if (length <= 0) break;
      chunks.push(this.#into.slice(0, length));
    }
    // What a flood wrote is not kept.
    if (this.read.size < 200) this.read.set(stream, chunks);
  }
}
