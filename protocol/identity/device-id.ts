// The device ID is the hash of a terminal's two public keys (design §3): nobody can claim that of
// another, and the ID is the fingerprint that lists state and people compare.

import { base32 } from '../base32.ts';
import { concatBytes, asciiBytes } from '../bytes.ts';
import type { PublicKeys } from '../control/messages.ts';
import type { CryptoSuite } from '../crypto.ts';
import type { DeviceId } from '../ids.ts';

const LABEL = asciiBytes('nakodo/1/id');
// 160 bits: a second pair of keys with the same ID takes 2^160 tries, and base32 comes out even.
const ID_BYTES = 20;

/**
 * The ID of the terminal that has these keys: base32 of the first 20 bytes of
 * BLAKE2s(`nakodo/1/id` ‖ Ed25519 key ‖ X25519 key); 32 characters.
 */
export function deviceIdOf(suite: CryptoSuite, keys: PublicKeys): DeviceId {
  const hash = suite.blake2s(concatBytes(LABEL, keys.ed25519, keys.x25519));
  return base32(hash.subarray(0, ID_BYTES)) as DeviceId;
}
