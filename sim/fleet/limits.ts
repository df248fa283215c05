// Bounds of a fleet: how large it may be, how long it waits for what, and how much it keeps. What
// the system bounds (`protocol/limits.ts`, `session-manager/limits.ts`) is not repeated here.

import { assert } from '../../protocol/assert.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../../session-manager/limits.ts';

export const FLEET_LIMITS = {
  /** Terminals of a fleet: the uses of one ticket. */
  terminalsMax: MANAGER_LIMITS.ticketUsesMax,
  /** Processes that they are spread over: more than any machine has cores to spare. */
  processesMax: 64,
  /** Calls, and terminals to start, a second. */
  rateMax: 10_000,
  /** Calls under way at once, in all. */
  parallelMax: 20_000,
  /** Bytes of one call: 1 GiB. */
  bytesMax: 2 ** 30,
  /** Milliseconds of calls: a day. */
  forMsMax: 86_400_000,
  /** Seconds between two polls: a call waits for the next one. */
  pollSecondsMax: 60,
  /** Bytes of a policy file, and entries of each kind in it. */
  policyBytesMax: 1024 * 1024,
  policyEntriesMax: 1_000,
  /** Selectors of one entry, and members of one group, as written. */
  selectorsMax: 1_000,
  /** Groups within groups. */
  groupDepthMax: 16,
  /** Entries of one terminal's allow-list that a policy comes to. */
  listEntriesMax: LIMITS.listFileEntriesMax,
  /** Enrolments, and starts, under way at once in one process. */
  atOnce: 8,
  /** Uses of the ticket are good for so long. */
  ticketSeconds: 3_600,
  /** Milliseconds for a server to be ready, and to end. */
  serverReadyMs: 30_000,
  endMs: 5_000,
  /** Milliseconds for a process of terminals to answer what it can answer at once. */
  answerMs: 30_000,
  /** Milliseconds for a fleet's last terminals to be registered after they were all started. */
  registeredMs: 30_000,
  /** Milliseconds that a terminal may take to enrol, and to start, on a machine at its limit. */
  startMs: 250,
  /** Milliseconds that calls under way get when the fleet is told to end before its time. */
  haltMs: 3_000,
  /**
   * Milliseconds that a permitted call waits for consent: it is answered at once, but a machine at
   * its limit may take its time, and a set-up that is slow is to be seen as one.
   */
  permittedWaitMs: 30_000,
  /** The same where an end polls, beyond the time between two polls. */
  pollingWaitMs: 8_000,
  /** Milliseconds for the bytes of one call to arrive and be answered. */
  deliveryMs: 60_000,
  /** Milliseconds for calls under way to come to their ends when no more begin. */
  drainMs: 45_000,
  /** A call that begins so many milliseconds after its time counts as late. */
  lateMs: 100,
  /** Tries to find a caller that is there, or a callee of the wanted kind, for one call. */
  picksMax: 32,
  /** Words that are kept of each kind of fault; all are counted. */
  faultsKept: 100,
  /** Distinct codes that errors are counted under; further ones share one. */
  codesMax: 64,
  /** Points of a plot, and rows of a report's course: longer runs have coarser ones. */
  courseMax: 600,
  /** Characters that are kept of what a server says on standard error, the last ones. */
  stderrCharacters: 4_000,
  /** File descriptors that a process takes beside its terminals', calls' and links'. */
  descriptorsBeside: 64,
  /** Calls that one hostile terminal has under way, and messages of one raw link. */
  hostileCallsMax: 16,
  hostileMessages: 48,
  /** Connections that one faulty line forwards. */
  lineConnectionsMax: 8,
} as const;

assert(
  FLEET_LIMITS.terminalsMax <= LIMITS.devicesMax,
  'a server knows all the terminals of a fleet',
);
assert(
  FLEET_LIMITS.drainMs > FLEET_LIMITS.permittedWaitMs + LIMITS.answerGraceMs,
  'a call that begins last comes to its end',
);
