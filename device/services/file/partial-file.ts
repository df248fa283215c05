// Files on their way: `.part-<key>`, where the key says of whom, which file, how large and how old,
// so that a later talk goes on with it and nobody with another's. While somebody writes it, it
// carries the writer's process and a number as well: two never write one, and what a killed process
// leaves is told from what is in use.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { errorCode } from '../../../protocol/errors.ts';
import type { JailedFolder } from './jailed-folder.ts';
import { FILE_LIMITS } from './limits.ts';
import { PARTIAL_PREFIX } from './names.ts';

/** Permission bits of a file on its way: nobody else's business yet. */
export const PARTIAL_MODE = 0o600;
const KEY_DIGITS = 32;
/** Of these the first say whose it is, so that of many partial files each peer keeps its share. */
const PEER_DIGITS = 8;
const PARTIAL = /^\.part-([0-9a-f]{32})(?:-(\d{1,10})-(\d{1,10}))?$/;
const { O_NOFOLLOW, O_NONBLOCK, O_RDWR } = constants;

/** Whether a file is one of ours: whoever lists a folder leaves it out. */
export const isPartial = (name: string): boolean => PARTIAL.test(name);

/** Those that this process writes now. */
const inUse = new Set<string>();
let count = 0;

/** What tells one file on its way from every other. */
interface Identity {
  /** The peer's device ID. */
  readonly peer: string;
  readonly path: string;
  readonly size: number;
  readonly modified: number;
}

/** The key of a file on its way, 32 hex digits: of the peer, and of peer and file. */
export function partialKey({ peer, path, size, modified }: Identity): string {
  const text = [peer, path, size, modified].join('\n');
  return digits(peer, PEER_DIGITS) + digits(text, KEY_DIGITS - PEER_DIGITS);
}

const digits = (text: string, count: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, count);

/** One file on its way, open for writing; its user ends it by `place`, `keep` or `remove`. */
export class PartialFile {
  readonly handle: FileHandle;
  /** Bytes that an earlier try left. */
  readonly had: number;
  readonly #folder: JailedFolder;
  readonly #key: string;
  readonly #name: string;

  private constructor(folder: JailedFolder, key: string, name: string, parts: Parts) {
    this.#folder = folder;
    this.#key = key;
    this.#name = name;
    this.handle = parts.handle;
    this.had = parts.had;
  }

  /**
   * Opens the partial file of a key, new and empty unless it `resumes` and there is one.
   * `folder`: where it lies, open until this is ended; `size`: of the whole file.
   */
  static async open(
    folder: JailedFolder,
    key: string,
    { resumes, size }: { readonly resumes: boolean; readonly size: number },
  ): Promise<PartialFile> {
    count += 1;
    const name = `${PARTIAL_PREFIX}${key}-${process.pid}-${count}`;
    inUse.add(name);
    try {
      const left = resumes ? await claim(folder, key, { name, size }) : undefined;
      if (left !== undefined) return new PartialFile(folder, key, name, left);
      const handle = await open(folder.at(name), 'wx+', PARTIAL_MODE);
      return new PartialFile(folder, key, name, { handle, had: 0 });
    } catch (error) {
      inUse.delete(name);
      throw error;
    }
  }

  /** Its path as it is now. */
  get path(): string {
    return this.#folder.at(this.#name);
  }

  /** To be called when it has got its final name: nothing is left of it here. */
  async placed(): Promise<void> {
    await this.handle.close().catch(() => {});
    inUse.delete(this.#name);
  }

  /** Leaves it for a later talk, and sees to it that not too many are left. */
  async keep(): Promise<void> {
    await this.handle.close().catch(() => {});
    await rename(this.path, this.#folder.at(`${PARTIAL_PREFIX}${this.#key}`));
    inUse.delete(this.#name);
    await prunePartials(this.#folder);
  }

  async remove(): Promise<void> {
    await this.handle.close().catch(() => {});
    await rm(this.path, { force: true });
    inUse.delete(this.#name);
  }
}

interface Parts {
  readonly handle: FileHandle;
  readonly had: number;
}

/** What an earlier try left, now ours alone under `name`; undefined if there is nothing. */
async function claim(
  folder: JailedFolder,
  key: string,
  { name, size }: { readonly name: string; readonly size: number },
): Promise<Parts | undefined> {
  if (!(await claimName(folder, key, name))) return undefined;
  const handle = await open(folder.at(name), O_RDWR | O_NOFOLLOW | O_NONBLOCK).catch(() => {});
  const facts = await handle?.stat();
  // A file of its own, and no second name of another one that somebody put there.
  const isOurs = facts?.isFile() === true && facts.nlink === 1 && facts.size <= size;
  if (handle !== undefined && isOurs) return { handle, had: facts.size };
  await handle?.close();
  await rm(folder.at(name), { force: true });
  return undefined;
}

async function claimName(folder: JailedFolder, key: string, name: string): Promise<boolean> {
  const resting = `${PARTIAL_PREFIX}${key}`;
  if (await isRenamed(folder.at(resting), folder.at(name))) return true;
  // What a process that was killed has left.
  const names = await readdir(folder.path);
  const left = names.filter((each) => each.startsWith(`${resting}-`) && isForsaken(each));
  for (const each of left) {
    if (await isRenamed(folder.at(each), folder.at(name))) return true;
  }
  return false;
}

async function isRenamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Whether nobody writes a partial file of this name. */
function isForsaken(name: string): boolean {
  const pid = PARTIAL.exec(name)?.[2];
  if (pid === undefined) return true;
  if (Number(pid) === process.pid) return !inUse.has(name);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return errorCode(error) === 'ESRCH';
  }
}

/**
 * Removes the partial files of a folder that nobody writes and that are too small, too old or too
 * many; the newest stay, of each peer as many as of any other: whoever leaves many pushes out its
 * own. What cannot be removed stays as well.
 */
export async function prunePartials(folder: JailedFolder): Promise<void> {
  const names = (await readdir(folder.path)).filter((name) => isPartial(name) && isForsaken(name));
  const known = await Promise.all(
    names.map(async (name) => ({ name, facts: await lstat(folder.at(name)).catch(() => {}) })),
  );
  const files = known.flatMap(({ name, facts }) => (facts === undefined ? [] : [{ name, facts }]));
  files.sort((one, other) => other.facts.mtimeMs - one.facts.mtimeMs);
  const ranks = new Map<string, number>();
  const ranked = files.map((file) => {
    const peer = file.name.slice(PARTIAL_PREFIX.length, PARTIAL_PREFIX.length + PEER_DIGITS);
    const rank = ranks.get(peer) ?? 0;
    ranks.set(peer, rank + 1);
    return { ...file, rank };
  });
  // Stable: of one rank the newest first.
  ranked.sort((one, other) => one.rank - other.rank);
  let kept = 0;
  let bytes = 0;
  for (const { name, facts } of ranked) {
    const isWorthIt =
      facts.isFile() &&
      facts.size >= FILE_LIMITS.resumeBytesLeast &&
      Date.now() - facts.mtimeMs <= FILE_LIMITS.partialAgeMs &&
      kept < FILE_LIMITS.partialsMax &&
      bytes + facts.size <= FILE_LIMITS.partialBytesMax;
    if (isWorthIt) {
      kept += 1;
      bytes += facts.size;
    } else {
      await rm(folder.at(name), { force: true }).catch(() => {});
    }
  }
}
