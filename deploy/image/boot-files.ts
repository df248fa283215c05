// Files on a card's boot partition, by mtools: neither a mount nor a kernel that knows FAT is
// needed, and it works on an image file as on a card. Assumes FAT with short or long names.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NakodoError } from '../../protocol/errors.ts';
import { runTool, tryTool } from '../tools.ts';
import { imagePartitions } from './image-file.ts';
import { type Partition, SECTOR, isFat } from './partition-table.ts';

/** Package of Debian that each program is in. */
export const BOOT_TOOLS = { mcopy: 'mtools', mformat: 'mtools' } as const;
/** What a Pi's firmware and its system want on that partition. */
const PI_FILES = ['config.txt', 'cmdline.txt'];
/** The name under which the first boot looks for a card's own settings. */
const PROVISION_FILE = 'nakodo.toml';
/** mtools else refuses disks whose geometry it does not believe. */
const ENVIRONMENT = { MTOOLS_SKIP_CHECK: '1' };
/** A geometry, which no card has and FAT wants; everybody says 255 × 63. */
const HEADS = '255';
const SECTORS_OF_TRACK = '63';

/** A FAT partition within an image file or a device. */
interface BootPartition {
  /** Of the image or the device. */
  readonly path: string;
  readonly partition: Partition;
}

/**
 * Finds the boot partition of a Pi in an image or on a card.
 * @throws NakodoError `not-pi` if it has none.
 */
export async function findBootPartition(path: string): Promise<BootPartition> {
  const partition = (await imagePartitions(path)).find(isFat);
  const boot = partition && { path, partition };
  const files = boot === undefined ? [] : await bootFiles(boot);
  if (boot !== undefined && PI_FILES.every((name) => files.includes(name))) return boot;
  throw new NakodoError(
    'not-pi',
    `${path} has no boot partition of a Pi (FAT, with ${PI_FILES.join(' and ')})`,
    'give an image of Raspberry Pi OS (64-bit or 32-bit), or one that make image built',
  );
}

/** Names of the files in its first folder, in small letters. */
async function bootFiles(boot: BootPartition): Promise<readonly string[]> {
  const listed = await tryTool('mdir', ['-b', '-i', image(boot), '::/'], { env: ENVIRONMENT });
  return listed.stdout.split('\n').map((line) => line.replace('::/', '').toLowerCase());
}

/** mtools' name of a file system within a file: `path@@offset`. */
const image = ({ path, partition }: BootPartition): string => `${path}@@${partition.startByte}`;

/** A file of the boot partition as text; undefined if it is not there. */
export async function readBootFile(boot: BootPartition, name: string): Promise<string | undefined> {
  const args = ['-i', image(boot), `::/${name}`];
  const { exit, stdout } = await tryTool('mtype', args, { env: ENVIRONMENT });
  return exit === 0 ? stdout : undefined;
}

/**
 * Puts a terminal's settings where its first boot looks for them, and reads them back.
 * The text has been checked by the caller; it holds a ticket, so it is never logged.
 */
export async function provision(boot: BootPartition, text: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-boot-'));
  try {
    const file = join(folder, PROVISION_FILE);
    await writeFile(file, text, { mode: 0o600 });
    await copyToBoot(boot, [file], '::/');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  if ((await readBootFile(boot, PROVISION_FILE)) === text) return;
  const next = 'write the card again; if it stays so, take another card';
  throw new NakodoError('verify-failed', `${PROVISION_FILE} is not on the card as written`, next);
}

/** Copies files and folders of this machine to a folder of the boot partition. */
export async function copyToBoot(
  boot: BootPartition,
  paths: readonly string[],
  folder: string,
): Promise<void> {
  const args = ['-s', '-o', '-Q', '-i', image(boot), ...paths, folder];
  await runTool('mcopy', args, { env: ENVIRONMENT });
}

/** Makes an empty FAT file system, named `label`, over the whole partition. */
export async function makeBoot(boot: BootPartition, label: string): Promise<void> {
  const { partition } = boot;
  const shape = ['-T', `${partition.bytes / SECTOR}`, '-h', HEADS, '-s', SECTORS_OF_TRACK];
  const hidden = ['-H', `${partition.startByte / SECTOR}`];
  await runTool('mformat', ['-F', ...shape, ...hidden, '-v', label, '-i', image(boot), '::'], {
    env: ENVIRONMENT,
  });
}
