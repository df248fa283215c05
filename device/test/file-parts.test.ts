// The small parts of the file services: turns, room, shared folders, what is written in pieces,
// which paths may be carried.

import { randomBytes } from 'node:crypto';
import {
  mkdir,
  mkdtemp,
  open,
  readFile,
  readdir,
  rename,
  rm,
  statfs,
  symlink,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import { FileWriter } from '../services/file/file-writer.ts';
import { FILE_LIMITS } from '../services/file/limits.ts';
import { isFilePath } from '../services/file/names.ts';
import { Room } from '../services/file/room.ts';
import { SharedFolders } from '../services/file/shared-folders.ts';
import { Turns } from '../services/file/turns.ts';
import { encodeOffer } from '../services/file/wire.ts';
import { PARAMETERS_BYTES_MAX } from '../shell/stream-opening.ts';

async function folder(test: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nk-fp-'));
  test.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

t.test('what is written in pieces of any size is what was given', async (t) => {
  const path = join(await folder(t), 'file');
  const sizes = fc.array(fc.integer({ min: 0, max: 150_000 }), { maxLength: 12 });
  const property = fc.asyncProperty(sizes, fc.integer({ min: 0, max: 9 }), async (all, at) => {
    const pieces = all.map((size) => randomBytes(size));
    const whole = Buffer.concat([Buffer.alloc(at), ...pieces]);
    const file = await open(path, 'w');
    const writer = new FileWriter(file, { at, left: whole.length - at });
    for (const piece of pieces) {
      const lent = Buffer.from(piece);
      await writer.write(lent);
      lent.fill(0);
    }
    t.equal(writer.end, whole.length);
    await writer.flush();
    await file.close();
    return whole.equals(await readFile(path)) || whole.length === at;
  });
  await fc.assert(property, { numRuns: dose(40) });
});

t.test('turns: never more than the whole, nobody overtaken, given back on failure', async (t) => {
  const turns = new Turns(4);
  const order: number[] = [];
  let taken = 0;
  let most = 0;
  const work = (number: number, share: number): Promise<void> =>
    turns.run(share, async () => {
      order.push(number);
      taken += share;
      most = Math.max(most, taken);
      await Promise.resolve();
      taken -= share;
      if (number % 3 === 0) throw new Error('failed');
    });
  const shares = [1, 1, 4, 1, 3, 2, 1];
  await Promise.allSettled(shares.map((share, number) => work(number, share)));
  t.strictSame(order, [0, 1, 2, 3, 4, 5, 6]);
  t.equal(most, 4);
  await turns.run(4, async () => t.equal(taken, 0, 'all of it is back'));
});

t.test('room is promised once', async (t) => {
  const path = await folder(t);
  const { bavail, bsize } = await statfs(path);
  const most = Math.floor(bavail * bsize * 0.6);
  const room = new Room();
  const mine = { peer: 'one', keepFree: undefined };
  const first = await room.promise(path, most, mine);
  await t.rejects(room.promise(path, most, mine), { code: 'disk-full' });
  await t.rejects(room.promise(path, 1, { ...mine, keepFree: bavail * bsize }), {
    code: 'no-room',
  });
  first.spend(most);
  first.spend(most);
  (await room.promise(path, most, mine)).spend(most);
});

t.test(
  'folders that several use are opened once, closed by the last, and never left',
  async (t) => {
    const path = await folder(t);
    const outside = await folder(t);
    const open = async (): Promise<number> => (await readdir('/proc/self/fd')).length;
    const before = await open();
    const folders = new SharedFolders(0o700);
    const used = await Promise.all(Array.from({ length: 9 }, () => folders.use(path, ['a', 'b'])));
    t.equal((await open()) - before, 1);
    t.equal(new Set(used.map((each) => each.folder)).size, 1);
    await rename(join(path, 'a'), join(path, 'moved'));
    await symlink(outside, join(path, 'a'));
    await mkdir(used[0].folder.at('late'));
    t.strictSame(await readdir(join(path, 'moved', 'b')), ['late'], 'it is the same folder');
    await used[0].release(true);
    await t.rejects(
      folders.use(path, ['a', 'b']),
      { code: 'ENOTDIR' },
      'who comes now looks again',
    );
    for (const each of used.slice(1)) await each.release();
    t.equal(await open(), before);
    t.strictSame(await readdir(outside), []);
  },
);

t.test('a path that may be carried fits an opening, and stays below its folder', async (t) => {
  const names = fc.oneof(
    fc.constantFrom('.', '..', '', 'a', '.part-', 'ä'.repeat(125)),
    fc.string(),
  );
  const paths = fc.array(names, { maxLength: 70 }).map((each) => each.join('/'));
  let good = 0;
  const property = fc.property(paths, (path) => {
    if (!isFilePath(path)) return true;
    good += 1;
    const size = Number.MAX_SAFE_INTEGER;
    const about = { size, modified: size, isExecutable: true, resumes: true, replaces: true };
    const length = encodeOffer({ kind: 'file', path, ...about }).length;
    return length <= PARAMETERS_BYTES_MAX && join('/inbox', path).startsWith('/inbox/');
  });
  fc.assert(property, { numRuns: dose(2_000) });
  t.ok(good > 20, `${good} good ones`);
  const longest = Array.from({ length: 4 }, () => 'x'.repeat(FILE_LIMITS.nameBytesMax));
  t.notOk(isFilePath(longest.join('/')), 'too long in all');
  t.ok(isFilePath(longest.slice(1).join('/')));
});
