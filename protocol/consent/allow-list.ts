// The callee's consent, judged in one place for everybody [S2004, S2005]: the callee judges its own
// list when it is asked and again when the notice comes, the manager judges what the callee sent.
//
// Rules: nobody is allowed unless an entry says so; a matching `deny` wins over every `allow`
// [claim 8]; of several matching `allow` entries the first in list order decides; an entry whose
// `until` is past is as if it were not there; ports and commands are allowed by name only.
// Extension: a limit that an entry states is never exceeded. An entry that states any limit refuses
// extension, unless it says `extend`: then the totals may rise up to its limits. An entry without a
// limit lets a talk grow as far as the operator permits.
// Asking: an entry with `ask` decides like any other, but refuses until the owner was asked and the
// answer says `approved`.

import { encodeCbor } from '../control/cbor.ts';
import { type ListEntry, type Terms, listEntry } from '../control/messages.ts';
import type { DeviceId, Name } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { type LocalMoment, parseUntil } from '../units.ts';

/** A terminal's allow-list as its owner wrote it [Fig. 7, ¶0018]. */
export interface AllowList {
  /** Changes whenever the text changes; at most 64 ASCII characters. */
  readonly version: string;
  /** `verdict`: tell the manager what concerns the caller; `list`: everything (the patent's). */
  readonly mode: 'verdict' | 'list';
  readonly entries: readonly AllowEntry[];
}

/** One line of it. */
export interface AllowEntry {
  readonly action: 'allow' | 'deny';
  /** A name, or a pattern in which `*` stands for any characters; 1 to 64 characters. */
  readonly pattern: string;
  /** Only the terminal with this ID. */
  readonly id?: DeviceId | undefined;
  /**
   * Only these services, in which `*` stands for any characters; `*` alone is every service. Absent
   * in `allow`: every service but those with a scope (`port:22`, `run:update`), which are named or
   * not allowed; absent in `deny`: every service.
   */
  readonly services?: readonly string[] | undefined;
  /** Most seconds [claim 14]. */
  readonly seconds?: number | undefined;
  /** Most bytes [claim 15]. */
  readonly bytes?: number | undefined;
  /** `18:00` (today, the callee's local time) or an ISO date-time; see `parseUntil`. */
  readonly until?: string | undefined;
  /** Whether a talk may be extended up to the limits of this entry. */
  readonly extend?: boolean | undefined;
  /** The owner is asked at every call: by `nakodo approve` (true), or by this command. */
  readonly ask?: boolean | string | undefined;
  /** With `ask`: seconds for which a yes counts for this caller's next calls as well. */
  readonly remember?: number | undefined;
}

/** Who asks, and for which service. */
interface Asker {
  readonly name: string;
  readonly id: DeviceId;
  readonly service: string;
}

/** A question to a list. */
export interface ListAsk {
  readonly callerName: Name;
  readonly callerId: DeviceId;
  readonly service: string;
  /** For an extension: the totals that are wanted, counted from the beginning of the talk. */
  readonly want: Terms;
  readonly kind: 'connect' | 'extend';
  /** For an extension: what is granted now, and how long the talk has lasted. */
  readonly current?: CurrentTerms | undefined;
  /** The owner was asked and said yes: counts for an entry with `ask`. */
  readonly approved?: boolean | undefined;
}

/** A running talk's limits. */
interface CurrentTerms {
  /** Total granted so far. */
  readonly seconds: number;
  /** Total granted so far; undefined = no limit. */
  readonly bytes?: number | undefined;
  /** Since the talk began; unknown counts as 0, which can only make `until` stricter. */
  readonly elapsedSeconds?: number | undefined;
}

/** What a list says; limits are the least of what was wanted and what the entry states. */
export type ListVerdict =
  | { readonly allowed: false }
  | {
      readonly allowed: true;
      readonly seconds?: number | undefined;
      readonly bytes?: number | undefined;
    };

/** What the operator permits to everybody. */
export interface OperatorLimits {
  /** Granted when nobody asked for a time. */
  readonly secondsDefault: number;
  readonly secondsMax: number;
  readonly bytesMax?: number | undefined;
}

