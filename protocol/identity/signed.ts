// Signatures with a purpose: what was signed as a grant can never be shown as a log entry. The
// signed message is `nakodo/1/` ‖ label ‖ one zero byte ‖ body; no label holds a zero byte, so no
// two (label, body) pairs give the same message.

import { asciiBytes, concatBytes } from '../bytes.ts';
import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import { type Type, bytes, field, record } from '../control/schema.ts';
import { type CryptoSuite, SIGNATURE_BYTES, type SigningKey } from '../crypto.ts';
import { LIMITS } from '../limits.ts';

/** What a signature is for. */
type SignedLabel =
  | 'grant'
  | 'expiry'
  | 'membership'
  | 'membership-request'
  | 'membership-response'
  | 'token'
  | 'manager-token'
  | 'enrol'
  | 'enrolled'
  | 'request'
  | 'verdict'
  | 'extension'
  | 'server-keys'
  | 'revocation'
  | 'receipt'
  | 'log';

/** A body and its signature, as memberships, tokens and enrolments travel. */
export const envelope = record({
  body: field(0, bytes(1, LIMITS.signedBodyBytesMax)),
  signature: field(1, bytes(SIGNATURE_BYTES)),
});

/** Signs a body for one purpose; 64 bytes (RFC 8032 Ed25519). */
export function signed(key: SigningKey, label: SignedLabel, body: Uint8Array): Uint8Array {
  return key.sign(labelled(label, body));
}

/** Whether this key signed this body for this purpose. */
export function verifySigned(
  suite: CryptoSuite,
  publicKey: Uint8Array,
  label: SignedLabel,
  body: Uint8Array,
  signature: Uint8Array,
): boolean {
  return suite.verify(publicKey, labelled(label, body), signature);
}

/** Signs a body and wraps both: CBOR {0: body, 1: signature}. */
export function wrap(key: SigningKey, label: SignedLabel, body: Uint8Array): Uint8Array {
  return encodeCbor(envelope, { body, signature: signed(key, label, body) });
}

/** The two parts of a wrapped body, not yet verified. */
export function unwrap(
  encoded: Uint8Array,
): { readonly body: Uint8Array; readonly signature: Uint8Array } | undefined {
  return decodeCbor(envelope, encoded);
}

/** Whose word for what is wanted, in what form, and how many bytes it may have, wrapped. */
interface Wrapped<T> {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly label: SignedLabel;
  readonly type: Type<T>;
  readonly bytesMax: number;
}

/** Reads a wrapped record that this key signed for this purpose; undefined for anything else. */
export function openWrapped<T>(
  suite: CryptoSuite,
  encoded: Uint8Array,
  { publicKey, label, type, bytesMax }: Wrapped<T>,
): T | undefined {
  const parts = encoded.length > bytesMax ? undefined : unwrap(encoded);
  if (parts === undefined) return undefined;
  const { body, signature } = parts;
  return verifySigned(suite, publicKey, label, body, signature)
    ? decodeCbor(type, body)
    : undefined;
}

function labelled(label: SignedLabel, body: Uint8Array): Uint8Array {
  return concatBytes(asciiBytes(`nakodo/1/${label}\0`), body);
}
