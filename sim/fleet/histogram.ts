// Times, counted in buckets that grow by two per cent: a fixed number of them however long a fleet
// runs, and any quantile to within a per cent. Histograms of several processes add up.

const FIRST_MS = 0.1;
const GROWTH = 1.02;
/** Up to ten minutes; what is beyond counts as that, and the largest is kept exactly. */
const BUCKETS = Math.ceil(Math.log(600_000 / FIRST_MS) / Math.log(GROWTH));

/** A histogram as it travels between processes: [bucket, count], and the largest value exactly. */
export interface HistogramRecord {
  readonly buckets: readonly (readonly [bucket: number, count: number])[];
  readonly maxMs: number;
}

/** Milliseconds, counted. */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #maxMs = 0;

  get count(): number {
    return this.#count;
  }

  /** The largest, exactly; 0 if there is none. */
  get maxMs(): number {
    return this.#maxMs;
  }

  /** Counts one; below 0.1 ms counts as that. */
  add(ms: number): void {
    const bucket = Math.floor(Math.log(Math.max(ms, FIRST_MS) / FIRST_MS) / Math.log(GROWTH));
    this.#counts[Math.min(bucket, BUCKETS - 1)] += 1;
    this.#count += 1;
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** Adds all of another one. */
  merge({ buckets, maxMs }: HistogramRecord): void {
    for (const [bucket, count] of buckets) {
      this.#counts[bucket] += count;
      this.#count += count;
    }
    this.#maxMs = Math.max(this.#maxMs, maxMs);
  }

  /** The value below which a share (0 to 1) of all lies, in ms; undefined if there is none. */
  quantile(share: number): number | undefined {
    if (this.#count === 0) return undefined;
    let left = Math.max(1, Math.ceil(share * this.#count));
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0) return Math.min(middleOf(bucket), this.#maxMs);
    }
    return this.#maxMs;
  }

  /** The same in so many even steps from 0 to `toMs`; what is beyond is in the last one. */
  steps(count: number, toMs: number): readonly number[] {
    const steps = Array.from({ length: count }, () => 0);
    for (const [bucket, times] of this.#counts.entries()) {
      if (times > 0)
        steps[Math.min(count - 1, Math.floor((middleOf(bucket) / toMs) * count))] += times;
    }
    return steps;
  }

  /** As it travels. */
  record(): HistogramRecord {
    const buckets: (readonly [number, number])[] = [];
    for (const [bucket, count] of this.#counts.entries()) {
      if (count > 0) buckets.push([bucket, count]);
    }
    return { buckets, maxMs: this.#maxMs };
  }
}

const middleOf = (bucket: number): number => FIRST_MS * GROWTH ** (bucket + 0.5);
