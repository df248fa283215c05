// The manager's statement that a terminal belongs to it: made at enrolment, good for a day, renewed
// while the terminal is connected (design §3). A broker needs only the manager's public key to
// believe it, and learns no name from it.

import { encodeCbor } from '../control/cbor.ts';
import { publicKeys } from '../control/messages.ts';
import { type Infer, deviceId, exactly, field, record, uint } from '../control/schema.ts';
import type { CryptoSuite, SigningKey } from '../crypto.ts';
import { LIMITS } from '../limits.ts';
import { deviceIdOf } from './device-id.ts';
import { openWrapped, wrap } from './signed.ts';

const VERSION = 1;

/** The body of a statement; `issuedAt` and `expiresAt` in Unix seconds. */
export const membership = record({
  version: field(0, exactly(VERSION)),
  device: field(1, deviceId),
  keys: field(2, publicKeys),
  issuedAt: field(3, uint(LIMITS.unixSecondsMax)),
  expiresAt: field(4, uint(LIMITS.unixSecondsMax)),
});
export type Membership = Infer<typeof membership>;

/** Signs a statement with the manager's key; at most LIMITS.membershipBytesMax bytes. */
export function makeMembership(
  key: SigningKey,
  statement: Omit<Membership, 'version'>,
): Uint8Array {
  return wrap(key, 'membership', encodeCbor(membership, { version: VERSION, ...statement }));
}

/**
 * Reads a statement that this manager signed for the keys it names; undefined for anything else.
 * Whether it has run out is the caller's to ask: `expiresAt`.
 */
export function openMembership(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  encoded: Uint8Array,
): Membership | undefined {
  const statement = openWrapped(suite, encoded, {
    publicKey: managerKey,
    label: 'membership',
    type: membership,
    bytesMax: LIMITS.membershipBytesMax,
  });
  if (statement === undefined) return undefined;
  return deviceIdOf(suite, statement.keys) === statement.device ? statement : undefined;
}
