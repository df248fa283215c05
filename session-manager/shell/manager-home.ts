// The manager's identity in its home: the Ed25519 seed that signs grants, memberships and the log,
// 0600, and its public key beside it for a broker that runs apart.

import { join } from 'node:path';
import * as v from 'valibot';
import { type CryptoSuite, KEY_BYTES, type SigningKey } from '../../protocol/crypto.ts';
import { damagedFile, makeFolder, readJson, writeFileAtomic } from '../../protocol/io/files.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';

const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;

const identityFile = v.strictObject({
  version: v.literal(1),
  signingSeed: v.pipe(
    v.string(),
    v.regex(/^[A-Za-z0-9_-]{43}$/),
    v.transform((text): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64url'))),
  ),
});

/**
 * Reads the manager's signing key; at the first start makes one, durable before it signs anything.
 * Writes `manager.pub`: the public key in base64url and a line feed.
 * @throws NakodoError `file-damaged`, `no-permission`, `disk-full`.
 */
export async function loadManagerKey(
  home: string,
  suite: CryptoSuite,
  rng: Rng,
): Promise<SigningKey> {
  await makeFolder(home);
  const path = join(home, 'identity.json');
  const found = await readJson(path);
  const seed = found === undefined ? randomBytes(rng, KEY_BYTES) : seedIn(path, found);
  if (found === undefined) {
    const signingSeed = Buffer.from(seed).toString('base64url');
    const text = `${JSON.stringify({ version: 1, signingSeed }, undefined, 2)}\n`;
    await writeFileAtomic(path, text, PRIVATE_MODE);
  }
  const key = suite.signingKey(seed);
  const publicKey = Buffer.from(key.publicKey).toString('base64url');
  await writeFileAtomic(join(home, 'manager.pub'), `${publicKey}\n`, PUBLIC_MODE);
  return key;
}

function seedIn(path: string, found: unknown): Uint8Array {
  const parsed = v.safeParse(identityFile, found);
  if (!parsed.success) throw damagedFile(path, 'it does not hold a signing seed');
  return parsed.output.signingSeed;
}
