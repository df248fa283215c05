// Bounds of the session manager that nobody else needs to know; those that the parties share stand
// in protocol/limits.ts.

import { LIMITS } from '../protocol/limits.ts';
import type { RateLimits } from './manager-types.ts';

export const MANAGER_LIMITS = {
  /** Facts that wait for the disk; beyond it what can be refused is refused. Chosen by us. */
  factsMax: 20_000,
  /** Facts that one batch takes: keeps a flush, and with it a set-up, short under load. */
  batchFactsMax: 256,
  /** Milliseconds until what could not be written is tried again. */
  diskRetryMs: 1_000,
  /** Deadlines that one turn fires before it lets inputs in. */
  firesPerTurnMax: 256,
  /** Answers kept for a request that is repeated, until its caller's own wait is over. */
  answersMax: 20_000,
  /** Requests of which is known that they had an answer: chosen by us, 14 MB when it is full. */
  overMax: 100_000,
  /**
   * Sessions that one terminal has not reported as ended, so that a few that begin talks and never
   * end them do not fill LIMITS.sessionsMax: sixteen times what it can have at once.
   */
  unreportedPerDeviceMax: 1_024,
  /** Closed sessions kept in memory, so that a late report still finds its session. */
  closedSessionsMax: 10_000,
  /** Operators who wait for the end of one session. */
  endWaitersMax: 16,
  /** Operators who wait for the end of revoked terminals' sessions. */
  revokeWaitersMax: 64,
  /** Hellos of one terminal that are answered within a second. */
  hellosPerSecondMax: 4,
  /** Wishes for more time of one terminal that are looked at within a second: each a signature. */
  extendsPerSecondMax: 2 * LIMITS.callsMax,
  /** Extensions under way: at most one for each live session, and no more than this. */
  extensionsMax: 20_000,
  /** Names that the refusals of one caller are folded under in an hour; further ones share one. */
  foldedNamesPerCallerMax: 16,
  /** Folds open in all; further refusals of the hour share one. */
  foldsMax: 10_000,
  /** Milliseconds that refusals are folded for: one hour. */
  foldMs: 3_600_000,
  /**
   * Callers, and pairs of caller and name, whose vain calls are counted: those of the last minutes.
   */
  ratedCallersMax: 20_000,
  ratedNamesMax: 100_000,
  /** Pairs of terminals that talked before, kept so that strangers do not starve friends. */
  friendsMax: 100_000,
  /** Log entries between two checkpoints. */
  checkpointEntries: 256,
  /** Seconds that a relay's credentials are good for, however long the grant: a day. */
  relaySecondsMax: 86_400,
  /**
   * Candidates that one end of a session may tell the other at once, and milliseconds until it may
   * again. Chosen by us: a meeting takes under ten, and a phone on a train moves once in a while.
   */
  candidatesBurst: 32,
  candidatesEveryMs: 200,
  /** Re-introductions of one session that are logged, and milliseconds between two of them. */
  reintroducedEntriesMax: 64,
  reintroducedPauseMs: 60_000,
  /** Tickets that wait to be used. */
  ticketsMax: 10_000,
  /** Uses of one ticket. */
  ticketUsesMax: 10_000,
  /** Seconds that a ticket is good for: a year. */
  ticketSecondsMax: 366 * 86_400,
} as const;

/**
 * How often a caller may ask in vain unless the operator says otherwise. Chosen by us: as many at
 * once as a caller may have under way, so that calls that are accepted never meet a rate, however
 * many at once; then one every two seconds for a name, which leaves a script alone that tries
 * somebody who is away all night, and two a second in all, which is 7,200 guessed names an hour.
 * Who asks on faster gets every second or fourth request through and is never shut out.
 */
export const RATE_DEFAULTS: RateLimits = {
  perCaller: { burst: LIMITS.introductionsPerCallerMax, perSecond: 2 },
  perName: { burst: LIMITS.introductionsPerCallerMax, perSecond: 0.5 },
};
