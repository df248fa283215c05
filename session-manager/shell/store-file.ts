// A look at the store's file before LMDB maps it: LMDB trusts what it wrote, and a file that was
// cut or whose first pages were changed ends the process without a word. What is wrong in further
// pages this does not see; no row is believed for it (authenticated-store.ts).
//
// Layout of a 64-bit little-endian LMDB file (lmdb.h, MDB_DATA_VERSION 2): pages 0 and 1 each begin
// with a page header of 24 bytes, then: magic 4, version 4, address 8, map size 8, and the trees of
// the free pages and of the tables, 48 bytes each; a tree begins with the page size (the first one
// only) and ends with the number of its root page.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const MAGIC = 0xbe_ef_c0_de;
const VERSION = 2;
const MAGIC_AT = 24;
const VERSION_AT = 28;
const PAGE_BYTES_AT = 48;
const ROOTS_AT = [88, 136] as const;
const META_BYTES = 160;
/** The root of a tree without rows. */
const NO_PAGE = 0xff_ff_ff_ff_ff_ff_ff_ffn;
const PAGE_BYTES_MIN = 256;
const PAGE_BYTES_MAX = 65_536;

/** What is wrong with an LMDB file, in words; undefined if nothing is, or if it is new. */
export function storeFileFault(path: string): string | undefined {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    if (size === 0) return undefined;
    const first = new DataView(new ArrayBuffer(META_BYTES));
    if (readSync(file, first, { position: 0 }) < META_BYTES) return 'it is cut';
    if (!isMeta(first)) return 'its first page is damaged';
    const pageBytes = first.getUint32(PAGE_BYTES_AT, true);
    if (pageBytes < PAGE_BYTES_MIN || pageBytes > PAGE_BYTES_MAX)
      return 'its first page is damaged';
    const second = new DataView(new ArrayBuffer(META_BYTES));
    if (readSync(file, second, { position: pageBytes }) < META_BYTES) return 'it is cut';
    if (!isMeta(second)) return 'its second page is damaged';
    const pages = BigInt(Math.floor(size / pageBytes));
    const isWhole = [first, second].every((meta) => hasRoots(meta, pages));
    return isWhole ? undefined : 'it is cut, or its first pages are damaged';
  } finally {
    closeSync(file);
  }
}

function isMeta(page: DataView): boolean {
  return page.getUint32(MAGIC_AT, true) === MAGIC && page.getUint32(VERSION_AT, true) === VERSION;
}

function hasRoots(meta: DataView, pages: bigint): boolean {
  return ROOTS_AT.every((at) => {
    const root = meta.getBigUint64(at, true);
    return root === NO_PAGE || root < pages;
  });
}
