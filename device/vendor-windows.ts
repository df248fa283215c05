// The vendor window [claim 14, claim 15]: an entry that states `until` and `bytes` is open until
// then, for so many bytes in all, over all talks that it let in. Here stands how much of each is
// used, and what that leaves of a list before anybody judges by it: an entry with fewer bytes, or
// none. A talk under way counts with all that it was granted, one that ended with what it moved; so
// the sum does not exceed the window; what a crash can hide of it, ADR 0017 says.

import { blake2s } from '@noble/hashes/blake2.js';
import { utf8ToBytes } from '@noble/hashes/utils.js';
import { base32 } from '../protocol/base32.ts';
import type { AllowEntry, AllowList } from '../protocol/consent/allow-list.ts';
import type { SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MS_PER_SECOND } from '../protocol/time.ts';
import { type LocalMoment, isTimeOfDay, parseUntil } from '../protocol/units.ts';
import { type Asker, decidingOwn } from './own-list.ts';

/** A window of which something is used: one line of `windows.json`. */
export interface UsedWindow {
  readonly key: string;
  /** By talks that ended. */
  readonly usedBytes: number;
  /** When it closes, Unix milliseconds. */
  readonly untilMs: number;
}

/** A talk that a window let in, and that has not ended. */
export interface WindowTalk {
  readonly session: SessionId;
  readonly key: string;
  /** With its extensions. */
  readonly grantedBytes: number;
}

/** What is left of a window. */
export interface WindowLeft {
  /** Moved by talks that ended. */
  readonly usedBytes: number;
  /** Granted to talks under way. */
  readonly heldBytes: number;
  readonly leftBytes: number;
  /** 0: it is closed. */
  readonly leftSeconds: number;
}

/** An entry that is a window. */
type WindowEntry = AllowEntry & { readonly until: string; readonly bytes: number };

const KEY_LENGTH = 26;
const VERSION_LENGTH = 16;
const SECONDS_PER_MINUTE = 60;
const SECONDS_PER_DAY = 86_400;

/** Whether an entry is a window: open until then, for so many bytes in all. */
export function isWindow(entry: AllowEntry): entry is WindowEntry {
  return entry.action === 'allow' && entry.until !== undefined && entry.bytes !== undefined;
}

/**
 * What names a window, 26 characters: whom it lets in, for which services, until when. How many
 * bytes it has is no part of it, so that its owner can add some. A time of day (`18:00`, written by
 * hand) is a window of its own every day.
 */
export function windowKey(entry: WindowEntry, at: LocalMoment): string {
  const { pattern, id, services, until } = entry;
  const localSeconds = at.wallMs / MS_PER_SECOND + at.offsetMinutes * SECONDS_PER_MINUTE;
  const day = isTimeOfDay(until) ? Math.floor(localSeconds / SECONDS_PER_DAY) : null;
  const text = JSON.stringify([pattern, id ?? null, services ?? null, until, day]);
  return base32(blake2s(utf8ToBytes(text))).slice(0, KEY_LENGTH);
}

/** The windows of one terminal, and the talks that they let in. */
export class VendorWindows {
  /** At most LIMITS.windowsMax. */
  readonly #used = new Map<string, UsedWindow>();
  /** Talks under way: at most LIMITS.callsMax. */
  readonly #talks = new Map<SessionId, WindowTalk>();

  constructor(used: readonly UsedWindow[] = [], talks: readonly WindowTalk[] = []) {
    for (const window of used) this.#used.set(window.key, window);
    for (const talk of talks) this.#talks.set(talk.session, talk);
  }

