// Bytes addressed by stream offset, held in pages of one size from a pool that the whole connection
// shares: memory follows what is really buffered, and a page never grows, moves or is copied.

import { DATA_LIMITS } from './limits.ts';

const PAGE = DATA_LIMITS.pageBytes;

/** Pages of one connection; keeps a few for reuse. */
export class PagePool {
  readonly #free: Uint8Array[] = [];

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(PAGE);
  }

  give(page: Uint8Array): void {
    if (this.#free.length < DATA_LIMITS.pagesKept) this.#free.push(page);
  }
}

/** A window of a stream; whoever owns it keeps offsets within bounds. */
export class PagedBuffer {
  readonly #pool: PagePool;
  #pages: (Uint8Array | undefined)[] = [];
  /** Page number of `#pages[0]`. */
  #first = 0;

  constructor(pool: PagePool) {
    this.#pool = pool;
  }

  /** Copies `source[start, end)` to `offset`; nothing below the discarded part. */
  write(offset: number, source: Uint8Array, start: number, end: number): void {
    let at = start;
    let to = offset;
    while (at < end) {
      const number = Math.floor(to / PAGE);
      const index = number - this.#first;
      while (this.#pages.length <= index) this.#pages.push(undefined);
      const page = (this.#pages[index] ??= this.#pool.take());
      const inPage = to - number * PAGE;
      const length = Math.min(end - at, PAGE - inPage);
      page.set(source.subarray(at, at + length), inPage);
      at += length;
      to += length;
    }
  }

  /** Copies `[offset, offset + length)`, which was written, to `into[at…]`. */
  read(offset: number, into: Uint8Array, at: number, length: number): void {
    let from = offset;
    let to = at;
    const end = at + length;
    while (to < end) {
      const number = Math.floor(from / PAGE);
      const page = this.#pages[number - this.#first];
      const inPage = from - number * PAGE;
      const part = Math.min(end - to, PAGE - inPage);
      if (page !== undefined) into.set(page.subarray(inPage, inPage + part), to);
      from += part;
      to += part;
    }
  }

  /** Gives back every page that lies wholly below `offset`. */
  discard(offset: number): void {
    const first = Math.floor(offset / PAGE);
    while (this.#first < first) {
      if (this.#pages.length === 0) {
        this.#first = first;
        return;
      }
      const page = this.#pages.shift();
      if (page !== undefined) this.#pool.give(page);
      this.#first++;
    }
  }

  /** Gives everything back. */
  clear(): void {
    for (const page of this.#pages) if (page !== undefined) this.#pool.give(page);
    this.#pages = [];
  }
}
