// A folder that is worked in by its descriptor, name by name: no link is followed below it, and
// nothing that somebody puts in place of a folder on the way leads out of it (CWE-59, CWE-367).
// Node has no openat(2); Linux's /proc/self/fd/N is the folder itself, whatever its path is now.
// Where there is none, each name is checked as it is opened, which leaves a moment in between.

import { type BigIntStats, type Stats, constants, existsSync } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { assert } from '../../../protocol/assert.ts';
import { errorCode } from '../../../protocol/errors.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
const OPEN_FOLDER = O_RDONLY | O_DIRECTORY;
const DESCRIPTORS = '/proc/self/fd';
const hasDescriptors = existsSync(DESCRIPTORS);

/** A file that was opened, as it was then. */
interface OpenFile {
  readonly handle: FileHandle;
  readonly facts: BigIntStats;
}

/** An open folder, its opener's to close. */
export class JailedFolder {
  readonly handle: FileHandle;
  readonly #path: string;

  private constructor(handle: FileHandle, path: string) {
    this.handle = handle;
    this.#path = hasDescriptors ? join(DESCRIPTORS, String(handle.fd)) : path;
  }

  /** Opens the folder that its owner named; links on the way to it are the owner's own. */
  static async open(path: string): Promise<JailedFolder> {
    return new JailedFolder(await open(path, OPEN_FOLDER), path);
  }

  /** The path of a name in it, for calls that follow no link in the last place. */
  at(name: string): string {
    assert(!name.includes('/') && name !== '..' && name !== '.', 'a name, not a path');
    return join(this.#path, name);
  }

  /** The path of the folder itself. */
  get path(): string {
    return hasDescriptors ? `${this.#path}/.` : this.#path;
  }

  /**
   * Opens a folder in it; `makeMode`: makes it with this mode if it is missing.
   * @throws ENOENT, ENOTDIR for what is no folder or a link.
   */
  async folder(name: string, makeMode?: number): Promise<JailedFolder> {
    const path = this.at(name);
    try {
      return new JailedFolder(await open(path, OPEN_FOLDER | O_NOFOLLOW), path);
    } catch (error) {
      if (makeMode === undefined || errorCode(error) !== 'ENOENT') throw error;
    }
    await mkdir(path, makeMode).catch((error: unknown) => {
      // Another file of the same folder was first.
      if (errorCode(error) !== 'EEXIST') throw error;
    });
    return new JailedFolder(await open(path, OPEN_FOLDER | O_NOFOLLOW), path);
  }

  /** Opens the folder that `names` lead to from here; the caller closes it, and this one too. */
  async walk(names: readonly string[], makeMode?: number): Promise<JailedFolder> {
    let at: JailedFolder | undefined;
    for (const name of names) {
      const from: JailedFolder = at ?? this;
      try {
        at = await from.folder(name, makeMode);
      } finally {
        if (from !== this) await from.close();
      }
    }
    return at ?? JailedFolder.open(this.path);
  }

  /**
   * Opens a file in it for reading: a regular one, and no link; a FIFO does not block.
   * @throws `not-a-file`, or the system's codes.
   */
  async file(name: string): Promise<OpenFile> {
    const handle = await open(this.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const facts = await handle.stat({ bigint: true });
    if (facts.isFile()) return { handle, facts };
    await handle.close();
    throw Object.assign(new Error('no regular file'), { code: 'not-a-file' });
  }

  /** What a name is, itself; undefined if there is nothing. */
  async facts(name: string): Promise<Stats | undefined> {
    return factsOf(this.at(name));
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** Opens the folder that `names` lead to from a folder that its owner named; see `walk`. */
export async function walkFrom(
  path: string,
  names: readonly string[],
  makeMode?: number,
): Promise<JailedFolder> {
  const root = await JailedFolder.open(path);
  if (names.length === 0) return root;
  try {
    return await root.walk(names, makeMode);
  } finally {
    await root.close();
  }
}

async function factsOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
