// The user's files: opened together or not at all, read in their order and at the rate that was
// asked for, and what is told of those that cannot be sent.

import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { closeUserFiles, contentOf, openUserFiles } from '../user-files.ts';
import { folder } from './program.ts';

async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

t.test('the content of several files comes in their order, an empty one included', async (t) => {
  const base = folder(t);
  writeFileSync(join(base, 'a'), 'first ');
  writeFileSync(join(base, 'b'), '');
  writeFileSync(join(base, 'c'), 'last');
  const files = await openUserFiles(['a', 'b', 'c'].map((name) => join(base, name)));
  t.teardown(() => closeUserFiles(files));
  t.strictSame(
    files.map(({ name, bytes }) => [name, bytes]),
    [
      ['a', 6],
      ['b', 0],
      ['c', 4],
    ],
  );
  t.equal((await collect(contentOf(files))).toString(), 'first last');
});

t.test('a rate is kept to', async (t) => {
  const path = join(folder(t), 'file');
  writeFileSync(path, Buffer.alloc(50_000, 7));
  const files = await openUserFiles([path]);
  t.teardown(() => closeUserFiles(files));
  const started = performance.now();
  const content = await collect(contentOf(files, 200_000));
  t.equal(content.length, 50_000);
  t.ok(performance.now() - started >= 245, '50 kB at 200 kB/s take 250 ms');
});

t.test('what is no file is refused before anybody is called', async (t) => {
  const base = folder(t);
  writeFileSync(join(base, 'good'), '');
  mkdirSync(join(base, 'folder'));
  writeFileSync(join(base, 'line\nbreak'), '');
  const refused = async (name: string, code: string, exit: number): Promise<void> => {
    await t.rejects(openUserFiles([join(base, 'good'), join(base, name)]), { code, exit }, code);
  };
  await refused('missing', 'no-such-file', 1);
  await refused('folder', 'not-a-file', 2);
  await refused('line\nbreak', 'bad-file-name', 2);
  const many = Array.from({ length: 401 }, () => join(base, 'good'));
  await t.rejects(openUserFiles(many), { code: 'too-many-files', exit: 2 });
});

t.test('a file that becomes shorter while it is sent is an error, not a hang', async (t) => {
  const path = join(folder(t), 'file');
  writeFileSync(path, Buffer.alloc(200_000));
  const files = await openUserFiles([path]);
  t.teardown(() => closeUserFiles(files));
  const content = contentOf(files);
  await content.next();
  truncateSync(path, 70_000);
  await t.rejects(collect(content), { code: 'file-changed' });
});
