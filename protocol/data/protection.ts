// Packet protection of a talk: seals and opens transport packets in place, refuses replays, and
// changes keys as RFC 9001 §6 does. Both directions move together: whoever changes first flips the
// phase bit, the other follows with its next packet. One update is outstanding at a time: the next
// one waits until the peer has acknowledged a packet of this phase, so that two phases tell
// themselves apart by one bit and the packet number.
//
//   key of a phase = HMAC(secret, "nakodo/1/key")
//   next secret = HMAC(secret, "nakodo/1/key update")

import { assert } from '../assert.ts';
import { asciiBytes } from '../bytes.ts';
import { type AeadKey, type CryptoSuite, NONCE_BYTES, TAG_BYTES } from '../crypto.ts';
import { CRYPTO_LIMITS } from './limits.ts';
import {
  HEADER_BYTES,
  encodeTransportHeader,
  indexOf,
  keyPhaseOf,
  packetKind,
  packetNonce,
  packetNumberOf,
} from './packet.ts';
import { ReplayWindow } from './replay.ts';

const KEY_LABEL = asciiBytes('nakodo/1/key');
const UPDATE_LABEL = asciiBytes('nakodo/1/key update');

/** Where the frames of an opened packet lie: `packet[start, end)`. */
interface OpenedPacket {
  readonly packetNumber: number;
  readonly start: number;
  readonly end: number;
}

interface ProtectionOptions {
  readonly suite: CryptoSuite;
  /** Of the handshake; 32 bytes each, not kept. */
  readonly secrets: { readonly send: Uint8Array; readonly receive: Uint8Array };
  /** What stands in packets to us, and in packets to the peer. */
  readonly localIndex: number;
  readonly remoteIndex: number;
}

/** One direction's chain of keys. */
class KeyChain {
  readonly #suite: CryptoSuite;
  #nextSecret: Uint8Array;
  phase = 0;
  previous: AeadKey | undefined;
  current: AeadKey;
  /** Made ahead of time, so that the first packet of a phase takes no longer (RFC 9001 §6.3). */
  next: AeadKey;

  constructor(suite: CryptoSuite, secret: Uint8Array) {
    this.#suite = suite;
    this.current = this.#keyOf(secret);
    this.#nextSecret = suite.hmacBlake2s(secret, UPDATE_LABEL);
    this.next = this.#keyOf(this.#nextSecret);
  }

  advance(): void {
    this.previous = this.current;
    this.current = this.next;
    this.#nextSecret = this.#suite.hmacBlake2s(this.#nextSecret, UPDATE_LABEL);
    this.next = this.#keyOf(this.#nextSecret);
    this.phase++;
  }

  #keyOf(secret: Uint8Array): AeadKey {
    return this.#suite.aead.importKey(this.#suite.hmacBlake2s(secret, KEY_LABEL));
  }
}

/** Seals what one end sends and opens what it receives [claim 7]. */
export class Protection {
  readonly #localIndex: number;
  readonly #sending: KeyChain;
  readonly #receiving: KeyChain;
  readonly #replay = new ReplayWindow();
  readonly #nonce = new Uint8Array(NONCE_BYTES);
  /** A copy of the header: cheaper than a view of every packet. */
  readonly #aad = new Uint8Array(HEADER_BYTES);
  readonly #header: { keyPhase: number; readonly receiverIndex: number; packetNumber: number };
  readonly #opened = { packetNumber: 0, start: HEADER_BYTES, end: HEADER_BYTES };
  #lastSealed = -1;
  #phaseFirstSealed = 0;
  #phaseSealed = 0;
  #phaseFirstOpened = 0;
  #largestAcknowledged = -1;
  /** We have sealed since the peer's newest phase began: it may hold our word that it did. */
  #hasAnswered = true;
  #isRuleBroken = false;
  #failedOpens = 0;
  #replays = 0;

  constructor({ suite, secrets, localIndex, remoteIndex }: ProtectionOptions) {
    this.#localIndex = localIndex;
    this.#sending = new KeyChain(suite, secrets.send);
    this.#receiving = new KeyChain(suite, secrets.receive);
    this.#header = { keyPhase: 0, receiverIndex: remoteIndex, packetNumber: 0 };
  }

