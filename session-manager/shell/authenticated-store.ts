// A store whose rows were written by the holder of its key, or it is not opened: a decorator around
// any store that seals what is written (row-seal.ts) and checks what is read. The total is kept up
// in the transaction of each write. Assumes what a store promises: one process writes it.

import { assert } from '../../protocol/assert.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { NakodoError, errorMessage } from '../../protocol/errors.ts';
import { type Row, type Stored, TABLES, type Table, type Write } from '../manager-types.ts';
import { RowSeal, ShareSum, TOTAL_KEY, WHOLE, isInTotal, isSealed } from '../row-seal.ts';
import type { Range, Store } from './store.ts';

/** Rows read at a time while the total is checked. */
const PAGE_ROWS = 1_000;
/**
 * Tables that a talk changes: what their rows add to the total is kept, so that nobody waits for a
 * set-up until a row was read. At most LIMITS.sessionsMax live sessions, 16 bytes and a key each.
 */
const KEPT: readonly Table[] = ['meta', 'sessions'];

/** Who wrote a store, and where it lies. */
interface StoreSeal {
  readonly suite: CryptoSuite;
  /** 32 bytes, of `storeKeyOf`. */
  readonly key: Uint8Array;
  /** Of the store, for words. */
  readonly folder: string;
}

/**
 * Opens a store for the holder of a key, having read all of it that a start reads as a whole; a
 * store without rows is taken as new. It closes the inner store when it is closed itself.
 * @throws NakodoError `store-damaged` for any row that was changed, put in or taken out, another
 *   key, or a store of an earlier build; the inner store is left open then.
 */
export function authenticatedStore(inner: Store, { suite, key, folder }: StoreSeal): Store {
  const seal = new RowSeal(suite, key);
  try {
    const sum = checkedSum(inner, seal, folder);
    return new AuthenticatedStore(inner, { seal, folder, ...sum });
  } catch (error) {
    if (error instanceof NakodoError) throw error;
    throw damaged(folder, `it cannot be read: ${errorMessage(error)}`);
  }
}

/** What rows add to the total, by table and key; undefined: there is no such row. */
type Shares = Map<string, Uint8Array | undefined>;

interface Checked {
  readonly sum: ShareSum;
  /** Of all rows of the tables that are KEPT. */
  readonly shares: Shares;
  /** Whether the total is stored: a new store has none yet. */
  readonly hasTotal: boolean;
}

class AuthenticatedStore implements Store {
  readonly #inner: Store;
  readonly #seal: RowSeal;
  readonly #folder: string;
  readonly #shares: Shares;
  #sum: ShareSum;
  #hasTotal: boolean;
  #isOpen = true;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(
    inner: Store,
    checked: Checked & { readonly seal: RowSeal; readonly folder: string },
  ) {
    const { seal, folder, sum, shares, hasTotal } = checked;
    this.#inner = inner;
    this.#seal = seal;
    this.#folder = folder;
    this.#sum = sum;
    this.#shares = shares;
    this.#hasTotal = hasTotal;
  }

  load(): Stored {
    const { devices, names, tickets, sessions, meta, revoked } = this.#inner.load();
    return {
      devices: this.#opened('devices', devices),
      names: this.#opened('names', names),
      tickets: this.#opened('tickets', tickets),
      sessions: this.#opened('sessions', sessions),
      meta: this.#opened('meta', meta),
      revoked: this.#opened('revoked', revoked),
    };
  }

  /** One after the other: each goes on from the total of the one before. */
  async write(writes: readonly Write[]): Promise<void> {
    if (!this.#isOpen) throw new NakodoError('store-closed', 'the store is closed', 'start again');
    const written = this.#writing.then(() => this.#write(writes));
    this.#writing = written.catch(() => {});
    return written;
  }

  range(table: Table, range: Range): readonly Row[] {
    if (!isSealed(table)) return this.#inner.range(table, range);
    // The total stands among the rows of `meta`, and is none of them.
    const limit = table === 'meta' ? range.limit + 1 : range.limit;
    const rows = this.#inner.range(table, { ...range, limit });
    return this.#opened(table, rows).slice(0, range.limit);
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#writing;
    await this.#inner.close();
  }

  async #write(writes: readonly Write[]): Promise<void> {
    const sum = new ShareSum(this.#sum.bytes);
    const changed: Shares = new Map();
    const sealed = this.#sealed(writes, sum, changed);
    const total = this.#seal.total(sum);
    // Rows of the log alone leave the total as it is.
    if (!this.#hasTotal || writes.some(({ table, key }) => isInTotal(table, key))) {
      sealed.push({ table: 'meta', key: TOTAL_KEY, value: total });
    }
    try {
      await this.#inner.write(sealed);
    } catch (error) {
      // A disk may fail after it wrote: what is there says which of both totals holds.
      if (this.#isStored(total)) this.#goOnFrom(sum, changed);
      throw error;
    }
    this.#goOnFrom(sum, changed);
  }

  #goOnFrom(sum: ShareSum, changed: Shares): void {
    this.#sum = sum;
    this.#hasTotal = true;
    for (const [place, share] of changed) {
      if (share === undefined) this.#shares.delete(place);
      else if (KEPT.some((table) => place.startsWith(placeOf(table, '')))) {
        this.#shares.set(place, share);
      }
    }
  }

  /**
   * The rows as they are stored; `sum` becomes what it is behind them, and `changed` what the rows
   * that were written add to it.
   */
  #sealed(writes: readonly Write[], sum: ShareSum, changed: Shares): Write[] {
    return writes.map((write) => {
      const { table, key, value } = write;
      if (!isSealed(table)) return write;
      assert(table !== 'meta' || key !== TOTAL_KEY, 'the total is not written by hand');
      const row = value === undefined ? undefined : this.#seal.seal(table, { key, value });
      if (isInTotal(table, key)) {
        const place = placeOf(table, key);
        sum.mix(changed.has(place) ? changed.get(place) : this.#shareOf(table, key));
        sum.mix(row?.share);
        changed.set(place, row?.share);
      }
      return { table, key, value: row?.stored };
    });
  }

  /** What the row that is stored under a key adds to the sum; undefined if there is none. */
  #shareOf(table: Table, key: string): Uint8Array | undefined {
    if (KEPT.includes(table)) return this.#shares.get(placeOf(table, key));
    const [row] = this.#inner.range(table, { prefix: key, limit: 1 });
    if (row?.key !== key) return undefined;
    const opened = this.#seal.open(table, row);
    if (opened === undefined) throw damaged(this.#folder, changedRow(table));
    return opened.share;
  }

  #isStored(total: Uint8Array): boolean {
    const stored = storedTotal(this.#inner);
    return stored !== undefined && sameBytes(stored, total);
  }

  #opened(table: Table, rows: readonly Row[]): readonly Row[] {
    return rows
      .filter(({ key }) => table !== 'meta' || key !== TOTAL_KEY)
      .map((row) => {
        const opened = this.#seal.open(table, row);
        if (opened === undefined) throw damaged(this.#folder, changedRow(table));
        return { key: row.key, value: opened.value };
      });
  }
}

