// The requests of one TURN client (RFC 8489 §6, §9.2): each repeated until it is answered or given
// up, made again when the server asks for credentials or gives a new nonce, and answered only by a
// message with its 96 random bits and, once there is a key, with MESSAGE-INTEGRITY under it. What a
// request is about (its subject) is the owner's; the owner bounds how many there are.

import { utf8ToBytes } from '@noble/hashes/utils.js';
import { DeadlineHeap, type Due, notArmed } from '../deadlines.ts';
import { type Rng, randomBytes } from '../random.ts';
import { type Micros, after, earlier, ms } from '../time.ts';
import { ATTRIBUTE, ERROR, decodeErrorCode } from './attributes.ts';
import { longTermKey } from './integrity.ts';
import { STUN_LIMITS } from './limits.ts';
import {
  type Attribute,
  type StunMessage,
  TRANSACTION_BYTES,
  encodeMessage,
  hasIntegrity,
} from './message.ts';

/** What is asked. */
export interface TurnAsk<Subject> {
  readonly subject: Subject;
  readonly method: number;
  /** Made anew for every transaction ID: addresses are hidden with it. */
  readonly attributes: (transaction: Uint8Array) => readonly Attribute[];
  /**
   * Sent once, and forgotten without an answer, but once more with a new nonce; default: repeated,
   * and given up aloud.
   */
  readonly isOnce?: boolean;
}

/** The end of a request. `code`: the error, 300 to 699; undefined for success. */
export interface TurnAnswer<Subject> {
  readonly subject: Subject;
  readonly code: number | undefined;
  readonly message: StunMessage;
}

/** Whose requests they are. */
interface TurnUser {
  /** ASCII, at most 508 bytes (RFC 8489 §14.3). */
  readonly username: string;
  readonly password: string | Uint8Array;
  /** Requests go over a stream, which repeats what is lost by itself (RFC 8489 §6.2.2). */
  readonly isStream?: boolean | undefined;
}

interface Request<Subject> extends Due {
  readonly ask: TurnAsk<Subject>;
  readonly transaction: Uint8Array;
  readonly bytes: Uint8Array;
  /** What it was signed with; undefined: it was not. */
  readonly key: Uint8Array | undefined;
  /** Earlier requests for the same thing, which the server wanted otherwise. */
  readonly challenges: number;
  sent: number;
}

/** What a server says of a request whose signature it could not, or would not, check. */
const UNSIGNED: readonly number[] = [
  ERROR.badRequest,
  ERROR.unauthorized,
  ERROR.staleNonce,
  ERROR.wrongCredentials,
];
/**
 * A nonce whose first security feature is set: the server has told its PASSWORD-ALGORITHMS (RFC
 * 8489 §9.2, §18.1). The features are 24 bits in base64, the first one the highest.
 */
const TELLS_ALGORITHMS = /^obMatJos2[g-z0-9+/]/;
const COOKIE_CHARACTERS = 13;

/** Requests under way to one server. */
export class TurnRequests<Subject> {
  readonly #rng: Rng;
  readonly #user: TurnUser;
  /** Milliseconds after each try of a request. */
  readonly #pausesMs: readonly number[];
  readonly #open = new Map<string, Request<Subject>>();
  readonly #toSend = new DeadlineHeap<Request<Subject>>();
  readonly #sentLast = new DeadlineHeap<Request<Subject>>();
  #realm: Uint8Array | undefined;
  #nonce: Uint8Array | undefined;
  #key: Uint8Array | undefined;
  /** The server has taken our signature, and signed that it did. */
  #isProven = false;

  constructor(rng: Rng, user: TurnUser) {
    this.#rng = rng;
    this.#user = user;
    const { turnPausesMs, turnStreamMs } = STUN_LIMITS;
    this.#pausesMs = user.isStream === true ? [turnStreamMs] : turnPausesMs;
  }

  /** Whether the server has told its realm and nonce, so that requests are signed. */
  get isSigned(): boolean {
    return this.#key !== undefined;
  }

  /** Queues a request; it is due at once. */
  ask(now: Micros, ask: TurnAsk<Subject>): void {
    this.#send(now, ask, 0);
  }

  /** Forgets what is asked for this subject. */
  forget(subject: Subject): void {
    for (const [key, request] of this.#open) {
      if (request.ask.subject !== subject) continue;
      this.#stop(request);
      this.#open.delete(key);
    }
  }

