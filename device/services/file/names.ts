// What files may be called on the way from one terminal to the other: relative paths of plain names
// that show what they are. Whatever does not fit is refused at both ends, before a disk sees it.

import { FILE_LIMITS } from './limits.ts';

/** Puts files into the callee's inbox; the name in grants and allow-lists. */
export const FILE_SERVICE = 'file';
/** Reads the callee's outbox; the name in grants and allow-lists. */
export const GET_SERVICE = 'get';

/**
 * How the name of every partial file begins; no file may be given such a name, nor one that a card
 * which knows no capitals (FAT) takes for it.
 */
export const PARTIAL_PREFIX = '.part-';

// Slashes of both kinds, control characters, lone surrogates, what turns text around or ends
// a line.
const UNFIT = /[/\\\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

/** Whether a name may become a file or a folder: a plain base name that shows what it is. */
export function isFileName(name: string): boolean {
  if (name === '' || name === '.' || name === '..') return false;
  if (name.slice(0, PARTIAL_PREFIX.length).toLowerCase() === PARTIAL_PREFIX) return false;
  if (name.length > FILE_LIMITS.nameBytesMax) return false;
  return Buffer.byteLength(name) <= FILE_LIMITS.nameBytesMax && !UNFIT.test(name);
}

/** Whether a path may be carried: such names, joined by `/`; never absolute, never upwards. */
export function isFilePath(path: string): boolean {
  if (path.length > FILE_LIMITS.pathBytesMax) return false;
  const names = path.split('/');
  if (names.length > FILE_LIMITS.depthMax || !names.every(isFileName)) return false;
  return Buffer.byteLength(path) <= FILE_LIMITS.pathBytesMax;
}
