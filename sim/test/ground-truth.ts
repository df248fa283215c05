// What really happened, told by the cores' own cryptography: every key that was made, every message
// that was sealed and by whom, every one that was opened, everything that was signed. Whatever an
// attacker in between achieves shows here as a message that is opened and was never sealed, or is
// opened twice, or as a signature in the log that its terminal never made.

import { asciiBytes, concatBytes } from '../../protocol/bytes.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import { CHANNEL_ID_BYTES, type Kind } from '../../protocol/control/messages.ts';
import {
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  type SigningKey,
  TAG_BYTES,
} from '../../protocol/crypto.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';

/** One sealed message: who sealed it, and what stands in it (only of the control plane). */
interface Sealed {
  readonly by: string;
  readonly plaintext: string | undefined;
}

const text = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

/** The ledger of all cores of one world. */
export class GroundTruth {
  /** What must not be: forgeries and replays that were opened, nonces that came twice. */
  readonly faults: string[] = [];
  /** Every private key, shared secret and derived key of any core; the newest are few a talk. */
  readonly secrets = new Map<string, Uint8Array>();
  /** The keys of introduced talks [claim 7], as the terminals opened them. */
  readonly sessionKeys = new Map<string, Uint8Array>();
  /** Control messages that were opened, by kind. */
  readonly opened = new Map<Kind, number>();
  readonly #sealed = new Map<string, Sealed>();
  readonly #openedOnce = new Set<string>();
  readonly #signed = new Map<string, Set<string>>();
  readonly #importKey: (bytes: Uint8Array) => AeadKey;

  /** `isSealed` false: nothing is encrypted, and every tag is right. */
  constructor(isSealed = true) {
    this.#importKey = (bytes) => (isSealed ? nodeSuite.aead.importKey(bytes) : NO_CIPHER);
  }

  /** node:crypto for one core, with a note of everything that it does. */
  suiteOf(owner: string): CryptoSuite {
    return {
      aead: {
        name: nodeSuite.aead.name,
        importKey: (bytes) => this.#aeadKey(owner, bytes),
      },
      dhKey: (secret) => this.#dhKey(secret),
      signingKey: (seed) => this.#signingKey(owner, seed),
      verify: (publicKey, message, signature) => nodeSuite.verify(publicKey, message, signature),
      blake2s: (message) => nodeSuite.blake2s(message),
      hmacBlake2s: (key, message) => this.#secret(nodeSuite.hmacBlake2s(key, message)),
    };
  }

  /** Whether a core signed this body for this purpose. */
  hasSigned(owner: string, label: 'request' | 'verdict' | 'extension', body: Uint8Array): boolean {
    const message = concatBytes(asciiBytes(`nakodo/1/${label}\0`), body);
    return this.#signed.get(owner)?.has(text(message)) ?? false;
  }

  #secret(bytes: Uint8Array): Uint8Array {
    this.secrets.set(text(bytes), bytes.slice());
    return bytes;
  }

  #dhKey(secret: Uint8Array): DhKey {
    const key = nodeSuite.dhKey(this.#secret(secret));
    return {
      publicKey: key.publicKey,
      agree: (peer) => {
        const shared = key.agree(peer);
        return shared && this.#secret(shared);
      },
    };
  }

  #signingKey(owner: string, seed: Uint8Array): SigningKey {
    const key = nodeSuite.signingKey(this.#secret(seed));
    const mine = this.#signed.get(owner) ?? new Set();
    this.#signed.set(owner, mine);
    return {
      publicKey: key.publicKey,
      sign: (message) => {
        mine.add(text(message));
        return key.sign(message);
      },
    };
  }

  #aeadKey(owner: string, bytes: Uint8Array): AeadKey {
    const key = this.#importKey(this.#secret(bytes));
    const name = text(bytes);
    return {
      seal: (nonce, aad, buffer, start, length) => {
        const plaintext = buffer.subarray(start, start + length);
        const at = name + text(nonce);
        // The tag of a handshake, which both ends make, each for itself (ADR 0021).
        if (length > 0 || !this.#sealed.has(at))
          this.#onSealed(owner, at, isOfChannel(aad) ? text(plaintext) : undefined);
        key.seal(nonce, aad, buffer, start, length);
      },
      open: (nonce, aad, buffer, start, length) => {
        if (!key.open(nonce, aad, buffer, start, length)) return false;
        const plaintext = buffer.subarray(start, start + length - TAG_BYTES);
        this.#onOpened(owner, name + text(nonce), isOfChannel(aad) ? plaintext : undefined);
        return true;
      },
    };
  }

  #onSealed(by: string, at: string, plaintext: string | undefined): void {
    if (this.#sealed.has(at)) this.faults.push(`${by} sealed twice under one nonce`);
    this.#sealed.set(at, { by, plaintext });
  }

  #onOpened(by: string, at: string, plaintext: Uint8Array | undefined): void {
    const sealed = this.#sealed.get(at);
    if (sealed === undefined || sealed.by === by) {
      this.faults.push(`${by} opened what nobody sealed for it`);
      return;
    }
    if (plaintext === undefined) return;
    const message = decodeMessage(plaintext);
    const kind = message?.kind ?? 'sealed';
    if (sealed.plaintext !== text(plaintext)) this.faults.push(`${by} opened a changed ${kind}`);
    if (this.#openedOnce.has(at)) this.faults.push(`${by} opened a ${kind} twice`);
    this.#openedOnce.add(at);
    this.opened.set(kind, (this.opened.get(kind) ?? 0) + 1);
    if (message?.kind === 'addressNotice') {
      this.sessionKeys.set(text(message.key), message.key.slice());
    }
  }
}

/** What a cipher must not be. */
const NO_CIPHER: AeadKey = { seal: () => {}, open: () => true };

/** The control plane's sealed messages name their channel; handshakes and talks have longer AAD. */
const isOfChannel = (aad: Uint8Array): boolean => aad.length === CHANNEL_ID_BYTES;

/**
 * How many of these needles stand anywhere in a memory. Keys are looked for by halves, so that one
 * is found that was kept in part.
 */
export function found(memory: readonly Uint8Array[], needles: readonly Uint8Array[]): number {
  const byHead = new Map<number, Uint8Array[]>();
  const heads = new Uint8Array(1 << 20);
  for (const needle of needles) {
    const head = headOf(needle, 0);
    byHead.set(head, [...(byHead.get(head) ?? []), needle]);
    heads[head >>> 12] = 1;
  }
  const hits = new Set<Uint8Array>();
  for (const bytes of memory) {
    for (let at = 0; at + 4 <= bytes.length; at++) {
      const head = headOf(bytes, at);
      if (heads[head >>> 12] === 0) continue;
      for (const needle of byHead.get(head) ?? [])
        if (standsAt(bytes, at, needle)) hits.add(needle);
    }
  }
  return hits.size;
}

/** Both halves of each key. */
export const halves = (keys: Iterable<Uint8Array>): readonly Uint8Array[] =>
  [...keys].flatMap((key) => [key.subarray(0, key.length / 2), key.subarray(key.length / 2)]);

const headOf = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;

function standsAt(bytes: Uint8Array, at: number, needle: Uint8Array): boolean {
  if (at + needle.length > bytes.length) return false;
  for (let i = 0; i < needle.length; i++) if (bytes[at + i] !== needle[i]) return false;
  return true;
}
