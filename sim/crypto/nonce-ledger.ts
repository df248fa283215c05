// Which (key, nonce) pairs have sealed something, over a whole world and all restarts in it
// (RFC 8439 §2.8: never one pair twice). Nonces are counters nearly always, so that a key's take a
// few ranges; whatever else somebody uses as a nonce is kept as it is. All of it is bounded: beyond
// the bounds old pairs are forgotten, which may miss a fault and never invents one.

/** Keys that are remembered; the one that was made first is forgotten first. */
const KEYS_MAX = 262_144;
/** Ranges of counters of one key: packet numbers are skipped now and then. */
const RANGES_MAX = 4_096;
/** Nonces of one key that are no counters. */
const OTHERS_MAX = 65_536;
/** Empty texts that one key seals: a handshake's, one or two. */
const TAGS_MAX = 16;
const UINT32 = 2 ** 32;
/** Counters stay whole numbers below 2^53. */
const HIGH_WORD_MAX = 0x1fffff;

/** The nonces of one key. */
export class KeyUse {
  /** Who sealed with it first. */
  sealer: string | undefined;
  /** The newest range, from and to; empty at first. */
  #from = 0;
  #to = -1;
  /** The ranges below it, ascending: from, to, from, to, … */
  #older: number[] | undefined;
  #others: Set<string> | undefined;
  /** Of empty texts, by nonce. */
  #tags: Map<string, string> | undefined;

  /** Notes what an empty text became under a nonce; false if it was something else before. */
  noteTag(nonce: Uint8Array, tag: Uint8Array): boolean {
    const tags = (this.#tags ??= new Map());
    const name = String(nonce);
    const known = tags.get(name);
    if (known === undefined && tags.size < TAGS_MAX) tags.set(name, String(tag));
    return known === String(tag);
  }

  /** Notes that a nonce sealed something; false if it had done so before. `nonce`: 12 bytes. */
  note(nonce: Uint8Array): boolean {
    const counter = counterOf(nonce);
    if (counter === undefined) return this.#noteOther(String(nonce));
    if (counter === this.#to + 1) {
      if (this.#to < 0) this.#from = counter;
      this.#to = counter;
      return true;
    }
    if (counter > this.#to) {
      if (this.#to >= 0) this.#keep();
      this.#from = this.#to = counter;
      return true;
    }
    return counter < this.#from && this.#noteOlder(counter);
  }

  /** Whether a nonce has sealed something. */
  has(nonce: Uint8Array): boolean {
    const counter = counterOf(nonce);
    if (counter === undefined) return this.#others?.has(String(nonce)) ?? false;
    if (counter >= this.#from) return counter <= this.#to;
    const older = this.#older;
    if (older === undefined) return false;
    const at = placeOf(older, counter);
    return at < older.length && older[at] <= counter;
  }

  #keep(): void {
    const older = (this.#older ??= []);
    // The lowest stays: who begins again begins there.
    if (older.length === 2 * RANGES_MAX) older.splice(2, 2);
    older.push(this.#from, this.#to);
  }

  #noteOlder(counter: number): boolean {
    const older = (this.#older ??= []);
    const at = placeOf(older, counter);
    if (at < older.length && older[at] <= counter) return false;
    if (at > 0 && older[at - 1] === counter - 1) older[at - 1] = counter;
    else if (older.length < 2 * RANGES_MAX) older.splice(at, 0, counter, counter);
    return true;
  }

  #noteOther(nonce: string): boolean {
    const others = (this.#others ??= new Set());
    if (others.has(nonce)) return false;
    if (others.size < OTHERS_MAX) others.add(nonce);
    return true;
  }
}

/** The use of every key of a world. */
export class NonceLedger {
  readonly #uses = new Map<string, KeyUse>();

  /** The use of this key so far: the same object for the same 32 bytes, whoever has them. */
  useOf(key: Uint8Array): KeyUse {
    const name = nameOf(key);
    const known = this.#uses.get(name);
    if (known !== undefined) return known;
    if (this.#uses.size === KEYS_MAX) {
      const [oldest] = this.#uses.keys();
      if (oldest !== undefined) this.#uses.delete(oldest);
    }
    const use = new KeyUse();
    this.#uses.set(name, use);
    return use;
  }
}

/** Bytes as a text of half their number. */
function nameOf(bytes: Uint8Array): string {
  let name = '';
  for (let at = 0; at < bytes.length; at += 2)
    name += String.fromCharCode(bytes[at] | (bytes[at + 1] << 8));
  return name;
}

/** The counter of a nonce as ours are made: 4 zero bytes, 8 bytes little endian. */
function counterOf(nonce: Uint8Array): number | undefined {
  if ((nonce[0] | nonce[1] | nonce[2] | nonce[3]) !== 0) return undefined;
  const high = (nonce[8] | (nonce[9] << 8) | (nonce[10] << 16) | (nonce[11] << 24)) >>> 0;
  if (high > HIGH_WORD_MAX) return undefined;
  const low = (nonce[4] | (nonce[5] << 8) | (nonce[6] << 16) | (nonce[7] << 24)) >>> 0;
  return high * UINT32 + low;
}

/** Where the first range that ends at `counter` or above stands in a list of ranges. */
function placeOf(ranges: readonly number[], counter: number): number {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[2 * middle + 1] < counter) low = middle + 1;
    else high = middle;
  }
  return 2 * low;
}
