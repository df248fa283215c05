// The folder ends/: one small file for each talk under way or end not yet acknowledged, so that a
// restart, or a manager that is away, loses no end notice [S5007].

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { END_REASONS, type EndReason, NO_COUNTS } from '../../protocol/ends.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { type SessionId, isSessionId } from '../../protocol/ids.ts';
import { fileError, readJson, removeFile, writeFileAtomic } from '../../protocol/io/files.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import type { Log } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { StoredEnd } from '../terminal-types.ts';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const reasons = END_REASONS.map((row) => row.reason);
const recordFile = v.strictObject({
  version: v.literal(1),
  reason: v.optional(v.custom<EndReason>((word) => reasons.includes(word as EndReason))),
  counts: v.strictObject({
    sentBytes: count,
    receivedBytes: count,
    lostBytes: count,
    wireBytes: count,
    durationMs: count,
  }),
});

/** Writes of one session follow one another; of several waiting ones only the last is done. */
interface Pending {
  wanted: StoredEnd | undefined;
  again: boolean;
  done: Promise<void>;
}

/** A record whose moment has not come; one a talk. */
interface Waiting {
  readonly timer: NodeJS.Timeout;
  write(): void;
  /** For whoever asked to keep a record that a newer one overtook: it is not written. */
  resolve(isWritten: false): void;
}

/** The ends of one home. */
export class EndsStore {
  readonly #folder: string;
  readonly #pending = new Map<SessionId, Pending>();
  /** The newest record of each talk that waits for its moment. */
  readonly #waiting = new Map<SessionId, Waiting>();
  /** Those that have, or may have, a file. */
  readonly #onDisk = new Set<SessionId>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * What lies there, at most as much as a terminal keeps. A record that cannot be read counts as a
   * talk that was under way: its end is reported as `restarted` rather than not at all.
   */
  async load(log: Log): Promise<readonly StoredEnd[]> {
    const records: StoredEnd[] = [];
    let names: string[];
    try {
      names = await readdir(this.#folder);
    } catch (error) {
      throw fileError(error, this.#folder, 'read');
    }
    for (const session of names.filter(isSessionId).slice(0, LIMITS.endNoticesMax)) {
      this.#onDisk.add(session);
      records.push(await this.#read(session, log));
    }
    return records;
  }

  /**
   * Keeps a record (or, undefined, forgets the session's) in a moment: nobody waits for the disk,
   * and opening a file takes time that a set-up has not. A record waits IO_LIMITS.endRecordWaitMs,
   * and is not written at all if it is overtaken: a short talk whose end is acknowledged at once
   * writes nothing. Resolves with whether the disk was needed.
   * @throws NakodoError
   */
  keep(session: SessionId, record: StoredEnd | undefined): Promise<boolean> {
    const overtaken = this.#waiting.get(session);
    if (overtaken !== undefined) clearTimeout(overtaken.timer);
    overtaken?.resolve(false);
    if (record === undefined && !this.#onDisk.has(session) && !this.#pending.has(session)) {
      this.#waiting.delete(session);
      return Promise.resolve(false);
    }
    return new Promise<boolean>((resolve, reject) => {
      const write = (): void => {
        this.#waiting.delete(session);
        this.store(session, record).then(() => resolve(true), reject);
      };
      const timer = setTimeout(write, record === undefined ? 0 : IO_LIMITS.endRecordWaitMs);
      this.#waiting.set(session, { timer, write, resolve });
    });
  }

  /** Keeps a record (or, undefined, forgets the session's), durably. @throws NakodoError */
  store(session: SessionId, record: StoredEnd | undefined): Promise<void> {
    const pending = this.#pending.get(session);
    if (pending !== undefined) {
      pending.wanted = record;
      pending.again = true;
      return pending.done;
    }
    const fresh: Pending = { wanted: record, again: true, done: Promise.resolve() };
    this.#pending.set(session, fresh);
    fresh.done = this.#work(session, fresh);
    return fresh.done;
  }

  /** Writes what waits; resolves when nothing is being written any more. The last call. */
  async settled(): Promise<void> {
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.write();
    }
    await Promise.allSettled([...this.#pending.values()].map((pending) => pending.done));
  }

  async #work(session: SessionId, pending: Pending): Promise<void> {
    const path = join(this.#folder, session);
    try {
      while (pending.again) {
        pending.again = false;
        if (pending.wanted === undefined) {
          await removeFile(path);
          this.#onDisk.delete(session);
        } else {
          this.#onDisk.add(session);
          await writeFileAtomic(path, recordText(pending.wanted), 0o600);
        }
      }
    } finally {
      this.#pending.delete(session);
    }
  }

  async #read(session: SessionId, log: Log): Promise<StoredEnd> {
    try {
      const parsed = v.safeParse(recordFile, await readJson(join(this.#folder, session)));
      if (parsed.success) {
        return { session, reason: parsed.output.reason, counts: parsed.output.counts };
      }
    } catch (error) {
      if (!(error instanceof NakodoError)) throw error;
    }
    log.warn('end-record-damaged', { session });
    return { session, reason: undefined, counts: NO_COUNTS };
  }
}

function recordText({ reason, counts }: StoredEnd): string {
  return `${JSON.stringify({ version: 1, reason, counts })}\n`;
}
