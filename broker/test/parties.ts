// Managers and terminals with real keys, for tests: what each shows the broker as its password.
// The seeds are one number repeated, so that every run has the same IDs.

import type { SigningKey } from '../../protocol/crypto.ts';
import type { DeviceId, ManagerId, Name } from '../../protocol/ids.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { managerClientId } from '../../protocol/identity/manager-id.ts';
import { makeMembership } from '../../protocol/identity/membership.ts';
import { TOKEN_NONCE_BYTES, makeManagerToken, makeToken } from '../../protocol/identity/token.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';

export interface TestManager {
  readonly key: SigningKey;
  readonly id: ManagerId;
  /** `client`: default its own. */
  password(nowSeconds: number, client?: ManagerId): Uint8Array;
}

export interface TestTerminal {
  readonly device: DeviceId;
  password(nowSeconds: number): Uint8Array;
}

const seedOf = (number: number): Uint8Array => new Uint8Array(32).fill(number);

export function makeManager(seed: number): TestManager {
  const key = nodeSuite.signingKey(seedOf(seed));
  const id = managerClientId(nodeSuite, key.publicKey);
  return {
    key,
    id,
    password: (nowSeconds, client = id) =>
      makeManagerToken(key, {
        client,
        issuedAt: nowSeconds,
        nonce: new Uint8Array(TOKEN_NONCE_BYTES),
      }),
  };
}

export function makeTerminal(manager: TestManager, seed: number, name: string): TestTerminal {
  const key = nodeSuite.signingKey(seedOf(seed));
  const keys = { ed25519: key.publicKey, x25519: nodeSuite.dhKey(seedOf(seed)).publicKey };
  const device = deviceIdOf(nodeSuite, keys);
  return {
    device,
    password: (nowSeconds) =>
      makeToken(key, {
        device,
        audience: manager.key.publicKey,
        issuedAt: nowSeconds,
        nonce: new Uint8Array(TOKEN_NONCE_BYTES),
        membership: makeMembership(manager.key, {
          device,
          name: name as Name,
          keys,
          issuedAt: nowSeconds,
          expiresAt: nowSeconds + LIMITS.membershipSeconds,
        }),
      }),
  };
}
