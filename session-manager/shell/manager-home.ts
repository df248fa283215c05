// The manager's identity in its home, 0600: the Ed25519 seed that signs grants, memberships and the
// log, and the X25519 secret to which terminals seal what they say. The public half of the first
// lies beside it for a broker that runs apart. Its TLS key is another thing and may change:
// server-certificate.ts.

import { join } from 'node:path';
import * as v from 'valibot';
import { type CryptoSuite, type DhKey, KEY_BYTES, type SigningKey } from '../../protocol/crypto.ts';
import { fromBase64, toBase64 } from '../../protocol/io/base64.ts';
import { damagedFile, makeFolder, readJson, writeFileAtomic } from '../../protocol/io/files.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { storeKeyOf } from '../row-seal.ts';

const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;

const secret = v.pipe(
  v.string(),
  v.transform(fromBase64),
  v.instance(Uint8Array),
  v.check((bytes) => bytes.length === KEY_BYTES),
);
const identityFile = v.variant('version', [
  // Of releases before the seal.
  v.strictObject({ version: v.literal(1), signingSeed: secret }),
  v.strictObject({ version: v.literal(2), signingSeed: secret, agreementSecret: secret }),
]);

/** The manager's private keys. */
export interface ManagerKeys {
  /** Ed25519. */
  readonly key: SigningKey;
  /** X25519. */
  readonly agreementKey: DhKey;
  /** Seals the rows of the store; made of the signing seed. */
  readonly storeKey: Uint8Array;
}

/**
 * Reads the manager's keys; at the first start makes them, durable before they sign anything.
 * An identity of an older release gets the key that it lacks.
 * Writes `manager.pub`: the Ed25519 public key in base64url and a line feed.
 * @throws NakodoError `file-damaged`, `no-permission`, `disk-full`.
 */
export async function loadManagerKeys(
  home: string,
  suite: CryptoSuite,
  rng: Rng,
): Promise<ManagerKeys> {
  await makeFolder(home);
  const path = join(home, 'identity.json');
  const found = await readJson(path);
  const known = found === undefined ? undefined : secretsIn(path, found);
  const signingSeed = known?.signingSeed ?? randomBytes(rng, KEY_BYTES);
  const agreementSecret = known?.agreementSecret ?? randomBytes(rng, KEY_BYTES);
  if (known?.agreementSecret === undefined) {
    const identity = {
      version: 2,
      signingSeed: toBase64(signingSeed),
      agreementSecret: toBase64(agreementSecret),
    };
    await writeFileAtomic(path, `${JSON.stringify(identity, undefined, 2)}\n`, PRIVATE_MODE);
  }
  const key = suite.signingKey(signingSeed);
  await writeFileAtomic(join(home, 'manager.pub'), `${toBase64(key.publicKey)}\n`, PUBLIC_MODE);
  const storeKey = storeKeyOf(suite, signingSeed);
  return { key, agreementKey: suite.dhKey(agreementSecret), storeKey };
}

/** What a parsed identity file says. @throws NakodoError `file-damaged` for anything else. */
export function secretsIn(
  path: string,
  found: unknown,
): { readonly signingSeed: Uint8Array; readonly agreementSecret?: Uint8Array } {
  const parsed = v.safeParse(identityFile, found);
  if (!parsed.success) throw damagedFile(path, 'it does not hold a signing seed');
  return parsed.output;
}
