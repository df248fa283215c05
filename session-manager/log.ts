// The operator's record of everything that began, ended or was refused [S6001]: an append-only
// chain in which each entry names the hash of the one before, so that a changed, missing or
// reordered entry is found with no key at all. An entry is canonical CBOR; keys 0–4 are the chain,
// 8 and up the facts. No entry holds an address or a session key.

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
import type { CryptoSuite } from '../protocol/crypto.ts';
import { END_REASONS, type EndReason } from '../protocol/ends.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { WallMs } from '../protocol/time.ts';
import { MANAGER_LIMITS } from './limits.ts';

const LOG_VERSION = 1;
const HASH_BYTES = 32;
const NO_HASH = new Uint8Array(HASH_BYTES);
/** Digits of a key in the store: text order is number order up to 2^53. */
const KEY_DIGITS = 16;

const reason = oneOf(...END_REASONS.map((row) => row.reason)) as Type<EndReason>;
const seconds = uint(LIMITS.grantSecondsMax);
const quota = uint(LIMITS.grantBytesMax);
const count = uint(Number.MAX_SAFE_INTEGER);
const by = oneOf('caller', 'callee', 'operator', 'manager');

const extension = {
  session: field(8, sessionId),
  revision: field(9, uint(LIMITS.revisionsMax)),
  seconds: field(10, seconds),
  bytes: optional(11, quota),
};

const FIELDS = {
  ticket: {
    uses: field(8, uint(MANAGER_LIMITS.ticketUsesMax)),
    seconds: field(9, uint(MANAGER_LIMITS.ticketSecondsMax)),
    name: optional(10, name),
  },
  enrolled: { device: field(8, deviceId), name: field(9, name) },
  introduced: {
    session: field(8, sessionId),
    callerId: field(9, deviceId),
    calleeId: field(10, deviceId),
    callerName: field(11, name),
    calleeName: field(12, name),
    service: field(13, ascii(LIMITS.serviceNameMax)),
    seconds: field(14, seconds),
    bytes: optional(15, quota),
    verdict: field(16, bytes(HASH_BYTES)),
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
  },
  /** Exactly one of a session. */
  ended: {
    session: field(8, sessionId),
    reason: field(9, reason),
    by: field(10, by),
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

const head = record({
  sequence: field(0, uint(Number.MAX_SAFE_INTEGER)),
  hash: field(1, bytes(HASH_BYTES)),
});
/** The head as it is stored and signed; undefined for bytes that are none. */
export const encodeLogHead = (value: LogHead): Uint8Array => encodeCbor(head, value);
export const decodeLogHead = (encoded: Uint8Array): LogHead | undefined =>
  decodeCbor(head, encoded);

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
  // The number's place depends on the lengths before it: the few kinds are tried in turn.
  for (let number = 0; number < KINDS.length; number++) {
    const decoded = decodeCbor(ENTRY_TYPES[number], encoded);
    if (decoded === undefined || decoded.number !== number) continue;
    const { version, number: _, ...fields } = decoded;
    return version === LOG_VERSION
      ? ({ kind: KINDS[number], ...fields } as unknown as LogEntry)
      : undefined;
  }
  return undefined;
}

/** What a verification says: how many entries and where they end, or the first fault. */
type LogVerdict =
  | { readonly ok: true; readonly entries: number; readonly head: LogHead }
  | { readonly ok: false; readonly at: number; readonly why: string };

/** Verifies a chain entry by entry, so that a log of any length needs no memory. */
export class LogVerifier {
  readonly #suite: CryptoSuite;
  #head: LogHead = EMPTY_LOG;
  #fault: { readonly ok: false; readonly at: number; readonly why: string } | undefined;

  constructor(suite: CryptoSuite) {
    this.#suite = suite;
  }

  /** Takes the next entry, borrowed; false once something is wrong. */
  add(encoded: Uint8Array): boolean {
    if (this.#fault !== undefined) return false;
    const at = this.#head.sequence + 1;
    const entry = decodeLogEntry(encoded);
    if (entry === undefined) return this.#fail(at, 'an entry cannot be read');
    if (entry.sequence !== at) {
      return this.#fail(at, `entry ${at} is missing or out of place (found ${entry.sequence})`);
    }
    if (!sameHash(entry.previous, this.#head.hash)) {
      return this.#fail(at - 1, 'an entry was changed: the next one names another hash');
    }
    this.#head = { sequence: at, hash: this.#suite.blake2s(encoded) };
    return true;
  }

  /** `head`: what the store says the chain ends with; finds entries cut off or added at the end. */
  finish(head: LogHead): LogVerdict {
    if (this.#fault !== undefined) return this.#fault;
    const { sequence } = this.#head;
    if (sequence !== head.sequence) {
      return { ok: false, at: sequence, why: `the log ends at ${sequence}, not ${head.sequence}` };
    }
    if (!sameHash(this.#head.hash, head.hash)) {
      return { ok: false, at: sequence, why: 'the last entry was changed' };
    }
    return { ok: true, entries: sequence, head: this.#head };
  }

  #fail(at: number, why: string): false {
    this.#fault = { ok: false, at, why };
    return false;
  }
}

/**
 * Verifies a whole log held in memory against its recorded head: finds every changed, missing,
 * added or reordered entry.
 */
export function verifyLog(
  suite: CryptoSuite,
  entries: readonly Uint8Array[],
  recorded: LogHead,
): LogVerdict {
  const verifier = new LogVerifier(suite);
  for (const entry of entries) if (!verifier.add(entry)) break;
  return verifier.finish(recorded);
}

function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
