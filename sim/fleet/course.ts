// How a fleet fared over time: a row a second, fewer and fewer a minute as it goes on, so that a
// day's run has no more of them than a minute's. Rows hold sums since the beginning: a coarser
// course has the same totals.

import { FLEET_LIMITS } from './limits.ts';

/** What a fleet is doing. */
export type Phase = 'enrolling' | 'ramping' | 'calling' | 'settling';

/** One moment; counts and processor time since the beginning. */
export interface CourseRow {
  readonly seconds: number;
  readonly phase: Phase;
  readonly registered: number;
  readonly due: number;
  readonly missed: number;
  readonly introduced: number;
  readonly refused: number;
  /** Permitted, and yet nothing came of it. */
  readonly failed: number;
  readonly bytes: number;
  readonly terminalsRssBytes: number;
  readonly serversRssBytes: number;
  readonly terminalsCpuSeconds: number;
  readonly serversCpuSeconds: number;
}

/** The rows. */
export class Course {
  readonly #rows: CourseRow[] = [];
  /** Only every so many-th row is kept. */
  #every = 1;
  #offered = 0;

  get rows(): readonly CourseRow[] {
    return this.#rows;
  }

  /** Offers the next row; at the bound every other one goes. */
  add(row: CourseRow): void {
    const isKept = this.#offered % this.#every === 0;
    this.#offered += 1;
    if (!isKept) return;
    this.#rows.push(row);
    if (this.#rows.length < FLEET_LIMITS.courseMax) return;
    const kept = this.#rows.filter((_, at) => at % 2 === 0);
    this.#rows.splice(0, this.#rows.length, ...kept);
    this.#every *= 2;
  }
}

/**
 * The slope of a quantity over some rows, by least squares, per second; undefined with fewer than
 * three rows.
 */
export function slopeOf(
  rows: readonly CourseRow[],
  quantity: (row: CourseRow) => number,
): number | undefined {
  if (rows.length < 3) return undefined;
  const meanX = mean(rows.map(({ seconds }) => seconds));
  const meanY = mean(rows.map(quantity));
  let above = 0;
  let below = 0;
  for (const row of rows) {
    above += (row.seconds - meanX) * (quantity(row) - meanY);
    below += (row.seconds - meanX) ** 2;
  }
  return below === 0 ? undefined : above / below;
}

const mean = (values: readonly number[]): number =>
  values.reduce((all, value) => all + value, 0) / values.length;