  /** Forgets all requests; what comes in answer is nobody's. */
  clear(): void {
    for (const request of this.#open.values()) this.#stop(request);
    this.#open.clear();
  }

  /**
   * The answer that a message from the server is; undefined for one that answers nothing of ours,
   * is not signed as it should be, or made us ask again. `message` was read from `bytes`.
   */
  handleMessage(
    now: Micros,
    bytes: Uint8Array,
    message: StunMessage,
  ): TurnAnswer<Subject> | undefined {
    const request = this.#open.get(message.transaction.join());
    if (request === undefined || request.sent === 0) return undefined;
    if (message.method !== request.ask.method) return undefined;
    const { stunClass, attributes } = message;
    if (stunClass !== 'success' && stunClass !== 'error') return undefined;
    const code =
      stunClass === 'error' ? decodeErrorCode(attributes.get(ATTRIBUTE.errorCode)) : undefined;
    if (stunClass === 'error' && code === undefined) return undefined;
    if (!this.#isTrusted(bytes, message, code, request.key)) return undefined;
    if (code === undefined && request.key !== undefined) this.#isProven = true;
    this.#open.delete(message.transaction.join());
    this.#stop(request);
    const { subject } = request.ask;
    if (!isUnderstood(message)) return { subject, message, code: ERROR.unknownAttribute };
    if (code !== undefined && this.#isAskedAgain(now, request, message, code)) return undefined;
    return { subject, message, code };
  }

  /** Takes out a request that was given up at `now`; those of which nobody is to hear fall away. */
  popGivenUp(now: Micros): Subject | undefined {
    for (;;) {
      const request = this.#sentLast.popDue(now);
      if (request === undefined) return undefined;
      this.#open.delete(request.transaction.join());
      if (request.ask.isOnce !== true) return request.ask.subject;
    }
  }

  /** The next request to send or to give up; an instant that is over while any is to be sent. */
  nextTimeout(): Micros {
    return earlier(this.#toSend.next(), this.#sentLast.next());
  }

  /** Writes the next request that is due; its size, or 0 if none is. */
  pollRequest(now: Micros, into: Uint8Array): number {
    const request = this.#toSend.popDue(now);
    if (request === undefined) return 0;
    const pauses = this.#pausesMs;
    const isOnce = request.ask.isOnce === true;
    const at = after(now, ms(isOnce ? STUN_LIMITS.closeMs : pauses[request.sent]));
    request.sent += 1;
    const isLast = isOnce || request.sent === pauses.length;
    (isLast ? this.#sentLast : this.#toSend).set(request, at);
    into.set(request.bytes);
    return request.bytes.length;
  }

  /** Whether the server wanted it otherwise, and it is on its way again (RFC 8489 §9.2.5). */
  #isAskedAgain(
    now: Micros,
    { ask, key, challenges }: Request<Subject>,
    { attributes }: StunMessage,
    code: number,
  ): boolean {
    // A second 401 means that the credentials are refused; a server may call any nonce stale.
    const isChallenge =
      code === ERROR.staleNonce || (code === ERROR.unauthorized && key === undefined);
    const challengesMax = ask.isOnce === true ? 1 : STUN_LIMITS.challengesMax;
    if (!isChallenge || challenges >= challengesMax) return false;
    // A 438 need not be signed: once a key is known to be right it stays.
    const told = this.#isProven ? undefined : attributes.get(ATTRIBUTE.realm);
    const realm = told ?? this.#realm;
    const nonce = attributes.get(ATTRIBUTE.nonce);
    const { textBytesMax } = STUN_LIMITS;
    if (realm === undefined || nonce === undefined) return false;
    if (realm.length > textBytesMax || nonce.length > textBytesMax) return false;
    // Copies, whatever the arrays are: the `slice` of a Buffer is a view.
    this.#realm = Uint8Array.from(realm);
    this.#nonce = Uint8Array.from(nonce);
    this.#key = longTermKey(this.#user.username, realm, this.#user.password);
    this.#send(now, ask, challenges + 1);
    return true;
  }

  #send(now: Micros, ask: TurnAsk<Subject>, challenges: number): void {
    const transaction = randomBytes(this.#rng, TRANSACTION_BYTES);
    const attributes = [...ask.attributes(transaction)];
    const key = this.#key;
    if (this.#realm !== undefined && this.#nonce !== undefined) {
      attributes.push(
        [ATTRIBUTE.username, utf8ToBytes(this.#user.username)],
        [ATTRIBUTE.realm, this.#realm],
        [ATTRIBUTE.nonce, this.#nonce],
      );
    }
    const { method } = ask;
    const bytes = encodeMessage({ stunClass: 'request', method, transaction, attributes, key });
    const request = { ask, transaction, bytes, key, challenges, sent: 0, ...notArmed() };
    this.#open.set(transaction.join(), request);
    this.#toSend.set(request, now);
  }

  #stop(request: Request<Subject>): void {
    const isLast = request.sent === this.#pausesMs.length;
    (isLast || (request.ask.isOnce === true && request.sent > 0)
      ? this.#sentLast
      : this.#toSend
    ).stop(request);
  }

  /**
   * Whether an answer may be believed: a request that was signed has a signed answer, unless it
   * says that the signature itself was the trouble (RFC 8489 §9.2.5). A wrong signature is never
   * believed, and after a right one nothing unsigned but a new nonce: else one forged datagram
   * would end a relay that works.
   */
  #isTrusted(
    bytes: Uint8Array,
    message: StunMessage,
    code: number | undefined,
    key: Uint8Array | undefined,
  ): boolean {
    if (key === undefined) return true;
    const { attributes } = message;
    if (attributes.has(ATTRIBUTE.messageIntegrity)) return hasIntegrity(bytes, message, key);
    if (!this.#isProven) return code !== undefined && UNSIGNED.includes(code);
    return code === ERROR.staleNonce && attributes.has(ATTRIBUTE.nonce) && isUnderstood(message);
  }
}

/**
 * Whether an answer may be followed (RFC 8489 §6.3.3, §6.3.4): not with an attribute that has to be
 * understood and is not, nor if its nonce speaks of algorithms that somebody took out on the way
 * (§9.2.5).
 */
function isUnderstood({ attributes, unknownRequired }: StunMessage): boolean {
  const nonce = attributes.get(ATTRIBUTE.nonce)?.subarray(0, COOKIE_CHARACTERS);
  const isTold = nonce !== undefined && TELLS_ALGORITHMS.test(String.fromCharCode(...nonce));
  const isCut = isTold && !attributes.has(ATTRIBUTE.passwordAlgorithms);
  return unknownRequired.length === 0 && !isCut;
}
