// A set of whole numbers as sorted, disjoint, half-open ranges: received packet numbers, bytes that
// arrived ahead of a gap, bytes that were acknowledged or lost. Almost every change is at an end,
// so that is the fast path; the rest costs a binary search and a splice.

/** Half-open ranges `[start, end)`, ascending, never touching one another. */
export class Ranges {
  // start, end, start, end …
  readonly #edges: number[] = [];
  #size = 0;

  get count(): number {
    return this.#edges.length / 2;
  }

  /** Numbers in the set. */
  get size(): number {
    return this.#size;
  }

  /** Start of the `index`-th range; the index must exist. */
  start(index: number): number {
    return this.#edges[index * 2];
  }

  /** End, exclusive, of the `index`-th range. */
  end(index: number): number {
    return this.#edges[index * 2 + 1];
  }

  has(value: number): boolean {
    const i = this.#firstEndingAfter(value) * 2;
    return i < this.#edges.length && this.#edges[i] <= value;
  }

  /** How many more ranges there would be after `insert(start, end)`: 1, 0 or fewer. */
  growth(start: number, end: number): number {
    const edges = this.#edges;
    let i = this.#firstEndingAfter(start - 1) * 2;
    let growth = 1;
    for (; i < edges.length && edges[i] <= end; i += 2) growth--;
    return growth;
  }

  insert(start: number, end: number): void {
    if (start >= end) return;
    const edges = this.#edges;
    const length = edges.length;
    if (length === 0 || start > edges[length - 1]) {
      edges.push(start, end);
      this.#size += end - start;
      return;
    }
    if (start === edges[length - 1]) {
      edges[length - 1] = end;
      this.#size += end - start;
      return;
    }
    const first = this.#firstEndingAfter(start - 1) * 2;
    let last = first;
    let low = start;
    let high = end;
    while (last < length && edges[last] <= end) {
      if (edges[last] < low) low = edges[last];
      if (edges[last + 1] > high) high = edges[last + 1];
      this.#size -= edges[last + 1] - edges[last];
      last += 2;
    }
    this.#size += high - low;
    if (last - first === 2) {
      edges[first] = low;
      edges[first + 1] = high;
    } else {
      edges.splice(first, last - first, low, high);
    }
  }

  /** Inserts what of `[start, end)` is not in `except`. */
  insertExcept(start: number, end: number, except: Ranges): void {
    let at = start;
    for (let i = except.#firstEndingAfter(start); at < end && i < except.count; i++) {
      if (except.start(i) >= end) break;
      this.insert(at, except.start(i));
      at = Math.max(at, except.end(i));
    }
    this.insert(at, end);
  }

  remove(start: number, end: number): void {
    const edges = this.#edges;
    if (start >= end || edges.length === 0 || end <= edges[0]) return;
    const first = this.#firstEndingAfter(start) * 2;
    let last = first;
    while (last < edges.length && edges[last] < end) {
      this.#size -= edges[last + 1] - edges[last];
      last += 2;
    }
    if (last === first) return;
    const left = edges[first];
    const right = edges[last - 1];
    const kept: number[] = [];
    if (left < start) kept.push(left, start);
    if (right > end) kept.push(end, right);
    for (let i = 0; i < kept.length; i += 2) this.#size += kept[i + 1] - kept[i];
    edges.splice(first, last - first, ...kept);
  }

  /** Forgets the lowest `count` ranges, in one go. */
  dropFirst(count = 1): void {
    const edges = this.#edges;
    const most = Math.min(2 * count, edges.length);
    for (let i = 0; i < most; i += 2) this.#size -= edges[i + 1] - edges[i];
    edges.splice(0, most);
  }

  clear(): void {
    this.#edges.length = 0;
    this.#size = 0;
  }

  /** Index of the first range whose end is above `value`; `count` if there is none. */
  #firstEndingAfter(value: number): number {
    let low = 0;
    let high = this.#edges.length / 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#edges[middle * 2 + 1] > value) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
