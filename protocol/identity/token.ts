// The login token: what a terminal, or the manager, shows the broker as its MQTT password (design
// §3). Short-lived, for one manager's broker, bound to the client ID; it proves who connects and is
// nothing after CONNECT. The terminal's carries its membership: a broker keeps no list of devices.

import { sameBytes } from '../bytes.ts';
import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import { bytes, deviceId, exactly, field, managerId, record, uint } from '../control/schema.ts';
import { type CryptoSuite, KEY_BYTES, type SigningKey } from '../crypto.ts';
import type { DeviceId, ManagerId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { type Membership, openMembership } from './membership.ts';
import { PIN_BYTES } from './server-keys.ts';
import { unwrap, verifySigned, wrap } from './signed.ts';

const VERSION = 1;
/** Bytes of a token's nonce: no two tokens are the same. */
export const TOKEN_NONCE_BYTES = 16;

/** The body of a terminal's token, signed by the terminal; `issuedAt` in Unix seconds. */
export const terminalToken = record({
  version: field(0, exactly(VERSION)),
  device: field(1, deviceId),
  audience: field(2, bytes(KEY_BYTES)),
  issuedAt: field(3, uint(LIMITS.unixSecondsMax)),
  nonce: field(4, bytes(TOKEN_NONCE_BYTES)),
  membership: field(5, bytes(1, LIMITS.membershipBytesMax)),
  /** The pin of the TLS key that the terminal sees: a token is of no use at another server. */
  server: field(6, bytes(PIN_BYTES)),
});

/** The pin of a connection without TLS. */
export const NO_PIN: Uint8Array = new Uint8Array(PIN_BYTES);

/** The body of the manager's own token, signed by the manager. */
export const managerToken = record({
  version: field(0, exactly(VERSION)),
  client: field(1, managerId),
  audience: field(2, bytes(KEY_BYTES)),
  issuedAt: field(3, uint(LIMITS.unixSecondsMax)),
  nonce: field(4, bytes(TOKEN_NONCE_BYTES)),
});

/** Why a token is not accepted. */
export type TokenFault =
  | 'malformed'
  | 'signature'
  | 'audience'
  | 'expired'
  | 'membership-expired'
  | 'client-id';

/** Who a terminal's token proves. */
interface ProvenTerminal {
  readonly device: DeviceId;
  readonly membership: Membership;
  /** Of this token alone: a broker takes each once. */
  readonly nonce: Uint8Array;
}

/** What a token is judged by: the broker's time, and the client ID of the CONNECT packet. */
interface TokenCheck {
  /** Unix seconds. */
  readonly nowSeconds: number;
  readonly clientId: string;
  /** The pin of the TLS key that this connection was made with; 32 zero bytes without TLS. */
  readonly server: Uint8Array;
  /** Unix seconds: nothing older is taken. What was used before its start no broker knows. */
  readonly notBefore?: number;
}

/**
 * Makes a terminal's MQTT password. `audience`: the manager's public key, 32 bytes;
 * `nonce`: 16 random bytes; `membership`: as the manager signed it.
 */
export function makeToken(
  key: SigningKey,
  token: {
    readonly device: DeviceId;
    readonly audience: Uint8Array;
    readonly issuedAt: number;
    readonly nonce: Uint8Array;
    readonly membership: Uint8Array;
    readonly server: Uint8Array;
  },
): Uint8Array {
  return wrap(key, 'token', encodeCbor(terminalToken, { version: VERSION, ...token }));
}

/** Proves a terminal from its MQTT password, or says why not. Any bytes are answered. */
export function openToken(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  encoded: Uint8Array,
  check: TokenCheck,
): ProvenTerminal | TokenFault {
  const parts = unwrap(encoded);
  const body = parts === undefined ? undefined : decodeCbor(terminalToken, parts.body);
  if (parts === undefined || body === undefined) return 'malformed';
  if (!sameBytes(body.audience, managerKey) || !sameBytes(body.server, check.server)) {
    return 'audience';
  }
  const membership = openMembership(suite, managerKey, body.membership);
  if (membership === undefined || membership.device !== body.device) return 'signature';
  const { ed25519 } = membership.keys;
  if (!verifySigned(suite, ed25519, 'token', parts.body, parts.signature)) return 'signature';
  if (!isFresh(body.issuedAt, check)) return 'expired';
  if (check.nowSeconds >= membership.expiresAt + LIMITS.clockSkewSeconds) {
    return 'membership-expired';
  }
  if (check.clientId !== membership.device) return 'client-id';
  const { nonce } = body;
  return { device: membership.device, membership, nonce };
}

/** Makes the manager's own MQTT password, signed by the key that is also its audience. */
export function makeManagerToken(
  key: SigningKey,
  token: { readonly client: ManagerId; readonly issuedAt: number; readonly nonce: Uint8Array },
): Uint8Array {
  const body = { version: VERSION, audience: key.publicKey, ...token };
  return wrap(key, 'manager-token', encodeCbor(managerToken, body));
}

/** Proves the manager from its MQTT password, or says why not. Any bytes are answered. */
export function openManagerToken(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  encoded: Uint8Array,
  check: TokenCheck,
): { readonly client: ManagerId; readonly nonce: Uint8Array } | TokenFault {
  const parts = unwrap(encoded);
  const body = parts === undefined ? undefined : decodeCbor(managerToken, parts.body);
  if (parts === undefined || body === undefined) return 'malformed';
  if (!sameBytes(body.audience, managerKey)) return 'audience';
  if (!verifySigned(suite, managerKey, 'manager-token', parts.body, parts.signature)) {
    return 'signature';
  }
  if (!isFresh(body.issuedAt, check)) return 'expired';
  if (check.clientId !== body.client) return 'client-id';
  return { client: body.client, nonce: body.nonce };
}

/** Whether something issued then is still accepted: LIMITS.tokenSeconds, and skew both ways. */
function isFresh(issuedAt: number, { nowSeconds, notBefore = 0 }: TokenCheck): boolean {
  return (
    issuedAt >= notBefore &&
    nowSeconds >= issuedAt - LIMITS.clockSkewSeconds &&
    nowSeconds <= issuedAt + LIMITS.tokenSeconds + LIMITS.clockSkewSeconds
  );
}
