// The power goes at every write: a terminal's home is recorded through a life of it (enrolled,
// registered, a list written, talks, approvals, a new membership), and is then opened from whatever
// a file system may have left after each call: the old state or the new one, never a damaged one.

import {
  access,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import t, { type Test } from 'tap';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import { errorCode } from '../../protocol/errors.ts';
import type { Name } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { writeFileAtomic } from '../../protocol/io/files.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { until } from '../../protocol/test/until.ts';
import { type Town, allowing, openTown } from '../../sim/fleet/town.ts';
import { Agent } from '../agent.ts';
import { loadParts } from '../shell/agent-parts.ts';
import { enrol } from '../shell/enrol.ts';
import { openHome, ownIdentity } from '../shell/home.ts';
import { readOwnList, storeEntry } from '../shell/own-list-file.ts';
import { ReceiptStore } from '../shell/receipt-store.ts';
import { WindowsStore } from '../shell/windows-store.ts';
import { type DiskCall, type DiskRecord, recordDisk } from './disk-record.ts';
import { type Cut, cuts, faultIn } from './power-cut.ts';

const MACHINE = 'c'.repeat(64);
const TOOLS = { suite: nodeSuite, rng: entropy, machine: MACHINE };

async function folder(test: Test): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'nk-cut-'));
  test.teardown(() => rm(made, { recursive: true, force: true }));
  return made;
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const entry = (more: Partial<AllowEntry> = {}): AllowEntry => ({
  action: 'allow',
  pattern: 'TERM1',
  ...more,
});

/** A terminal's life, with a promise wherever somebody was told that something is on disk. */
async function live(test: Test, town: Town, home: string, record: DiskRecord): Promise<void> {
  // Its keys are on disk before anybody hears of them.
  await ownIdentity(await openHome(home), TOOLS);
  record.promise();
  const asked = { name: 'TERM3', uses: 1, forSeconds: 600 };
  const { ticket } = await town.manager.operations.ticket(asked);
  await enrol({ ...TOOLS, home, ticket, name: 'TERM3' as Name });
  record.promise();
  const list = join(home, 'allow-list.toml');
  await storeEntry(list, entry({ services: ['file'] }));
  record.promise();
  const window = { until: '2099-12-31T18:00:00Z', bytes: 1_000_000 };
  await storeEntry(list, entry({ ask: true, remember: 3_600, ...window }));
  await storeEntry(list, entry({ action: 'deny', pattern: 'TERM9' }));
  record.promise();
  const callee = await Agent.start({ home, udpBind: '127.0.3.1', log: silentLog });
  test.teardown(() => callee.stop());
  await callee.registered;
  const caller = await town.start(join(town.folder, 'TERM1'), { udpBind: '127.0.1.1' });
  const called = caller.call({ to: 'TERM3', service: 'pipe' });
  await until(() => callee.owner.questions().length > 0);
  callee.owner.decide({ name: 'TERM1', approved: true });
  const session = await called;
  const ends = join(home, 'ends', session.info.session);
  await until(() => isThere(ends), 'the record of a talk');
  await session.close();
  await until(async () => !(await isThere(ends)), 'it is forgotten');
  const [, back] = await Promise.all([
    caller.call({ to: 'TERM3', service: 'pipe' }).then((talk) => talk.close()),
    callee.call({ to: 'TERM1', service: 'pipe' }),
  ]);
  await back.close();
  await callee.stop();
  record.promise();
}

/** What a home makes of itself when it is opened; what it complains about goes to `said`. */
async function openedAs(home: string, said: string[]): Promise<string> {
  const complain = (word: string): void => void said.push(word);
  const log: Log = { ...silentLog, warn: complain, error: complain };
  await readOwnList(join(home, 'allow-list.toml'));
  try {
    const { identity, enrolment, restore } = await loadParts({ home }, log);
    const path = join(home, 'windows.json');
    await (await WindowsStore.load(path, restore.records, log)).settled();
    const { managerKey } = enrolment;
    new ReceiptStore({ path: join(home, 'receipt'), suite: nodeSuite, managerKey, log });
    return identity.id;
  } catch (error) {
    if (errorCode(error) !== 'not-enrolled') throw error;
    return (await ownIdentity(await openHome(home), TOOLS)).id;
  }
}

/** Puts what a cut left into a folder of its own. */
async function restored(cut: Cut, from: string, to: string): Promise<void> {
  for (const each of [...cut.folders].sort()) {
    await mkdir(join(to, relative(from, each)), { recursive: true });
  }
  for (const [path, bytes] of cut.files) await writeFile(join(to, relative(from, path)), bytes);
}

/** Every cut that is not right, in words. */
const faultsOf = (calls: readonly DiskCall[]): readonly string[] =>
  [...cuts(calls)].flatMap((cut) => faultIn(calls, cut) ?? []);

