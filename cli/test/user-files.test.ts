// The user's files as one `send` takes them: all looked at before anybody is called, and what is
// told of those that cannot be sent. The rate that was asked for.

import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DiskContent } from '../../device/services/file/disk-content.ts';
import { destinationOf, pathThere } from '../get-files.ts';
import { Pacer } from '../pacer.ts';
import { folderThere, planFiles } from '../user-files.ts';
import { folder } from './program.ts';

async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

t.test('a folder is everything below it, links and what is no file passed over', async (t) => {
  const base = folder(t);
  const at = (...names: readonly string[]): string => join(base, ...names);
  mkdirSync(at('tree', 'sub', 'empty'), { recursive: true });
  writeFileSync(at('tree', 'b'), 'first');
  writeFileSync(at('tree', 'sub', 'a'), '');
  symlinkSync('/etc', at('tree', 'etc'));
  symlinkSync(at('tree'), at('alias'));
  execFileSync('mkfifo', [at('tree', 'fifo')]);
  const { files, skipped } = await planFiles([at('tree'), at('tree', 'b')], 'to');
  t.strictSame(
    files.map(({ path, kind, size }) => [path, kind, size]),
    [
      ['to/tree/b', 'file', 5],
      ['to/tree/sub/a', 'file', 0],
      ['to/tree/sub/empty', 'folder', 0],
      ['to/b', 'file', 5],
    ],
  );
  t.strictSame(skipped, [
    { path: at('tree', 'etc'), why: 'a link' },
    { path: at('tree', 'fifo'), why: 'no regular file' },
  ]);
  const named = await planFiles([at('alias')], '');
  t.equal(named.files[0]?.path, 'alias/b', 'a link that is named is followed, under its name');
  const content = await DiskContent.open(named.files[0].root, named.files[0].local);
  t.equal((await collect(content.chunks(0, content.size))).toString(), 'first');
  await content.close();
});

t.test('what cannot be sent is refused before anybody is called', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  writeFileSync(at('good'), '');
  writeFileSync(at('line\nbreak'), '');
  writeFileSync(at('back\\slash'), '');
  execFileSync('mkfifo', [at('fifo')]);
  mkdirSync(at('bad'));
  writeFileSync(join(at('bad'), '\u202etxt.exe'), '');
  mkdirSync(join(at('deep'), 'd/'.repeat(63)), { recursive: true });
  writeFileSync(join(at('deep'), 'd/'.repeat(63), 'x'), '');
  const refused = async (name: string, code: string, exit: number): Promise<void> => {
    await t.rejects(planFiles([at('good'), at(name)], ''), { code, exit }, name);
  };
  await refused('missing', 'no-such-file', 1);
  await refused('fifo', 'not-a-file', 2);
  await t.rejects(planFiles(['/dev/null'], ''), { code: 'not-a-file', exit: 2 });
  await refused('line\nbreak', 'bad-file-name', 2);
  await refused('back\\slash', 'bad-file-name', 2);
  await refused('bad', 'bad-file-name', 2);
  await refused('deep', 'bad-file-name', 2);
});

t.test('folders there and places here, as they are typed', async (t) => {
  for (const [text, folderName] of [
    ['.', ''],
    ['', ''],
    ['./a//', 'a'],
    ['a/b/', 'a/b'],
  ] as const) {
    t.equal(folderThere(text), folderName, text);
  }
  for (const text of ['/etc', '..', 'a/../b', 'a//b', '/', 'a\nb']) {
    t.throws(() => folderThere(text), { code: 'bad-folder', exit: 2 }, text);
    t.throws(() => pathThere(text), { code: 'bad-path', exit: 2 }, text);
  }
  t.equal(pathThere('./photos/'), 'photos');
  t.equal(pathThere('.'), '');
  const base = folder(t);
  writeFileSync(join(base, 'file'), '');
  t.strictSame(await destinationOf(base, 1), { folder: base, name: undefined });
  t.strictSame(await destinationOf(join(base, 'x'), 1), { folder: base, name: 'x' });
  t.strictSame(await destinationOf(join(base, 'n', 'm') + '/', 1), {
    folder: join(base, 'n', 'm'),
    name: undefined,
  });
  t.match(await destinationOf(join(base, 'many'), 2), { name: undefined });
  await t.rejects(destinationOf(join(base, 'file'), 2), { code: 'not-a-folder', exit: 2 });
  await t.rejects(destinationOf(join(base, 'no', 'x'), 1), { code: 'no-such-file' });
});

t.test('a file that shrinks, grows or is touched while it is read has changed', async (t) => {
  const base = folder(t);
  const path = join(base, 'file');
  const how: readonly (() => void)[] = [
    () => truncateSync(path, 70_000),
    () => writeFileSync(path, 'more', { flag: 'a' }),
    () => writeFileSync(path, Buffer.alloc(400_000, 2)),
  ];
  for (const change of how) {
    writeFileSync(path, Buffer.alloc(400_000, 1));
    const content = await DiskContent.open(base, 'file');
    const chunks = content.chunks(0, content.size);
    await chunks.next();
    change();
    const read = (async () => {
      await collect(chunks);
      await content.check();
    })();
    await t.rejects(read, { code: 'file-changed' });
    await content.close();
  }
  const content = await DiskContent.open(base, 'file');
  t.equal((await collect(content.chunks(5, content.size))).length, 399_995);
  await t.resolves(content.check(), 'a positive control');
  await content.close();
});

t.test('a rate is kept to, over all files together', async (t) => {
  const pacer = new Pacer(200_000);
  t.equal(pacer.pieceBytes, 10_000);
  const started = performance.now();
  await Promise.all(Array.from({ length: 5 }, () => pacer.spend(10_000)));
  t.ok(performance.now() - started >= 245, '50 kB at 200 kB/s take 250 ms');
});
