// What a device file stands for, and why it must not be overwritten: read from /sys and /proc, so
// that nothing has to be opened. Assumes Linux. The same questions again, answered by the kernel:
// a device that is in use cannot be opened with O_EXCL (open(2)), which the writer does.

import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { formatSize } from '../../protocol/units.ts';

/** Bytes of a sector as /sys counts them, whatever the device's own are. */
const SYSFS_SECTOR = 512;
/** Where the system lives; a disk that holds one of them is no card. */
const SYSTEM_PLACES = ['/', '/usr', '/var', '/home', '/boot', '/boot/efi', '/boot/firmware'];
/** Devices that a device may be built of, one upon another (LVM on LUKS on RAID is three). */
const LAYERS_MAX = 8;
/** Bit of st_mode's type for block devices (inode(7)), and what the type is masked with. */
const TYPE_MASK = 0o170000;
const TYPE_BLOCK = 0o060000;

/** A partition as the kernel knows it. */
interface KnownPartition {
  /** `sdb1`. */
  readonly name: string;
  readonly bytes: number;
  /** Where it is mounted, or `swap`. */
  readonly usedAs: readonly string[];
}

/** A whole block device. */
export interface BlockDevice {
  /** The device file itself, links resolved. */
  readonly path: string;
  /** `sdb`. */
  readonly name: string;
  /** Maker and model, or for a loop device the file behind it; '' if it does not say. */
  readonly model: string;
  readonly bytes: number;
  /** Bytes that it writes at once, at least. */
  readonly blockBytes: number;
  readonly isReadOnly: boolean;
  /** Where the whole device is mounted, or `swap`. */
  readonly usedAs: readonly string[];
  readonly partitions: readonly KnownPartition[];
  /** Devices that the kernel has built on it or on a partition of it. */
  readonly holders: readonly string[];
  /** True if the running system lives on it. */
  readonly isSystem: boolean;
}

const wrongUse = (message: string): NakodoError =>
  new NakodoError(
    'no-device',
    message,
    'name a whole card or disk, like DEVICE=/dev/sdb; lsblk lists them',
    EXIT.usage,
  );

/**
 * Examines the device behind `path`.
 * @throws NakodoError `no-device` if that is no whole block device.
 */
export function examineDevice(path: string): BlockDevice {
  if (!existsSync(path)) throw wrongUse(`there is no ${path}`);
  const real = realpathSync(path);
  const status = statSync(real);
  if ((status.mode & TYPE_MASK) !== TYPE_BLOCK) throw wrongUse(`${path} is no block device`);
  const folder = realpathSync(join('/sys/dev/block', deviceNumber(status.rdev)));
  const name = basename(folder);
  if (existsSync(join(folder, 'partition'))) {
    throw wrongUse(`${path} is a partition of /dev/${basename(dirname(folder))}, not a whole disk`);
  }
  const parts = childPartitions(folder);
  return {
    path: real,
    name,
    model: modelOf(folder),
    bytes: Number(field(folder, 'size')) * SYSFS_SECTOR,
    blockBytes: Number(field(folder, 'queue/physical_block_size')) || SYSFS_SECTOR,
    isReadOnly: field(folder, 'ro') === '1',
    usedAs: usesOf(folder),
    partitions: parts.map((part) => ({
      name: basename(part),
      bytes: Number(field(part, 'size')) * SYSFS_SECTOR,
      usedAs: usesOf(part),
    })),
    holders: [folder, ...parts].flatMap((each) => entries(join(each, 'holders'))),
    isSystem: systemDisks().has(name),
  };
}

/**
 * Why `device` must not get an image of `imageBytes`; undefined if it may.
 * The first reason only, the gravest first.
 */
export function refusal(device: BlockDevice, imageBytes: number): NakodoError | undefined {
  const { path, name } = device;
  const refused = (code: string, message: string, next: string, exit: ExitCode = EXIT.refused) =>
    new NakodoError(code, message, next, exit);
  if (device.isSystem) {
    const next = 'name the card; lsblk shows which disk is which';
    return refused('system-disk', `${path} holds the system that runs here`, next);
  }
  const used = [{ name, usedAs: device.usedAs }, ...device.partitions].filter(
    ({ usedAs }) => usedAs.length > 0,
  );
  if (used.length > 0) {
    const words = used.map((each) => `/dev/${each.name} (${each.usedAs.join(', ')})`);
    const mounted = used.map((each) => `/dev/${each.name}`).join(' ');
    const next = `if it is the right card: umount ${mounted} (or swapoff), then again`;
    return refused('mounted', `it is in use: ${words.join(', ')}`, next);
  }
  if (device.holders.length > 0) {
    const next =
      'take that apart first (vgchange -an, mdadm --stop, cryptsetup close), or name another';
    return refused('in-use', `${device.holders.join(', ')} is built on ${path}`, next);
  }
  if (device.bytes === 0) {
    return refused('no-card', `${path} has no size: no card is in it`, 'put the card in');
  }
  if (device.isReadOnly) {
    const next = 'move the lock at the side of the card, or take another one';
    return refused('read-only', `${path} is read-only`, next);
  }
  if (device.bytes < imageBytes) {
    const sizes = `${formatSize(device.bytes)}, the image has ${formatSize(imageBytes)}`;
    return refused('too-small', `${path} has ${sizes}`, 'take a larger card');
  }
  return undefined;
}

