// Where the log stands, signed by the manager [S6001] (label `log`): the chain alone shows only
// that an entry in the middle was changed; who has no key cannot sign another end, nor another
// beginning. Three statements that cannot stand for each other: the end of the live log, the end of
// an archive, and a checkpoint inside the chain.

import { sameBytes } from '../protocol/bytes.ts';
import { decodeCbor, encodeCbor } from '../protocol/control/cbor.ts';
import { bytes, field, oneOf, record, uint } from '../protocol/control/schema.ts';
import {
  type CryptoSuite,
  HASH_BYTES,
  SIGNATURE_BYTES,
  type SigningKey,
} from '../protocol/crypto.ts';
import { signed, verifySigned } from '../protocol/identity/signed.ts';
import { EMPTY_LOG, type LogHead, decodeLogEntry } from './log.ts';
import type { Row } from './manager-types.ts';

/** Row of the table `meta` that holds the signed head of the log. */
export const HEAD_KEY = 'log-head';

/**
 * What a signature speaks of. `head`: all of the log that is kept; `archive`: a part that was moved
 * out; `checkpoint`: the chain before an entry.
 */
type Use = 'head' | 'archive' | 'checkpoint';

const place = {
  use: field(0, oneOf('head', 'archive', 'checkpoint')),
  sequence: field(1, uint(Number.MAX_SAFE_INTEGER)),
  hash: field(2, bytes(HASH_BYTES)),
  baseSequence: field(3, uint(Number.MAX_SAFE_INTEGER)),
  baseHash: field(4, bytes(HASH_BYTES)),
};
const statement = record(place);
const signedHead = record({ ...place, signature: field(5, bytes(SIGNATURE_BYTES)) });

/** A log, or a part of it: the entries behind `base`, up to and with `head`. */
export interface LogSpan {
  readonly base: LogHead;
  readonly head: LogHead;
}

/** What was signed about a span, and the signature: 64 bytes. */
export interface SignedSpan extends LogSpan {
  readonly use: 'head' | 'archive';
  readonly signature: Uint8Array;
}

/** A log without entries. */
export const EMPTY_SPAN: LogSpan = { base: EMPTY_LOG, head: EMPTY_LOG };

/** Signs a span; the bytes that are kept in the store, or stand first in a file. */
export function signSpan(key: SigningKey, use: SignedSpan['use'], span: LogSpan): Uint8Array {
  const fields = fieldsOf(use, span);
  const signature = signed(key, 'log', encodeCbor(statement, fields));
  return encodeCbor(signedHead, { ...fields, signature });
}

/** Reads a signed span, not yet verified; undefined for bytes that are none. */
export function decodeSpan(encoded: Uint8Array): SignedSpan | undefined {
  const decoded = decodeCbor(signedHead, encoded);
  if (decoded === undefined || decoded.use === 'checkpoint') return undefined;
  const { use, sequence, hash, baseSequence, baseHash, signature } = decoded;
  return {
    use,
    head: { sequence, hash },
    base: { sequence: baseSequence, hash: baseHash },
    signature,
  };
}

/** Whether this manager signed this span. */
export function isSpanOf(suite: CryptoSuite, managerKey: Uint8Array, span: SignedSpan): boolean {
  const body = encodeCbor(statement, fieldsOf(span.use, span));
  return verifySigned(suite, managerKey, 'log', body, span.signature);
}

/** The signature of a checkpoint entry: over the chain up to the entry before it; 64 bytes. */
export function signCheckpoint(key: SigningKey, before: LogHead): Uint8Array {
  return signed(key, 'log', encodeCbor(statement, checkpointFields(before)));
}

/** Whether this manager signed a checkpoint behind `before`. */
export function isCheckpointOf(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  before: LogHead,
  signature: Uint8Array,
): boolean {
  const body = encodeCbor(statement, checkpointFields(before));
  return verifySigned(suite, managerKey, 'log', body, signature);
}

/** Whether two places of a chain are the same. */
export function samePlace(a: LogHead, b: LogHead): boolean {
  return a.sequence === b.sequence && sameBytes(a.hash, b.hash);
}

/**
 * What is wrong with the end of a stored log, in words; undefined if nothing is. Quick, for a
 * start: the head is signed by this manager, and the last entry is the one that it names.
 * `isEmpty`: no table holds anything that came with an entry, so that there may be no head yet.
 */
export function checkLogHead(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  stored: {
    readonly meta: readonly Row[];
    /** The row of the log with the highest key. */
    readonly last: Uint8Array | undefined;
    readonly isEmpty: boolean;
  },
): string | undefined {
  const row = stored.meta.find(({ key }) => key === HEAD_KEY);
  if (row === undefined) {
    const isFresh = stored.isEmpty && stored.last === undefined;
    return isFresh ? undefined : 'the head of its log is missing';
  }
  const span = decodeSpan(row.value);
  if (span?.use !== 'head') return 'the head of its log cannot be read';
  if (!isSpanOf(suite, managerKey, span)) {
    return 'the head of its log is not signed by this home’s manager';
  }
  const { head } = span;
  if (stored.last === undefined) return `its log is empty, though it ended at ${head.sequence}`;
  const entry = decodeLogEntry(stored.last);
  if (entry?.sequence !== head.sequence) {
    return `its log ends at ${entry?.sequence ?? 'a damaged entry'}, not ${head.sequence}`;
  }
  return sameBytes(suite.blake2s(stored.last), head.hash)
    ? undefined
    : 'the last entry of its log was changed';
}

/** A checkpoint speaks of the whole chain, whatever was archived of it. */
function checkpointFields(before: LogHead): ReturnType<typeof fieldsOf> {
  return fieldsOf('checkpoint', { base: EMPTY_LOG, head: before });
}

function fieldsOf(use: Use, { base, head }: LogSpan) {
  const { sequence, hash } = head;
  return { use, sequence, hash, baseSequence: base.sequence, baseHash: base.hash };
}
