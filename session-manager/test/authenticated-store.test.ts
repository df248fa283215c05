// Somebody who can write the disk, but holds no key, changes the store: whatever of it a start
// believes is found, in every table and every way; and what the manager itself writes, fails to
// write or leaves half done never looks like that.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { NakodoError } from '../../protocol/errors.ts';
import { type Rng, randomBelow, seededRng } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import { TABLES, type Table, type Write } from '../manager-types.ts';
import { TOTAL_KEY, WHOLE } from '../row-seal.ts';
import {
  FOLDER,
  MemoryStore,
  type Tables,
  copyOf,
  openSealedStore,
  sealed,
} from './sealed-stores.ts';
import { storeContract } from './store-contract.ts';

const CASES = dose(2_000, 50);
const value = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
const rowKey = (table: Table, name: string): string =>
  table === 'sessions' ? `live/${name}` : name;

async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-sealed-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Three rows in each table, and some past; written in several batches, one row of them twice. */
async function written(): Promise<{ readonly now: Tables; readonly before: Tables }> {
  const memory = new MemoryStore();
  const store = sealed(memory);
  const batch = (name: string, what: string): Write[] =>
    TABLES.map((table) => ({ table, key: rowKey(table, name), value: value(`${table} ${what}`) }));
  await store.write(batch('a', 'first'));
  await store.write(batch('b', 'second'));
  await store.write([{ table: 'sessions', key: 'past/a', value: value('over') }]);
  await store.write([{ table: 'sessions', key: 'past/b', value: value('over too') }]);
  const before = copyOf(memory.tables);
  await store.write([...batch('a', 'again'), ...batch('c', 'third')]);
  return { now: memory.tables, before };
}

/** Opens and loads as a start does; what it is refused with, if it is. */
function refusal(tables: Tables, seed?: number): NakodoError | undefined {
  try {
    sealed(new MemoryStore(tables), { ...(seed && { seed }) }).load();
    return undefined;
  } catch (error) {
    if (error instanceof NakodoError) return error;
    throw error;
  }
}

const { now, before } = await written();

/** The rows of one table of a copy. */
function rowsOf(tables: Tables, table: Table): Map<string, Uint8Array> {
  const rows = tables.get(table);
  if (rows === undefined) throw new Error(`no table ${table}`);
  return rows;
}

function stored(tables: Tables, table: Table, key: string): Uint8Array {
  const found = rowsOf(tables, table).get(key);
  if (found === undefined) throw new Error(`no row ${key}`);
  return found;
}

t.test('the contract of a store, under the seal: on LMDB and in memory', async (t) => {
  await storeContract(t, async (t) => {
    const folder = await temporaryFolder(t);
    return { open: () => openSealedStore(folder) };
  });
  await storeContract(t, async () => {
    const { tables } = new MemoryStore();
    return { open: async () => sealed(new MemoryStore(tables)) };
  });
});

/** What somebody does to the table's rows `a`, `b` and `c`. */
const KINDS: Readonly<Record<string, (tables: Tables, table: Table) => void>> = {
  'a byte of a value is flipped': (tables, table) => {
    stored(tables, table, rowKey(table, 'a'))[2] ^= 1;
  },
  'a byte of a tag is flipped': (tables, table) => {
    const row = stored(tables, table, rowKey(table, 'a'));
    row[row.length - 1] ^= 0x80;
  },
  'a row is cut': (tables, table) => {
    const key = rowKey(table, 'a');
    rowsOf(tables, table).set(key, stored(tables, table, key).slice(0, 5));
  },
  'a row without a tag is put in': (tables, table) => {
    rowsOf(tables, table).set(rowKey(table, 'd'), value(`${table} by somebody else`));
  },
  'a copy of a row is put in': (tables, table) => {
    rowsOf(tables, table).set(rowKey(table, 'd'), stored(tables, table, rowKey(table, 'a')));
  },
  'a row of another table is put in': (tables, table) => {
    const other = table === 'names' ? 'devices' : 'names';
    rowsOf(tables, table).set(rowKey(table, 'a'), stored(tables, other, 'a'));
  },
  'two tables change their rows of one key': (tables, table) => {
    const other = table === 'names' ? 'devices' : 'names';
    const [key, there] = [rowKey(table, 'a'), rowKey(other, 'a')];
    const [first, second] = [stored(tables, table, key), stored(tables, other, there)];
    rowsOf(tables, table).set(key, second);
    rowsOf(tables, other).set(there, first);
  },
  'a row is taken out': (tables, table) => {
    rowsOf(tables, table).delete(rowKey(table, 'a'));
  },
  'all rows are taken out': (tables, table) => {
    for (const name of ['a', 'b', 'c']) rowsOf(tables, table).delete(rowKey(table, name));
  },
  'two rows change their values': (tables, table) => {
    const [a, b] = [rowKey(table, 'a'), rowKey(table, 'b')];
    const [first, second] = [stored(tables, table, a), stored(tables, table, b)];
    rowsOf(tables, table).set(a, second).set(b, first);
  },
  'a key is another one': (tables, table) => {
    const key = rowKey(table, 'a');
    rowsOf(tables, table).set(rowKey(table, 'z'), stored(tables, table, key));
    rowsOf(tables, table).delete(key);
  },
  'a key is another one with the same low bytes': (tables, table) => {
    const key = rowKey(table, 'a');
    rowsOf(tables, table).set(rowKey(table, '\u0161'), stored(tables, table, key));
    rowsOf(tables, table).delete(key);
  },
  'the border between key and value is moved': (tables, table) => {
    const key = rowKey(table, 'a');
    const row = stored(tables, table, key);
    rowsOf(tables, table).delete(key);
    rowsOf(tables, table).set(key + String.fromCharCode(row[0]), row.slice(1));
  },
  'a row is set back': (tables, table) => {
    const key = rowKey(table, 'a');
    rowsOf(tables, table).set(key, stored(before, table, key));
  },
  'the table is set back': (tables, table) => {
    tables.set(table, rowsOf(copyOf(before), table));
  },
};

