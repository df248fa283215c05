// How much of a test is run: a small dose in `make test`, the full one in `make prove`
// (NAKODO_PROVE=1), whose figures stand in docs/proof.md.

/** Whether the full doses are asked for. */
export const IS_PROOF = process.env.NAKODO_PROVE === '1';

/** `small`, or in a proof `times` as many. */
export const dose = (small: number, times = 20): number => (IS_PROOF ? small * times : small);
