// Randomness comes in as an argument. `entropy` (protocol/io) is the kernel's; `seededRng` is for
// tests and the simulator, never for keys that matter.

/** Fills `into` with random bytes. */
export interface Rng {
  fill(into: Uint8Array): void;
}

/** `length` random bytes. */
export function randomBytes(rng: Rng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  rng.fill(bytes);
  return bytes;
}

/** Filled and read at once; asked for often enough that a new one each time would be felt. */
const word = new Uint8Array(4);
const wordView = new DataView(word.buffer);

/** A uniform number in [0, 1), with 32 bits. */
export function randomFraction(rng: Rng): number {
  rng.fill(word);
  return wordView.getUint32(0) / 2 ** 32;
}

/** A uniform whole number in [0, bound). `bound`: 1 to 2^32; the bias below 2^-20 is accepted. */
export function randomBelow(rng: Rng, bound: number): number {
  return Math.floor(randomFraction(rng) * bound);
}

/** sfc32, seeded from one 32-bit number: fast, repeatable, not secret. */
export function seededRng(seed: number): Rng & { next(): number } {
  let a = 0x9e3779b9 ^ seed;
  let b = 0x243f6a88 ^ (seed * 31);
  let c = 0xb7e15162 ^ (seed * 17);
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  for (let round = 0; round < 12; round++) next();
  return {
    next,
    fill(into) {
      for (let i = 0; i < into.length; i++) into[i] = next() >>> 24;
    },
  };
}