  /** Everything that has to outlive a restart. */
  records(): { readonly used: readonly UsedWindow[]; readonly talks: readonly WindowTalk[] } {
    return { used: [...this.#used.values()], talks: [...this.#talks.values()] };
  }

  /** What is left of a window; `except`: a talk whose own grant does not count. */
  leftOf(entry: WindowEntry, at: LocalMoment, except?: SessionId): WindowLeft {
    const key = windowKey(entry, at);
    const known = this.#used.get(key);
    const usedBytes = known?.usedBytes ?? 0;
    let heldBytes = 0;
    for (const talk of this.#talks.values()) {
      if (talk.key === key && talk.session !== except) heldBytes += talk.grantedBytes;
    }
    // No room to count what a new window spends: then it stays closed.
    const isCountable = known !== undefined || this.#used.size < LIMITS.windowsMax;
    const leftBytes = isCountable ? Math.max(0, entry.bytes - usedBytes - heldBytes) : 0;
    return { usedBytes, heldBytes, leftBytes, leftSeconds: parseUntil(entry.until, at) };
  }

  /**
   * The list as it stands with what is used: a window has the bytes that are left, one that is used
   * up is not there. The version changes with it, as the manager knows lists by their version.
   * `except`: a talk that asks for more; what it has already is not taken from it.
   */
  adjusted(list: AllowList, at: LocalMoment, except?: SessionId): AllowList {
    this.#makeRoom(at);
    const lefts: string[] = [];
    const entries = list.entries.flatMap((entry, place) => {
      if (!isWindow(entry)) return [entry];
      const { leftBytes } = this.leftOf(entry, at, except);
      if (leftBytes === entry.bytes) return [entry];
      lefts.push(`${place} ${leftBytes}`);
      return leftBytes === 0 ? [] : [{ ...entry, bytes: leftBytes }];
    });
    if (lefts.length === 0) return list;
    const text = utf8ToBytes(`${list.version} ${lefts.join(' ')}`);
    return { ...list, entries, version: base32(blake2s(text)).slice(0, VERSION_LENGTH) };
  }

  /** The list without any window, for when nobody can tell what is left of them. */
  static closed(list: AllowList): AllowList {
    const entries = list.entries.filter((entry) => !isWindow(entry));
    if (entries.length === list.entries.length) return list;
    return { ...list, entries, version: `-${list.version.slice(0, VERSION_LENGTH)}` };
  }

  /**
   * A talk was let in: false if it was by no window. `list`: the owner's own, before `adjusted`.
   * `grantedBytes` undefined cannot be: a window states bytes, and the grant is within them.
   */
  begin(
    list: AllowList,
    at: LocalMoment,
    talk: Asker & { readonly session: SessionId; readonly grantedBytes: number | undefined },
  ): boolean {
    const adjusted = this.adjusted(list, at);
    const deciding = decidingOwn(adjusted, at, talk);
    if (deciding === undefined || !isWindow(deciding)) return false;
    const key = windowKey(deciding, at);
    const untilMs = at.wallMs + parseUntil(deciding.until, at) * MS_PER_SECOND;
    if (!this.#used.has(key)) this.#used.set(key, { key, usedBytes: 0, untilMs });
    const { session, grantedBytes = deciding.bytes } = talk;
    this.#talks.set(session, { session, key, grantedBytes });
    return true;
  }

  /** A talk was granted more; false if it is of no window. */
  onExtended(session: SessionId, bytes: number | undefined): boolean {
    const talk = this.#talks.get(session);
    if (talk === undefined || bytes === undefined || bytes <= talk.grantedBytes) return false;
    this.#talks.set(session, { ...talk, grantedBytes: bytes });
    return true;
  }

  /** A talk ended, and has moved so many bytes; false if it is of no window. */
  onEnded(session: SessionId, bytes: number): boolean {
    const talk = this.#talks.get(session);
    if (talk === undefined) return false;
    this.#talks.delete(session);
    this.spend(talk, bytes);
    return true;
  }

  /** A talk of a window is over; after a restart also one that this process never held. */
  spend({ key, grantedBytes }: Pick<WindowTalk, 'key' | 'grantedBytes'>, bytes: number): void {
    const window = this.#used.get(key);
    if (window === undefined) return;
    const usedBytes = window.usedBytes + Math.min(bytes, grantedBytes);
    this.#used.set(key, { ...window, usedBytes: Math.min(usedBytes, LIMITS.grantBytesMax) });
  }

  /**
   * At the bound windows that are past make room, those first that closed longest ago; not before,
   * as a clock that is ahead for a while would reopen what is used up.
   */
  #makeRoom(at: LocalMoment): void {
    if (this.#used.size < LIMITS.windowsMax) return;
    const held = new Set([...this.#talks.values()].map(({ key }) => key));
    const past = [...this.#used.values()]
      .filter(({ key, untilMs }) => untilMs < at.wallMs && !held.has(key))
      .sort((one, other) => one.untilMs - other.untilMs);
    for (const { key } of past.slice(0, LIMITS.windowsMax / 2)) this.#used.delete(key);
  }
}
