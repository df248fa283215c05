// The rows of the store, each declared once like a message: what a restart needs, and what the
// operator's listings show. No row holds an address or a session key.

import { PATH_CLASSES } from '../protocol/address.ts';
import { decodeCbor, encodeCbor } from '../protocol/control/cbor.ts';
import { publicKeys } from '../protocol/control/messages.ts';
import {
  type Infer,
  type Type,
  bool,
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
import { END_REASONS, type EndReason } from '../protocol/ends.ts';
import type { DeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MANAGER_LIMITS } from './limits.ts';

const RECORD_VERSION = 1;
/** Digits of a wall time in a key: text order is time order until the year 5138. */
const WALL_DIGITS = 14;

const wall = uint(Number.MAX_SAFE_INTEGER);
const count = uint(Number.MAX_SAFE_INTEGER);
const reason = oneOf(...END_REASONS.map((row) => row.reason)) as Type<EndReason>;

/** `devices`, by device ID. */
export const deviceRecord = record({
  version: field(0, uint(RECORD_VERSION)),
  keys: field(1, publicKeys),
  enrolled: field(2, wall),
  /** When it was last seen twice at once. */
  cloned: optional(3, wall),
});
/** `names`, by name [41, Fig. 6]. */
export const nameRecord = record({
  version: field(0, uint(RECORD_VERSION)),
  device: field(1, deviceId),
});
/** `revoked`, by device ID; `membershipsUntil`: Unix seconds when its last membership runs out. */
export const revokedRecord = record({
  version: field(0, uint(RECORD_VERSION)),
  name: field(1, name),
  revoked: field(2, wall),
  membershipsUntil: field(3, uint(Number.MAX_SAFE_INTEGER)),
});
export type RevokedRecord = Infer<typeof revokedRecord>;
/** `tickets`, by the base32 of the secret's hash. */
export const ticketRecord = record({
  version: field(0, uint(RECORD_VERSION)),
  usesLeft: field(1, uint(MANAGER_LIMITS.ticketUsesMax)),
  expires: field(2, wall),
  name: optional(3, name),
});
export type TicketRecord = Infer<typeof ticketRecord>;

/** One terminal's end notice (S6000). */
const report = record({
  reason: field(0, reason),
  sentBytes: field(1, count),
  receivedBytes: field(2, count),
  lostBytes: field(3, count),
  wireBytes: field(4, count),
  durationMs: field(5, count),
  /** Which way its talk took at its end; absent: none, or it did not say. */
  path: optional(6, oneOf(...PATH_CLASSES)),
  /** Packets of its many-socket search. */
  probes: optional(7, uint(LIMITS.probesMax)),
});
export type Report = Infer<typeof report>;

/** `sessions`, by `sessionKey`. */
const sessionRecord = record({
  version: field(0, uint(RECORD_VERSION)),
  session: field(1, sessionId),
  callerId: field(2, deviceId),
  calleeId: field(3, deviceId),
  callerName: field(4, name),
  calleeName: field(5, name),
  service: field(6, ascii(LIMITS.serviceNameMax)),
  begun: field(7, wall),
  seconds: field(8, uint(LIMITS.grantSecondsMax)),
  bytes: optional(9, uint(LIMITS.grantBytesMax)),
  revision: field(10, uint(LIMITS.revisionsMax)),
  /** An end was ordered (S6004): by the operator, unless `order` says another reason. */
  forced: field(11, bool),
  /** Nothing more is expected of it. */
  closed: field(12, bool),
  reason: optional(13, reason),
  ended: optional(14, wall),
  callerReport: optional(15, report),
  calleeReport: optional(16, report),
  order: optional(17, reason),
});
export type SessionRecord = Infer<typeof sessionRecord>;

/** Which end of a session. */
export type Side = 'caller' | 'callee';
/** Both, in the order of the records. */
export const SIDES: readonly Side[] = ['caller', 'callee'];

/** The end of a session that a device is, if it is one. */
export function sideOf(row: SessionRecord, device: DeviceId): Side | undefined {
  if (row.callerId === device) return 'caller';
  return row.calleeId === device ? 'callee' : undefined;
}

/** What every stored record begins with. */
export const RECORD = { version: RECORD_VERSION } as const;

/** Live sessions are found without reading the past; both are in order of their beginning. */
export const LIVE_PREFIX = 'live/';
export const PAST_PREFIX = 'past/';

/** The key of a session's row while it is live, or when it has ended. */
export function sessionKey(
  prefix: typeof LIVE_PREFIX | typeof PAST_PREFIX,
  row: { readonly begun: number; readonly session: string },
): string {
  return `${prefix}${String(row.begun).padStart(WALL_DIGITS, '0')}/${row.session}`;
}

/**
 * Bytes that one end sent and the other neither received nor was told were lost, both ways added
 * up; undefined until both have reported (design §5: sender's = receiver's + declared lost).
 */
export function differenceBytes(row: SessionRecord): number | undefined {
  const { callerReport: caller, calleeReport: callee } = row;
  if (caller === undefined || callee === undefined) return undefined;
  const there = Math.abs(caller.sentBytes - callee.receivedBytes - caller.lostBytes);
  const back = Math.abs(callee.sentBytes - caller.receivedBytes - callee.lostBytes);
  return Math.min(Number.MAX_SAFE_INTEGER, there + back);
}

/** Rows as they are stored; decoding gives undefined for a row that is damaged. */
export const encodeDevice = (row: Infer<typeof deviceRecord>): Uint8Array =>
  encodeCbor(deviceRecord, row);
export const encodeName = (row: Infer<typeof nameRecord>): Uint8Array =>
  encodeCbor(nameRecord, row);
export const encodeRevoked = (row: RevokedRecord): Uint8Array => encodeCbor(revokedRecord, row);
export const encodeTicket = (row: TicketRecord): Uint8Array => encodeCbor(ticketRecord, row);
export const encodeSession = (row: SessionRecord): Uint8Array => encodeCbor(sessionRecord, row);
export const decodeSession = (bytes: Uint8Array): SessionRecord | undefined =>
  decodeCbor(sessionRecord, bytes);
