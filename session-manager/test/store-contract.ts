// What every store must do; each engine
// runs this same suite.

import type { Test } from 'tap';
import { TABLES } from '../manager-types.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import type { Store } from '../shell/store.ts';

/** An engine under test: opens the same state again and again. */
export interface StoreUnderTest {
  open(): Promise<Store>;
}

const value = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** Runs the whole contract; `make`: a fresh, empty engine for each claim. */
export async function storeContract(t: Test, make: (t: Test) => Promise<StoreUnderTest>) {
  await t.test(
    'a store is empty at first, and keeps what was written over a reopening',
    async (t) => {
      const engine = await make(t);
      const first = await engine.open();
      t.strictSame(first.load(), {
        devices: [],
        names: [],
        tickets: [],
        sessions: [],
        meta: [],
        revoked: [],
      });
      await first.write(TABLES.map((table) => ({ table, key: 'live/1', value: value(table) })));
      await first.close();
      const second = await engine.open();
      for (const table of TABLES) {
        t.strictSame(
          second.range(table, { limit: 10 }).map((row) => [row.key, text(row.value)]),
          [['live/1', table]],
        );
      }
      t.equal(second.load().sessions.length, 1);
      await second.close();
    },
  );

  await t.test('a batch puts, replaces and removes; the last word on a key holds', async (t) => {
    const store = await (await make(t)).open();
    await store.write([
      { table: 'names', key: 'A', value: value('1') },
      { table: 'names', key: 'B', value: value('2') },
      { table: 'names', key: 'A', value: value('3') },
      { table: 'names', key: 'B', value: undefined },
      { table: 'names', key: 'C', value: undefined },
    ]);
    const rows = store.range('names', { limit: 10 });
    t.strictSame(
      rows.map((row) => [row.key, text(row.value)]),
      [['A', '3']],
    );
    await store.close();
  });

  await t.test('a batch that fails writes nothing, and the store stays usable', async (t) => {
    const store = await (await make(t)).open();
    const tooLong = 'k'.repeat(5_000);
    const bad = store.write([
      { table: 'meta', key: 'a', value: value('1') },
      { table: 'meta', key: tooLong, value: value('2') },
    ]);
    await t.rejects(bad);
    t.strictSame(store.range('meta', { limit: 10 }), []);
    await store.write([{ table: 'meta', key: 'b', value: value('3') }]);
    t.equal(store.range('meta', { limit: 10 }).length, 1);
    await store.close();
  });

  await t.test('ranges go by key, both ways, by prefix, page by page', async (t) => {
    const store = await (await make(t)).open();
    const keys = ['live/1', 'live/2', 'past/1', 'past/2', 'past/3'];
    await store.write(keys.map((key) => ({ table: 'sessions', key, value: value(key) })));
    const found = (range: Parameters<Store['range']>[1]): string[] =>
      store.range('sessions', range).map(({ key }) => key);
    t.strictSame(found({ limit: 10 }), keys);
    t.strictSame(found({ prefix: 'past/', limit: 2 }), ['past/1', 'past/2']);
    t.strictSame(found({ prefix: 'past/', after: 'past/2', limit: 2 }), ['past/3']);
    t.strictSame(found({ prefix: 'past/', reverse: true, limit: 2 }), ['past/3', 'past/2']);
    const back = { prefix: 'past/', after: 'past/2', reverse: true, limit: 5 };
    t.strictSame(found(back), ['past/1']);
    t.strictSame(found({ after: 'live/11', limit: 2 }), ['live/2', 'past/1'], 'after a gap');
    t.strictSame(found({ prefix: 'none/', limit: 5 }), []);
    await store.close();
  });

  await t.test(
    'what is read is a copy, and loading takes all that lives and the newest past',
    async (t) => {
      const store = await (await make(t)).open();
      const past = Array.from({ length: 2_500 }, (_, at) => `live/${String(at).padStart(6, '0')}`);
      await store.write(past.map((key) => ({ table: 'sessions', key, value: value(key) })));
      await store.write([{ table: 'sessions', key: 'past/1', value: value('x') }]);
      const { sessions } = store.load();
      t.equal(sessions.length, 2_501, 'over page borders');
      t.ok(sessions.length < MANAGER_LIMITS.closedSessionsMax);
      sessions[0].value.fill(0);
      t.equal(text(store.load().sessions[0].value), 'x');
      await store.close();
    },
  );
}
