// A manager's MQTT client ID is the hash of its key, as a terminal's is of its two: no manager can
// take another's place at a broker, nor be told its answers (S3005).

import { base32 } from '../base32.ts';
import type { CryptoSuite } from '../crypto.ts';
import type { ManagerId } from '../ids.ts';

// 160 bits, as for device IDs.
const ID_BYTES = 20;

/** `manager-` and base32 of the first 20 bytes of BLAKE2s(Ed25519 key); 40 characters. */
export function managerClientId(suite: CryptoSuite, publicKey: Uint8Array): ManagerId {
  return `manager-${base32(suite.blake2s(publicKey).subarray(0, ID_BYTES))}` as ManagerId;
}
