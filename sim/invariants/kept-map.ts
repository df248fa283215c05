// A map of bounded size: the entry that was put there longest ago goes first. What invariants
// remember over a long run.

/** At most `max` entries. */
export class KeptMap<K, V> {
  readonly #max: number;
  readonly #map = new Map<K, V>();

  constructor(max: number) {
    this.#max = max;
  }

  get(key: K): V | undefined {
    return this.#map.get(key);
  }

  has(key: K): boolean {
    return this.#map.has(key);
  }

  set(key: K, value: V): void {
    this.#map.set(key, value);
    if (this.#map.size <= this.#max) return;
    for (const oldest of this.#map.keys()) {
      this.#map.delete(oldest);
      return;
    }
  }

  delete(key: K): boolean {
    return this.#map.delete(key);
  }

  values(): Iterable<V> {
    return this.#map.values();
  }
}
