// The revocation list (design §3): which terminals a broker lets in no more, and ends. Memberships
// run out by themselves after a day, so only revocations younger than that need to be told; where
// they are too many for one message, `notBefore` voids all older memberships at once.

import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import type { MessageOf } from '../control/messages.ts';
import { type Infer, deviceId, exactly, field, list, record, uint } from '../control/schema.ts';
import type { CryptoSuite, SigningKey } from '../crypto.ts';
import { LIMITS } from '../limits.ts';
import { signed, verifySigned } from './signed.ts';

const VERSION = 1;

/** `issuedAt`, `notBefore`: Unix seconds; `sequence` rises with every list, restarts included. */
export const revocationList = record({
  version: field(0, exactly(VERSION)),
  sequence: field(1, uint(Number.MAX_SAFE_INTEGER)),
  issuedAt: field(2, uint(LIMITS.unixSecondsMax)),
  notBefore: field(3, uint(LIMITS.unixSecondsMax)),
  devices: field(4, list(deviceId, LIMITS.revokedMax)),
});
export type RevocationList = Infer<typeof revocationList>;

/** Signs a list as the message that carries it. */
export function makeRevocationList(
  key: SigningKey,
  revocations: Omit<RevocationList, 'version'>,
): MessageOf<'revoked'> {
  const statement = encodeCbor(revocationList, { version: VERSION, ...revocations });
  return { kind: 'revoked', statement, signature: signed(key, 'revocation', statement) };
}

/** Reads a list that this manager signed; whether it is newer than the last is the caller's. */
export function openRevocationList(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  message: MessageOf<'revoked'>,
): RevocationList | undefined {
  const { statement, signature } = message;
  if (!verifySigned(suite, managerKey, 'revocation', statement, signature)) return undefined;
  return decodeCbor(revocationList, statement);
}
