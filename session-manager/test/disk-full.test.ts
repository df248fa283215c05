// A disk that is really full: a small file system of its own, mounted for this test. Needs root and
// the right to mount; elsewhere it is skipped, and the store's double in manager-shell.test.ts
// stands for it.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openLmdbStore } from '../shell/store-lmdb.ts';

const DISK_BYTES = 4 * 1024 * 1024;
const ROW_BYTES = 2_000;

const mount = (folder: string): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', folder]).status === 0;

/** A folder on a disk of DISK_BYTES. */
function smallDisk(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'nakodo-disk-'));
  const mounted = mount(folder);
  t.teardown(() => {
    if (mounted) spawnSync('umount', [folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  t.ok(mounted);
  return folder;
}

function whySkipped(): string | false {
  const folder = mkdtempSync(join(tmpdir(), 'nakodo-disk-'));
  const mounted = mount(folder);
  if (mounted) spawnSync('umount', [folder]);
  rmSync(folder, { recursive: true, force: true });
  return mounted ? false : 'nothing may be mounted here';
}
const skip = whySkipped();

/** Leaves so many bytes free. */
function fill(folder: string, leaveBytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(join(folder, 'fill'), new Uint8Array(bavail * bsize - leaveBytes));
}

t.test(
  'a really full disk: nothing is written by half, and room again is used',
  { skip },
  async (t) => {
    const disk = smallDisk(t);
    const store = await openLmdbStore({ folder: join(disk, 'store') });
    let written = 0;
    const write = (at: number): Promise<void> =>
      store.write([
        { table: 'log', key: String(at).padStart(16, '0'), value: new Uint8Array(ROW_BYTES) },
        { table: 'meta', key: 'log-head', value: Uint8Array.of(at >> 8, at & 255) },
      ]);
    const failure = await (async () => {
      for (; written < DISK_BYTES / ROW_BYTES; written++) await write(written);
    })().catch((error: unknown) => error);
    t.match(failure, { code: 'ENOSPC' }, 'the system’s word, not a number');
    const rows = store.range('log', { limit: 10_000 });
    t.equal(rows.length, written, 'all that was acknowledged is there, and no more');
    const [head] = store.range('meta', { limit: 1 });
    t.equal((head.value[0] << 8) | head.value[1], written - 1, 'of the batch that failed, nothing');
    await store.write(
      rows.slice(0, 100).map(({ key }) => ({ table: 'log', key, value: undefined })),
    );
    await write(written);
    await store.close();
  },
);

t.test('a store is not opened on a full disk, and the error says so', { skip }, async (t) => {
  const disk = smallDisk(t);
  await (await openLmdbStore({ folder: join(disk, 'old') })).close();
  fill(disk, 12 * 1024);
  for (const folder of ['new', 'old']) {
    const opened = openLmdbStore({ folder: join(disk, folder) });
    await t.rejects(opened, { code: 'disk-full', next: /free some space/ });
  }
  rmSync(join(disk, 'fill'));
  for (const folder of ['new', 'old']) {
    await (await openLmdbStore({ folder: join(disk, folder) })).close();
  }
});
