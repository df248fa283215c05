// A root of Debian trixie for another processor, unpacked but not configured: enough for qemu-user
// to run its Node here, without root's binfmt and without a mount. It is kept outside of the
// repository ($XDG_CACHE_HOME/nakodo, else ~/.cache/nakodo), made once a machine and replaced by
// removing it. Making it takes about 20 s and 60 MB from a mirror of Debian; it needs root, as
// debootstrap does.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { missingPackages, runTool, toolEnvironment } from '../tools.ts';

/** A processor of a Pi, by Debian's name. */
export type PiArchitecture = 'arm64' | 'armhf';

/** The release whose Node a Pi gets (Raspberry Pi OS trixie takes it from there too). */
export const SUITE = 'trixie';
/** A mirror of Debian; another one by $DEBIAN_MIRROR. */
export const MIRROR = process.env.DEBIAN_MIRROR || 'http://deb.debian.org/debian';
const PACKAGES = ['nodejs', 'ca-certificates'];
/** Counted up when what is made here changes: a cached root is then made anew. */
const RECIPE = 1;
const KEY_DIGITS = 12;

/** The program of qemu-user for each processor. */
export const EMULATOR: Readonly<Record<PiArchitecture, string>> = {
  arm64: 'qemu-aarch64-static',
  armhf: 'qemu-arm-static',
};
/** What it is made with: programs, and Debian's packages of them. */
const TOOLS = { debootstrap: 'debootstrap', flock: 'util-linux' } as const;

/** Why no foreign Node can be run here; false if it can. */
export function noEmulation(architecture: PiArchitecture): string | false {
  const isMade = existsSync(rootPath(architecture));
  const emulator = { [EMULATOR[architecture]]: 'qemu-user-static', 'dpkg-deb': 'dpkg' };
  const missing = missingPackages(isMade ? emulator : { ...TOOLS, ...emulator });
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  return isMade || process.getuid?.() === 0 ? false : 'needs root, for debootstrap';
}

/** The folder of what is made once and kept; it is made if it is not there. */
export async function cacheFolder(): Promise<string> {
  const path = cachePath();
  await mkdir(path, { recursive: true });
  return path;
}

const cachePath = (): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'nakodo');

/** What names a thing in the cache: other ingredients, another name. */
export const cacheKey = (...ingredients: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(ingredients)).digest('hex').slice(0, KEY_DIGITS);

const rootPath = (architecture: PiArchitecture): string =>
  join(cachePath(), `${SUITE}-${architecture}-${cacheKey(RECIPE, MIRROR, PACKAGES)}`);

/**
 * The root's folder; made if it is not there yet, by one process at a time, and only whole ones get
 * the final name.
 * @throws NakodoError `tool-failed` with what debootstrap said.
 */
export async function emulatedRoot(architecture: PiArchitecture): Promise<string> {
  await cacheFolder();
  const path = rootPath(architecture);
  await madeOnce(path, (temporary) => make(architecture, temporary));
  return path;
}

/**
 * Has `make` fill a new folder, which then becomes `path`; nothing is done if `path` is there.
 * Others that want the same wait (flock(1)), and find it made.
 */
export async function madeOnce(
  path: string,
  make: (temporary: string) => Promise<void>,
): Promise<void> {
  if (existsSync(path)) return;
  const lock = await locked(`${path}.lock`);
  let temporary: string | undefined;
  try {
    if (existsSync(path)) return;
    temporary = await mkdtemp(`${path}.new-`);
    await make(temporary);
    await rename(temporary, path);
  } finally {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
    lock.stdin?.end();
  }
}

/** Waits for the lock; whoever holds it lets it go by ending, in whatever way. */
async function locked(path: string): Promise<ChildProcess> {
  const holder = spawn('flock', [path, 'sh', '-c', 'echo locked; cat'], {
    env: toolEnvironment(),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await Promise.race([
    once(holder.stdout, 'data'),
    once(holder, 'close').then(() => Promise.reject(new Error(`no lock at ${path}`))),
  ]);
  return holder;
}

async function make(architecture: PiArchitecture, folder: string): Promise<void> {
  await runTool('debootstrap', [
    `--arch=${architecture}`,
    '--foreign',
    '--variant=minbase',
    `--include=${PACKAGES.join(',')}`,
    SUITE,
    folder,
    MIRROR,
  ]);
  // debootstrap itself has unpacked the required ones only.
  const archives = join(folder, 'var/cache/apt/archives');
  const packages = (await readdir(archives)).filter((name) => /^(node|lib|ca-cert)/.test(name));
  for (const name of packages) await runTool('dpkg-deb', ['-x', join(archives, name), folder]);
  await rm(archives, { recursive: true });
}