t.test('a cut at every write leaves a home in its old state or its new one', async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  await town.enrol('TERM1', allowing('TERM3'));
  const root = await folder(t);
  const home = join(root, 'var', 'nakodo');
  const record = recordDisk(root);
  t.teardown(() => record.stop());
  await live(t, town, home, record);
  record.stop();
  const written = new Set(
    record.calls.flatMap((call) => ('to' in call ? [relative(home, call.to)] : [])),
  );
  const known = ['identity.json', 'enrolment.json', 'allow-list.toml', 'pins.json', 'receipt'];
  for (const name of [...known, 'approvals.json', 'windows.json']) t.ok(written.has(name), name);
  t.ok(
    [...written].some((name) => name.startsWith('ends/')),
    'a record of a talk',
  );

  const elsewhere = await folder(t);
  const own = await openedAs(home, []);
  const faults: string[] = [];
  const said: string[] = [];
  const opened = new Set<string>();
  let count = 0;
  const seen = new Set<string>();
  const toldAt = record.calls.findIndex(({ kind }) => kind === 'promised');
  for (const cut of cuts(record.calls)) {
    const fault = faultIn(record.calls, cut);
    if (fault !== undefined) faults.push(`after ${cut.after} calls: ${fault}`);
    const isTold = cut.after > toldAt;
    if (seen.has(`${isTold} ${cut.key}`)) continue;
    seen.add(`${isTold} ${cut.key}`);
    const place = join(elsewhere, String(count++));
    await restored(cut, root, place);
    const id = await openedAs(join(place, 'var', 'nakodo'), said);
    if (isTold) opened.add(id);
    await rm(place, { recursive: true });
  }
  t.comment(`${record.calls.length} calls, ${count} ways to be cut`);
  t.strictSame(faults, []);
  t.strictSame(said, []);
  t.strictSame([...opened], [own], 'its keys are never made anew once they were told');
  t.ok(count > 40, `${count} cuts`);
});

t.test('what is not durable, or not at once in its place, is found', async (t) => {
  const root = await folder(t);
  const path = join(root, 'file');
  const put = async (steps: {
    readonly sync: boolean;
    readonly moves: boolean;
    readonly syncFolder: boolean;
  }): Promise<readonly string[]> => {
    await rm(path, { force: true });
    const record = recordDisk(root);
    try {
      const name = steps.moves ? join(root, '.tmp-1') : path;
      const file = await open(name, 'wx');
      await file.writeFile('content');
      if (steps.sync) await file.sync();
      await file.close();
      if (steps.moves) await rename(name, path);
      const above = await open(root, 'r');
      if (steps.syncFolder) await above.sync();
      await above.close();
      record.promise();
    } finally {
      record.stop();
    }
    return faultsOf(record.calls);
  };
  const right = { sync: true, moves: true, syncFolder: true };
  t.strictSame(await put(right), []);
  t.match(await put({ ...right, sync: false }), [/holds/], 'content that no fsync made durable');
  t.match(await put({ ...right, moves: false }), [/never was/], 'written in its place');
  t.match(await put({ ...right, syncFolder: false }), [/gone/], 'a name that is not durable');
});

t.test('two writers of one file leave one of both texts', async (t) => {
  const root = await folder(t);
  const record = recordDisk(root);
  t.teardown(() => record.stop());
  const path = join(root, 'file');
  await Promise.all(['one', 'another'].map((text) => writeFileAtomic(path, text, 0o600)));
  record.promise();
  record.stop();
  t.strictSame(faultsOf(record.calls), []);
});

const LONG_AGO_SECONDS = 1_000_000_000;
const FAR_AHEAD_SECONDS = 4_000_000_000;

t.test('what cuts leave half written goes at a start, but not what is being written', async (t) => {
  const home = await openHome(join(await folder(t), 'home'));
  for (const place of [home.folder, home.ends]) {
    for (const name of ['.tmp-old', '.tmp-ahead', '.tmp-now', 'other']) {
      await writeFile(join(place, name), 'half');
    }
    await utimes(join(place, '.tmp-old'), LONG_AGO_SECONDS, LONG_AGO_SECONDS);
    await utimes(join(place, '.tmp-ahead'), FAR_AHEAD_SECONDS, FAR_AHEAD_SECONDS);
    await utimes(join(place, 'other'), LONG_AGO_SECONDS, LONG_AGO_SECONDS);
  }
  await t.rejects(loadParts({ home: home.folder }, silentLog), { code: 'not-enrolled' });
  const left = async (place: string): Promise<readonly string[]> =>
    (await readdir(place)).filter((name) => name.includes('tmp') || name === 'other').sort();
  t.strictSame(await left(home.folder), ['.tmp-now', 'other']);
  t.strictSame(await left(home.ends), ['.tmp-now', 'other']);
});

t.test('a lock that a cut left is taken over, also by a clock that says 1970', async (t) => {
  const home = await openHome(join(await folder(t), 'home'));
  const lock = `${home.list}.lock`;
  for (const seconds of [LONG_AGO_SECONDS, FAR_AHEAD_SECONDS]) {
    await writeFile(lock, '');
    await utimes(lock, seconds, seconds);
    await storeEntry(home.list, entry());
    t.notOk(await isThere(lock));
  }
});
