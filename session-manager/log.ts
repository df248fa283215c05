// The operator's record of everything that began, ended or was refused [S6001]: an append-only
// chain in which each entry names the hash of the one before. An entry is canonical CBOR; keys 0–4
// are the chain, 8 and up the facts. No entry holds an address or a session key. Who signs where
// the chain ends: log-head.ts; who finds what was changed: log-verify.ts; all of it: docs/log.md.

import { PATH_CLASSES } from '../protocol/address.ts';
import { decodeCbor, encodeCbor } from '../protocol/control/cbor.ts';
import {
  type Shape,
  type Type,
  bytes,
  deviceId,
  field,
  name,
  oneOf,
  optional,
  record,
  sessionId,
  ascii,
  uint,
} from '../protocol/control/schema.ts';
import { publicKeys } from '../protocol/control/messages.ts';
import { type CryptoSuite, HASH_BYTES, SIGNATURE_BYTES } from '../protocol/crypto.ts';
import { END_REASONS, type EndReason } from '../protocol/ends.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { WallMs } from '../protocol/time.ts';
import { MANAGER_LIMITS } from './limits.ts';

const LOG_VERSION = 1;
const NO_HASH = new Uint8Array(HASH_BYTES);
/** Digits of a key in the store: text order is number order up to 2^53. */
const KEY_DIGITS = 16;

const reason = oneOf(...END_REASONS.map((row) => row.reason)) as Type<EndReason>;
const seconds = uint(LIMITS.grantSecondsMax);
const quota = uint(LIMITS.grantBytesMax);
const count = uint(Number.MAX_SAFE_INTEGER);
const by = oneOf('caller', 'callee', 'operator', 'manager');
/** What a terminal signed (protocol/consent/statements.ts), and its signature. */
const statement = bytes(1, LIMITS.statementBytesMax);
const signature = bytes(SIGNATURE_BYTES);

const extension = {
  session: field(8, sessionId),
  revision: field(9, uint(LIMITS.revisionsMax)),
  seconds: field(10, seconds),
  bytes: optional(11, quota),
  /** The `extensionStatement` of the end that asked, and the callee's verdict about it. */
  request: field(12, statement),
  requestSignature: field(13, signature),
  verdict: field(14, statement),
  verdictSignature: field(15, signature),
};

const FIELDS = {
  ticket: {
    uses: field(8, uint(MANAGER_LIMITS.ticketUsesMax)),
    seconds: field(9, uint(MANAGER_LIMITS.ticketSecondsMax)),
    name: optional(10, name),
  },
  /** The ID is the hash of the keys; signatures further on are checked with them. */
  enrolled: { device: field(8, deviceId), name: field(9, name), keys: field(10, publicKeys) },
  introduced: {
    session: field(8, sessionId),
    callerId: field(9, deviceId),
    calleeId: field(10, deviceId),
    callerName: field(11, name),
    calleeName: field(12, name),
    service: field(13, ascii(LIMITS.serviceNameMax)),
    seconds: field(14, seconds),
    bytes: optional(15, quota),
    /** The caller's `requestStatement` and the callee's `verdictStatement`, as they signed them. */
    request: field(16, statement),
    requestSignature: field(17, signature),
    verdict: field(18, statement),
    verdictSignature: field(19, signature),
  },
  /** Folded: `times` refusals of one caller and name within one hour; no name: of further names. */
  refused: {
    caller: optional(8, deviceId),
    calleeName: optional(9, name),
    times: field(10, count),
  },
  extended: extension,
  /** An extension that was allowed after the talk had ended (design §5). */
  unused: extension,
  operatorEnd: { session: field(8, sessionId) },
  /** One terminal's end notice; `said` is its own view, the talk's one reason stands in `ended`. */
  report: {
    session: field(8, sessionId),
    by: field(9, by),
    said: field(10, reason),
    sentBytes: field(11, count),
    receivedBytes: field(12, count),
    lostBytes: field(13, count),
    wireBytes: field(14, count),
    durationMs: field(15, count),
    differenceBytes: optional(16, count),
    /** Which way its talk took at its end; absent: none, or it did not say. */
    path: optional(17, oneOf(...PATH_CLASSES)),
    /** Packets of its many-socket search. */
    probes: optional(18, uint(LIMITS.probesMax)),
  },
  /** Exactly one of a session. */
  ended: {
    session: field(8, sessionId),
    reason: field(9, reason),
    by: field(10, by),
  },
  /** The operator took a terminal's membership away: its name is free, so many talks end. */
  revoked: { device: field(8, deviceId), name: field(9, name), sessions: field(10, count) },
  /** One identity was live twice; folded: at most one of a terminal and an hour. */
  cloned: { device: field(8, deviceId), name: field(9, name) },
  /** The manager's word for the chain before this entry (`signCheckpoint`). */
  checkpoint: { signature: field(8, signature) },
  /** Everything up to `through` was moved into a file, and is no longer in the store. */
  archived: { through: field(8, count) },
  /**
   * One end of a running talk was told anew where the other is, within the same grant. Bounded: the
   * first, then one a minute (MANAGER_LIMITS.reintroducedEntriesMax).
   */
  reintroduced: {
    session: field(8, sessionId),
    /** The end that moved. */
    by: field(9, by),
    generation: field(10, uint(LIMITS.generationsMax)),
  },
} as const;