interface Matchable {
  readonly action: AllowEntry['action'];
  readonly pattern: string;
  readonly id?: DeviceId | undefined;
  readonly services?: readonly string[] | undefined;
}

const REFUSED: ListVerdict = { allowed: false };
const PATTERN = /^[A-Za-z0-9*][A-Za-z0-9._@+*-]{0,63}$/;

/** Whether a text can be a list entry's pattern: a name in which `*` may stand anywhere. */
export const isPattern = (text: string): boolean => PATTERN.test(text);

/**
 * Whether a name fits a pattern; `*` stands for any characters, none included.
 * Each piece between two `*` is searched once, from where the last one ended: no backtracking.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  const pieces = pattern.split('*');
  const last = pieces[pieces.length - 1];
  if (pieces.length === 1) return pattern === name;
  if (!name.startsWith(pieces[0])) return false;
  let at = pieces[0].length;
  for (const piece of pieces.slice(1, -1)) {
    const found = name.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

/** The entries, of either action, that concern this caller and service, in list order [S2004]. */
export function matchingEntries<E extends Matchable>(
  entries: readonly E[],
  asker: Asker,
): readonly E[] {
  return entries.filter(
    (entry) =>
      matchesPattern(entry.pattern, asker.name) &&
      (entry.id === undefined || entry.id === asker.id) &&
      coversService(entry, asker.service),
  );
}

/**
 * Whether an entry is about this service. Who is let in "for every service" is let in to leave
 * files and to be listened to; the ports and the commands of a device are opened by name only.
 */
function coversService(
  { action, services }: Pick<Matchable, 'action' | 'services'>,
  service: string,
): boolean {
  if (services === undefined) return action === 'deny' || !service.includes(':');
  return services.some((named) => matchesPattern(named, service));
}

/**
 * The entry that decides about a caller [S2004, claim 8]: the first `allow` whose time is not past,
 * unless a `deny` matches; undefined: nobody said yes.
 */
export function decidingEntry<E extends Matchable & Pick<ListEntry, 'action' | 'untilSeconds'>>(
  entries: readonly E[],
  ask: Pick<ListAsk, 'callerName' | 'callerId' | 'service'>,
): E | undefined {
  const matching = matchingEntries(entries, {
    name: ask.callerName,
    id: ask.callerId,
    service: ask.service,
  });
  if (matching.some((entry) => entry.action === 'deny')) return undefined;
  return matching.find((candidate) => candidate.untilSeconds !== 0);
}

/**
 * Judges a request by the callee's list: the one evaluator of callee and manager
 * [S2004, S2005, claim 8, claim 14, claim 15]; see the head of this file for the rules.
 */
export function judge(entries: readonly ListEntry[], ask: ListAsk): ListVerdict {
  const entry = decidingEntry(entries, ask);
  if (entry === undefined || (entry.ask === true && ask.approved !== true)) return REFUSED;
  return ask.kind === 'connect' ? bounded(entry, ask.want, 0) : judgeExtension(entry, ask);
}

function judgeExtension(entry: ListEntry, ask: ListAsk): ListVerdict {
  const limited =
    entry.seconds !== undefined || entry.bytes !== undefined || entry.untilSeconds !== undefined;
  if (limited && entry.extend !== true) return REFUSED;
  const verdict = bounded(entry, ask.want, ask.current?.elapsedSeconds ?? 0);
  if (!verdict.allowed || ask.current === undefined) return verdict;
  // An extension that would give nothing more is a refusal.
  const { seconds, bytes } = ask.current;
  const longer = ask.want.seconds !== undefined && (verdict.seconds ?? Infinity) > seconds;
  const more =
    ask.want.bytes !== undefined && bytes !== undefined && (verdict.bytes ?? Infinity) > bytes;
  return longer || more ? verdict : REFUSED;
}

/** The least of what is wanted and what the entry states; `until` counts from `elapsedSeconds`. */
function bounded(entry: ListEntry, want: Terms, elapsedSeconds: number): ListVerdict {
  const untilTotal =
    entry.untilSeconds === undefined ? undefined : elapsedSeconds + entry.untilSeconds;
  return {
    allowed: true,
    seconds: least(want.seconds, entry.seconds, untilTotal),
    bytes: least(want.bytes, entry.bytes),
  };
}

