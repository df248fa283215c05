// Assertions are for our own bugs, never for what a peer sent; they stay on in production, and the
// shell that meets one logs it and exits.
import { AssertionFailed } from './errors.ts';

/** Throws `AssertionFailed` when a condition that our own code guarantees does not hold. */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new AssertionFailed(claim);
}