/** Reads what the total binds. @throws NakodoError `store-damaged`. */
function checkedSum(inner: Store, seal: RowSeal, folder: string): Checked {
  const total = storedTotal(inner);
  const sum = new ShareSum();
  const shares: Shares = new Map();
  if (total === undefined) {
    if (TABLES.every((table) => inner.range(table, { limit: 1 }).length === 0)) {
      return { sum, shares, hasTotal: false };
    }
    throw withoutTotal(folder);
  }
  if (!seal.isOfThisKey(total)) throw ofAnotherKey(folder);
  for (const { table, prefix } of WHOLE) {
    for (const row of allRows(inner, table, prefix)) {
      if (!isInTotal(table, row.key)) continue;
      const opened = seal.open(table, row);
      if (opened === undefined) throw damaged(folder, changedRow(table));
      sum.mix(opened.share);
      if (KEPT.includes(table)) shares.set(placeOf(table, row.key), opened.share);
    }
  }
  if (!seal.isTotal(total, sum)) {
    throw damaged(folder, 'rows of it were put in, taken out or set back');
  }
  return { sum, shares, hasTotal: true };
}

/** No table's name holds a zero byte. */
const placeOf = (table: Table, key: string): string => `${table}\0${key}`;

function storedTotal(inner: Store): Uint8Array | undefined {
  const [row] = inner.range('meta', { prefix: TOTAL_KEY, limit: 1 });
  return row?.key === TOTAL_KEY ? row.value : undefined;
}

function* allRows(inner: Store, table: Table, prefix: string): Generator<Row, void, undefined> {
  let after: string | undefined;
  for (;;) {
    const page = inner.range(table, { prefix, limit: PAGE_ROWS, ...(after && { after }) });
    yield* page;
    if (page.length < PAGE_ROWS) return;
    after = page[page.length - 1].key;
  }
}

const changedRow = (table: Table): string => `a row of its table ${table} was changed or put in`;

const damaged = (folder: string, why: string): NakodoError =>
  new NakodoError(
    'store-damaged',
    `the store in ${folder} is not as this manager left it: ${why}`,
    'restore that folder as a whole from a backup, or set up a new home',
  );

const ofAnotherKey = (folder: string): NakodoError =>
  new NakodoError(
    'store-damaged',
    `the store in ${folder} was not written with the identity.json of this home, or was changed`,
    'put back the identity.json that belongs to it, restore both from a backup, or set up anew',
  );

const withoutTotal = (folder: string): NakodoError =>
  new NakodoError(
    'store-damaged',
    `the store in ${folder} is of an earlier build, or the seal over its rows was taken out`,
    'set up anew, with a new home; if it is of this build, restore that folder from a backup',
  );
