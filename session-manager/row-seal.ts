// Seals over the rows of the store, so that who can write the disk but has no key enrols nobody and
// lifts no revocation. A stored value ends with a tag over table, key and value; one row more, the
// total, binds all rows that a start reads as a whole, so that none is taken out, put back or left
// behind. What this cannot show: a store that was set back as a whole (docs/log.md: receipts).
//
//   tag ‖ share = HMAC-BLAKE2s(store key, table ‖ 0 ‖ key length, 4 bytes ‖ key ‖ value)
//   total       = version ‖ mark of the store key ‖ HMAC-BLAKE2s(store key, `total` ‖ 0 ‖ ⊕ shares)
//
// Shares and their sum are never stored: whoever saw them for more rows of the past than a share
// has bits could solve for another set of old rows with the same sum.

import { assert } from '../protocol/assert.ts';
import { asciiBytes, concatBytes } from '../protocol/bytes.ts';
import { type CryptoSuite, HASH_BYTES, TAG_BYTES } from '../protocol/crypto.ts';
import { type Row, TABLES, type Table } from './manager-types.ts';
import { LIVE_PREFIX } from './records.ts';

/** Row of the table `meta` that holds the total. */
export const TOTAL_KEY = 'store-total';

const KEY_LABEL = asciiBytes('nakodo/1/store\0');
// No table has these names, so that neither can stand for a row.
const TOTAL_LABEL = asciiBytes('total\0');
const MARK_LABEL = asciiBytes('mark\0');
const VERSION = 1;
/** Bytes of a key's length in what is sealed. */
const LENGTH_BYTES = 4;
const ASCII_MAX = 0x7f;
/** What a row adds to the total: the half of its MAC that is not stored. */
const SHARE_BYTES = HASH_BYTES - TAG_BYTES;

/** A row as it is stored, and what it adds to the total. */
interface SealedRow {
  /** Value and tag. */
  readonly stored: Uint8Array;
  readonly share: Uint8Array;
}

/** A row whose tag is right. */
interface OpenedRow {
  readonly value: Uint8Array;
  readonly share: Uint8Array;
}

/** The key of a store: HMAC-BLAKE2s(signing seed, `nakodo/1/store` ‖ 0), 32 bytes. */
export function storeKeyOf(suite: CryptoSuite, signingSeed: Uint8Array): Uint8Array {
  return suite.hmacBlake2s(signingSeed, KEY_LABEL);
}

/** Whether rows of this table carry a tag: the log has its own chain, and files made of it. */
export function isSealed(table: Table): boolean {
  return table !== 'log';
}

/** What a start reads as a whole, and the total binds: each table with the prefix of its keys. */
export const WHOLE: readonly { readonly table: Table; readonly prefix: string }[] = TABLES.filter(
  isSealed,
).map((table) => ({ table, prefix: table === 'sessions' ? LIVE_PREFIX : '' }));

/** Whether the total binds this row. */
export function isInTotal(table: Table, key: string): boolean {
  if (table === 'meta' && key === TOTAL_KEY) return false;
  return WHOLE.some((part) => part.table === table && key.startsWith(part.prefix));
}

/** Adds shares of rows to a sum, or takes them out again: it is the same. */
export class ShareSum {
  readonly #bytes: Uint8Array;

  constructor(of: Uint8Array = new Uint8Array(SHARE_BYTES)) {
    this.#bytes = of.slice();
  }

  /** A view that changes with the sum. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  mix(share: Uint8Array | undefined): void {
    if (share === undefined) return;
    for (let at = 0; at < SHARE_BYTES; at++) this.#bytes[at] ^= share[at];
  }
}

/** Seals rows with one key and tells whether it was this key. */
export class RowSeal {
  readonly #suite: CryptoSuite;
  readonly #key: Uint8Array;
  readonly #head: Uint8Array;

  /** `key`: of `storeKeyOf`. */
  constructor(suite: CryptoSuite, key: Uint8Array) {
    this.#suite = suite;
    this.#key = key;
    const mark = this.#mac(MARK_LABEL).subarray(0, TAG_BYTES);
    this.#head = concatBytes(Uint8Array.of(VERSION), mark);
  }

  /** `row.key`: ASCII. `row.value`: borrowed. */
  seal(table: Table, { key, value }: Row): SealedRow {
    const mac = this.#rowMac(table, key, value);
    assert(mac !== undefined, 'keys are ASCII');
    return { stored: concatBytes(value, mac.subarray(0, TAG_BYTES)), share: shareOf(mac) };
  }

  /** Undefined for a row that this key did not seal, in this place. `row.value`: as stored. */
  open(table: Table, { key, value: stored }: Row): OpenedRow | undefined {
    const length = stored.length - TAG_BYTES;
    if (length < 0) return undefined;
    const value = stored.slice(0, length);
    const mac = this.#rowMac(table, key, value);
    if (mac === undefined) return undefined;
    return isSame(mac.subarray(0, TAG_BYTES), stored.subarray(length))
      ? { value, share: shareOf(mac) }
      : undefined;
  }

  /** The value of the total's row over this sum. */
  total(sum: ShareSum): Uint8Array {
    return concatBytes(this.#head, this.#mac(TOTAL_LABEL, sum.bytes));
  }

  /** Whether a stored total says that it is of this key; not whether it is right. */
  isOfThisKey(total: Uint8Array): boolean {
    return isSame(total.subarray(0, this.#head.length), this.#head);
  }

  isTotal(stored: Uint8Array, sum: ShareSum): boolean {
    return isSame(stored, this.total(sum));
  }

  /** Undefined for a key that we never make: two texts must not become the same bytes. */
  #rowMac(table: Table, key: string, value: Uint8Array): Uint8Array | undefined {
    for (let at = 0; at < key.length; at++) if (key.charCodeAt(at) > ASCII_MAX) return undefined;
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, key.length);
    return this.#mac(asciiBytes(`${table}\0`), length, asciiBytes(key), value);
  }

  #mac(...parts: readonly Uint8Array[]): Uint8Array {
    return this.#suite.hmacBlake2s(this.#key, concatBytes(...parts));
  }
}

/** A copy: shares are kept for longer than tags. */
function shareOf(mac: Uint8Array): Uint8Array {
  return mac.slice(TAG_BYTES);
}

/** Takes as long for a near miss as for any other. */
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let different = 0;
  for (let at = 0; at < a.length; at++) different |= a[at] ^ b[at];
  return different === 0;
}
