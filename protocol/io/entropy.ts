// The kernel's randomness, for everything that has to be secret: seeds, session keys, nonces. Tests
// and the simulator use `seededRng` instead.

import { randomFillSync } from 'node:crypto';
import type { Rng } from '../random.ts';

/** Fills with bytes from the kernel's generator (node:crypto, never seeded by us). */
export const entropy: Rng = {
  fill(into) {
    randomFillSync(into);
  },
};
