// Stores under a seal for tests: one on the disk as a manager opens it, and one in memory whose
// rows somebody without the key can change as they lie there.

import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type Row, type Stored, TABLES, type Table, type Write } from '../manager-types.ts';
import { storeKeyOf } from '../row-seal.ts';
import { LIVE_PREFIX, PAST_PREFIX } from '../records.ts';
import { authenticatedStore } from '../shell/authenticated-store.ts';
import { openLmdbStore } from '../shell/store-lmdb.ts';
import type { Range, Store } from '../shell/store.ts';

/** Where a store in memory says that it lies. */
export const FOLDER = '/s/store';
const ROWS_MAX = 100_000;
/** As in LMDB. */
const KEY_CHARACTERS_MAX = 1_978;

/** Seals a store with the key of the manager whose seed is this byte over and over. */
export function sealed(inner: Store, { seed = 9, folder = FOLDER } = {}): Store {
  const key = storeKeyOf(nodeSuite, new Uint8Array(32).fill(seed));
  return authenticatedStore(inner, { suite: nodeSuite, key, folder });
}

/** An LMDB store under the seal, as a manager opens it. */
export async function openSealedStore(folder: string): Promise<Store> {
  return sealed(await openLmdbStore({ folder }), { folder });
}

/** The rows of a store as they lie there: table → key → value. */
export type Tables = Map<Table, Map<string, Uint8Array>>;

/** A deep copy. */
export function copyOf(tables: Tables): Tables {
  return new Map(
    [...tables].map(([name, rows]) => [
      name,
      new Map([...rows].map(([key, value]) => [key, value.slice()])),
    ]),
  );
}

/** A store in memory; `tables` outlive it. */
export class MemoryStore implements Store {
  readonly tables: Tables;
  /** `refuses`: writes nothing and says so; `lies`: writes, and says that it did not. */
  disk: 'works' | 'refuses' | 'lies' = 'works';

  constructor(tables: Tables = new Map(TABLES.map((name) => [name, new Map()]))) {
    this.tables = tables;
  }

  load(): Stored {
    const all = (table: Table, prefix = ''): readonly Row[] =>
      this.range(table, { prefix, limit: ROWS_MAX });
    return {
      devices: all('devices'),
      names: all('names'),
      tickets: all('tickets'),
      sessions: [...all('sessions', PAST_PREFIX), ...all('sessions', LIVE_PREFIX)],
      meta: all('meta'),
      revoked: all('revoked'),
    };
  }

  async write(writes: readonly Write[]): Promise<void> {
    const isTooLong = writes.some(({ key }) => key.length > KEY_CHARACTERS_MAX);
    if (isTooLong || this.disk === 'refuses') throw new Error('not written');
    for (const { table, key, value } of writes) {
      if (value === undefined) this.rows(table).delete(key);
      else this.rows(table).set(key, value.slice());
    }
    if (this.disk === 'lies') throw new Error('written, and the disk failed then');
  }

  range(table: Table, { prefix = '', after, reverse = false, limit }: Range): readonly Row[] {
    const keys = [...this.rows(table).keys()].filter((key) => key.startsWith(prefix)).toSorted();
    const isBehind = (key: string): boolean =>
      after === undefined || (reverse ? key < after : key > after);
    return (reverse ? keys.toReversed() : keys)
      .filter(isBehind)
      .slice(0, limit)
      .map((key) => ({ key, value: this.rows(table).get(key)?.slice() ?? new Uint8Array(0) }));
  }

  async close(): Promise<void> {}

  /** A table's rows as they lie there. */
  rows(table: Table): Map<string, Uint8Array> {
    const rows = this.tables.get(table);
    if (rows === undefined) throw new Error(`no table ${table}`);
    return rows;
  }
}
