// A small file of a home: written once for many changes that come together, and tried again when
// the disk refuses, so that a start does not find less than was known.

import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { errorCode } from '../../protocol/errors.ts';
import { until } from '../../protocol/test/until.ts';
import { WholeFile } from '../shell/whole-file.ts';
import { recordDisk } from './disk-record.ts';

async function folder(test: Test): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'nk-whole-'));
  test.teardown(() => rm(made, { recursive: true, force: true }));
  return made;
}

t.test('changes that come together are one write', async (t) => {
  const path = join(await folder(t), 'file');
  const record = recordDisk(join(path, '..'));
  t.teardown(() => record.stop());
  let changes = 0;
  const file = new WholeFile({
    path,
    text: () => String(changes),
    onError: () => t.fail('refused'),
  });
  for (; changes < 100; changes++) file.changed();
  await file.settled();
  record.stop();
  t.equal(await readFile(path, 'utf8'), '100');
  t.equal(record.calls.filter(({ kind }) => kind === 'rename').length, 1);
});

t.test('what the disk refuses is tried again by itself, and told both times', async (t) => {
  const path = join(await folder(t), 'later', 'file');
  const told: string[] = [];
  const file = new WholeFile({
    path,
    text: () => 'known',
    onError: (error) => told.push(errorCode(error)),
    onWritten: () => told.push('written'),
    retryMs: 5,
  });
  file.changed();
  await until(() => told.length > 1);
  t.match(told, ['no-such-file', 'no-such-file']);
  await mkdir(join(path, '..'));
  await until(() => told.includes('written'));
  t.equal(await readFile(path, 'utf8'), 'known');
  const count = told.length;
  await file.settled();
  t.equal(told.length, count, 'nothing is left to write');
});

t.test('the last call tries once more, and then lets go', async (t) => {
  const path = join(await folder(t), 'never', 'file');
  const told: string[] = [];
  const onError = (error: unknown): void => void told.push(errorCode(error));
  const file = new WholeFile({ path, text: () => '', onError });
  file.changed();
  await until(() => told.length === 1);
  await file.settled();
  t.strictSame(told, ['no-such-file', 'no-such-file']);
});
