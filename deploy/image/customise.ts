// An image of Raspberry Pi OS with the terminal in it: the user's own image is copied, the package
// is installed in its root by its own apt (under qemu-user where its processor is another), and
// what has to differ from card to card is taken out. Assumes an MBR with FAT first and ext4 last,
// root's rights, loop devices, and a network for what the package depends on: no Pi has Node from
// the start.

import { open, rm, stat, truncate } from 'node:fs/promises';
import { EXIT, NakodoError } from '../../protocol/errors.ts';
import { repositoryFile, runTool } from '../tools.ts';
import { BOOT_TOOLS, findBootPartition, provision } from './boot-files.ts';
import { type ImageOptions, refuseUnable } from './image-options.ts';
import { finishImage, imagePartitions, unpackImage } from './image-file.ts';
import { LINUX_TYPE, type Partition, SECTOR, resizedPartition } from './partition-table.ts';
import { readProvisioning } from './provisioning.ts';

/** Programs, and Debian's packages of them. */
const TOOLS = {
  ...BOOT_TOOLS,
  losetup: 'mount',
  unshare: 'util-linux',
  e2fsck: 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  dumpe2fs: 'e2fsprogs',
  'qemu-aarch64-static': 'qemu-user-static',
} as const;
/** Bytes to be free in its root: Node takes 150 MB, apt's lists and archives another 150. */
const ROOM = 512 * 1024 * 1024;

/** What is made of what. */
interface CustomiseOptions extends ImageOptions {
  /** The image that the user has: `.img`, or that packed with xz, gzip or zstd. */
  readonly base: string;
}

/**
 * Makes the image; `out` gets its name when it is whole. Returns its size unpacked, in bytes.
 * @throws NakodoError `no-tool`, `not-allowed`, `no-image`, `bad-image`, `not-pi`, `bad-provision`,
 *   `tool-failed`.
 */
export async function customise(options: CustomiseOptions): Promise<number> {
  const { base, deb, out, tell } = options;
  refuseUnable(TOOLS);
  const settings =
    options.provision === undefined ? undefined : await readProvisioning(options.provision);
  const work = `${out}.part`;
  await rm(work, { force: true });
  try {
    tell(`Copying ${base} …`);
    await unpackImage(base, work);
    const boot = await findBootPartition(work);
    const root = await rootPartition(work);
    const roomy = await withRoom(work, root);
    tell('Installing the package and what it depends on in its root: some minutes …');
    const script = repositoryFile('deploy/image/into-image.sh');
    const { startByte, bytes } = roomy;
    await runTool('sh', [script, work, `${startByte}`, `${bytes}`, deb], { onLine: tell });
    if (settings !== undefined) await provision(boot, settings);
    return await finishImage(work, out);
  } finally {
    await rm(work, { force: true });
  }
}

/** The partition of its root: the last one, of Linux. */
async function rootPartition(path: string): Promise<Partition> {
  const partitions = await imagePartitions(path);
  const last = partitions.reduce((a, b) => (a.startByte > b.startByte ? a : b));
  if (last.type === LINUX_TYPE) return last;
  const next = 'give an image of Raspberry Pi OS as it was downloaded';
  const what = `the last partition of ${path} is no root of Linux`;
  throw new NakodoError('not-pi', what, next, EXIT.usage);
}

/** Makes the image longer if its root is nearly full; returns its partition then. */
async function withRoom(path: string, root: Partition): Promise<Partition> {
  const said = await runTool('dumpe2fs', ['-h', `${path}?offset=${root.startByte}`]);
  const count = (name: string): number =>
    Number(new RegExp(`^${name}: *(\\d+)`, 'm').exec(said)?.[1]);
  const free = count('Free blocks') * count('Block size');
  if (!(free < ROOM)) return root;
  const bytes = root.bytes + ROOM;
  await truncate(path, Math.max((await stat(path)).size, root.startByte + bytes));
  const file = await open(path, 'r+');
  try {
    const sector = new Uint8Array(SECTOR);
    await file.read(sector, 0, SECTOR, 0);
    await file.write(resizedPartition(sector, root, bytes), 0, SECTOR, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  return { ...root, bytes };
}
