// The kernel's randomness, for everything that has to be secret: seeds, session keys, nonces. Tests
// and the simulator use `seededRng` instead. Small requests are cut from a pool, as a call into the
// generator costs more than the bytes; what is handed out is wiped from the pool.

import { randomFillSync } from 'node:crypto';
import type { Rng } from '../random.ts';

const POOL_BYTES = 4_096;
const pool = new Uint8Array(POOL_BYTES);
let used = POOL_BYTES;

/** Fills with bytes from the kernel's generator (node:crypto, never seeded by us). */
export const entropy: Rng = {
  fill(into) {
    if (into.length > POOL_BYTES / 8) {
      randomFillSync(into);
      return;
    }
    if (used + into.length > POOL_BYTES) {
      randomFillSync(pool);
      used = 0;
    }
    into.set(pool.subarray(used, used + into.length));
    pool.fill(0, used, used + into.length);
    used += into.length;
  },
};