for (const [kind, change] of Object.entries(KINDS)) {
  t.test(`a tampered store is refused by name: ${kind}`, async (t) => {
    t.equal(refusal(copyOf(now)), undefined, 'as it was left it opens');
    t.equal(refusal(copyOf(before)), undefined, 'set back as a whole it opens');
    for (const { table } of WHOLE) {
      const tables = copyOf(now);
      change(tables, table);
      const found = refusal(tables);
      t.match(found, { code: 'store-damaged', next: /backup|new home/ }, table);
      t.ok(found?.message.includes(FOLDER), table);
    }
  });
}

t.test('the total itself: changed, taken out, set back alone', async (t) => {
  const changes: readonly ((total: Uint8Array) => Uint8Array | undefined)[] = [
    (total) => total.with(total.length - 1, total[total.length - 1] ^ 1),
    (total) => total.slice(0, -1),
    () => new Uint8Array(0),
    () => stored(before, 'meta', TOTAL_KEY),
    () => undefined,
  ];
  for (const [at, change] of changes.entries()) {
    const tables = copyOf(now);
    const changed = change(stored(tables, 'meta', TOTAL_KEY));
    if (changed === undefined) rowsOf(tables, 'meta').delete(TOTAL_KEY);
    else rowsOf(tables, 'meta').set(TOTAL_KEY, changed);
    t.match(refusal(tables), { code: 'store-damaged' }, String(at));
  }
});

t.test('another identity, and a store of an earlier build, are told apart', async (t) => {
  t.match(refusal(copyOf(now), 8), {
    code: 'store-damaged',
    message: /\/s\/store .*identity\.json/,
    next: /put back the identity\.json/,
  });
  for (const table of TABLES) {
    const memory = new MemoryStore();
    await memory.write([{ table, key: 'a', value: value('as it was once stored') }]);
    t.match(refusal(memory.tables), { message: /earlier build/, next: /set up anew/ }, table);
  }
});

t.test('rows of the past carry their tags: a changed one is never shown', async (t) => {
  const tables = copyOf(now);
  const store = sealed(new MemoryStore(tables));
  stored(tables, 'sessions', 'past/a')[0] ^= 1;
  t.throws(() => store.range('sessions', { prefix: 'past/', limit: 5 }), { code: 'store-damaged' });
  t.match(refusal(tables), { code: 'store-damaged', message: /sessions/ });
});

t.test('a store that is changed under a running manager is not written over', async (t) => {
  const memory = new MemoryStore(copyOf(now));
  const store = sealed(memory);
  stored(memory.tables, 'names', 'a')[0] ^= 1;
  const write = { table: 'names', key: 'a', value: value('new') } as const;
  await t.rejects(store.write([write]), { code: 'store-damaged', message: /names/ });
  stored(memory.tables, 'names', 'a')[0] ^= 1;
  await store.write([write]);
  t.equal(refusal(memory.tables), undefined);
  stored(memory.tables, 'names', 'b').set(stored(memory.tables, 'names', 'c'));
  await store.write([{ ...write, key: 'd' }]);
  t.match(refusal(memory.tables), { code: 'store-damaged' }, 'and no write heals it');
});

