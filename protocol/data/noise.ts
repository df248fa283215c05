// The Noise protocol framework (revision 34) as far as a talk needs it: the patterns KK and KKpsk0
// over 25519, ChaChaPoly and BLAKE2s. Both static keys are known beforehand, so a message holds an
// ephemeral key and a sealed payload.
//
//   KKpsk0   -> s   <- s   ...   -> psk, e, es, ss   <- e, ee, se
//
// A message that does not read leaves the state as it was: it is read on a copy.

import { assert } from '../assert.ts';
import { asciiBytes, concatBytes } from '../bytes.ts';
import {
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  KEY_BYTES,
  NONCE_BYTES,
  TAG_BYTES,
} from '../crypto.ts';
import { packetNonce } from './packet.ts';

const EMPTY = new Uint8Array(0);
const ONE = Uint8Array.of(1);
const TWO = Uint8Array.of(2);
const THREE = Uint8Array.of(3);

type Token = 'psk' | 'e' | 'es' | 'ss' | 'ee' | 'se';

const RESPONSE: readonly Token[] = ['e', 'ee', 'se'];
const PATTERNS = {
  KK: [['e', 'es', 'ss'], RESPONSE],
  KKpsk0: [['psk', 'e', 'es', 'ss'], RESPONSE],
} as const satisfies Record<string, readonly (readonly Token[])[]>;

interface NoiseOptions {
  readonly suite: CryptoSuite;
  readonly initiator: boolean;
  /** Hashed, not kept. */
  readonly prologue: Uint8Array;
  readonly localStatic: DhKey;
  /** Fresh for this handshake: used twice, it gives the talk away. */
  readonly localEphemeral: DhKey;
  readonly remoteStatic: Uint8Array;
  /** 32 bytes; with it the pattern is KKpsk0, without it KK. */
  readonly preSharedKey?: Uint8Array;
}

/** What a finished handshake leaves: two secrets of 32 bytes and the hash that names it. */
export interface NoiseSecrets {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
  readonly hash: Uint8Array;
}

/** Noise's CipherState and SymmetricState in one (§5.1, §5.2). */
class SymmetricState {
  readonly #suite: CryptoSuite;
  #chainingKey: Uint8Array;
  #hash: Uint8Array;
  /** Made ready only when something is sealed: most keys of a handshake are mixed on unused. */
  #rawKey: Uint8Array | undefined;
  #key: AeadKey | undefined;
  #sealed = 0;
  readonly #nonce = new Uint8Array(NONCE_BYTES);

  constructor(suite: CryptoSuite, protocolName: string) {
    this.#suite = suite;
    this.#hash = suite.blake2s(asciiBytes(protocolName));
    this.#chainingKey = this.#hash;
  }

