// What the owner's list says about one caller: a yes, a no, "ask me", or "this is not who you say"
// (a stated or a pinned ID that differs). The judging itself is protocol/consent's, the same as the
// manager's; here stands only what the manager cannot know.

import {
  type AllowEntry,
  type AllowList,
  type ListAsk,
  type ListVerdict,
  decidingEntry,
  judge,
  reduceToCaller,
  toTravelling,
} from '../protocol/consent/allow-list.ts';
import type { ListEntry } from '../protocol/control/messages.ts';
import type { DeviceId, Name } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MICROS_PER_SECOND, type Micros } from '../protocol/time.ts';
import type { LocalMoment } from '../protocol/units.ts';
import type { Pins } from './pins.ts';

/** What an owner's list comes to for one caller. */
export type OwnVerdict =
  | { readonly kind: 'allowed'; readonly verdict: Extract<ListVerdict, { allowed: true }> }
  | { readonly kind: 'refused' }
  /** This entry decides, and wants its owner's word first. */
  | { readonly kind: 'ask'; readonly entry: AllowEntry }
  /** Somebody else stands behind this name. */
  | { readonly kind: 'peerChanged'; readonly pinned: DeviceId };

/**
 * Judges a caller by the owner's own list [claim 8]. `ask.approved`: the owner was asked and
 * said yes. A name with a stated ID (`TERM1#ID`) is nobody else, whatever wider entries allow; a
 * name without one is whom its pin says.
 */
export function judgeOwn(list: AllowList, at: LocalMoment, pins: Pins, ask: ListAsk): OwnVerdict {
  const pinned = otherBehind(list, pins, ask);
  if (pinned !== undefined) return { kind: 'peerChanged', pinned };
  const own = reduceToCaller(list, ask);
  const entries = toTravelling(own, at);
  const verdict = judge(entries, ask);
  if (verdict.allowed) return { kind: 'allowed', verdict };
  // An owner is not asked about what the entry refuses anyhow.
  const isAskable = ask.approved !== true && judge(entries, { ...ask, approved: true }).allowed;
  const entry = isAskable ? decidingOf(own, entries, ask) : undefined;
  return entry === undefined ? { kind: 'refused' } : { kind: 'ask', entry };
}

/** Who asks, and for which service. */
export type Asker = Pick<ListAsk, 'callerName' | 'callerId' | 'service'>;

/** The entry of the owner's list that decides about a caller, as it is written; see `judge`. */
export function decidingOwn(list: AllowList, at: LocalMoment, ask: Asker): AllowEntry | undefined {
  const own = reduceToCaller(list, ask);
  return decidingOf(own, toTravelling(own, at), ask);
}

/**
 * Whether the list still lets a caller in whom it has let in, its owner asked if it says so: what a
 * talk under way needs to go on.
 */
export function stillLets(list: AllowList, at: LocalMoment, ask: Asker): boolean {
  const deciding = decidingEntry(ownEntries(list, ask, at), ask);
  return deciding !== undefined;
}

/** The entries that can concern this caller, ready to be judged. */
export function ownEntries(
  list: AllowList,
  ask: { readonly callerName: Name },
  at: LocalMoment,
): readonly ListEntry[] {
  return toTravelling(reduceToCaller(list, ask), at);
}

/**
 * [claim 14]: the most seconds that a manager may grant on what a list agreed to. Where `until`
 * binds, two clocks see its moment a little apart, and the manager counts from when the answer
 * came: its total may be more by as long as that took, at most LIMITS.untilSlackSeconds, so that
 * nobody gains by holding a notice back. A stated number of seconds never gives.
 */
export function mostSeconds(
  now: Micros,
  agreed: {
    readonly at: Micros;
    readonly seconds: number | undefined;
    readonly secondsWithoutUntil: number | undefined;
  },
): number | undefined {
  const { at, seconds, secondsWithoutUntil } = agreed;
  if (seconds === undefined) return undefined;
  const tookSeconds = Math.ceil((now - at) / MICROS_PER_SECOND) + 1;
  const slack = Math.min(tookSeconds, LIMITS.untilSlackSeconds);
  return Math.min(seconds + slack, secondsWithoutUntil ?? Infinity);
}

/** The IDs that a list states for a name (`TERM1#ID`); none: whoever its pin says. */
export function statedIds(list: AllowList, name: Name): readonly DeviceId[] {
  return list.entries.flatMap(({ action, pattern, id }) =>
    action === 'allow' && pattern === name && id !== undefined ? [id] : [],
  );
}

/** The ID that should be behind the caller's name, if the caller shows another one. */
function otherBehind(
  list: AllowList,
  pins: Pins,
  { callerName, callerId }: Pick<ListAsk, 'callerName' | 'callerId'>,
): DeviceId | undefined {
  const stated = statedIds(list, callerName);
  const pin = pins.idOf(callerName);
  const wanted = stated.length > 0 ? stated : pin === undefined ? [] : [pin];
  return wanted.length === 0 || wanted.includes(callerId) ? undefined : wanted[0];
}

/** The deciding entry as the owner wrote it: with the command, and how long a yes holds. */
function decidingOf(
  own: AllowList,
  entries: readonly ListEntry[],
  ask: Asker,
): AllowEntry | undefined {
  const deciding = decidingEntry(entries, ask);
  return deciding === undefined ? undefined : own.entries[entries.indexOf(deciding)];
}
