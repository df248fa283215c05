// How evenly several flows shared a link: for links in virtual time (protocol/test) and for real
// ones (bench/lab).

/** Jain's index of shares, of which one at least is above 0: 1 when all are equal, 1/n at worst. */
export function fairness(shares: readonly number[]): number {
  const sum = shares.reduce((a, b) => a + b, 0);
  const squares = shares.reduce((a, b) => a + b * b, 0);
  return (sum * sum) / (shares.length * squares);
}
