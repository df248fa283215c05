// A file on the disk as a source reads it: opened below a folder without following a link, read
// with one piece ahead, and told from what it was when it was opened.

import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { errorCode } from '../../../protocol/errors.ts';
import { FILE_LIMITS } from './limits.ts';
import { type SharedFolder, SharedFolders } from './shared-folders.ts';
import type { Content } from './source.ts';
import { transferError } from './transfer-error.ts';

const OWNER_EXECUTES = 0o100;
const folders = new SharedFolders();

/** A file that is open for reading; its opener closes it. */
export class DiskContent implements Content {
  readonly size: number;
  /** Milliseconds since 1970, at least 0. */
  readonly modified: number;
  readonly isExecutable: boolean;
  /** Bytes of one read. */
  chunkBytes: number = FILE_LIMITS.chunkBytes;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #facts: BigIntStats;
  /** In use as long as the file is: the next one is often beside it. */
  readonly #folder: SharedFolder;

  private constructor(path: string, handle: FileHandle, facts: BigIntStats, folder: SharedFolder) {
    this.#folder = folder;
    this.#path = path;
    this.#handle = handle;
    this.#facts = facts;
    this.size = Number(facts.size);
    this.modified = Math.max(0, Number(facts.mtimeMs));
    this.isExecutable = (Number(facts.mode) & OWNER_EXECUTES) !== 0;
  }

  /**
   * Opens `path` in the folder `root`; of the path only the names up to `root` may be links.
   * @throws NakodoError `no-such-file` (also for what is behind a link), `not-a-file`,
   *   `not-readable`.
   */
  static async open(root: string, path: string): Promise<DiskContent> {
    let shared: SharedFolder | undefined;
    try {
      const names = path.split('/');
      shared = await folders.use(root, names.slice(0, -1));
      const { handle, facts } = await shared.folder.file(names.at(-1) ?? '');
      return new DiskContent(path, handle, facts, shared);
    } catch (error) {
      await shared?.release(true);
      throw transferError(SOURCE_CODES[errorCode(error)] ?? 'not-readable', path);
    }
  }

  async *chunks(at: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    let next = this.#read(at, end);
    for (let place = at; place < end;) {
      const chunk = await next;
      place += chunk.length;
      if (place < end) next = this.#read(place, end);
      // Whoever leaves here does not ask what became of it.
      next.catch(() => {});
      yield chunk;
    }
  }

  async check(): Promise<void> {
    const { size, mtimeNs } = await this.#handle.stat({ bigint: true });
    const isSame = size === this.#facts.size && mtimeNs === this.#facts.mtimeNs;
    if (!isSame) throw transferError('file-changed', this.#path);
  }

  async close(): Promise<void> {
    await this.#handle.close();
    await this.#folder.release();
  }

  async #read(at: number, end: number): Promise<Uint8Array> {
    if (at >= end) return new Uint8Array(0);
    const chunk = Buffer.allocUnsafeSlow(Math.min(this.chunkBytes, end - at));
    const bytesRead = await this.#handle.read(chunk, 0, chunk.length, at).then(
      (read) => read.bytesRead,
      () => 0,
    );
    if (bytesRead === 0) throw transferError('file-changed', this.#path);
    return chunk.subarray(0, bytesRead);
  }
}

const SOURCE_CODES: Readonly<Record<string, string>> = {
  ENOENT: 'no-such-file',
  ENOTDIR: 'no-such-file',
  // A link: nobody is led out of the folder, nor told that there is something behind it.
  ELOOP: 'no-such-file',
  ENAMETOOLONG: 'no-such-file',
  'not-a-file': 'not-a-file',
  ENXIO: 'not-a-file',
  ENODEV: 'not-a-file',
};
