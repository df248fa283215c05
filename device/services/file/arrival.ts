// One file that arrives in a folder: written under a partial name, given its own when size and hash
// are right, flushed before anybody hears of it. It takes a free name, or the place of what has the
// name, as the folder's owner wants it; the same file again is not saved twice.

import { type Hash, createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, link, open, rename } from 'node:fs/promises';
import { assert } from '../../../protocol/assert.ts';
import { sameBytes } from '../../../protocol/bytes.ts';
import { errorCode } from '../../../protocol/errors.ts';
import { MS_PER_SECOND } from '../../../protocol/time.ts';
import { FILE_LIMITS } from './limits.ts';
import { FileWriter } from './file-writer.ts';
import { PARTIAL_MODE, PartialFile, partialKey } from './partial-file.ts';
import { type Promised, type Room, refuseIfFull } from './room.ts';
import type { SharedFolder } from './shared-folders.ts';
import { syncShared } from './shared-sync.ts';
import { transferError } from './transfer-error.ts';
import { isAskedFirst } from './wire.ts';

/** What the owner of a folder wants of files that arrive there. */
export interface LandingRules {
  readonly folder: string;
  /** What becomes of a file whose name is taken: `name.1`, in its place, or refused. */
  readonly overwrite: 'number' | 'replace' | 'refuse';
  readonly fileMax?: number | undefined;
  readonly keepFree?: number | undefined;
  /** Permission bits of a file (one that is executable gets x where it has r), and of a folder. */
  readonly fileMode: number;
  readonly folderMode: number;
}

/** A file that somebody has for us. */
export interface ComingFile {
  /** Whose it is: a device ID. */
  readonly peer: string;
  readonly path: string;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
  readonly isExecutable: boolean;
  readonly resumes: boolean;
  readonly replaces: boolean;
}

/** Where a file was saved. */
interface Placed {
  /** Its path in the folder. */
  readonly savedAs: string;
  /** The same file was there, and was not saved again. */
  readonly wasThere: boolean;
}

/** Where an arrival takes place; both folders are the arrival's to release. */
interface Place {
  /** Where partial files lie. */
  readonly root: SharedFolder;
  readonly folder: SharedFolder;
  readonly rules: LandingRules;
  readonly room: Room;
}

/** One file that arrives; ended by `place` or `keepPartial`; by `giveUp` if one of them fails. */
export class Arrival {
  readonly #place: Place;
  readonly #coming: ComingFile;
  /** Its folder as a path, '' or with a slash at its end, and its name there. */
  readonly #folderPath: string;
  readonly #name: string;
  #partial: PartialFile | undefined;
  #room: Promised | undefined;
  /** The name of a file that may be the same, by name, size and time. */
  #same: string | undefined;
  #sameSha256: Uint8Array | undefined;
  #writer: FileWriter | undefined;
  /** Bytes written since the last look at the room that is left. */
  #unlooked = 0;
  #isClosed = false;

  constructor(place: Place, coming: ComingFile) {
    const { path } = coming;
    this.#place = place;
    this.#coming = coming;
    this.#folderPath = path.slice(0, path.lastIndexOf('/') + 1);
    this.#name = path.slice(this.#folderPath.length);
  }

