// The manager's files as somebody finds them who can write the disk and holds no key: rows put into
// LMDB by its own tools, a file that was cut, and the home of a real manager between two starts.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { open } from 'lmdb';
import t, { type Test } from 'tap';
import { startBroker } from '../../broker/shell/broker-shell.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import { TABLES, type Write } from '../manager-types.ts';
import { WHOLE } from '../row-seal.ts';
import { managerPublicKey, startManager } from '../shell/manager-shell.ts';
import { openLmdbStore } from '../shell/store-lmdb.ts';
import type { Store } from '../shell/store.ts';
import { type House, enrolled } from './hand.ts';
import { openSealedStore, sealed } from './sealed-stores.ts';

const clock = new Clock();
const parts = { suite: nodeSuite, rng: entropy, clock, log: silentLog };
const value = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));

async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-disk-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function house(t: Test): Promise<House> {
  const home = await temporaryFolder(t);
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const tls = await loadServerCertificate({ home, clock });
  const broker = await startBroker({ ...parts, managerKeys: [key], tls });
  const place = { url: broker.url, connect: (): Duplex => broker.connect() };
  const manager = await startManager({ ...parts, home, tls, broker: place });
  t.teardown(async () => {
    await manager.close();
    await broker.close();
  });
  await manager.ready;
  return { home, broker, manager, tls };
}

t.test('on the disk: rows that another hand wrote with LMDB itself', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openSealedStore(folder);
  await store.write(TABLES.map((table) => ({ table, key: 'live/a', value: value(table) })));
  await store.close();
  const start = async (): Promise<Store> => {
    const rows = await openLmdbStore({ folder });
    try {
      return sealed(rows, { folder });
    } catch (error) {
      await rows.close();
      throw error;
    }
  };
  /** Does something with a table by its own tools. */
  const by = async (put: readonly unknown[], remove: readonly unknown[]): Promise<void> => {
    const root = open<Buffer>({ path: join(folder, 'manager.mdb'), maxDbs: 9 });
    const devices = root.openDB<Buffer, never>({ name: 'devices', encoding: 'binary' });
    for (const key of put) devices.putSync(key as never, Buffer.from('a device'));
    for (const key of remove) devices.removeSync(key as never);
    await root.close();
  };
  for (const key of ['T', ['live', 'a'], ['a', 1]]) {
    await by([key], []);
    const why = { code: 'store-damaged', message: new RegExp(folder), next: /backup/ };
    await t.rejects(start(), why, JSON.stringify(key));
    await by([], [key]);
    await (await start()).close();
  }
});

t.test('on the disk: a file that was cut, or whose first pages were changed', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openSealedStore(folder);
  for (let at = 0; at < 100; at++)
    await store.write(
      WHOLE.map(({ table }) => ({ table, key: `live/${at}`, value: new Uint8Array(300) })),
    );
  await store.close();
  const file = join(folder, 'manager.mdb');
  const whole = await readFile(file);
  const changed = (at: number): Buffer => {
    const bytes = Buffer.from(whole);
    bytes[at] ^= 0x5a;
    return bytes;
  };
  const cuts = [10, 159, 4_096, 8_192, Math.floor(whole.length / 4)];
  const files = [
    ...cuts.map((length) => whole.subarray(0, length)),
    ...[24, 28, 4_120].map(changed),
  ];
  for (const [at, bytes] of files.entries()) {
    await writeFile(file, bytes);
    const why = { code: 'store-damaged', message: /manager\.mdb: i/, next: /backup/ };
    await t.rejects(openSealedStore(folder), why, String(at));
  }
  await writeFile(file, whole);
  await (await openSealedStore(folder)).close();
});

t.test("the store's files are 0600, even under a umask of 0", async (t) => {
  const folder = await temporaryFolder(t);
  const umask = process.umask(0);
  t.teardown(() => process.umask(umask));
  const store = await openSealedStore(folder);
  await store.write([{ table: 'names', key: 'A', value: value('1') }]);
  for (const file of ['manager.mdb', 'manager.mdb-lock', 'pid'])
    t.equal((await stat(join(folder, file))).mode & 0o777, 0o600, file);
  await store.close();
});

t.test(
  'a revocation is not lifted, and nobody enrolled, by who can only write the disk',
  async (t) => {
    const there = await house(t);
    await enrolled(t, there, 'TERM1');
    await enrolled(t, there, 'TERM2');
    await there.manager.operations.revoke('TERM2');
    await there.manager.close();
    const folder = join(there.home, 'store');
    const place = { url: there.broker.url, connect: (): Duplex => there.broker.connect() };
    const start = (): ReturnType<typeof startManager> =>
      startManager({ ...parts, home: there.home, tls: there.tls, broker: place });
    /** Changes rows behind the manager's back, finds it refused, and puts them back. */
    const refused = async (what: string, writes: readonly Write[]): Promise<void> => {
      const store = await openLmdbStore({ folder });
      const before = writes.map(({ table, key }) => {
        const row = store
          .range(table, { prefix: key, limit: 1 })
          .find((found) => found.key === key);
        return { table, key, value: row?.value };
      });
      await store.write(writes);
      await store.close();
      await t.rejects(start(), { code: 'store-damaged', message: new RegExp(folder) }, what);
      const again = await openLmdbStore({ folder });
      await again.write(before);
      await again.close();
    };
    const store = await openLmdbStore({ folder });
    const { revoked, devices, names } = store.load();
    await store.close();
    t.equal(revoked.length, 1);
    const [{ key: id }] = revoked;
    await refused('a revocation is taken out', [{ table: 'revoked', key: id, value: undefined }]);
    await refused('a device is put in', [
      { table: 'devices', key: id, value: devices[0].value },
      { table: 'names', key: 'TERM2', value: names[0].value },
    ]);
    await refused('a name is another device', [
      { table: 'names', key: 'TERM9', value: names[0].value },
      { table: 'names', key: names[0].key, value: undefined },
    ]);
    const identity = join(there.home, 'identity.json');
    const own = await readFile(identity, 'utf8');
    await rm(identity);
    await t.rejects(start(), { code: 'store-damaged', next: /put back the identity\.json/ });
    await writeFile(identity, own);
    const manager = await start();
    t.teardown(() => manager.close());
    t.equal(manager.operations.devices().length, 1, 'as it was left it starts');
  },
);
