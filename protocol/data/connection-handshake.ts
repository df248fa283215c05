// What opens a talk [S1005, S4005]. With the key shares of both ends (docs/adr/0021-key-shares.md)
// the keys are there at once and nothing of it goes on the path: probes show who the peer is. Where
// a share is missing, one round trip: the caller knocks where and when its owner says; the callee
// says nothing until it is asked rightly, and answers each knock once, to where it came from, with
// no more bytes than it got.

import { assert } from '../assert.ts';
import { type Path, type Transmit, samePath } from '../core.ts';
import type { Rng } from '../random.ts';
import { randomBytes } from '../random.ts';
import type { Micros } from '../time.ts';
import { type CryptoSuite, KEY_BYTES } from '../crypto.ts';
import type { ConnectionOptions, Role } from './connection-types.ts';
import { Handshake } from './handshake.ts';
import { DATA_LIMITS } from './limits.ts';
import type { NoiseSecrets } from './noise.ts';
import { HANDSHAKE_PACKET_BYTES, indexOf, receiverIndex } from './packet.ts';
import { Protection } from './protection.ts';

/** Drives the handshake messages of one end. */
export class ConnectionHandshake {
  readonly #role: Role;
  readonly #options: ConnectionOptions;
  readonly #handshake: Handshake;
  readonly #localIndex: number;
  readonly #remoteIndex: number;
  /** Where a handshake message still has to go. */
  #waiting: Path[] = [];
  /** Where our message went, at most DATA_LIMITS.knockedMax places. */
  readonly #sent: { readonly path: Path; readonly at: Micros; times: number }[] = [];
  #protection: Protection | undefined;
  #secrets: NoiseSecrets | undefined;

  constructor(options: ConnectionOptions) {
    const { role, suite, session, rng } = options;
    this.#role = role;
    this.#options = options;
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
      remoteEphemeral: options.remoteEphemeral,
    });
    const { secrets } = this.#handshake;
    if (secrets !== undefined) this.#protect(boundToGrant(suite, secrets));
  }

  /** The secrets from which the keys of probes are made; undefined before the keys are there. */
  get secrets(): NoiseSecrets | undefined {
    return this.#secrets;
  }

  /** The keys of the talk, once the handshake is done at this end [claim 7]. */
  get protection(): Protection | undefined {
    return this.#protection;
  }

  /** Caller: knocks once at this address, unless the handshake is done. */
  knock(path: Path): void {
    if (this.#role !== 'caller' || this.#protection !== undefined) return;
    if (this.#waiting.length < DATA_LIMITS.knockedMax) this.#waiting.push(path);
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

  /** A round-trip sample, if only one message of ours there can have been answered; else 0. */
  roundTrip(now: Micros, path: Path): number {
    const sent = this.#sent.find((one) => samePath(one.path, path));
    return sent?.times === 1 ? now - sent.at : 0;
  }

  /** Nothing of the handshake is sent any more. */
  stop(): void {
    this.#waiting = [];
  }

  /** One handshake message, if one waits. */
  poll(now: Micros, into: Uint8Array): Transmit | undefined {
    const path = this.#waiting.shift();
    if (path === undefined || into.length < HANDSHAKE_PACKET_BYTES) return undefined;
    this.#note(now, path);
    const size =
      this.#role === 'caller'
        ? this.#handshake.writeInitiation(this.#remoteIndex, into)
        : this.#handshake.writeResponse(this.#remoteIndex, into);
    return size === 0 ? undefined : { path, size };
  }

  #note(now: Micros, path: Path): void {
    const known = this.#sent.find((one) => samePath(one.path, path));
    if (known !== undefined) known.times++;
    else if (this.#sent.length < DATA_LIMITS.knockedMax)
      this.#sent.push({ path, at: now, times: 1 });
  }

  /**
   * Noise does not cover the index. A copy with another one, taken for the first knock, would turn
   * every true one that follows into a second one that differs.
   */
  #isToUs(packet: Uint8Array): boolean {
    return indexOf(packet) === this.#localIndex;
  }

  #protect(secrets = this.#handshake.secrets): void {
    assert(secrets !== undefined, 'a finished handshake has secrets');
    this.#secrets = secrets;
    this.#protection = new Protection({
      suite: this.#options.suite,
      secrets,
      localIndex: this.#localIndex,
      remoteIndex: this.#remoteIndex,
    });
  }
}

/**
 * On the path the tags of both messages show that both ends hold the same grant, which alone the
 * hash contains (Noise §5.2). Where the messages are not sent, the secrets themselves have to.
 */
function boundToGrant(suite: CryptoSuite, { send, receive, hash }: NoiseSecrets): NoiseSecrets {
  return {
    send: suite.hmacBlake2s(send, hash),
    receive: suite.hmacBlake2s(receive, hash),
    hash,
  };
}

const ephemeralSecret = (rng: Rng): Uint8Array => randomBytes(rng, KEY_BYTES);
