// What the operator sees: plain objects with stable field names, as `--json` prints them. Wall
// times become ISO 8601 in UTC, byte strings hexadecimal.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import { decodeLogEntry } from '../log.ts';
import type {
  DeviceView,
  ReportView,
  RevokeOutcome,
  RevokeView,
  SessionView,
} from '../manager-types.ts';
import type { Device } from '../names.ts';
import { type Report, type SessionRecord, differenceBytes } from '../records.ts';

const iso = (wall: number): string => new Date(wall).toISOString();

/** A session as `nakodo sessions --json` prints it. */
export function sessionView(row: SessionRecord): SessionView {
  return {
    session: row.session,
    caller: row.callerName,
    callee: row.calleeName,
    callerId: row.callerId,
    calleeId: row.calleeId,
    service: row.service,
    state: row.closed ? 'ended' : row.reason === undefined ? 'live' : 'ending',
    reason: row.reason ?? null,
    seconds: row.seconds,
    bytes: row.bytes ?? null,
    revision: row.revision,
    begun: iso(row.begun),
    ended: row.ended === undefined ? null : iso(row.ended),
    callerReport: reportView(row.callerReport),
    calleeReport: reportView(row.calleeReport),
    differenceBytes: differenceBytes(row) ?? null,
  };
}

function reportView(report: Report | undefined): ReportView | null {
  if (report === undefined) return null;
  return { ...report, path: report.path ?? null, probes: report.probes ?? null };
}

/** A terminal as `nakodo devices --json` prints it. */
export function deviceView(device: Device): DeviceView {
  return {
    name: device.name,
    id: device.id,
    enrolled: iso(device.enrolled),
    registered: device.registered === undefined ? null : iso(device.registered),
    pollSeconds: device.pollSeconds ?? null,
    cloned: device.cloned === undefined ? null : iso(device.cloned),
  };
}

/** What became of a revocation, as `nakodo revoke --json` prints it. */
export function revokeView({ running, ...outcome }: RevokeOutcome): RevokeView {
  return {
    ...outcome,
    running: running.map((session) => ({ ...session, until: iso(session.until) })),
  };
}

/** One entry of the log: `sequence`, `time`, `kind`, its facts, `hash`. */
export type LogView = Readonly<Record<string, string | number | boolean>>;

/** An entry as stored; one that cannot be read is shown as `damaged`. */
export function logView(suite: CryptoSuite, key: string, encoded: Uint8Array): LogView {
  const hash = hex(suite.blake2s(encoded));
  const entry = decodeLogEntry(encoded);
  if (entry === undefined) return { sequence: Number(key), kind: 'damaged', hash };
  const { sequence, wall, kind, previous: _, ...facts } = entry;
  const shown = Object.entries(facts).flatMap(([name, value]) => {
    if (value === undefined) return [];
    if (value instanceof Uint8Array) return [[name, hex(value)] as const];
    if (typeof value !== 'object') return [[name, value] as const];
    // A terminal's two keys: the one group of values that an entry holds.
    const keys: Readonly<Record<string, Uint8Array>> = { ...value };
    return Object.entries(keys).map(([key, bytes]) => [key, hex(bytes)] as const);
  });
  return { sequence, time: iso(wall), kind, ...Object.fromEntries(shown), hash };
}

/** Lower-case hexadecimal. */
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