/**
 * The grant's limits [S2007, S6002]: the least of what the caller wants, the callee allows and the
 * operator permits [claim 14, claim 15]. `seconds` is always there. With `current` (an extension):
 * totals; what was not asked to rise stays, and nothing falls below what is granted already.
 */
export function grantFor(
  want: Terms,
  verdict: { readonly seconds?: number | undefined; readonly bytes?: number | undefined },
  operator: OperatorLimits,
  current?: CurrentTerms,
): { readonly seconds: number; readonly bytes?: number | undefined } {
  const secondsWanted = want.seconds ?? current?.seconds ?? operator.secondsDefault;
  const seconds = Math.min(
    secondsWanted,
    verdict.seconds ?? Infinity,
    operator.secondsMax,
    LIMITS.grantSecondsMax,
  );
  const bytes = least(want.bytes ?? current?.bytes, verdict.bytes, operator.bytesMax);
  if (current === undefined) return { seconds, bytes };
  return {
    seconds: Math.max(seconds, current.seconds),
    // A talk without a limit in bytes does not get one by being extended in time.
    bytes: current.bytes === undefined ? undefined : Math.max(bytes ?? 0, current.bytes),
  };
}

/** The entries whose name part fits this caller: what a verdict tells the manager (design §4). */
export function reduceToCaller(list: AllowList, ask: { readonly callerName: string }): AllowList {
  return {
    ...list,
    entries: list.entries.filter((entry) => matchesPattern(entry.pattern, ask.callerName)),
  };
}

/**
 * The list as it travels [S4003]: `until` becomes the seconds left at this moment; how the owner is
 * asked stays at home.
 */
export function toTravelling(list: AllowList, at: LocalMoment): readonly ListEntry[] {
  return list.entries.map((entry) => ({
    action: entry.action,
    pattern: entry.pattern,
    id: entry.id,
    services: entry.services,
    seconds: entry.seconds,
    bytes: entry.bytes,
    untilSeconds: entry.until === undefined ? undefined : parseUntil(entry.until, at),
    extend: entry.extend,
    ask: entry.ask === undefined || entry.ask === false ? undefined : true,
  }));
}

/**
 * What the callee sends in answer to a communication request [S4003, S2003]: in mode `list`
 * everything, if it fits one message; otherwise what concerns this caller. If even that does not
 * fit, only what decides: all that matches wholly, `deny` first, as far as it fits.
 */
export function travellingList(
  list: AllowList,
  ask: { readonly callerName: Name; readonly callerId: DeviceId; readonly service: string },
  at: LocalMoment,
): { readonly entries: readonly ListEntry[]; readonly reduced: boolean } {
  if (list.mode === 'list' && list.entries.length <= LIMITS.listEntriesMax) {
    const entries = toTravelling(list, at);
    if (fits(entries)) return { entries, reduced: false };
  }
  const concerning = toTravelling(reduceToCaller(list, ask), at);
  if (fits(concerning)) return { entries: concerning, reduced: true };
  const asker = { name: ask.callerName, id: ask.callerId, service: ask.service };
  const deciding = matchingEntries(concerning, asker);
  // One deny, or else the first entry that still allows, is all that `judge` looks at.
  const first =
    deciding.find((entry) => entry.action === 'deny') ??
    deciding.find((entry) => entry.untilSeconds !== 0);
  return { entries: first === undefined ? [] : [first], reduced: true };
}

function fits(entries: readonly ListEntry[]): boolean {
  if (entries.length > LIMITS.listEntriesMax) return false;
  let size = 0;
  for (const entry of entries) size += encodeCbor(listEntry, entry).length;
  return size <= LIMITS.listBytesMax;
}

function least(...values: readonly (number | undefined)[]): number | undefined {
  const stated = values.filter((value) => value !== undefined);
  return stated.length === 0 ? undefined : Math.min(...stated);
}
