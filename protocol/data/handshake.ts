// The handshake of a talk: Noise KKpsk0 between two terminals that the manager introduced. The
// grant's bytes are the prologue and the session key is the PSK, so that only two ends which were
// told the same thing can finish it. One round trip, forward secret, mutual; both payloads are
// empty. One initiation per session for its whole life: a captured grant starts no second talk.

import { assert } from '../assert.ts';
import { sameBytes } from '../bytes.ts';
import { type CryptoSuite, type DhKey, KEY_BYTES } from '../crypto.ts';
import type { Role } from './connection-types.ts';
import { type NoiseSecrets, NoiseState } from './noise.ts';
import {
  HANDSHAKE_HEADER_BYTES,
  HANDSHAKE_PACKET_BYTES,
  encodeHandshakeHeader,
  packetKind,
} from './packet.ts';

const EMPTY = new Uint8Array(0);

interface HandshakeOptions {
  /** The caller is the Noise initiator. */
  readonly role: Role;
  readonly suite: CryptoSuite;
  /** The grant as both notices carried it. */
  readonly prologue: Uint8Array;
  /** 32 bytes, the pre-shared part (claims 7 and 16). */
  readonly sessionKey: Uint8Array;
  readonly localKey: DhKey;
  readonly remotePublicKey: Uint8Array;
  /** Made for this handshake alone. */
  readonly ephemeral: DhKey;
  /** The peer's, if the notice brought it: then nothing is left to be said. */
  readonly remoteEphemeral?: Uint8Array | undefined;
}

/** Both ends of the handshake; which methods apply depends on the role. */
export class Handshake {
  readonly #role: Role;
  /** Dropped when done, and the ephemeral key with it. */
  #noise: NoiseState | undefined;
  #written: Uint8Array | undefined;
  #accepted: Uint8Array | undefined;
  #secrets: NoiseSecrets | undefined;

  /** [claim 7]: the received session key becomes the pre-shared key of the handshake. */
  constructor(options: HandshakeOptions) {
    this.#role = options.role;
    this.#noise = new NoiseState({
      suite: options.suite,
      initiator: options.role === 'caller',
      prologue: options.prologue,
      localStatic: options.localKey,
      localEphemeral: options.ephemeral,
      remoteStatic: options.remotePublicKey,
      preSharedKey: options.sessionKey,
    });
    if (options.remoteEphemeral !== undefined) this.#assume(options.remoteEphemeral);
  }

  /** Both directions' secrets once the handshake is done; `hash` names this handshake. */
  get secrets(): NoiseSecrets | undefined {
    return this.#secrets;
  }

  /**
   * Caller: writes the initiation [S1005], the same each time. `index` is the callee's.
   * Returns its 53 bytes, or 0 if the callee's key is of low order and no talk is possible.
   */
  writeInitiation(index: number, into: Uint8Array): number {
    assert(this.#role === 'caller', 'the caller initiates');
    this.#written ??= this.#noise?.writeMessage(EMPTY);
    return write('initiation', index, this.#written, into);
  }

  /**
   * Callee [S4005]: reads an initiation. `fresh`: accepted, answer it; `repeat`: byte for byte the
   * accepted one, answer it again; undefined: not genuine, or a second one.
   */
  readInitiation(packet: Uint8Array): 'fresh' | 'repeat' | undefined {
    assert(this.#role === 'callee', 'the callee is initiated');
    if (packetKind(packet) !== 'initiation') return undefined;
    if (this.#accepted !== undefined)
      return sameBytes(packet, this.#accepted) ? 'repeat' : undefined;
    const noise = this.#noise;
    if (noise?.readMessage(packet.subarray(HANDSHAKE_HEADER_BYTES)) === undefined) return undefined;
    this.#accepted = packet.slice();
    this.#written = noise.writeMessage(EMPTY);
    assert(this.#written !== undefined, 'a key that gave a secret once is not of low order');
    this.#finish(noise);
    return 'fresh';
  }

  /** Callee: writes the response, the same each time. `index` is the caller's. Returns 53. */
  writeResponse(index: number, into: Uint8Array): number {
    assert(this.#accepted !== undefined, 'a response answers an initiation');
    return write('response', index, this.#written, into);
  }

  /** Caller: reads the response; false if it is not genuine or the handshake is already done. */
  readResponse(packet: Uint8Array): boolean {
    assert(this.#role === 'caller', 'the callee responds');
    const noise = this.#noise;
    if (packetKind(packet) !== 'response' || noise === undefined) return false;
    if (noise.readMessage(packet.subarray(HANDSHAKE_HEADER_BYTES)) === undefined) return false;
    this.#finish(noise);
    return true;
  }

  /** Both messages at once (ADR 0021): each end makes those of both. */
  #assume(remoteEphemeral: Uint8Array): void {
    const noise = this.#noise;
    if (noise === undefined || remoteEphemeral.length !== KEY_BYTES) return;
    const write = (): boolean => noise.writeMessage(EMPTY) !== undefined;
    const expect = (): boolean => noise.expectMessage(remoteEphemeral);
    const isDone = this.#role === 'caller' ? write() && expect() : expect() && write();
    if (isDone) this.#finish(noise);
    else this.#noise = undefined;
  }

  #finish(noise: NoiseState): void {
    this.#secrets = noise.split();
    this.#noise = undefined;
  }
}

function write(
  kind: 'initiation' | 'response',
  index: number,
  message: Uint8Array | undefined,
  into: Uint8Array,
): number {
  if (message === undefined) return 0;
  encodeHandshakeHeader(into, kind, index);
  into.set(message, HANDSHAKE_HEADER_BYTES);
  return HANDSHAKE_PACKET_BYTES;
}
