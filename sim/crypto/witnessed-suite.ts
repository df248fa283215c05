// A CryptoSuite that tells on those who use it: every key of a simulated world; every (key, nonce)
// pair that sealed something, over all restarts; messages that are opened and were never sealed;
// and whether a key or a piece of plaintext stands in what leaves a party. Nothing here changes
// what the suite behind it does. Hostile parties belong behind the same witness, or what they seal
// by rights looks like a forgery.

import {
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  type SigningKey,
  TAG_BYTES,
} from '../../protocol/crypto.ts';
import { Needles } from './needles.ts';
import { type KeyUse, NonceLedger } from './nonce-ledger.ts';

/** One pair of key and nonce that sealed more than once. */
interface NonceReuse {
  /** Who sealed now, and who sealed with this key first: another one is a fault by itself. */
  readonly owner: string;
  readonly first: string;
  /** 12 bytes, a copy. */
  readonly nonce: Uint8Array;
}

/** What a witness says while the cores run. What these throw goes through the core that called. */
interface WitnessCalls {
  /**
   * A pair of key and nonce seals for the second time. The same content counts too: the cores keep
   * what they sealed and send that again, so that whoever seals again has forgotten that it did,
   * and the next content would be another. Only of an empty text, which is a handshake's tag, the
   * same does not: both ends make it, each for itself (ADR 0021).
   */
  readonly onReuse: (reuse: NonceReuse) => void;
  /** Something was opened that nobody sealed (`forged`), or only whoever opens it (`reflected`). */
  readonly onForged?: (owner: string, how: 'forged' | 'reflected') => void;
  /** Borrowed: what is sealed, before it is, and under which AAD. */
  readonly onSeal?: (owner: string, aad: Uint8Array, plaintext: Uint8Array) => void;
  /** Borrowed: what was opened. */
  readonly onOpen?: (owner: string, aad: Uint8Array, plaintext: Uint8Array) => void;
}

/** The witness of one world; secrets are all 32 bytes that keep something secret. */
export class CryptoWitness {
  readonly #inner: CryptoSuite;
  readonly #calls: WitnessCalls;
  readonly #needles = new Needles();
  readonly #ledger = new NonceLedger();

  constructor(inner: CryptoSuite, calls: WitnessCalls) {
    this.#inner = inner;
    this.#calls = calls;
  }

  /** The suite of one party: the name stands in what is found, the same after a restart. */
  suiteOf(owner: string): CryptoSuite {
    const inner = this.#inner;
    const privateKey = `private key of ${owner}`;
    const signingSeed = `signing seed of ${owner}`;
    const sharedSecret = `shared secret of ${owner}`;
    const macKey = `mac key of ${owner}`;
    const aeadKey = `aead key of ${owner}`;
    return {
      aead: {
        name: inner.aead.name,
        importKey: (bytes) => {
          this.registerSecret(bytes, aeadKey);
          return this.#watched(owner, inner.aead.importKey(bytes), this.#ledger.useOf(bytes));
        },
      },
      dhKey: (secret) => {
        this.registerSecret(secret, privateKey);
        return this.#dhKey(inner.dhKey(secret), sharedSecret);
      },
      signingKey: (seed): SigningKey => {
        this.registerSecret(seed, signingSeed);
        return inner.signingKey(seed);
      },
      verify: (publicKey, message, signature) => inner.verify(publicKey, message, signature),
      blake2s: (message) => inner.blake2s(message),
      // The key and not the outcome: that is as often a tag, and as a key it comes here again.
      hmacBlake2s: (key, message) => {
        this.registerSecret(key, macKey);
        return inner.hmacBlake2s(key, message);
      },
    };
  }

  /** Has one more secret looked for, such as a session key: 16 bytes or more, copied. */
  registerSecret(bytes: Uint8Array, what: string): boolean {
    return this.#needles.add('secret', bytes, what);
  }

  /**
   * Has a piece of application plaintext looked for: 16 bytes or more, copied; up to four pieces of
   * 16 bytes of it, spread evenly. False if it cannot be: too short, or too few different bytes.
   */
  registerPlain(bytes: Uint8Array, what: string): boolean {
    return this.#needles.add('plain', bytes, what);
  }

  /** The newest 10,000 secrets; views that must not be changed. */
  secrets(): Iterable<Uint8Array> {
    return this.#needles.secrets();
  }

  /**
   * What secret or plaintext stands in these bytes, in whole or by half: `aead key of house`, or
   * what it was registered as. `isAllowed`: what may stand there, as own keys on a party's disk.
   */
  findSecret(bytes: Uint8Array, isAllowed?: (what: string) => boolean): string | undefined {
    return this.#needles.find(bytes, isAllowed);
  }

  #dhKey(key: DhKey, sharedSecret: string): DhKey {
    return {
      publicKey: key.publicKey,
      agree: (peer) => {
        const shared = key.agree(peer);
        if (shared !== undefined) this.registerSecret(shared, sharedSecret);
        return shared;
      },
    };
  }

  #watched(owner: string, key: AeadKey, use: KeyUse): AeadKey {
    const { onReuse, onForged, onSeal, onOpen } = this.#calls;
    return {
      seal: (nonce, aad, buffer, start, length) => {
        const first = (use.sealer ??= owner);
        const isFresh = use.note(nonce);
        if (!isFresh && length > 0) onReuse({ owner, first, nonce: nonce.slice() });
        onSeal?.(owner, aad, buffer.subarray(start, start + length));
        key.seal(nonce, aad, buffer, start, length);
        const tag = buffer.subarray(start, start + TAG_BYTES);
        if (length === 0 && !use.noteTag(nonce, tag) && !isFresh)
          onReuse({ owner, first, nonce: nonce.slice() });
      },
      open: (nonce, aad, buffer, start, length) => {
        if (!key.open(nonce, aad, buffer, start, length)) return false;
        if (!use.has(nonce)) onForged?.(owner, 'forged');
        else if (use.sealer === owner) onForged?.(owner, 'reflected');
        onOpen?.(owner, aad, buffer.subarray(start, start + length - TAG_BYTES));
        return true;
      },
    };
  }
}
