// The CryptoSuite of production: node:crypto's synchronous primitives, and our own AEAD for what is
// short. Private keys live in KeyObjects, off the JavaScript heap; AEAD keys lie on it. Raw curve
// keys come in as JWK (RFC 8037): OpenSSL's DER decoder takes about ten times as long (0.36 ms
// against 0.03 ms for a private key, Node 20.20), dearer than the DH.

import {
  type KeyObject,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  hash,
  sign,
  verify,
} from 'node:crypto';

import { assert } from '../assert.ts';
import { aeadBySize } from './aead-by-size.ts';
import { toBase64 } from './base64.ts';
import {
  type Aead,
  type AeadKey,
  type CryptoSuite,
  type DhKey,
  KEY_BYTES,
  SIGNATURE_BYTES,
  type SigningKey,
  TAG_BYTES,
} from '../crypto.ts';

const AEAD_NAME = 'chacha20-poly1305';
const HASH_NAME = 'blake2s256';
const AEAD_OPTIONS = { authTagLength: TAG_BYTES } as const;
/** Public keys of a kind kept imported: a manager's, and the terminals of the moment. */
const KNOWN_KEYS_MAX = 1_024;

/** ChaCha20-Poly1305 of OpenSSL: some 3 µs to set up each message, then by far the fastest. */
export const nodeAead: Aead = { name: 'node', importKey: importAeadKey };

/**
 * [claim 7]: everything a core needs of cryptography, on OpenSSL; short messages by our own kernel
 * (ADR 0012), which is made when there are many of them. Source: RFC 8439, 7748.
 */
export const nodeSuite: CryptoSuite = {
  aead: aeadBySize(nodeAead),
  dhKey,
  signingKey,
  verify: verifyStrictly,
  blake2s: (message) => view(hash(HASH_NAME, message, 'buffer')),
  hmacBlake2s: (key, message) => view(createHmac(HASH_NAME, key).update(message).digest()),
};

type Curve = 'X25519' | 'Ed25519';

/** A plain Uint8Array on the same memory: a Buffer's `slice` and JSON behave otherwise. */
function view(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function importAeadKey(bytes: Uint8Array): AeadKey {
  assert(bytes.length === KEY_BYTES, 'an AEAD key has 32 bytes');
  const key = createSecretKey(bytes);
  return {
    seal(nonce, aad, buffer, start, length) {
      const cipher = createCipheriv(AEAD_NAME, key, nonce, AEAD_OPTIONS);
      cipher.setAAD(aad, { plaintextLength: length });
      if (length > 0) buffer.set(cipher.update(buffer.subarray(start, start + length)), start);
      cipher.final();
      buffer.set(cipher.getAuthTag(), start + length);
    },
    open(nonce, aad, buffer, start, length) {
      if (length < TAG_BYTES) return false;
      const end = start + length - TAG_BYTES;
      const decipher = createDecipheriv(AEAD_NAME, key, nonce, AEAD_OPTIONS);
      decipher.setAAD(aad, { plaintextLength: length - TAG_BYTES });
      decipher.setAuthTag(buffer.subarray(end, end + TAG_BYTES));
      const plaintext = end > start ? decipher.update(buffer.subarray(start, end)) : undefined;
      try {
        decipher.final();
      } catch {
        return false;
      }
      // Only now, so that plaintext which is not authentic never reaches the caller's buffer.
      if (plaintext !== undefined) buffer.set(plaintext, start);
      return true;
    },
  };
}

function importPrivateKey(curve: Curve, secret: Uint8Array): KeyObject {
  assert(secret.length === KEY_BYTES, 'a private key has 32 bytes');
  // `x` has to be there and is not looked at: OpenSSL derives the public key by itself.
  const x = toBase64(new Uint8Array(KEY_BYTES));
  return createPrivateKey({
    key: { kty: 'OKP', crv: curve, x, d: toBase64(secret) },
    format: 'jwk',
  });
}

function publicBytes(key: KeyObject): Uint8Array {
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  assert(typeof x === 'string', 'an OKP key has an x');
  return new Uint8Array(Buffer.from(x, 'base64url'));
}

function importPublicKey(curve: Curve, bytes: Uint8Array): KeyObject | undefined {
  if (bytes.length !== KEY_BYTES) return undefined;
  try {
    return createPublicKey({
      key: { kty: 'OKP', crv: curve, x: toBase64(bytes) },
      format: 'jwk',
    });
  } catch {
    return undefined;
  }
}

function dhKey(secret: Uint8Array): DhKey {
  const privateKey = importPrivateKey('X25519', secret);
  return {
    publicKey: publicBytes(privateKey),
    agree(peerPublicKey) {
      const publicKey = agreementKeys.find(peerPublicKey);
      if (publicKey === undefined) return undefined;
      try {
        // OpenSSL refuses an all-zero secret, which is all that a point of low order gives
        // (RFC 7748 §6.1).
        return view(diffieHellman({ privateKey, publicKey }));
      } catch {
        return undefined;
      }
    },
  };
}

function signingKey(seed: Uint8Array): SigningKey {
  const privateKey = importPrivateKey('Ed25519', seed);
  return {
    publicKey: publicBytes(privateKey),
    sign: (message) => view(sign(null, message, privateKey)),
  };
}

/** Imported public keys, oldest first (a Map keeps the order): importing costs as much as using. */
class KnownKeys {
  readonly #keys = new Map<string, KeyObject>();
  readonly #bring: (bytes: Uint8Array) => KeyObject | undefined;

  constructor(bring: (bytes: Uint8Array) => KeyObject | undefined) {
    this.#bring = bring;
  }

  /** The key of these 32 bytes; undefined, and not remembered, for bytes that are no key. */
  find(bytes: Uint8Array): KeyObject | undefined {
    const name = toBase64(bytes);
    const known = this.#keys.get(name);
    if (known !== undefined) return known;
    const key = this.#bring(bytes);
    if (key === undefined) return undefined;
    if (this.#keys.size >= KNOWN_KEYS_MAX) {
      const [oldest] = this.#keys.keys();
      if (oldest !== undefined) this.#keys.delete(oldest);
    }
    this.#keys.set(name, key);
    return key;
  }
}

const verifyingKeys = new KnownKeys((bytes) =>
  isSafeVerifyingKey(bytes) ? importPublicKey('Ed25519', bytes) : undefined,
);
const agreementKeys = new KnownKeys((bytes) => importPublicKey('X25519', bytes));

function verifyStrictly(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES || key.length !== KEY_BYTES) return false;
  const publicKey = verifyingKeys.find(key);
  if (publicKey === undefined) return false;
  try {
    // OpenSSL refuses S >= L and compares R as bytes (RFC 8032 §5.1.7).
    return verify(null, message, publicKey, signature);
  } catch {
    return false;
  }
}

// The y coordinates of the points of order 1, 2, 4 and 8 in their only encodings below p; under
// such a key one signature fits many messages, which RFC 8032 leaves open and a log must not.
const SMALL_ORDER_Y = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

/** Says whether a key is encoded in the shortest way (y < p) and is not of small order. */
function isSafeVerifyingKey(bytes: Uint8Array): boolean {
  const y = Buffer.from(bytes);
  y[KEY_BYTES - 1] &= 0x7f;
  if (SMALL_ORDER_Y.has(y.toString('hex'))) return false;
  const isTop = y[KEY_BYTES - 1] === 0x7f && y.subarray(1, KEY_BYTES - 1).every((b) => b === 0xff);
  return !isTop || y[0] < 0xed;
}
