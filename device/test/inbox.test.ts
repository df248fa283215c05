// Files that cannot arrive as they should: a disk that is full, an inbox that is gone, sizes that
// lie, rules of the owner, names and links that lead elsewhere. On real sockets and a real small
// file system.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmdirSync } from 'node:fs';
import {
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../protocol/test/until.ts';
import { DEFAULT_CONFIG } from '../services/config.ts';
import { inboxRules } from '../services/file/file-service.ts';
import { pair, registeredPair } from './real-world.ts';
import { MODIFIED, offering, sendOne, takeFiles } from './sending.ts';

const DISK_BYTES = 1_048_576;

/** Puts a file system of 1 MiB in place of a folder. */
function mountSmall(folder: string): void {
  const how = ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'nakodo-test', folder];
  execFileSync('mount', how, { stdio: 'pipe' });
}

const unmount = (folder: string): void => void execFileSync('umount', ['-l', folder]);

/** Whether this user may mount at all; only the system's superuser may. */
function mayMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'nk-m-'));
  try {
    mountSmall(folder);
    unmount(folder);
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(folder);
  }
}

const skip = mayMount() ? false : 'this user may not mount a small file system';

t.test(
  'S4005: a disk that fills in mid-transfer is told, and nothing of the file fills it further',
  { skip },
  async (t) => {
    const { caller, callee } = await pair(t);
    const { inbox } = callee.home;
    mountSmall(inbox);
    t.teardown(() => unmount(inbox));
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    await t.rejects(sendOne(session, 'larger', randomBytes(3 * DISK_BYTES)), { code: 'disk-full' });
    const fill = async (at: number): Promise<void> => {
      if (at > 0 && at < 70_000) await writeFile(join(inbox, 'filler'), randomBytes(700_000));
    };
    const filled = sendOne(session, 'large', randomBytes(900_000), {
      resumes: true,
      onChunk: fill,
    });
    await t.rejects(filled, { code: 'disk-full' });
    await until(async () => (await readdir(inbox)).length === 1);
    t.strictSame(await readdir(inbox), ['filler'], 'no partial file keeps it full');
    await rm(join(inbox, 'filler'));
    await sendOne(session, 'small', randomBytes(1_000));
    t.strictSame(await readdir(inbox), ['small']);
    session.finish('done');
    t.equal((await session.ended).reason, 'done', 'the talk goes on');
  },
);

