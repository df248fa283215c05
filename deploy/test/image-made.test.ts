// Whole images, in `make prove`: Debian's for arm64, and a copy of an image like Raspberry Pi OS
// with the package in it. Looked into as a Pi would: the table, FAT by mtools, root by mount. No Pi
// was there to start from them.

import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { formatTicket } from '../../protocol/identity/ticket.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { inRoot, noSystemRoot, unpackSystemRoot } from '../arm64/system-root.ts';
import { freshPackage } from '../fresh-package.ts';
import { findBootPartition, readBootFile } from '../image/boot-files.ts';
import { customise } from '../image/customise.ts';
import { debianImage, writeImage } from '../image/debian.ts';
import { imagePartitions } from '../image/image-file.ts';
import { SECTOR, decodeSignature } from '../image/partition-table.ts';
import { runTool, tryTool } from '../tools.ts';
import { noLoopDevices } from './disks.ts';

const TIMEOUT_MS = 1_700_000;
t.setTimeout(TIMEOUT_MS);
const skip = IS_PROOF
  ? noSystemRoot() || (await noLoopDevices())
  : 'ten minutes and a mirror of Debian: in make prove';

const base = mkdtempSync(join(tmpdir(), 'nakodo-made-'));
t.teardown(() => rmSync(base, { recursive: true, force: true }));
const at = (name: string): string => join(base, name);
const deb = skip === false ? await freshPackage(at('deb')) : '';

const ticket = formatTicket({
  url: 'https://127.0.0.1:8183',
  managerKey: new Uint8Array(32).fill(1),
  agreementKey: new Uint8Array(32).fill(2),
  secret: new Uint8Array(20).fill(3),
  expiresAt: 2_000_000_000,
});
const settings = `ticket = "${ticket}"\nname = "pi-{serial}"\n`;
if (skip === false) writeFileSync(at('nakodo.toml'), settings);

/** Mounts the last partition of an image, for reading. */
async function mounted(
  t: { teardown(clear: () => unknown): void },
  image: string,
): Promise<string> {
  const root = (await imagePartitions(image)).at(-1);
  const place = mkdtempSync(at('mount-'));
  const options = `ro,loop,offset=${root?.startByte},sizelimit=${root?.bytes}`;
  await runTool('mount', ['-o', options, image, place]);
  t.teardown(() => tryTool('umount', [place]));
  return place;
}

/** What has to hold in the root of every image that we make. */
async function isReady(t: Test, image: string): Promise<string> {
  const { startByte } = (await imagePartitions(image)).at(-1) ?? { startByte: 0 };
  const checked = await tryTool('e2fsck', ['-f', '-n', `${image}?offset=${startByte}`]);
  t.equal(checked.exit, 0, 'its root file system is sound');
  const root = await mounted(t, image);
  const text = (path: string): string => readFileSync(join(root, path), 'utf8');
  t.equal(text('etc/machine-id').replace('uninitialized\n', ''), '', 'no machine-id');
  const state = readdirSync(join(root, 'var/lib/nakodo'), { recursive: true, encoding: 'utf8' });
  t.strictSame(state.sort(), ['inbox', 'outbox'], 'no identity, and no file');
  t.equal(statSync(join(root, 'usr/lib/nakodo/nakodo.cjs')).uid, 0);
  t.match(text('var/lib/dpkg/status'), /Package: nakodo\nStatus: install ok installed\n/);
  t.match(text('var/lib/dpkg/status'), /Package: nodejs\nStatus: install ok installed\n/);
  const wants = join(root, 'etc/systemd/system/multi-user.target.wants');
  t.equal(readlinkSync(join(wants, 'nakodo.service')), '/usr/lib/systemd/system/nakodo.service');
  t.match(text('etc/shadow'), /^root:[*!]/m, 'nobody logs in as root by a password');
  for (const left of ['usr/sbin/policy-rc.d', 'var/cache/nakodo.deb', 'etc/resolv.conf.of-image']) {
    t.notOk(existsSync(join(root, left)), `nothing is left over: ${left}`);
  }
  return root;
}

t.test('an image of Debian for a Pi', { skip, timeout: TIMEOUT_MS }, async (t) => {
  const out = at('debian.img');
  const tell = (line: string): void => {
    if (line.endsWith(' …')) t.comment(line);
  };
  const bytes = await debianImage({ deb, out, provision: at('nakodo.toml'), tell });
  t.equal(statSync(out).size, bytes);
  t.ok(statSync(out).blocks * 512 < bytes / 2, 'what is empty takes no room');
  const root = await isReady(t, out);
  const boot = await findBootPartition(out);
  t.equal(await readBootFile(boot, 'nakodo.toml'), settings);
  const sector = new Uint8Array(SECTOR);
  const file = openSync(out, 'r');
  readSync(file, sector);
  closeSync(file);
  const disk = decodeSignature(sector);
  t.match(await readBootFile(boot, 'cmdline.txt'), `root=PARTUUID=${disk}-02 rw`);
  t.match(readFileSync(join(root, 'etc/fstab'), 'utf8'), `PARTUUID=${disk}-01 /boot/firmware`);
  const config = (await readBootFile(boot, 'config.txt')) ?? '';
  for (const [, file] of config.matchAll(/^(?:kernel=|initramfs )(.*)$/gm)) {
    t.ok(((await readBootFile(boot, file)) ?? '').length > 1_000_000, `${file} is there`);
  }
});

t.test('the package in a copy of the user’s image', { skip, timeout: TIMEOUT_MS }, async (t) => {
  const root = at('root');
  await unpackSystemRoot(root, () => undefined);
  // As Raspberry Pi OS comes: without Node.
  await inRoot(root, ['apt-get', 'purge', '-y', '--autoremove', 'nodejs']);
  t.notOk(existsSync(join(root, 'usr/bin/node')));
  mkdirSync(join(root, 'etc/nakodo-was-here'));
  await writeImage({ image: at('base.img'), root, signature: '0badcafe' });
  rmSync(root, { recursive: true });
  const packed = at('base.img.zst');
  await runTool('zstd', ['-q', '--rm', at('base.img'), '-o', packed]);
  const out = at('custom.img');
  const tell = (): void => undefined;
  await customise({ base: packed, deb, out, provision: at('nakodo.toml'), tell });
  const custom = await isReady(t, out);
  t.ok(existsSync(join(custom, 'etc/nakodo-was-here')), 'the image that the user gave');
  const boot = await findBootPartition(out);
  t.equal(await readBootFile(boot, 'nakodo.toml'), settings);
});
