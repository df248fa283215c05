// The store on LMDB: one file in the home, one transaction a batch, and the answer only after the
// fsync. Sizes are set up front, as LMDB wants; compression is off, rows are small and some are
// hashes. Never on a network file system; copied with its own backup, not with cp (toolchain.md
// §3).

import { closeSync, fchmodSync, openSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { type Database, type RootDatabase, open } from 'lmdb';
import { NakodoError, errorMessage } from '../../protocol/errors.ts';
import { fileError, makeFolder } from '../../protocol/io/files.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import { type Row, type Stored, TABLES, type Table, type Write } from '../manager-types.ts';
import { LIVE_PREFIX, PAST_PREFIX } from '../records.ts';
import { storeFileFault } from './store-file.ts';
import { lockStore } from './store-lock.ts';
import type { Range, Store } from './store.ts';

/** Bytes of address space for the file; it grows on the disk only as it fills. */
const MAP_BYTES_DEFAULT = 16 * 1024 ** 3;
/** Rows of one range read while loading. */
const PAGE_ROWS = 1_000;
/** Bytes free below which LMDB is not opened: it maps what it makes, and dies of a full disk. */
const FREE_BYTES_MIN = 1024 * 1024;
const FILE_MODE = 0o600;
/** Behind every key that we make: keys are ASCII. */
const LAST_CHARACTER = '\u007f';

/** Settings of an LMDB store. */
interface LmdbOptions {
  /** A folder of its own; made if it is not there. */
  readonly folder: string;
  /** Address space to begin with, default 16 GiB; LMDB maps more if it must. */
  readonly mapBytes?: number;
}

/**
 * Opens a store, making it at the first start.
 * @throws NakodoError `store-locked` while another process has it, `no-permission`, `disk-full` or
 *   `store-damaged`.
 */
export async function openLmdbStore(options: LmdbOptions): Promise<Store> {
  const { folder } = options;
  await makeFolder(folder);
  refuseFullDisk(folder);
  const unlock = lockStore(folder);
  const path = join(folder, 'manager.mdb');
  try {
    // LMDB makes them as open as the umask lets it; empty ones it takes for its own.
    for (const file of [path, `${path}-lock`]) makePrivate(file);
    const fault = storeFileFault(path);
    if (fault !== undefined) throw damaged(folder, `manager.mdb: ${fault}`);
    const root = open<Buffer, string>({
      path,
      encoding: 'binary',
      compression: false,
      mapSize: options.mapBytes ?? MAP_BYTES_DEFAULT,
      maxDbs: TABLES.length,
      // A commit returns after its fsync. The asynchronous way (`flushed`) hands each batch to a
      // thread and back, which costs more than the flush: 11 ms against 0.4 ms on a busy machine.
      overlappingSync: false,
    });
    return new LmdbStore(root, { folder, unlock });
  } catch (error) {
    unlock();
    const known = fileError(named(error), folder, 'open');
    if (known.code !== 'file-error') throw known;
    throw damaged(folder, errorMessage(error));
  }
}

function damaged(folder: string, why: string): NakodoError {
  return new NakodoError(
    'store-damaged',
    `the store in ${folder} cannot be opened: ${why}`,
    'restore it from a backup, or move the folder away and begin anew',
  );
}

/** Makes a file 0600, whatever the umask is and whoever put it there. */
function makePrivate(path: string): void {
  const file = openSync(path, 'a', FILE_MODE);
  try {
    fchmodSync(file, FILE_MODE);
  } finally {
    closeSync(file);
  }
}

class LmdbStore implements Store {
  readonly #root: RootDatabase<Buffer, string>;
  readonly #tables = new Map<Table, Database<Buffer, string>>();
  readonly #folder: string;
  readonly #unlock: () => void;
  #isOpen = true;

  constructor(
    root: RootDatabase<Buffer, string>,
    { folder, unlock }: { readonly folder: string; readonly unlock: () => void },
  ) {
    this.#root = root;
    this.#folder = folder;
    this.#unlock = unlock;
    for (const name of TABLES) {
      this.#tables.set(name, root.openDB<Buffer, string>({ name, encoding: 'binary' }));
    }
  }

  load(): Stored {
    return {
      devices: this.#all('devices', '', LIMITS.devicesMax),
      names: this.#all('names', '', LIMITS.devicesMax),
      tickets: this.#all('tickets', '', MANAGER_LIMITS.ticketsMax),
      sessions: [
        ...this.#newestClosed(),
        ...this.#all('sessions', LIVE_PREFIX, LIMITS.sessionsMax),
      ],
      meta: this.#all('meta', '', PAGE_ROWS),
      revoked: this.#all('revoked', '', LIMITS.devicesMax),
    };
  }

  async write(writes: readonly Write[]): Promise<void> {
    if (!this.#isOpen) throw new NakodoError('store-closed', 'the store is closed', 'start again');
    try {
      this.#root.transactionSync(() => {
        for (const { table, key, value } of writes) {
          const rows = this.#table(table);
          if (value === undefined) rows.removeSync(key);
          else rows.putSync(key, Buffer.from(value));
        }
      });
    } catch (error) {
      throw named(error);
    }
  }

  range(table: Table, range: Range): readonly Row[] {
    const { prefix = '', after, reverse = false, limit } = range;
    const last = prefix + LAST_CHARACTER;
    const rows: Row[] = [];
    const found = this.#table(table).getRange({
      // LMDB's range begins at `start`, itself included; one row more makes up for `after`.
      start: after ?? (reverse ? last : prefix),
      end: reverse ? prefix : last,
      reverse,
      limit: after === undefined ? limit : limit + 1,
    });
    for (const { key, value } of found) {
      // LMDB knows other keys than text, and somebody else may have put them there.
      if (typeof key !== 'string') throw damaged(this.#folder, 'a key in it is no text');
      if (key === after || !key.startsWith(prefix) || rows.length >= limit) continue;
      rows.push({ key, value: Uint8Array.from(value) });
    }
    return rows;
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#root.close();
    this.#unlock();
  }

  #table(name: Table): Database<Buffer, string> {
    const table = this.#tables.get(name);
    if (table === undefined)
      throw new NakodoError('store-damaged', `no table ${name}`, 'report it');
    return table;
  }

  #all(table: Table, prefix: string, most: number): readonly Row[] {
    const rows: Row[] = [];
    while (rows.length < most) {
      const after = rows.at(-1)?.key;
      const page = this.range(table, { prefix, limit: PAGE_ROWS, ...(after && { after }) });
      rows.push(...page);
      if (page.length < PAGE_ROWS) break;
    }
    return rows;
  }

  #newestClosed(): readonly Row[] {
    const limit = MANAGER_LIMITS.closedSessionsMax;
    return this.range('sessions', { prefix: PAST_PREFIX, reverse: true, limit }).toReversed();
  }
}

/** @throws NakodoError `disk-full`. */
function refuseFullDisk(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= FREE_BYTES_MIN) return;
  throw fileError(Object.assign(new Error('no room'), { code: 'ENOSPC' }), folder, 'open');
}

/** LMDB tells the system's errors by their number: ENOSPC says more than 28. */
function named(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const { code } = error;
  if (typeof code !== 'number' || !Number.isInteger(code) || code <= 0) return error;
  return Object.assign(new Error(error.message), { code: getSystemErrorName(-code) });
}
