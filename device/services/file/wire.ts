// What the two ends of a file say to each other (docs/wire.md, "Streams"). The same for both
// services: the source has the file, the sink wants it.
//
//   file    parameters: offer            get    parameters: ask
//                                               source → found, or why not
//   a large file:   sink → have bytes · have bytes, SHA-256 of them   source → start
//   source → content | SHA-256 of the whole file (32) | FIN           sink → answer | FIN
//
// Frames are CBOR behind two bytes of length. A source that cannot go on ends its stream early.

import { concatBytes } from '../../../protocol/bytes.ts';
import { encodeCbor } from '../../../protocol/control/cbor.ts';
import {
  type Infer,
  type Type,
  bool,
  bytes,
  field,
  oneOf,
  optional,
  record,
  text,
  uint,
} from '../../../protocol/control/schema.ts';
import { FILE_LIMITS } from './limits.ts';

/** Bytes of a SHA-256. */
export const HASH_BYTES = 32;
const CODE_BYTES_MAX = 32;
const anySize = uint(Number.MAX_SAFE_INTEGER);
const anyPath = text(FILE_LIMITS.pathBytesMax);

/** Parameters of a stream of `file`: what its opener has for the inbox. */
export const offer = record({
  path: field(0, anyPath),
  /** 0 for a folder. */
  size: field(1, anySize),
  /** Milliseconds since 1970. */
  modified: field(2, anySize),
  kind: field(3, oneOf('file', 'folder')),
  isExecutable: field(4, bool),
  /** What an earlier try left may be used, and what is there already need not be sent. */
  resumes: field(5, bool),
  /** In place of what has this name. */
  replaces: field(6, bool),
});

/** The parameters of a stream of `file`. */
export const encodeOffer = (of: Infer<typeof offer>): Uint8Array => encodeCbor(offer, of);

/** Parameters of a stream of `get`: a listing of what is at and below `path`, or one file. */
export const ask = record({
  wanted: field(0, oneOf('list', 'file')),
  /** '' is all that there is. */
  path: field(1, anyPath),
  resumes: field(2, bool),
});

/** The parameters of a stream of `get`. */
export const encodeAsk = (of: Infer<typeof ask>): Uint8Array => encodeCbor(ask, of);

/** A file of a `get` as its source has opened it; with another code than `ok` nothing follows. */
export const found = record({
  code: field(0, text(CODE_BYTES_MAX)),
  size: optional(1, anySize),
  modified: optional(2, anySize),
  isExecutable: optional(3, bool),
});

/** One thing in a listing; the last one is the `end`, with `ok` or why there is no more. */
export const entry = record({
  kind: field(0, oneOf('file', 'folder', 'skipped', 'end')),
  path: field(1, anyPath),
  size: optional(2, anySize),
  modified: optional(3, anySize),
  code: optional(4, text(CODE_BYTES_MAX)),
});
export type Entry = Infer<typeof entry>;

/**
 * What a sink says: `have`, twice, before the content of a large file; at the end `ok` or why not.
 */
export const reply = record({
  code: field(0, text(CODE_BYTES_MAX)),
  /** With `have`: of what is there already. With `ok`: of the whole file. */
  sha256: optional(1, bytes(HASH_BYTES)),
  savedAs: optional(2, text(FILE_LIMITS.pathBytesMax + CODE_BYTES_MAX)),
  /** With `have`. */
  bytes: optional(3, anySize),
  /** The same file was there, and was not saved again. */
  wasThere: optional(4, bool),
});
export type Reply = Infer<typeof reply>;

/** Where the content of a large file begins: where the sink stands, or at 0. */
export const start = record({ at: field(0, anySize) });

/** Whether both ends speak of what is there before content flows. */
export const isAskedFirst = (wanted: { readonly size: number; readonly resumes: boolean }) =>
  wanted.resumes && wanted.size >= FILE_LIMITS.resumeBytesLeast;

/** A value of a declared type behind its length. */
export function frame<T>(type: Type<T>, value: T): Uint8Array {
  const encoded = encodeCbor(type, value);
  return concatBytes(Uint8Array.of(encoded.length >> 8, encoded.length & 0xff), encoded);
}