  /** Looks at what is there, and makes ready to write; once, first. */
  async open(): Promise<void> {
    await this.#look();
    if (this.#same !== undefined && isAskedFirst(this.#coming)) return;
    await this.#openPartial(this.#coming.resumes && this.#same === undefined);
  }

  /** Bytes that are here: what an earlier try left, or a whole file that may be the same. */
  get had(): number {
    return this.#writer?.end ?? this.#coming.size;
  }

  /**
   * Reads what is here, and leaves the hash open for what follows. `isWanted`: asked again and
   * again; rejects when nobody does any more.
   */
  async hashOfHad(isWanted: () => boolean): Promise<Hash> {
    if (this.#partial !== undefined) return hashOf(this.#partial.handle, this.had, isWanted);
    assert(this.#same !== undefined, 'a partial file, or one that may be the same');
    const hash = await this.#hashOfFile(this.#same, isWanted);
    this.#sameSha256 = hash.copy().digest();
    return hash;
  }

  /** What is here is something else: begins anew. */
  async restart(): Promise<void> {
    this.#same = undefined;
    await this.#partial?.handle.truncate(0);
    if (this.#partial === undefined) await this.#openPartial(false);
    else this.#writer = new FileWriter(this.#partial.handle, { at: 0, left: this.#coming.size });
  }

  /** Writes on; the content is copied. Where a promise comes back, wait before the next. */
  write(content: Uint8Array): Promise<void> | undefined {
    assert(this.#writer !== undefined, 'it was opened, or begun anew');
    this.#room?.spend(content.length);
    const written = this.#writer.write(content);
    this.#unlooked += content.length;
    if (this.#unlooked < FILE_LIMITS.roomCheckBytes) return written;
    this.#unlooked = 0;
    const { folder, rules } = this.#place;
    const look = refuseIfFull(folder.folder.path, 0, rules.keepFree);
    return Promise.all([written, look]).then(() => {});
  }

  /** Everything is here, with this hash: gives the file its name, durably. */
  async place(sha256: Uint8Array): Promise<Placed> {
    const same = this.#same;
    if (same !== undefined && (await this.#isTheSame(same, sha256))) {
      await this.#partial?.remove();
      await this.#close();
      return { savedAs: this.#folderPath + same, wasThere: true };
    }
    const { handle } = this.#open;
    const { isExecutable, modified } = this.#coming;
    const { fileMode } = this.#place.rules;
    const seconds = modified / MS_PER_SECOND;
    await this.#writer?.flush();
    const mode = isExecutable ? fileMode | ((fileMode & READABLE) >> 2) : fileMode;
    if (mode !== PARTIAL_MODE) await handle.chmod(mode);
    await handle.utimes(seconds, seconds);
    await handle.sync();
    const placed = await this.#takeName(sha256);
    await this.#open.placed();
    const { folder } = this.#place.folder;
    const { rules } = this.#place;
    await syncShared(`${rules.folder}/${this.#folderPath}`, folder.handle);
    await this.#close();
    return placed;
  }

  /** The talk broke: leaves what has arrived for the next one, if that is worth it. */
  async keepPartial(): Promise<void> {
    try {
      await this.#writer?.flush();
      if ((this.#writer?.end ?? 0) >= FILE_LIMITS.resumeBytesLeast) await this.#partial?.keep();
    } finally {
      await this.giveUp();
    }
  }

  /** What has arrived is worth nothing. */
  async giveUp(): Promise<void> {
    try {
      await this.#partial?.remove();
    } finally {
      await this.#close(true);
    }
  }

  get #open(): PartialFile {
    assert(this.#partial !== undefined, 'it was opened, or begun anew');
    return this.#partial;
  }

  async #openPartial(resumes: boolean): Promise<void> {
    const { size } = this.#coming;
    const isWorthIt = resumes && size >= FILE_LIMITS.resumeBytesLeast;
    const how = { resumes: isWorthIt, size };
    this.#partial = await PartialFile.open(this.#place.root.folder, partialKey(this.#coming), how);
    const { handle, had } = this.#partial;
    const left = size - had;
    this.#writer = new FileWriter(handle, { at: had, left });
    const { rules, room } = this.#place;
    if (size < FILE_LIMITS.resumeBytesLeast && rules.keepFree === undefined) return;
    const { peer } = this.#coming;
    const { keepFree } = rules;
    this.#room = await room.promise(this.#place.folder.folder.path, left, { peer, keepFree });
  }

  /** Finds a file that may be the same; refuses what the owner wants kept. */
  async #look(): Promise<void> {
    const { replaces, path } = this.#coming;
    const { folder } = this.#place.folder;
    const { rules } = this.#place;
    const isNumbered = rules.overwrite === 'number' && !replaces;
    for (let copy = 0; copy <= FILE_LIMITS.sameNameMax; copy++) {
      const facts = await folder.facts(numbered(this.#name, copy));
      if (facts === undefined) return;
      if (this.#mayBeSame(facts)) {
        this.#same = numbered(this.#name, copy);
        return;
      }
      if (rules.overwrite === 'refuse') throw transferError('exists', path);
      if (rules.overwrite === 'number' && replaces) throw transferError('no-overwrite', path);
      if (!isNumbered && facts.isDirectory()) throw transferError('in-the-way', path);
      if (!isNumbered) return;
    }
    throw transferError('name-taken', path);
  }

  async #isTheSame(name: string, sha256: Uint8Array): Promise<boolean> {
    try {
      const known = name === this.#same ? this.#sameSha256 : undefined;
      return sameBytes(known ?? (await this.#hashOfFile(name)).digest(), sha256);
    } catch {
      // It has gone meanwhile, or is something else now.
      return false;
    }
  }

  async #hashOfFile(name: string, isWanted?: () => boolean): Promise<Hash> {
    const { handle } = await this.#place.folder.folder.file(name);
    try {
      return await hashOf(handle, this.#coming.size, isWanted);
    } finally {
      await handle.close();
    }
  }

  /** Gives the partial file its name, in place of another file only if the owner wants that. */
  async #takeName(sha256: Uint8Array): Promise<Placed> {
    const { folder } = this.#place.folder;
    const { rules } = this.#place;
    if (rules.overwrite === 'replace') {
      await rename(this.#open.path, folder.at(this.#name));
      return { savedAs: this.#coming.path, wasThere: false };
    }
    for (let copy = 0; copy <= FILE_LIMITS.sameNameMax; copy++) {
      const name = numbered(this.#name, copy);
      const savedAs = this.#folderPath + name;
      try {
        await this.#linkAs(folder.at(name));
        return { savedAs, wasThere: false };
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
        // Of two who send the same file at once the second finds the first one's.
        const isSame = this.#mayBeSame(await folder.facts(name));
        if (isSame && (await this.#isTheSame(name, sha256))) {
          await this.#open.remove();
          return { savedAs, wasThere: true };
        }
        if (rules.overwrite === 'refuse') throw transferError('exists', this.#coming.path);
      }
    }
    throw transferError('name-taken', this.#coming.path);
  }

  #mayBeSame(facts: Stats | undefined): boolean {
    const { size, modified, resumes } = this.#coming;
    if (!resumes || facts?.isFile() !== true || facts.size !== size) return false;
    return Math.abs(facts.mtimeMs - modified) < FILE_LIMITS.modifiedToleranceMs;
  }

  async #linkAs(path: string): Promise<void> {
    const partial = this.#open;
    try {
      await link(partial.path, path);
      await partial.remove();
    } catch (error) {
      const code = errorCode(error);
      if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
      // A file system without hard links (FAT on a memory card): claim the name, then take it.
      const claim = await open(path, 'wx', PARTIAL_MODE);
      await claim.close();
      await rename(partial.path, path);
    }
  }

  async #close(isDoubtful = false): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#room?.spend(this.#coming.size);
    await this.#place.folder.release(isDoubtful);
    await this.#place.root.release(isDoubtful);
  }
}

/** Permission bits of reading; two bits to the right of each stands that of executing. */
const READABLE = 0o444;

const numbered = (name: string, copy: number): string => (copy === 0 ? name : `${name}.${copy}`);

/** Hashes the first bytes of a file; rejects when it is not wanted any more. */
async function hashOf(
  file: FileHandle,
  bytes: number,
  isWanted: () => boolean = () => true,
): Promise<Hash> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(Math.min(bytes, FILE_LIMITS.chunkBytes));
  for (let at = 0; at < bytes;) {
    const length = Math.min(buffer.length, bytes - at);
    const { bytesRead } = await file.read(buffer, 0, length, at);
    if (!isWanted()) throw new Error('nobody waits for it');
    // Shorter than it was: another hash, and so another file.
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash;
}
