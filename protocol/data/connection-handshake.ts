// The one round trip that opens a talk [S1005, S4005]: the caller knocks at every candidate,
// doubling the pause; the callee says nothing until it is asked rightly, and answers each knock
// once, to where it came from, with no more bytes than it got.

import { assert } from '../assert.ts';
import type { Path, Transmit } from '../core.ts';
import type { Rng } from '../random.ts';
import { randomBytes } from '../random.ts';
import type { Micros } from '../time.ts';
import { after, ms } from '../time.ts';
import { KEY_BYTES } from '../crypto.ts';
import type { ConnectionOptions, Role } from './connection-types.ts';
import { Handshake } from './handshake.ts';
import { DATA_LIMITS } from './limits.ts';
import { HANDSHAKE_PACKET_BYTES, indexOf, receiverIndex } from './packet.ts';
import { Protection } from './protection.ts';
import type { Timers } from './timers.ts';
import { TIMER } from './timers.ts';

/** Drives the handshake messages of one end. */
export class ConnectionHandshake {
  readonly #role: Role;
  readonly #options: ConnectionOptions;
  readonly #handshake: Handshake;
  readonly #timers: Timers;
  readonly #localIndex: number;
  readonly #remoteIndex: number;
  /** Where a handshake message still has to go. */
  #waiting: Path[] = [];
  #pause = ms(DATA_LIMITS.initiationRetryMs);
  #firstSentAt: Micros | undefined;
  #rounds = 0;
  #protection: Protection | undefined;

  constructor(options: ConnectionOptions, timers: Timers) {
    const { role, suite, session, rng } = options;
    this.#role = role;
    this.#options = options;
    this.#timers = timers;
    this.#localIndex = receiverIndex(suite, session, role);
    this.#remoteIndex = receiverIndex(suite, session, role === 'caller' ? 'callee' : 'caller');
    this.#handshake = new Handshake({
      role,
      suite,
      prologue: options.grantBytes,
      sessionKey: options.sessionKey,
      localKey: options.localKey,
      remotePublicKey: options.remotePublicKey,
      ephemeral: options.ephemeral ?? suite.dhKey(ephemeralSecret(rng)),
    });
  }

  /** The keys of the talk, once the handshake is done at this end [claim 7]. */
  get protection(): Protection | undefined {
    return this.#protection;
  }

  /** Caller: knocks at every candidate. */
  start(now: Micros): void {
    if (this.#role === 'caller') this.#knock(now);
  }

  onRetryTimeout(now: Micros): void {
    if (this.#protection === undefined) this.#knock(now);
  }

  /** Callee: `fresh` starts the clock; either is answered; undefined is not genuine. */
  onInitiation(path: Path, packet: Uint8Array): 'fresh' | 'repeat' | undefined {
    if (this.#role !== 'callee' || !this.#isToUs(packet)) return undefined;
    const kind = this.#handshake.readInitiation(packet);
    if (kind === undefined) return undefined;
    if (this.#waiting.length < DATA_LIMITS.responsesMax) this.#waiting.push(path);
    if (kind === 'fresh') this.#protect();
    return kind;
  }

  /** Caller: true when the handshake is done. */
  onResponse(packet: Uint8Array): boolean {
    if (this.#role !== 'caller' || !this.#isToUs(packet)) return false;
    if (!this.#handshake.readResponse(packet)) return false;
    this.#protect();
    this.stop();
    return true;
  }

  /** A round-trip sample, if only one round of messages of ours can have been answered; else 0. */
  roundTrip(now: Micros): number {
    return this.#rounds === 1 && this.#firstSentAt !== undefined ? now - this.#firstSentAt : 0;
  }

  /** Nothing of the handshake is sent any more. */
  stop(): void {
    this.#waiting = [];
    this.#timers.stop(TIMER.initiation);
  }

  /** One handshake message, if one waits. */
  poll(now: Micros, into: Uint8Array): Transmit | undefined {
    const path = this.#waiting.shift();
    if (path === undefined || into.length < HANDSHAKE_PACKET_BYTES) return undefined;
    this.#firstSentAt ??= now;
    if (this.#role === 'callee') this.#rounds++;
    const size =
      this.#role === 'caller'
        ? this.#handshake.writeInitiation(this.#remoteIndex, into)
        : this.#handshake.writeResponse(this.#remoteIndex, into);
    return size === 0 ? undefined : { path, size };
  }

  /**
   * Noise does not cover the index. A copy with another one, taken for the first knock, would turn
   * every true one that follows into a second one that differs.
   */
  #isToUs(packet: Uint8Array): boolean {
    return indexOf(packet) === this.#localIndex;
  }

  #knock(now: Micros): void {
    this.#rounds++;
    this.#waiting = this.#options.paths.slice(0, DATA_LIMITS.pathsMax);
    this.#timers.set(TIMER.initiation, after(now, this.#pause));
    this.#pause = Math.min(this.#pause * 2, ms(DATA_LIMITS.initiationRetryMsMax));
  }

  #protect(): void {
    const { secrets } = this.#handshake;
    assert(secrets !== undefined, 'a finished handshake has secrets');
    this.#protection = new Protection({
      suite: this.#options.suite,
      secrets,
      localIndex: this.#localIndex,
      remoteIndex: this.#remoteIndex,
    });
  }
}

const ephemeralSecret = (rng: Rng): Uint8Array => randomBytes(rng, KEY_BYTES);
