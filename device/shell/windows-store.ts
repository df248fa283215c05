// The file windows.json: what is used of the vendor windows of a home (ADR 0017). Written when a
// talk of a window begins, is given more, and ends; never otherwise. What cannot be read or written
// closes the windows: better a vendor who calls the owner than one who gets in twice.

import * as v from 'valibot';
import type { AllowList } from '../../protocol/consent/allow-list.ts';
import { NakodoError, errorMessage } from '../../protocol/errors.ts';
import type { Counts } from '../../protocol/ends.ts';
import { type SessionId, isSessionId } from '../../protocol/ids.ts';
import { damagedFile, readJson } from '../../protocol/io/files.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import type { StoredEnd } from '../terminal-types.ts';
import { type UsedWindow, VendorWindows, type WindowTalk } from '../vendor-windows.ts';
import { WholeFile } from './whole-file.ts';

/** Bytes of a window or a talk in the file come to less than 160. */
const FILE_BYTES_MAX = (LIMITS.windowsMax + LIMITS.callsMax) * 160;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const key = v.pipe(v.string(), v.regex(/^[a-z2-7]{26}$/));
const windowsFile = v.strictObject({
  version: v.literal(1),
  used: v.pipe(
    v.array(v.strictObject({ key, usedBytes: count, untilMs: count })),
    v.maxLength(LIMITS.windowsMax),
  ),
  talks: v.pipe(
    v.array(
      v.strictObject({
        session: v.custom<SessionId>((text) => typeof text === 'string' && isSessionId(text)),
        key,
        grantedBytes: count,
      }),
    ),
    v.maxLength(LIMITS.callsMax),
  ),
});

/** What is used of windows, and which talks under way they let in. */
interface WindowRecords {
  readonly used: readonly UsedWindow[];
  readonly talks: readonly WindowTalk[];
}

/** What the file of a home says. @throws NakodoError `file-damaged` */
export async function readWindows(path: string): Promise<WindowRecords> {
  return windowsIn(await readJson(path, FILE_BYTES_MAX), path);
}

/** The same of parsed JSON; undefined: there is no file. @throws NakodoError `file-damaged` */
export function windowsIn(found: unknown, path: string): WindowRecords {
  if (found === undefined) return { used: [], talks: [] };
  const parsed = v.safeParse(windowsFile, found);
  if (parsed.success) return { used: parsed.output.used, talks: parsed.output.talks };
  throw damagedFile(path, 'it does not say what is used of which window');
}

/** The windows of one home, on disk. */
export class WindowsStore {
  readonly #windows: VendorWindows;
  readonly #file: WholeFile;
  readonly #log: Log;
  #isUnread: boolean;
  #problem: string | undefined;

  private constructor(path: string, windows: VendorWindows, log: Log, problem: string | undefined) {
    this.#windows = windows;
    this.#log = log;
    this.#problem = problem;
    this.#isUnread = problem !== undefined;
    this.#file = new WholeFile({
      path,
      text: () => this.#text(),
      onError: (error) => this.#onError(error),
      onWritten: () => this.#onWritten(),
    });
  }

  /**
   * Opens the windows of a home. A talk that was under way when the agent stopped has spent what
   * its end record says, and without one all that it was granted.
   */
  static async load(path: string, ends: readonly StoredEnd[], log: Log): Promise<WindowsStore> {
    try {
      const { used, talks } = await readWindows(path);
      const windows = new VendorWindows(used);
      for (const talk of talks) {
        const end = ends.find(({ session }) => session === talk.session);
        const isKnown = end?.reason !== undefined;
        windows.spend(talk, isKnown ? moved(end.counts) : talk.grantedBytes);
      }
      const store = new WindowsStore(path, windows, log, undefined);
      if (talks.length > 0) store.#file.changed();
      return store;
    } catch (error) {
      if (!(error instanceof NakodoError)) throw error;
      log.error('windows-unreadable', { why: error.message, next: error.next });
      return new WindowsStore(path, new VendorWindows(), log, error.message);
    }
  }

  /** Why the windows are closed, in words; undefined: they are not. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** The list with what is left of its windows; see VendorWindows. */
  adjusted(list: AllowList, at: LocalMoment, except?: SessionId): AllowList {
    if (this.#problem === undefined) return this.#windows.adjusted(list, at, except);
    // What could not be written may be by now; what could not be read is its owner's to mend.
    if (!this.#isUnread) this.#file.changed();
    return VendorWindows.closed(list);
  }

  /** A talk was let in. */
  onBegun(...of: Parameters<VendorWindows['begin']>): void {
    if (this.#windows.begin(...of)) this.#file.changed();
  }

  /** A talk was given more. */
  onExtended(session: SessionId, bytes: number | undefined): void {
    if (this.#windows.onExtended(session, bytes)) this.#file.changed();
  }

  /** A talk ended. */
  onEnded(session: SessionId, counts: Counts): void {
    if (this.#windows.onEnded(session, moved(counts))) this.#file.changed();
  }

  /** Resolves when everything is on disk, or was said to be not. */
  settled(): Promise<void> {
    return this.#file.settled();
  }

  #onError(error: unknown): void {
    this.#problem = errorMessage(error);
    this.#log.error('windows-not-saved', { why: this.#problem });
  }

  #onWritten(): void {
    if (!this.#isUnread) this.#problem = undefined;
  }

  #text(): string {
    const { used, talks } = this.#windows.records();
    return `${JSON.stringify({ version: 1, used, talks })}\n`;
  }
}

/** What counts against a window: both directions, as the quota does. */
const moved = ({ sentBytes, receivedBytes }: Counts): number => sentBytes + receivedBytes;
