// LMDB passes the store's contract, and
// keeps its word through kill -9.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import { LIVE_PREFIX } from '../records.ts';
import { openLmdbStore } from '../shell/store-lmdb.ts';
import { openSealedStore } from './sealed-stores.ts';
import { storeContract } from './store-contract.ts';

const skip = process.platform === 'linux' ? false : 'nothing tells when a process started';
const KILLS = dose(3, 10);

async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-store-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

t.test('claim 20: the contract of a store, on LMDB', async (t) => {
  await storeContract(t, async (t) => {
    const folder = await temporaryFolder(t);
    return { open: () => openLmdbStore({ folder }) };
  });
});

t.test('claim 20: what was acknowledged survives kill -9, whole batches only', async (t) => {
  const folder = await temporaryFolder(t);
  for (let kill = 0; kill < KILLS; kill++) {
    const writer = join(import.meta.dirname, 'store-writer.js');
    const child = spawn(process.execPath, [writer, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const gone = once(child, 'exit');
    let acknowledged = '';
    let lines = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged = line;
      lines += 1;
      if (lines === 20 + 7 * kill) child.kill('SIGKILL');
    }
    await gone;
    // It opens: the seal over its rows is of the very batch that came last.
    const store = await openSealedStore(folder);
    const keys = (table: 'sessions' | 'log'): string[] =>
      store.range(table, { limit: 100_000 }).map(({ key }) => key.replace(LIVE_PREFIX, ''));
    const sessions = keys('sessions');
    t.ok(sessions.includes(acknowledged), `batch ${acknowledged} is there`);
    t.ok(sessions.length >= lines);
    t.strictSame(sessions, keys('log'), 'no batch is there by half');
    await store.close();
  }
});

t.test('a store that is in use, or may not be written, says so and what to do', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openLmdbStore({ folder });
  await t.rejects(openLmdbStore({ folder }), { code: 'store-locked', next: /--home/ });
  await store.close();
  await (await openLmdbStore({ folder })).close();
  if (process.getuid?.() === 0) return;
  await chmod(folder, 0o500);
  await t.rejects(openLmdbStore({ folder }), { code: 'no-permission' });
});

t.test(
  'a store left by a process whose number another one has now is taken over',
  { skip },
  async (t) => {
    const folder = await temporaryFolder(t);
    const pid = join(folder, 'pid');
    const store = await openLmdbStore({ folder });
    const line = await readFile(pid, 'utf8');
    await t.rejects(openLmdbStore({ folder }), { code: 'store-locked' }, 'this process has it');
    await store.close();
    const [owner, start, boot] = line.split(' ');
    const left = [
      `${owner} ${Number(start) - 1} ${boot}`,
      `${owner} ${start} another-boot`,
      `${process.ppid} ${start} ${boot}`,
      '',
      'no number',
    ];
    for (const stale of left) {
      await writeFile(pid, stale);
      await (await openLmdbStore({ folder })).close();
    }
    await writeFile(pid, String(process.ppid));
    await t.rejects(
      openLmdbStore({ folder }),
      { code: 'store-locked' },
      'not told: the number counts',
    );
  },
);
