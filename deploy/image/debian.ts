// An image of Debian arm64 with the terminal in it, where no image of Raspberry Pi OS was given:
// the system of system-root.ts, the package, a FAT partition with firmware and kernel, ext4 as
// root. For Pi 3, Zero 2 W and 4 (Debian's raspi-firmware knows no Pi 5), by wire, without any
// login.

import { randomBytes } from 'node:crypto';
import {
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SYSTEM_TOOLS, inRoot, unpackSystemRoot } from '../arm64/system-root.ts';
import { repositoryFile, runTool } from '../tools.ts';
import { BOOT_TOOLS, copyToBoot, makeBoot, provision } from './boot-files.ts';
import { type ImageOptions, refuseUnable } from './image-options.ts';
import { finishImage } from './image-file.ts';
import {
  ALIGNMENT,
  FAT32_TYPE,
  LINUX_TYPE,
  type Partition,
  encodePartitions,
} from './partition-table.ts';
import { readProvisioning } from './provisioning.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const BOOT_BYTES = 508 * MIB;
/** Fits any card that is sold as 4 GB; its root becomes as large as the card at the first start. */
const IMAGE_BYTES = 3072 * MIB;
const SIGNATURE_BYTES = 4;

const FSTAB = [
  'PARTUUID=@-02 / ext4 defaults,noatime,x-systemd.growfs 0 1',
  'PARTUUID=@-01 /boot/firmware vfat defaults,umask=0077 0 2',
];
/** The partition is made as large as the card, once; x-systemd.growfs then grows what is in it. */
const GROW = [
  '[Unit]',
  'Description=Make the root partition as large as the card',
  'DefaultDependencies=no',
  'ConditionPathExists=!/var/lib/nakodo-root-grown',
  'After=systemd-remount-fs.service',
  'Before=systemd-growfs-root.service local-fs.target shutdown.target',
  'Conflicts=shutdown.target',
  '',
  '[Service]',
  'Type=oneshot',
  'RemainAfterExit=yes',
  'ExecStart=/usr/lib/nakodo-grow-root',
  '',
  '[Install]',
  'WantedBy=local-fs.target',
];
const GROW_SCRIPT = [
  '#!/bin/sh',
  '# The second partition to the end of the card; the kernel is told while root is mounted.',
  'set -e',
  'part=$(findmnt -n -o SOURCE /)',
  'disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/${part#/dev/}")")")',
  'echo ", +" | sfdisk --no-reread --force -N 2 "$disk"',
  'partx --update --nr 2 "$disk"',
  'touch /var/lib/nakodo-root-grown',
];

/**
 * Makes the image; `out` gets its name when it is whole. Returns its size unpacked, in bytes.
 * @throws NakodoError `no-tool`, `not-allowed`, `bad-provision`, `tool-failed`.
 */
export async function debianImage(options: ImageOptions): Promise<number> {
  const { deb, out, tell } = options;
  refuseUnable({ ...SYSTEM_TOOLS, ...BOOT_TOOLS, mke2fs: 'e2fsprogs' });
  const settings =
    options.provision === undefined ? undefined : await readProvisioning(options.provision);
  const work = await mkdtemp(join(dirname(out), '.nakodo-image-'));
  try {
    const root = join(work, 'root');
    await unpackSystemRoot(root, tell);
    tell('Installing the package …');
    await installPackage(root, deb, tell);
    const signature = randomBytes(SIGNATURE_BYTES).toString('hex');
    await furnish(root, signature);
    tell('Writing the partitions …');
    const image = join(work, 'image');
    const partition = await writeImage({ image, root, signature });
    if (settings !== undefined) await provision({ path: image, partition }, settings);
    return await finishImage(image, out);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function installPackage(
  root: string,
  deb: string,
  tell: (line: string) => void,
): Promise<void> {
  const inside = '/var/cache/nakodo.deb';
  await copyFile(deb, join(root, inside));
  await inRoot(root, ['apt-get', '-q', 'install', '-y', '--no-install-recommends', inside], tell);
  await rm(join(root, inside));
  await rm(join(root, 'var/lib/apt/lists'), { recursive: true });
}

/** What an installed system has and one out of debootstrap has not; and nothing of ours in it. */
async function furnish(root: string, signature: string): Promise<void> {
  const put = (path: string, lines: readonly string[], mode = 0o644): Promise<void> =>
    writeFile(join(root, path), `${lines.join('\n')}\n`, { mode });
  const uuid = (line: string): string => line.replace('@', signature);
  await put('etc/fstab', FSTAB.map(uuid));
  await put('etc/hosts', ['127.0.0.1 localhost nakodo', '::1 localhost']);
  await put('etc/systemd/system/nakodo-grow-root.service', GROW);
  await put('usr/lib/nakodo-grow-root', GROW_SCRIPT, 0o755);
  await inRoot(root, ['systemctl', 'enable', 'nakodo-grow-root.service']);
  for (const path of ['etc/default/raspi-firmware', 'boot/firmware/cmdline.txt']) {
    const text = await readFile(join(root, path), 'utf8');
    await writeFile(join(root, path), text.replace('LABEL=rootfs', `PARTUUID=${signature}-02`));
  }
  await rm(join(root, 'etc/resolv.conf'), { force: true });
  await runTool('ln', ['-s', '../run/systemd/resolve/stub-resolv.conf', `${root}/etc/resolv.conf`]);
  await runTool('sh', [repositoryFile('deploy/image/unmark.sh'), root]);
}

/**
 * Writes a new image file: the table, what is in `boot/firmware` of the root as boot partition, all
 * else as root. `signature`: of the disk, eight hex digits. Returns the boot partition; afterwards
 * that folder of the root is empty.
 */
export async function writeImage(parts: {
  readonly image: string;
  readonly root: string;
  readonly signature: string;
}): Promise<Partition> {
  const { image, root, signature } = parts;
  const boot: Partition = { number: 1, type: FAT32_TYPE, startByte: ALIGNMENT, bytes: BOOT_BYTES };
  const startByte = ALIGNMENT + BOOT_BYTES;
  const bytes = IMAGE_BYTES - startByte;
  const linux: Partition = { number: 2, type: LINUX_TYPE, startByte, bytes };
  await writeFile(image, encodePartitions([boot, linux], signature), { flag: 'wx' });
  await truncate(image, IMAGE_BYTES);
  const firmware = join(root, 'boot/firmware');
  await makeBoot({ path: image, partition: boot }, 'bootfs');
  const files = (await readdir(firmware)).map((name) => join(firmware, name));
  await copyToBoot({ path: image, partition: boot }, files, '::/');
  await rm(firmware, { recursive: true });
  await mkdir(firmware);
  const where = ['-E', `offset=${startByte}`, image, `${bytes / KIB}k`];
  await runTool('mke2fs', ['-q', '-t', 'ext4', '-L', 'rootfs', '-d', root, ...where]);
  return boot;
}
