// The expiry of a talk at one end [claim 3, 14, 15]: when the clock began, how far it may run, and
// whether "near" was said. Totals are cumulative and the higher revision holds, so that an
// extension may come twice, from the manager and from the peer, and count once.

import { LIMITS } from '../limits.ts';
import type { Micros } from '../time.ts';
import { MICROS_PER_SECOND, NEVER, after, seconds } from '../time.ts';
import type { TalkLimits } from './connection-types.ts';
import { DATA_LIMITS } from './limits.ts';

/** A new expiry, checked by the owner of the connection. */
export interface Extension extends TalkLimits {
  readonly revision: number;
  /** The manager's signed bytes, to be repeated to the peer. */
  readonly message: { readonly expiry: Uint8Array; readonly signature: Uint8Array };
}

/** Time and totals of one end. */
export class Expiry {
  #limits: TalkLimits;
  #revision = 0;
  #startedAt: Micros | undefined;
  #nearSaid = false;
  #message: Extension['message'] | undefined;
  #heard: Uint8Array | undefined;
  #isDue = false;
  /** Heard from the peer since the last one that was adopted. */
  #unheeded = 0;

  constructor(limits: TalkLimits) {
    this.#limits = limits;
  }

  /** The clock starts at the first handshake message that this end accepts (design §5). */
  start(now: Micros): void {
    this.#startedAt ??= now;
  }

  get bytes(): number | undefined {
    return this.#limits.bytes;
  }
  get revision(): number {
    return this.#revision;
  }

  /** [S1006, S4006, claim 14]: when the granted time is up; NEVER before the clock started. */
  get deadline(): Micros {
    if (this.#startedAt === undefined) return NEVER;
    return after(this.#startedAt, seconds(this.#limits.seconds));
  }

  /** [S5003, ¶0036]: when 70 % of the time is used; NEVER once that was said. */
  get nearAt(): Micros {
    if (this.#startedAt === undefined || this.#nearSaid) return NEVER;
    return after(this.#startedAt, seconds(this.#limits.seconds) * LIMITS.extendAtShare);
  }

  /** [S5003, claim 15]: 70 % of the bytes are used, and nobody was told. */
  isNearByBytes(used: number): boolean {
    const { bytes } = this.#limits;
    return !this.#nearSaid && bytes !== undefined && used >= bytes * LIMITS.extendAtShare;
  }

  onNearSaid(): void {
    this.#nearSaid = true;
  }

  elapsedMicros(now: Micros): number {
    return this.#startedAt === undefined ? 0 : Math.max(0, now - this.#startedAt);
  }

  secondsLeft(now: Micros): number {
    return Math.max(0, this.#limits.seconds - this.elapsedMicros(now) / MICROS_PER_SECOND);
  }

  /** [S5005, S5006, claim 4]: adopts a higher revision; false for one that holds already. */
  extend(extension: Extension): boolean {
    if (extension.revision <= this.#revision) return false;
    const { seconds: time, bytes, revision, message } = extension;
    this.#limits = { seconds: time, bytes };
    this.#revision = revision;
    this.#nearSaid = false;
    this.#unheeded = 0;
    this.#message = { expiry: message.expiry.slice(), signature: message.signature.slice() };
    this.#isDue = this.#heard === undefined || !equal(this.#heard, message.expiry);
    return true;
  }

  /** The signed bytes that the peer has to be told, if any. */
  get due(): Extension['message'] | undefined {
    return this.#isDue ? this.#message : undefined;
  }

  onSent(): void {
    this.#isDue = false;
  }

  onLost(revision: number): void {
    if (revision === this.#revision) this.#isDue = true;
  }

  /**
   * True for an expiry that this end does not have yet and should look at: each costs its owner a
   * signature's check, so that a peer which sends one after another is not heard for ever.
   */
  onHeard(expiry: Uint8Array): boolean {
    this.#heard = expiry;
    if (this.#message === undefined || !equal(this.#message.expiry, expiry)) {
      return this.#unheeded++ < DATA_LIMITS.expiriesHeardMax;
    }
    this.#isDue = false;
    return false;
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