  copy(): SymmetricState {
    const copy = new SymmetricState(this.#suite, '');
    copy.#chainingKey = this.#chainingKey;
    copy.#hash = this.#hash;
    copy.#rawKey = this.#rawKey;
    copy.#key = this.#key;
    copy.#sealed = this.#sealed;
    return copy;
  }

  get hash(): Uint8Array {
    return this.#hash;
  }

  mixHash(bytes: Uint8Array): void {
    this.#hash = this.#suite.blake2s(concatBytes(this.#hash, bytes));
  }

  mixKey(material: Uint8Array): void {
    const [chainingKey, key] = this.#derive(material, 2);
    this.#chainingKey = chainingKey;
    this.#useKey(key);
  }

  mixKeyAndHash(material: Uint8Array): void {
    const [chainingKey, hash, key] = this.#derive(material, 3);
    this.#chainingKey = chainingKey;
    this.mixHash(hash);
    this.#useKey(key);
  }

  /** The payload sealed under the hash so far; in the clear while there is no key. */
  encryptAndHash(payload: Uint8Array): Uint8Array {
    const key = this.#readyKey();
    if (key === undefined) {
      this.mixHash(payload);
      return payload;
    }
    const sealed = concatBytes(payload, new Uint8Array(TAG_BYTES));
    packetNonce(this.#sealed++, this.#nonce);
    key.seal(this.#nonce, this.#hash, sealed, 0, payload.length);
    this.mixHash(sealed);
    return sealed;
  }

  decryptAndHash(sealed: Uint8Array): Uint8Array | undefined {
    const key = this.#readyKey();
    if (key === undefined) {
      this.mixHash(sealed);
      return sealed;
    }
    if (sealed.length < TAG_BYTES) return undefined;
    const opened = sealed.slice();
    packetNonce(this.#sealed, this.#nonce);
    if (!key.open(this.#nonce, this.#hash, opened, 0, opened.length)) return undefined;
    this.#sealed++;
    this.mixHash(sealed);
    return opened.subarray(0, opened.length - TAG_BYTES);
  }

  split(): readonly [Uint8Array, Uint8Array] {
    const [first, second] = this.#derive(EMPTY, 2);
    return [first, second];
  }

  #useKey(key: Uint8Array): void {
    this.#rawKey = key;
    this.#key = undefined;
    this.#sealed = 0;
  }

  #readyKey(): AeadKey | undefined {
    if (this.#rawKey === undefined) return undefined;
    this.#key ??= this.#suite.aead.importKey(this.#rawKey);
    return this.#key;
  }

  /** HKDF of Noise §4.3; the third output is empty if only two are asked for. */
  #derive(material: Uint8Array, outputs: 2 | 3): readonly [Uint8Array, Uint8Array, Uint8Array] {
    const suite = this.#suite;
    const extracted = suite.hmacBlake2s(this.#chainingKey, material);
    const first = suite.hmacBlake2s(extracted, ONE);
    const second = suite.hmacBlake2s(extracted, concatBytes(first, TWO));
    if (outputs === 2) return [first, second, EMPTY];
    return [first, second, suite.hmacBlake2s(extracted, concatBytes(second, THREE))];
  }
}

/** Noise's HandshakeState (§5.3) for KK and KKpsk0. */
export class NoiseState {
  readonly #options: NoiseOptions;
  readonly #messages: readonly (readonly Token[])[];
  #symmetric: SymmetricState;
  /** Known before any message: what the callee computes while it waits for the initiation. */
  readonly #staticSecret: Uint8Array | undefined;
  #remoteEphemeral: Uint8Array | undefined;
  #at = 0;

  constructor(options: NoiseOptions) {
    const { initiator, localStatic, preSharedKey, remoteStatic } = options;
    const pattern = preSharedKey === undefined ? 'KK' : 'KKpsk0';
    this.#options = options;
    this.#staticSecret = localStatic.agree(remoteStatic);
    this.#messages = PATTERNS[pattern];
    this.#symmetric = new SymmetricState(
      options.suite,
      `Noise_${pattern}_25519_ChaChaPoly_BLAKE2s`,
    );
    this.#symmetric.mixHash(options.prologue);
    this.#symmetric.mixHash(initiator ? localStatic.publicKey : remoteStatic);
    this.#symmetric.mixHash(initiator ? remoteStatic : localStatic.publicKey);
  }

  /** Whether both messages are through and `split` may be called. */
  get isDone(): boolean {
    return this.#at === this.#messages.length;
  }

  /** The next message; undefined, and nothing changed, for a peer key of low order. */
  writeMessage(payload: Uint8Array): Uint8Array | undefined {
    assert(!this.isDone && this.#isOurTurn(), 'it is our turn to write');
    const symmetric = this.#symmetric.copy();
    const { publicKey } = this.#options.localEphemeral;
    if (!this.#mixTokens(symmetric, publicKey, this.#remoteEphemeral)) return undefined;
    const sealed = symmetric.encryptAndHash(payload);
    this.#symmetric = symmetric;
    this.#at++;
    return concatBytes(publicKey, sealed);
  }

  /** The payload of the next message; undefined, and nothing changed, if it is not genuine. */
  readMessage(message: Uint8Array): Uint8Array | undefined {
    if (this.isDone || this.#isOurTurn() || message.length < KEY_BYTES) return undefined;
    const symmetric = this.#symmetric.copy();
    const ephemeral = message.slice(0, KEY_BYTES);
    if (!this.#mixTokens(symmetric, ephemeral, ephemeral)) return undefined;
    const payload = symmetric.decryptAndHash(message.subarray(KEY_BYTES));
    if (payload === undefined) return undefined;
    this.#symmetric = symmetric;
    this.#remoteEphemeral = ephemeral;
    this.#at++;
    return payload;
  }

  /**
   * Takes the peer's next message, of which only the ephemeral key is known, as it has to be with
   * an empty payload: both ends hold the same state, so that its tag can be made here as well.
   * False, and nothing changed, for a key of low order. Whoever made that key is proven by the
   * first packet under the secrets that come of it.
   */
  expectMessage(ephemeral: Uint8Array): boolean {
    assert(!this.isDone && !this.#isOurTurn(), 'it is the peer who writes');
    const symmetric = this.#symmetric.copy();
    if (!this.#mixTokens(symmetric, ephemeral, ephemeral)) return false;
    symmetric.encryptAndHash(EMPTY);
    this.#symmetric = symmetric;
    this.#remoteEphemeral = ephemeral;
    this.#at++;
    return true;
  }

  /** Source: Noise §5.2 Split; the initiator sends with the first secret. */
  split(): NoiseSecrets {
    assert(this.isDone, 'the handshake is complete');
    const [first, second] = this.#symmetric.split();
    const { hash } = this.#symmetric;
    return this.#options.initiator
      ? { send: first, receive: second, hash }
      : { send: second, receive: first, hash };
  }

  #isOurTurn(): boolean {
    return (this.#at % 2 === 0) === this.#options.initiator;
  }

  /** Mixes one message's tokens; false if a shared secret came out as zero. */
  #mixTokens(
    symmetric: SymmetricState,
    messageEphemeral: Uint8Array,
    remoteEphemeral: Uint8Array | undefined,
  ): boolean {
    const { preSharedKey } = this.#options;
    for (const token of this.#messages[this.#at]) {
      if (token === 'psk') {
        assert(preSharedKey !== undefined, 'a psk pattern has a key');
        symmetric.mixKeyAndHash(preSharedKey);
      } else if (token === 'e') {
        symmetric.mixHash(messageEphemeral);
        // §9.2: with a psk the ephemeral key also randomises the cipher key.
        if (preSharedKey !== undefined) symmetric.mixKey(messageEphemeral);
      } else {
        const secret = this.#agree(token, remoteEphemeral);
        if (secret === undefined) return false;
        symmetric.mixKey(secret);
      }
    }
    return true;
  }

  /** The first letter names the initiator's key, the second the responder's. */
  #agree(
    token: 'es' | 'ss' | 'ee' | 'se',
    remoteEphemeral: Uint8Array | undefined,
  ): Uint8Array | undefined {
    if (token === 'ss') return this.#staticSecret;
    const { initiator, localEphemeral, localStatic, remoteStatic } = this.#options;
    const [ours, theirs] = initiator ? [token[0], token[1]] : [token[1], token[0]];
    const remote = theirs === 'e' ? remoteEphemeral : remoteStatic;
    assert(remote !== undefined, 'a token follows the key that it needs');
    return (ours === 'e' ? localEphemeral : localStatic).agree(remote);
  }
}
