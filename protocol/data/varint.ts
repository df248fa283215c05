// Variable-length integers (RFC 9000 §16): the two top bits say 1, 2, 4 or 8 bytes. Values stop at
// 2^53 − 1, what a JavaScript number holds exactly; a larger one is refused like a truncated one.

import { assert } from '../assert.ts';

const TWO_32 = 2 ** 32;

/** Reads an authenticated payload; after a bad read `failed` stays true and every read gives 0. */
export class Reader {
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  end = 0;
  failed = false;

  /** Begins with `bytes[start, end)`, borrowed. */
  reset(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.failed = false;
  }

  fail(): 0 {
    this.failed = true;
    this.at = this.end;
    return 0;
  }

  varint(): number {
    if (this.at >= this.end) return this.fail();
    const bytes = this.bytes;
    const first = bytes[this.at];
    const size = 1 << (first >> 6);
    if (this.at + size > this.end) return this.fail();
    const at = this.at;
    this.at += size;
    const top = first & 0x3f;
    if (size === 1) return top;
    if (size === 2) return (top << 8) | bytes[at + 1];
    const high = top * 2 ** 24 + ((bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]);
    if (size === 4) return high;
    const low =
      bytes[at + 4] * 2 ** 24 + ((bytes[at + 5] << 16) | (bytes[at + 6] << 8) | bytes[at + 7]);
    const value = high * TWO_32 + low;
    return value <= Number.MAX_SAFE_INTEGER ? value : this.fail();
  }

  /** Steps over `length` bytes and returns where they begin. */
  skip(length: number): number {
    if (length > this.end - this.at) return this.fail();
    this.at += length;
    return this.at - length;
  }
}

/** Bytes that `value` takes. */
export function varintSize(value: number): number {
  if (value < 0x40) return 1;
  if (value < 0x4000) return 2;
  return value < 0x4000_0000 ? 4 : 8;
}

/** Fills a lent payload; the caller asks `room` first. */
export class Writer {
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  end = 0;

  /** Begins with `bytes[start, end)`, borrowed. */
  reset(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  get room(): number {
    return this.end - this.at;
  }

  byte(value: number): void {
    this.bytes[this.at++] = value;
  }

  /** A fraction or NaN that crept in would be rounded here, and the ends would never agree. */
  varint(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'what is written is a whole number');
    const bytes = this.bytes;
    let at = this.at;
    if (value < 0x40) {
      bytes[at++] = value;
    } else if (value < 0x4000) {
      bytes[at++] = 0x40 | (value >> 8);
      bytes[at++] = value;
    } else if (value < 0x4000_0000) {
      bytes[at++] = 0x80 | (value >> 24);
      bytes[at++] = value >> 16;
      bytes[at++] = value >> 8;
      bytes[at++] = value;
    } else {
      const high = Math.floor(value / TWO_32);
      const low = value % TWO_32;
      bytes[at++] = 0xc0 | (high >> 24);
      bytes[at++] = high >> 16;
      bytes[at++] = high >> 8;
      bytes[at++] = high;
      bytes[at++] = low >>> 24;
      bytes[at++] = low >>> 16;
      bytes[at++] = low >>> 8;
      bytes[at++] = low;
    }
    this.at = at;
  }

  copy(source: Uint8Array): void {
    this.bytes.set(source, this.at);
    this.at += source.length;
  }
}
