// Disks for tests: loop devices over files in a temporary folder, and images as small as they can
// be with the layout of a Pi's: MBR, FAT with config.txt and cmdline.txt, a partition of Linux.

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { copyToBoot, makeBoot } from '../image/boot-files.ts';
import {
  ALIGNMENT,
  FAT32_TYPE,
  LINUX_TYPE,
  type Partition,
  encodePartitions,
} from '../image/partition-table.ts';
import { missingPackages, runTool, tryTool } from '../tools.ts';

/** What tap's `t` offers for clearing away. */
interface Teardown {
  teardown(clear: () => unknown): void;
}

/** FAT with 32-bit clusters has at least 65,525 of them (mformat refuses less). */
const BOOT_BYTES = 36 * 1024 * 1024;
const ROOT_BYTES = 2 * 1024 * 1024;
export const PI_IMAGE_BYTES = ALIGNMENT + BOOT_BYTES + ROOT_BYTES;

/** Why no loop device can be had here; false if one can. */
export async function noLoopDevices(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'needs root, for loop devices';
  const missing = missingPackages({ losetup: 'mount', blockdev: 'util-linux' });
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  const free = await tryTool('losetup', ['--find']);
  return free.exit === 0 ? false : `no loop device here: ${free.stderr.trim()}`;
}

/** A loop device over a new file of so many bytes. */
export async function loopDevice(
  t: Teardown,
  folder: string,
  bytes: number,
  options: readonly string[] = [],
): Promise<{ readonly device: string; readonly file: string }> {
  const file = join(folder, `disk-${randomBytes(4).toString('hex')}`);
  writeFileSync(file, '');
  truncateSync(file, bytes);
  const device = (await runTool('losetup', ['-P', '-f', '--show', ...options, file])).trim();
  t.teardown(() => tryTool('losetup', ['-d', device]));
  return { device, file };
}

/** The partitions of a small image of a Pi. */
export const PI_PARTITIONS: readonly Partition[] = [
  { number: 1, type: FAT32_TYPE, startByte: ALIGNMENT, bytes: BOOT_BYTES },
  { number: 2, type: LINUX_TYPE, startByte: ALIGNMENT + BOOT_BYTES, bytes: ROOT_BYTES },
];

/** A small image with the layout of a Pi's; its second partition holds noise. */
export async function piImage(folder: string, name = 'pi.img'): Promise<string> {
  const path = join(folder, name);
  const file = openSync(path, 'w');
  writeSync(file, encodePartitions(PI_PARTITIONS, 'c0ffee01'));
  writeSync(file, randomBytes(ROOT_BYTES), 0, ROOT_BYTES, PI_PARTITIONS[1].startByte);
  closeSync(file);
  const boot = { path, partition: PI_PARTITIONS[0] };
  await makeBoot(boot, 'bootfs');
  const config = join(folder, 'config.txt');
  const cmdline = join(folder, 'cmdline.txt');
  writeFileSync(config, 'arm_64bit=1\n');
  writeFileSync(cmdline, 'root=PARTUUID=c0ffee01-02 rootwait\n');
  await copyToBoot(boot, [config, cmdline], '::/');
  return path;
}
