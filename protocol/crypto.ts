// What the cores need of cryptography, injected: `io/node-crypto.ts` in production, noble in tests.
// All of it is synchronous and none of it throws for what a peer sent.

/** A ChaCha20-Poly1305 key (RFC 8439), ready for use. */
export interface AeadKey {
  /**
   * Encrypts `buffer[start, start + length)` in place and writes the 16-byte tag behind it.
   * `nonce`: 12 bytes, borrowed. `aad`: borrowed, may be a view of the same buffer before `start`.
   */
  seal(nonce: Uint8Array, aad: Uint8Array, buffer: Uint8Array, start: number, length: number): void;
  /**
   * Decrypts `buffer[start, start + length)` in place; `length` includes the tag.
   * Returns false, the buffer's content then undefined, when the tag does not match.
   */
  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    start: number,
    length: number,
  ): boolean;
}

/** A way to do ChaCha20-Poly1305. */
export interface Aead {
  /** `node`, `noble`, …: shown by `nakodo status`. */
  readonly name: string;
  /** `key`: 32 bytes, copied. */
  importKey(key: Uint8Array): AeadKey;
}

/** An X25519 private key (RFC 7748) that stays where it is. */
export interface DhKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The 32-byte shared secret, or undefined for a peer key of low order. */
  agree(peerPublicKey: Uint8Array): Uint8Array | undefined;
}

/** An Ed25519 private key (RFC 8032) that stays where it is. */
export interface SigningKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** A 64-byte signature. */
  sign(message: Uint8Array): Uint8Array;
}

/** Everything together. */
export interface CryptoSuite {
  readonly aead: Aead;
  /** `secret`: 32 random bytes. */
  dhKey(secret: Uint8Array): DhKey;
  /** `seed`: 32 random bytes. */
  signingKey(seed: Uint8Array): SigningKey;
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** BLAKE2s-256 (RFC 7693): 32 bytes. */
  blake2s(message: Uint8Array): Uint8Array;
  /** HMAC-BLAKE2s (RFC 2104 over RFC 7693, block 64): 32 bytes. */
  hmacBlake2s(key: Uint8Array, message: Uint8Array): Uint8Array;
}

/**
 * Bytes of a key (RFC 8439, 7748), a tag and a nonce (RFC 8439), an Ed25519 signature, a BLAKE2s
 * hash.
 */
export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;
export const SIGNATURE_BYTES = 64;
export const HASH_BYTES = 32;
