// The packets by which two introduced terminals find a path [S1005, S4005]: small, and sealed with
// keys that only the two of them have, so that an answer proves who is there and that this very
// probe arrived (RFC 8445 §7 does the same with STUN). Probe and answer are equally long.
//
//   probe   1: 0x08 | receiver index (4) | nonce (12) | sealed token (8) + tag (16)   = 41 bytes
//   answer  1: 0x09 | the same with the probe's token
//   choice  1: 0x0a | as a probe: the caller has opened the talk on this path
//
// The nonce is random, fresh for each packet: one talk sends a few thousand at most.

import type { AeadKey, CryptoSuite } from '../crypto.ts';
import { NONCE_BYTES, TAG_BYTES } from '../crypto.ts';
import { asciiBytes } from '../bytes.ts';
import type { SessionId } from '../ids.ts';
import type { Rng } from '../random.ts';
import { randomBytes } from '../random.ts';
import type { Role } from './connection-types.ts';
import type { NoiseSecrets } from './noise.ts';
import { indexOf, receiverIndex } from './packet.ts';

/** Bytes of a token: guessing one is hopeless. */
export const PROBE_TOKEN_BYTES = 8;
const HEADER_BYTES = 5;
const TOKEN_AT = HEADER_BYTES + NONCE_BYTES;
/** Bytes of a probe, and of an answer. */
export const PROBE_BYTES = TOKEN_AT + PROBE_TOKEN_BYTES + TAG_BYTES;

const TYPE_PROBE = 0x08;
const TYPE_ANSWER = 0x09;
const TYPE_CHOICE = 0x0a;
const KINDS: ReadonlyMap<number, ProbeKind> = new Map([
  [TYPE_PROBE, 'probe'],
  [TYPE_ANSWER, 'answer'],
  [TYPE_CHOICE, 'choice'],
]);
const LABEL = 'nakodo/1/probe/';

type ProbeKind = 'probe' | 'answer' | 'choice';

/** What a probing packet says; a choice is answered like a probe. */
export interface Probe {
  readonly kind: ProbeKind;
  /** PROBE_TOKEN_BYTES. */
  readonly token: Uint8Array;
}

/** Looks at type and length only. */
export function isProbe(datagram: Uint8Array): boolean {
  return datagram.length === PROBE_BYTES && KINDS.has(datagram[0]);
}

/** Makes and reads the probes of one end of one session. */
export class Probes {
  readonly #seal: AeadKey;
  readonly #open: AeadKey;
  readonly #localIndex: number;
  readonly #remoteIndex: number;
  readonly #rng: Rng;
  /** Of what is being read: cheaper than views of every packet that anybody may send. */
  readonly #nonce = new Uint8Array(NONCE_BYTES);
  readonly #aad = new Uint8Array(HEADER_BYTES);

  /**
   * [claim 7]: `sessionKey`: 32 bytes of the address notice; each direction has its own of it. With
   * `secrets` the peer itself is proven by every probe, and not only that it knows the session key.
   */
  constructor(options: {
    readonly suite: CryptoSuite;
    readonly session: SessionId;
    readonly sessionKey: Uint8Array;
    readonly secrets: Pick<NoiseSecrets, 'send' | 'receive'> | undefined;
    readonly role: Role;
    readonly rng: Rng;
  }) {
    const { suite, session, sessionKey, secrets, role, rng } = options;
    const other: Role = role === 'caller' ? 'callee' : 'caller';
    const keyOf = (material: Uint8Array, from: Role): AeadKey =>
      suite.aead.importKey(suite.hmacBlake2s(material, asciiBytes(`${LABEL}${from}`)));
    this.#seal = keyOf(secrets?.send ?? sessionKey, role);
    this.#open = keyOf(secrets?.receive ?? sessionKey, other);
    this.#localIndex = receiverIndex(suite, session, role);
    this.#remoteIndex = receiverIndex(suite, session, other);
    this.#rng = rng;
  }

  /** Writes PROBE_BYTES at the start of `into`. */
  write(into: Uint8Array, { kind, token }: Probe): number {
    into[0] = kind === 'probe' ? TYPE_PROBE : kind === 'answer' ? TYPE_ANSWER : TYPE_CHOICE;
    new DataView(into.buffer, into.byteOffset).setUint32(1, this.#remoteIndex);
    const nonce = randomBytes(this.#rng, NONCE_BYTES);
    into.set(nonce, HEADER_BYTES);
    into.set(token, TOKEN_AT);
    this.#seal.seal(nonce, into.subarray(0, HEADER_BYTES), into, TOKEN_AT, PROBE_TOKEN_BYTES);
    return PROBE_BYTES;
  }

  /** The probe, decrypted in place; undefined for one that the peer did not make. */
  read(datagram: Uint8Array): Probe | undefined {
    const kind = isProbe(datagram) ? KINDS.get(datagram[0]) : undefined;
    if (kind === undefined || indexOf(datagram) !== this.#localIndex) return undefined;
    for (let i = 0; i < HEADER_BYTES; i++) this.#aad[i] = datagram[i];
    for (let i = 0; i < NONCE_BYTES; i++) this.#nonce[i] = datagram[HEADER_BYTES + i];
    const length = PROBE_TOKEN_BYTES + TAG_BYTES;
    if (!this.#open.open(this.#nonce, this.#aad, datagram, TOKEN_AT, length)) return undefined;
    return {
      kind,
      token: datagram.slice(TOKEN_AT, TOKEN_AT + PROBE_TOKEN_BYTES),
    };
  }
}