type Kinds = typeof FIELDS;
type LogKind = keyof Kinds;

/** One thing that happened, not yet part of the chain. */
export type LogFact = { [K in LogKind]: { readonly kind: K } & Shape<Kinds[K]> }[LogKind];

/** A fact in its place in the chain. */
export type LogEntry = LogFact & {
  /** From 1, without gaps. */
  readonly sequence: number;
  readonly wall: number;
  /** BLAKE2s of the previous entry's bytes; 32 zero bytes for the first. */
  readonly previous: Uint8Array;
};

/** Kind → number in the entry. Append, never reorder. */
const KINDS: readonly LogKind[] = [
  'ticket',
  'enrolled',
  'introduced',
  'refused',
  'extended',
  'unused',
  'operatorEnd',
  'report',
  'ended',
  'revoked',
  'cloned',
  'checkpoint',
  'archived',
  'reintroduced',
];

const chain = {
  version: field(0, uint(LOG_VERSION)),
  sequence: field(1, uint(Number.MAX_SAFE_INTEGER)),
  wall: field(2, uint(Number.MAX_SAFE_INTEGER)),
  previous: field(3, bytes(HASH_BYTES)),
  number: field(4, uint(255)),
};
const ENTRY_TYPES = KINDS.map(
  (kind) => record({ ...chain, ...FIELDS[kind] }) as unknown as Type<Record<string, unknown>>,
);

/** Where a chain stands: how many entries, and the hash of the last. */
export interface LogHead {
  readonly sequence: number;
  readonly hash: Uint8Array;
}

/** The head of an empty log. */
export const EMPTY_LOG: LogHead = { sequence: 0, hash: NO_HASH };

/** The key of an entry in the store's `log` table. */
export const logKey = (sequence: number): string => String(sequence).padStart(KEY_DIGITS, '0');

/** Puts a fact behind `after`: the entry's bytes and the new head. Changes nothing. */
export function appendLog(
  suite: CryptoSuite,
  after: LogHead,
  wall: WallMs,
  fact: LogFact,
): { readonly bytes: Uint8Array; readonly head: LogHead } {
  const { kind, ...fields } = fact;
  const number = KINDS.indexOf(kind);
  const encoded = encodeCbor(ENTRY_TYPES[number], {
    version: LOG_VERSION,
    sequence: after.sequence + 1,
    wall: Math.max(0, Math.floor(wall)),
    previous: after.hash,
    number,
    ...fields,
  });
  return {
    bytes: encoded,
    head: { sequence: after.sequence + 1, hash: suite.blake2s(encoded) },
  };
}

/** Reads one entry, or undefined for bytes that are not exactly one. */
export function decodeLogEntry(encoded: Uint8Array): LogEntry | undefined {
  const expected = kindNumber(encoded);
  if (expected === undefined || expected >= KINDS.length) return undefined;
  const decoded = decodeCbor(ENTRY_TYPES[expected], encoded);
  if (decoded === undefined || decoded.number !== expected) return undefined;
  const { version, number: _, ...fields } = decoded;
  if (version !== LOG_VERSION) return undefined;
  return { kind: KINDS[expected], ...fields } as unknown as LogEntry;
}

/**
 * The byte in which a canonical entry holds its kind, behind two whole numbers of variable length
 * and a hash. Of anything else it may be any byte: the strict decoder judges it.
 */
function kindNumber(encoded: Uint8Array): number | undefined {
  // The map's head, key and value of the version, the key of the sequence.
  let at = 4;
  for (let skipped = 0; skipped < 2; skipped++) {
    if (at >= encoded.length) return undefined;
    const info = encoded[at] & 31;
    // RFC 8949 §3: 24 to 27 announce a value of 1, 2, 4 or 8 bytes behind the head; then a key.
    at += (info < 24 ? 1 : 1 + (1 << (info - 24))) + 1;
  }
  // The head of a byte string of 32 takes two bytes; then the key of the number.
  at += 2 + HASH_BYTES + 1;
  return at < encoded.length ? encoded[at] : undefined;
}
