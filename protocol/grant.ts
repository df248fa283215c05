// The grant: who may talk to whom, as what, how long, how much. The manager signs it once; both
// notices carry these exact bytes, and they are the prologue of the handshake (design §5), so that
// two terminals that were told different things cannot complete it.

import { decodeCbor, encodeCbor } from './control/cbor.ts';
import {
  type Infer,
  ascii,
  bytes,
  deviceId,
  exactly,
  field,
  name,
  optional,
  record,
  sessionId,
  uint,
} from './control/schema.ts';
import { HASH_BYTES } from './crypto.ts';
import { LIMITS } from './limits.ts';

const seconds = uint(LIMITS.grantSecondsMax);
const quota = uint(LIMITS.grantBytesMax);

/** What S2007 makes: `seconds` always (the operator's maximum is behind it), `bytes` if limited. */
export const grant = record({
  version: field(0, exactly(1)),
  session: field(1, sessionId),
  callerId: field(2, deviceId),
  calleeId: field(3, deviceId),
  callerName: field(4, name),
  calleeName: field(5, name),
  service: field(6, ascii(LIMITS.serviceNameMax)),
  seconds: field(7, seconds),
  bytes: optional(8, quota),
  verdict: field(9, bytes(HASH_BYTES)),
});
export type Grant = Infer<typeof grant>;

/** What S6003 sets: cumulative totals; the higher revision holds. */
export const expiry = record({
  version: field(0, exactly(1)),
  session: field(1, sessionId),
  revision: field(2, uint(LIMITS.revisionsMax)),
  seconds: field(3, seconds),
  bytes: optional(4, quota),
});
export type Expiry = Infer<typeof expiry>;

/** The very bytes that are signed; a decoder gives undefined for anything but one such record. */
export const encodeGrant = (value: Grant): Uint8Array => encodeCbor(grant, value);
export const decodeGrant = (encoded: Uint8Array): Grant | undefined => decodeCbor(grant, encoded);
export const encodeExpiry = (value: Expiry): Uint8Array => encodeCbor(expiry, value);
export const decodeExpiry = (encoded: Uint8Array): Expiry | undefined =>
  decodeCbor(expiry, encoded);