  /**
   * Seals the `payloadLength` bytes that the caller wrote at HEADER_BYTES, puts the header before
   * and the tag behind them [claim 7, S1005, S4005]. Packet numbers only grow (gaps are welcome): a
   * repeated nonce would give the plaintext away. Returns the size of the whole packet.
   */
  seal(into: Uint8Array, packetNumber: number, payloadLength: number): number {
    assert(packetNumber > this.#lastSealed, 'a packet number is used once');
    if (this.#phaseSealed >= CRYPTO_LIMITS.keyPhasePacketsMax) this.updateKeys();
    if (this.#phaseSealed === 0) this.#phaseFirstSealed = packetNumber;
    this.#phaseSealed++;
    this.#hasAnswered = true;
    this.#lastSealed = packetNumber;
    this.#header.keyPhase = this.#sending.phase;
    this.#header.packetNumber = packetNumber;
    encodeTransportHeader(into, this.#header);
    this.#prepare(into, packetNumber);
    this.#sending.current.seal(this.#nonce, this.#aad, into, HEADER_BYTES, payloadLength);
    return HEADER_BYTES + payloadLength + TAG_BYTES;
  }

  /**
   * Opens a packet in place; undefined for what is not ours, came before, is too old or is not
   * genuine. The result is this object's own and holds until the next call; the frames lie in
   * `packet`. A packet that does not open leaves nothing behind but a count.
   */
  open(packet: Uint8Array): OpenedPacket | undefined {
    if (packetKind(packet) !== 'transport' || indexOf(packet) !== this.#localIndex)
      return undefined;
    const packetNumber = packetNumberOf(packet);
    if (!this.#replay.isFresh(packetNumber)) {
      this.#replays++;
      return undefined;
    }
    const sameBit = keyPhaseOf(packet) === (this.#receiving.phase & 1);
    const isOld = !sameBit && packetNumber < this.#phaseFirstOpened;
    const key = sameBit
      ? this.#receiving.current
      : isOld
        ? this.#receiving.previous
        : this.#receiving.next;
    this.#prepare(packet, packetNumber);
    const length = packet.length - HEADER_BYTES;
    if (!key?.open(this.#nonce, this.#aad, packet, HEADER_BYTES, length)) {
      this.#failedOpens++;
      return undefined;
    }
    this.#replay.accept(packetNumber);
    if (!sameBit && !isOld && !this.#follow(packetNumber)) return undefined;
    if (sameBit && packetNumber < this.#phaseFirstOpened) this.#phaseFirstOpened = packetNumber;
    this.#opened.packetNumber = packetNumber;
    this.#opened.end = packet.length - TAG_BYTES;
    return this.#opened;
  }

  /** The connection tells the largest of our packet numbers that the peer has acknowledged. */
  onAcknowledged(packetNumber: number): void {
    if (packetNumber > this.#largestAcknowledged) this.#largestAcknowledged = packetNumber;
  }

  /**
   * Seals from now on with the next key, if the last update is through: false, and nothing changed,
   * if the peer has not acknowledged a packet of this phase. Happens by itself every 2^20 packets.
   */
  updateKeys(): boolean {
    const isConfirmed =
      this.#phaseSealed > 0 && this.#largestAcknowledged >= this.#phaseFirstSealed;
    if (!isConfirmed || this.#sending.phase !== this.#receiving.phase) return false;
    this.#advanceSending();
    return true;
  }

  /** Key updates of the sending direction so far. */
  get keyPhase(): number {
    return this.#sending.phase;
  }

  /** Packets that looked right and did not authenticate. */
  get failedOpens(): number {
    return this.#failedOpens;
  }

  /** Packets refused because their number came before or is too old. */
  get replays(): number {
    return this.#replays;
  }

  /**
   * The talk has to end: the peer changed keys against the rule, there were too many forgeries
   * (RFC 9001 §6.6), or no packet number is left.
   */
  get mustEnd(): boolean {
    return (
      this.#isRuleBroken ||
      this.#failedOpens >= CRYPTO_LIMITS.failedOpensMax ||
      this.#lastSealed >= CRYPTO_LIMITS.packetNumberMax
    );
  }

  /**
   * The peer's first packet of a new phase came: receive with it, and send with it too. False, and
   * the talk must end, if we have sealed nothing since its last one: so it cannot know that we
   * followed, and an honest one waits for that (RFC 9001 §6.2). Reordering makes no such packet.
   */
  #follow(packetNumber: number): boolean {
    if (!this.#hasAnswered) {
      this.#isRuleBroken = true;
      return false;
    }
    this.#hasAnswered = false;
    this.#receiving.advance();
    this.#phaseFirstOpened = packetNumber;
    if (this.#sending.phase < this.#receiving.phase) this.#advanceSending();
    return true;
  }

  #advanceSending(): void {
    this.#sending.advance();
    this.#phaseSealed = 0;
  }

  #prepare(packet: Uint8Array, packetNumber: number): void {
    for (let i = 0; i < HEADER_BYTES; i++) this.#aad[i] = packet[i];
    packetNonce(packetNumber, this.#nonce);
  }
}