t.test('S4005: an inbox that is gone, or is none, is told', async (t) => {
  const { caller, callee } = await pair(t);
  const { inbox } = callee.home;
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  await rm(inbox, { recursive: true });
  await t.rejects(sendOne(session, 'x', randomBytes(100_000)), { code: 'not-stored' });
  await writeFile(inbox, 'a file');
  await t.rejects(sendOne(session, 'x', randomBytes(100_000)), { code: 'in-the-way' });
  await rm(inbox);
  await mkdir(inbox);
  await sendOne(session, 'x', randomBytes(10));
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test('S4005: a sender that lies about the size or the hash is told so', async (t) => {
  const { caller, callee } = await pair(t);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const lies: readonly (readonly [string, number, number, string])[] = [
    ['shorter', 100, 50, 'file-changed'],
    ['longer', 100, 3_000_000, 'size-differs'],
    ['no hash', 100, 100, 'file-changed'],
    ['a byte of hash less', 100, 131, 'file-changed'],
    ['another hash', 100, 132, 'hash-differs'],
    ['an empty one with content', 0, 33, 'size-differs'],
    ['a huge one', 2 ** 50, 10, 'disk-full'],
  ];
  for (const [name, size, length, code] of lies) {
    const stream = session.openStream(undefined, offering({ name, size }));
    stream.end(Buffer.alloc(length, 1));
    const answer = Buffer.concat((await stream.toArray()) as Buffer[]).toString('latin1');
    t.ok(answer.includes(code), `${name}: ${answer}`);
  }
  await until(async () => (await readdir(callee.home.inbox)).length === 0);
  t.strictSame(await readdir(callee.home.inbox), []);
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test('S4005: paths at the edge, and those that no inbox takes', async (t) => {
  const { caller, callee } = await pair(t);
  const { inbox } = callee.home;
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const longest = 'ä'.repeat(125);
  const deepest = `${'d/'.repeat(63)}x`;
  for (const name of [
    longest,
    deepest,
    `${'ö'.repeat(125)}/${longest}/${longest}`,
    ' a',
    '.profile',
  ]) {
    const { savedAs } = await sendOne(session, name, randomBytes(3));
    t.equal(savedAs, name);
    t.equal((await readFile(join(inbox, name))).length, 3);
  }
  t.equal((await sendOne(session, longest, randomBytes(2))).savedAs, `${longest}.1`);
  t.equal((await stat(join(inbox, 'd'))).mode & 0o777, 0o700, 'folders are the owner’s alone');
  t.equal((await stat(join(inbox, deepest))).mode & 0o777, 0o600, 'and so are files');
  t.equal((await stat(join(inbox, deepest))).mtimeMs, MODIFIED);
  // What our own sender cannot even encode, by hand: the X is another byte on the wire.
  for (const byte of [0x00, 0x0a, 0x1b, 0x2f, 0x5c, 0x7f, 0xff]) {
    const parameters = offering({ name: 'aaX', size: 5 });
    parameters[parameters.indexOf(0x58)] = byte;
    const stream = session.openStream(undefined, parameters);
    stream.end('12345');
    const answer = Buffer.concat((await stream.toArray()) as Buffer[]).toString('latin1');
    t.ok(answer.includes('bad-name'), `byte ${byte}: ${answer}`);
  }
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test('S4005: no link and nothing put in place of a folder leads out of the inbox', async (t) => {
  const { world, caller, callee } = await pair(t);
  const { inbox } = callee.home;
  const outside = join(world.home('outside'));
  await mkdir(outside);
  await writeFile(join(outside, 'victim'), 'untouched');
  await symlink(outside, join(inbox, 'out'));
  await symlink(join(outside, 'victim'), join(inbox, 'x'));
  await symlink('/dev/full', join(inbox, 'full'));
  await mkdir(join(inbox, 'd'));
  await writeFile(join(inbox, 'plain'), '');
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const five = randomBytes(5);
  for (const name of ['out/x', 'out/d/x', 'plain/x', 'x/y']) {
    await t.rejects(sendOne(session, name, five), { code: 'in-the-way' }, name);
  }
  t.equal((await sendOne(session, 'x', five)).savedAs, 'x.1');
  t.equal((await sendOne(session, 'full', five)).savedAs, 'full.1');
  t.equal((await sendOne(session, 'd', five)).savedAs, 'd.1', 'a folder has the name');
  // Somebody with a right to write here replaces a folder while a file for it is under way.
  const swap = async (at: number): Promise<void> => {
    if (at !== 60_000) return;
    await rename(join(inbox, 'd'), join(inbox, 'moved'));
    await symlink(outside, join(inbox, 'd'));
  };
  const content = randomBytes(900_000);
  await sendOne(session, 'd/late', content, { resumes: true, onChunk: swap });
  t.ok(content.equals(await readFile(join(inbox, 'moved', 'late'))), 'where it belonged');
  t.strictSame(await readdir(outside), ['victim']);
  t.equal(await readFile(join(outside, 'victim'), 'utf8'), 'untouched');
  session.finish('done');
  await session.ended;
});

t.test('S4005: what becomes of a name that is taken is the owner’s choice', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const { inbox } = callee.home;
  const [old, fresh] = [Buffer.from('old'), Buffer.from('fresh')];
  let rule: 'number' | 'replace' | 'refuse' = 'number';
  callee.onIncoming((session) => takeFiles(session, callee, { overwrite: rule }));
  const outcome = async (replaces: boolean): Promise<string> => {
    await writeFile(join(inbox, 'x'), old);
    await rm(join(inbox, 'x.1'), { force: true });
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    const sent = sendOne(session, 'x', fresh, { replaces });
    const said = await sent.then(
      ({ savedAs }) => savedAs,
      (error: { code: string }) => error.code,
    );
    session.finish('done');
    await session.ended;
    return `${said}, ${await readFile(join(inbox, 'x'), 'utf8')}`;
  };
  const outcomes: string[] = [];
  for (const each of ['number', 'replace', 'refuse'] as const) {
    rule = each;
    for (const replaces of [false, true]) outcomes.push(await outcome(replaces));
  }
  t.strictSame(outcomes, [
    'x.1, old',
    'no-overwrite, old',
    'x, fresh',
    'x, fresh',
    'exists, old',
    'exists, old',
  ]);
});

t.test('S4005: a file that is too large, or leaves too little room, never begins', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const { bavail, bsize } = await statfs(callee.home.inbox);
  const settings = [{ file_max: 1_000 }, { keep_free: bavail * bsize * 2 }, {}];
  callee.onIncoming((session) => takeFiles(session, callee, settings.shift()));
  const codes: string[] = [];
  for (const size of [1_001, 1, 1_001]) {
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    const sent = sendOne(session, 'x', randomBytes(size));
    codes.push(
      await sent.then(
        () => 'ok',
        (error: { code: string }) => error.code,
      ),
    );
    session.finish('done');
    await session.ended;
  }
  t.strictSame(codes, ['too-large', 'no-room', 'ok']);
});

t.test('where a group may use the commands, its members may read what arrives', (t) => {
  const own = inboxRules('/home', DEFAULT_CONFIG);
  t.match(own, { fileMode: 0o600, folderMode: 0o700 });
  const agent = { socket_group: 'nakodo' };
  const shared = inboxRules('/home', { ...DEFAULT_CONFIG, agent });
  t.match(shared, { fileMode: 0o640, folderMode: 0o750 });
  t.end();
});