/** `8:16`, as /sys and mountinfo write device numbers (makedev(3)). */
function deviceNumber(rdev: number): string {
  const wide = BigInt(rdev);
  const major = ((wide >> 8n) & 0xfffn) | ((wide >> 32n) & ~0xfffn);
  const minor = (wide & 0xffn) | ((wide >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}

function field(folder: string, name: string): string {
  try {
    return readFileSync(join(folder, name), 'utf8').trim();
  } catch {
    return '';
  }
}

function entries(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function childPartitions(folder: string): readonly string[] {
  return entries(folder)
    .map((entry) => join(folder, entry))
    .filter((path) => existsSync(join(path, 'partition')))
    .sort((a, b) => Number(field(a, 'partition')) - Number(field(b, 'partition')));
}

function modelOf(folder: string): string {
  const backing = field(folder, 'loop/backing_file');
  if (backing !== '') return `file ${backing}`;
  const named = [field(folder, 'device/vendor'), field(folder, 'device/model')];
  // A card says its name in another place (mmc).
  return [...named, field(folder, 'device/name')].filter((word) => word !== '').join(' ');
}

/** Where a device is mounted, and `swap` if the kernel swaps to it. */
function usesOf(folder: string): readonly string[] {
  const number = field(folder, 'dev');
  const file = `/dev/${basename(folder)}`;
  const places = mounts()
    .filter((mount) => mount.device === number || resolved(mount.source) === file)
    .map(({ place }) => place);
  return [...new Set(places), ...(swaps().includes(file) ? ['swap'] : [])];
}

/** The disks under the places where the system lives and under swap, by their names in /sys. */
function systemDisks(): ReadonlySet<string> {
  const numbers = mounts()
    .filter(({ place }) => SYSTEM_PLACES.includes(place))
    .flatMap(({ device, source }) => [device, numberOfFile(source)]);
  const disks = [...numbers, ...swaps().map(numberOfFile)].flatMap((number) => {
    const folder = join('/sys/dev/block', number);
    return number !== '' && existsSync(folder) ? disksUnder(realpathSync(folder), LAYERS_MAX) : [];
  });
  return new Set(disks);
}

/** The whole disks that a device lies on: its own disk, and those that it is built of. */
function disksUnder(folder: string, layers: number): readonly string[] {
  if (layers === 0) return [];
  if (existsSync(join(folder, 'partition'))) return disksUnder(dirname(folder), layers - 1);
  const below = entries(join(folder, 'slaves')).flatMap((name) =>
    disksUnder(realpathSync(join(folder, 'slaves', name)), layers - 1),
  );
  return [basename(folder), ...below];
}

interface Mount {
  /** Its device number; of no device for btrfs, whose `source` tells. */
  readonly device: string;
  readonly place: string;
  readonly source: string;
}

/** The table of mounts (proc_pid_mountinfo(5)). */
function mounts(): readonly Mount[] {
  return field('/proc/self', 'mountinfo')
    .split('\n')
    .flatMap((line) => {
      const words = line.split(' ');
      const mark = words.indexOf('-');
      if (mark < 0) return [];
      return [{ device: words[2], place: unescaped(words[4]), source: unescaped(words[mark + 2]) }];
    });
}

/** Files and devices that the kernel swaps to (proc_swaps(5)). */
function swaps(): readonly string[] {
  const [, ...lines] = field('/proc', 'swaps').split('\n');
  return lines.map((line) => resolved(unescaped(line.split(/\s/)[0])));
}

/** Blanks in such tables are written as octal numbers. */
const unescaped = (word: string): string =>
  word.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

function resolved(path: string): string {
  return path.startsWith('/') && existsSync(path) ? realpathSync(path) : path;
}

/** The number of a block device file; of the disk under a plain file; '' of anything else. */
function numberOfFile(path: string): string {
  if (!path.startsWith('/') || !existsSync(path)) return '';
  const { mode, rdev, dev } = statSync(path);
  return deviceNumber((mode & TYPE_MASK) === TYPE_BLOCK ? rdev : dev);
}
