// Managers and terminals with real keys, for tests: what each shows the broker as its password.
// The seeds are one number repeated, so that every run has the same IDs.

import type { MessageOf } from '../../protocol/control/messages.ts';
import type { SigningKey } from '../../protocol/crypto.ts';
import type { DeviceId, ManagerId } from '../../protocol/ids.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { managerClientId } from '../../protocol/identity/manager-id.ts';
import { type RevocationList, makeRevocationList } from '../../protocol/identity/revocation.ts';
import { makeMembership } from '../../protocol/identity/membership.ts';
import {
  NO_PIN,
  TOKEN_NONCE_BYTES,
  makeManagerToken,
  makeToken,
} from '../../protocol/identity/token.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';

export interface TestManager {
  readonly key: SigningKey;
  readonly id: ManagerId;
  /** A new token at every call. `client`: default its own. */
  password(nowSeconds: number, client?: ManagerId): Uint8Array;
  /** The next revocation list, newer than all that were made before. */
  revoked(nowSeconds: number, list?: Partial<RevocationList>): MessageOf<'revoked'>;
}

export interface TestTerminal {
  readonly device: DeviceId;
  /** A new token at every call. `server`: the pin, default without TLS. */
  password(nowSeconds: number, options?: TokenOptions): Uint8Array;
  membership(issuedAt: number, expiresAt?: number): Uint8Array;
}

interface TokenOptions {
  readonly server?: Uint8Array | undefined;
  readonly membership?: Uint8Array;
}

const seedOf = (number: number): Uint8Array => new Uint8Array(32).fill(number);

let tokens = 0;
/** Like every real one, no nonce comes twice. */
function nextNonce(): Uint8Array {
  const nonce = new Uint8Array(TOKEN_NONCE_BYTES);
  new DataView(nonce.buffer).setUint32(0, ++tokens);
  return nonce;
}

export function makeManager(seed: number): TestManager {
  const key = nodeSuite.signingKey(seedOf(seed));
  const id = managerClientId(nodeSuite, key.publicKey);
  let sequence = 0;
  return {
    key,
    id,
    password: (nowSeconds, client = id) =>
      makeManagerToken(key, { client, issuedAt: nowSeconds, nonce: nextNonce() }),
    revoked: (nowSeconds, list = {}) =>
      makeRevocationList(key, {
        sequence: ++sequence,
        issuedAt: nowSeconds,
        notBefore: 0,
        devices: [],
        ...list,
      }),
  };
}

export function makeTerminal(manager: TestManager, seed: number): TestTerminal {
  const key = nodeSuite.signingKey(seedOf(seed));
  const keys = { ed25519: key.publicKey, x25519: nodeSuite.dhKey(seedOf(seed)).publicKey };
  const device = deviceIdOf(nodeSuite, keys);
  const membership = (
    issuedAt: number,
    expiresAt: number = issuedAt + LIMITS.membershipSeconds,
  ): Uint8Array => makeMembership(manager.key, { device, keys, issuedAt, expiresAt });
  return {
    device,
    membership,
    password: (nowSeconds, options = {}) =>
      makeToken(key, {
        device,
        audience: manager.key.publicKey,
        issuedAt: nowSeconds,
        nonce: nextNonce(),
        membership: options.membership ?? membership(nowSeconds),
        server: options.server ?? NO_PIN,
      }),
  };
}
