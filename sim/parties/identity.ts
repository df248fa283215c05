// The keys of a terminal of a world: drawn from its name and the world's seed, so that a clone, or
// the same terminal in another run, has the same.

import type { PublicKeys } from '../../protocol/control/messages.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../../protocol/crypto.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { randomBytes } from '../../protocol/random.ts';
import type { World } from '../world.ts';

const KEY_BYTES = 32;

/** Identity and keys of a terminal; a clone has the same. */
export interface Identity {
  readonly name: Name;
  readonly id: DeviceId;
  readonly keys: PublicKeys;
  readonly signingKey: SigningKey;
  readonly localKey: DhKey;
  readonly suite: CryptoSuite;
}

/** Makes a terminal's keys. */
export function makeIdentity(world: World, name: Name): Identity {
  const rng = world.rng(`identity/${name}`);
  const suite = world.suiteOf(name);
  const signingKey = suite.signingKey(randomBytes(rng, KEY_BYTES));
  const localKey = suite.dhKey(randomBytes(rng, KEY_BYTES));
  const keys = { ed25519: signingKey.publicKey, x25519: localKey.publicKey };
  return { name, id: deviceIdOf(suite, keys), keys, signingKey, localKey, suite };
}
