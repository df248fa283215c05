// Which TLS keys the server shows (design §3): a statement that the manager signs, so that a fleet
// follows a new key by itself. A terminal holds the newest statement it has seen and believes a
// higher sequence only; one that comes back after the key was changed fetches the statement over
// the very connection it does not trust yet: what counts is the signature.

import { encodeCbor } from '../control/cbor.ts';
import { type Infer, bytes, exactly, field, list, record, uint } from '../control/schema.ts';
import type { CryptoSuite, SigningKey } from '../crypto.ts';
import { LIMITS } from '../limits.ts';
import { openWrapped, wrap } from './signed.ts';

const VERSION = 1;
/** Bytes of a pin: SHA-256 over the key's SubjectPublicKeyInfo (RFC 7469 §2.4). */
export const PIN_BYTES = 32;

/** `pins`: of the key in use, of the broker's if it is another, and of the last ones. */
export const serverKeys = record({
  version: field(0, exactly(VERSION)),
  sequence: field(1, uint(Number.MAX_SAFE_INTEGER)),
  pins: field(2, list(bytes(PIN_BYTES), LIMITS.serverKeysMax)),
});
export type ServerKeys = Infer<typeof serverKeys>;

/** Signs a statement; at most LIMITS.serverKeysBytesMax bytes. */
export function makeServerKeys(
  key: SigningKey,
  statement: Omit<ServerKeys, 'version'>,
): Uint8Array {
  return wrap(key, 'server-keys', encodeCbor(serverKeys, { version: VERSION, ...statement }));
}

/** Reads a statement that this manager signed; undefined for anything else. */
export function openServerKeys(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  encoded: Uint8Array,
): ServerKeys | undefined {
  return openWrapped(suite, encoded, {
    publicKey: managerKey,
    label: 'server-keys',
    type: serverKeys,
    bytesMax: LIMITS.serverKeysBytesMax,
  });
}
