// What the benches share: a figure with its meaning, order statistics, and which machine it was.
// Nothing here measures.

import { cpus, release } from 'node:os';

/** V8 compiles what runs often: after this many calls of a terminal the times no longer fall. */
export const WARM_UP_CALLS = 1_000;

/** One line of `make bench`. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly meaning: string;
}

/** A sorted copy. */
export function ascending(values: readonly number[]): readonly number[] {
  return [...values].sort((a, b) => a - b);
}

/** The value at `share` (0 to 1) of ascending values. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** The value in the middle. */
export const median = (values: readonly number[]): number => quantile(ascending(values), 0.5);

/** Processors, kernel and Node, in one line. */
export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu.model.trim()}, Linux ${release()}, Node ${process.version}`;
}
