// A whole system of Debian trixie for arm64, installed under emulation by its own debootstrap and
// apt: what `make image` writes to a card where no image was given, and what the package is
// installed in by `make prove`. Made once a machine (about six minutes), kept packed beside the
// emulated roots.

import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { missingPackages, repositoryFile, runTool } from '../tools.ts';
import { MIRROR, SUITE, cacheFolder, cacheKey, madeOnce } from './emulated-root.ts';

/** Programs, and Debian's packages of them. */
export const SYSTEM_TOOLS = {
  debootstrap: 'debootstrap',
  flock: 'util-linux',
  unshare: 'util-linux',
  zstd: 'zstd',
  'qemu-aarch64-static': 'qemu-user-static',
} as const;

/** What a Pi needs to start, to have a network and a clock, and to run Node. */
const PACKAGES = [
  'systemd-sysv',
  'systemd-timesyncd',
  'systemd-resolved',
  'udev',
  'dbus',
  'kmod',
  'netbase',
  'iproute2',
  'fdisk',
  'zstd',
  'initramfs-tools',
  'dosfstools',
  'nodejs',
  'ca-certificates',
];
/** After all others: each of those would have its initramfs made anew, two minutes each time. */
const KERNEL = ['linux-image-arm64', 'raspi-firmware'];
const SOURCES = [
  `deb ${MIRROR} ${SUITE} main non-free-firmware`,
  `deb ${MIRROR} ${SUITE}-updates main non-free-firmware`,
  `deb http://security.debian.org/debian-security ${SUITE}-security main non-free-firmware`,
];
/** No memory set aside for pictures, and a console where a Pi 3 or 4 has one. */
const FIRMWARE = 'CMA=0\nCONSOLES="tty0 ttyS1,115200"\nROOTPART="LABEL=rootfs"\n';
const NETWORK = '[Match]\nName=e*\n\n[Network]\nDHCP=yes\n';
/** Counted up when what is made here changes. */
const RECIPE = 1;
const ARCHIVE = 'root.tar.zst';

/** Why such a system cannot be made here; false if it can. */
export function noSystemRoot(): string | false {
  const missing = missingPackages(SYSTEM_TOOLS);
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  return process.getuid?.() === 0 ? false : 'needs root, for chroot and mounts';
}

/**
 * Unpacks the system into `folder`, which is made; the first time, makes it.
 * @throws NakodoError `tool-failed`.
 */
export async function unpackSystemRoot(
  folder: string,
  tell: (line: string) => void,
): Promise<void> {
  const ingredients = [RECIPE, PACKAGES, KERNEL, SOURCES, FIRMWARE, NETWORK];
  const kept = join(await cacheFolder(), `${SUITE}-arm64-system-${cacheKey(ingredients)}`);
  await madeOnce(kept, async (temporary) => {
    tell(`Making a Debian ${SUITE} for arm64 under emulation, once: about six minutes …`);
    const root = join(temporary, 'root');
    await makeSystem(root, tell);
    const archive = join(temporary, ARCHIVE);
    await runTool('tar', ['-I', 'zstd -T0', '--numeric-owner', '-cpf', archive, '-C', root, '.']);
    await rm(root, { recursive: true });
  });
  await mkdir(folder, { recursive: true });
  await runTool('tar', [
    '-I',
    'zstd',
    '--numeric-owner',
    '-xpf',
    join(kept, ARCHIVE),
    '-C',
    folder,
  ]);
}

/** Runs a command inside of a root of arm64, as root of that system. */
export async function inRoot(
  root: string,
  command: readonly string[],
  tell: (line: string) => void = () => undefined,
): Promise<string> {
  const script = repositoryFile('deploy/image/in-root.sh');
  return runTool('sh', [script, root, 'aarch64', ...command], { onLine: tell });
}

async function makeSystem(root: string, tell: (line: string) => void): Promise<void> {
  const options = ['--arch=arm64', '--foreign', '--variant=minbase'];
  await runTool('debootstrap', [...options, SUITE, root, MIRROR], { onLine: tell });
  await chmod(root, 0o755);
  await inRoot(root, ['/debootstrap/debootstrap', '--second-stage'], tell);
  await writeFile(join(root, 'etc/apt/sources.list'), `${SOURCES.join('\n')}\n`);
  await writeFile(join(root, 'etc/default/raspi-firmware'), FIRMWARE);
  await inRoot(root, ['apt-get', '-q', 'update'], tell);
  const install = ['apt-get', '-q', 'install', '-y', '--no-install-recommends'];
  const keep = ['-o', 'Dpkg::Options::=--force-confold'];
  await inRoot(root, [...install, ...PACKAGES], tell);
  await inRoot(root, [...install, ...keep, ...KERNEL], tell);
  await inRoot(root, ['apt-get', 'clean']);
  await writeFile(join(root, 'etc/systemd/network/10-wired.network'), NETWORK);
  await writeFile(join(root, 'etc/hostname'), 'nakodo\n');
  const units = ['systemd-networkd', 'systemd-resolved', 'systemd-timesyncd'];
  await inRoot(root, ['systemctl', 'enable', ...units.map((unit) => `${unit}.service`)]);
  if (!(await readFile(join(root, 'boot/firmware/config.txt'), 'utf8')).includes('vmlinuz')) {
    throw new Error('no kernel came to the boot partition');
  }
}