t.test('writes that fail, and those that come together, leave a total that is right', async (t) => {
  const memory = new MemoryStore(copyOf(now));
  const store = sealed(memory);
  const put = (key: string): Promise<void> =>
    store.write([
      { table: 'devices', key, value: value(key) },
      { table: 'devices', key: 'a', value: value(`with ${key}`) },
      { table: 'devices', key: 'a', value: undefined },
    ]);
  await Promise.all(['d', 'e', 'f'].map(put));
  t.equal(refusal(memory.tables), undefined);
  memory.disk = 'refuses';
  await t.rejects(put('g'), /not written/);
  memory.disk = 'lies';
  await t.rejects(put('h'), /the disk failed then/);
  memory.disk = 'works';
  const several = await Promise.allSettled([put('i'), put('k'.repeat(5_000)), put('l')]);
  t.strictSame(
    several.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  t.equal(refusal(memory.tables), undefined);
  t.strictSame(
    store.range('devices', { limit: 20 }).map(({ key }) => key),
    ['b', 'c', 'd', 'e', 'f', 'h', 'i', 'l'],
  );
  const closing = store.write([{ table: 'names', key: 'z', value: undefined }]);
  await store.close();
  await closing;
  await t.rejects(put('m'), { code: 'store-closed' });
  t.equal(refusal(memory.tables), undefined);
});

t.test('whatever is written, the store opens again with exactly that', async (t) => {
  const write = fc.record({
    table: fc.constantFrom(...TABLES),
    key: fc.constantFrom('a', 'ab', 'abc', 'live/a', 'live/ab', 'past/a'),
    value: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(write, { maxLength: 8 }), { maxLength: 8 }), async (all) => {
      const plain = new MemoryStore();
      const { tables } = new MemoryStore();
      for (const batch of all) {
        await plain.write(batch);
        await sealed(new MemoryStore(tables)).write(batch);
      }
      const again = sealed(new MemoryStore(tables));
      t.strictSame(again.load(), plain.load());
      for (const limit of [1, 2, 20])
        t.strictSame(again.range('meta', { limit }), plain.range('meta', { limit }));
    }),
    { numRuns: dose(100) },
  );
});

/** Any change by somebody without the key; what it did, for words. */
function tamper(tables: Tables, rng: Rng): string {
  const below = (bound: number): number => randomBelow(rng, bound);
  const { table } = WHOLE[below(WHOLE.length)];
  const rows = rowsOf(tables, table);
  const keys = [...rows.keys()].filter((key) => !key.startsWith('past/'));
  const other = WHOLE[below(WHOLE.length)].table;
  const source = [...rowsOf(below(2) === 0 ? before : now, other)];
  const [from, there] = source[below(source.length)];
  const key = keys.length === 0 ? from : keys[below(keys.length)];
  const kind = below(7);
  if (kind === 0) rows.delete(key);
  else if (kind === 1) rows.set(key, there.slice());
  else if (kind === 2) rows.set(rowKey(table, `k${below(9)}`), there.slice());
  else if (kind === 3) tables.set(table, rowsOf(copyOf(before), table));
  else if (kind === 4)
    rows.set(
      key,
      Uint8Array.from({ length: below(60) }, () => below(256)),
    );
  else {
    const row = (rows.get(key) ?? there).slice();
    if (row.length > 0) row[below(row.length)] ^= 1 << below(8);
    rows.set(kind === 5 ? key : rowKey(table, from), row);
  }
  return `${table} ${key}: ${kind}`;
}

/** What a start reads as a whole, as text. */
function picture(tables: Tables): string {
  const rows = WHOLE.flatMap(({ table, prefix }) =>
    [...rowsOf(tables, table)]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, bytes]) => `${table} ${key} ${Buffer.from(bytes).toString('hex')}`),
  );
  return rows.toSorted().join('\n');
}

t.test(`${CASES} stores that somebody changed: every one is found`, async (t) => {
  const good = [picture(now), picture(before)];
  let found = 0;
  let same = 0;
  for (let at = 0; at < CASES; at++) {
    const rng = seededRng(1_000 + at);
    const tables = copyOf(now);
    const did: string[] = [];
    for (let change = randomBelow(rng, 4); change >= 0; change--) did.push(tamper(tables, rng));
    const refused = refusal(tables);
    if (good.includes(picture(tables))) same += 1;
    else if (refused?.code === 'store-damaged' && refused.message.includes(FOLDER)) found += 1;
    else return t.fail(`case ${at} was not found: ${did.join('; ')}`);
  }
  t.comment(`${found} changed stores found, ${same} changed back or not at all, missed 0`);
  t.ok(found > CASES / 2);
});
