// Files of a home: written whole or not at all, read with a bound, and errors that a person can act
// on. A power cut leaves the old file or the new one (rename(2) after fsync(2), then the folder).

import { randomUUID } from 'node:crypto';
import { constants, readFileSync, statSync } from 'node:fs';
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { NakodoError, errorCode, errorMessage } from '../errors.ts';
import { IO_LIMITS } from './limits.ts';

/** Whose a file is to be, where root writes it for somebody. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

const { O_NONBLOCK, O_RDONLY } = constants;

/** How a file's name begins while it is written. */
const TEMPORARY = '.tmp-';
/** Milliseconds after which whoever wrote a file, or held a lock, is not at it any more. */
const LEFT_BEHIND_MS = 60_000;

/**
 * Replaces `path` with `content`, durably.
 * `mode`: permission bits of the new file; `owner`: default: who writes it. The folder must exist.
 * @throws NakodoError `disk-full`, `no-permission`, `no-such-file` or `file-error`.
 */
export function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  mode: number,
  owner?: FileOwner,
): Promise<void> {
  return place(path, content, { mode, owner }, (temporary) => rename(temporary, path));
}

/**
 * The same where nobody else must have been first: false, and nothing is written, if `path` is
 * there. A file system without links cannot tell, and replaces it.
 */
export async function writeFileOnce(
  path: string,
  content: Uint8Array | string,
  mode: number,
): Promise<boolean> {
  let isFirst = true;
  await place(path, content, { mode }, async (temporary) => {
    try {
      await link(temporary, path);
    } catch (error) {
      isFirst = errorCode(error) !== 'EEXIST';
      if (isFirst) await rename(temporary, path);
    }
    await rm(temporary, { force: true });
  });
  return isFirst;
}

/** Writes a file under another name, durably, and has it `put` in its place. */
async function place(
  path: string,
  content: Uint8Array | string,
  { mode, owner }: { readonly mode: number; readonly owner?: FileOwner | undefined },
  put: (temporary: string) => Promise<void>,
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `${TEMPORARY}${randomUUID()}`);
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'wx', mode);
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    await file.writeFile(content);
    await file.sync();
    await file.close();
    file = undefined;
    await put(temporary);
    await syncFolder(folder);
  } catch (error) {
    await file?.close().catch(() => {});
    await rm(temporary, { force: true }).catch(() => {});
    throw fileError(error, path, 'write');
  }
}

/** Makes what happened to a folder's names durable; a file system that cannot is left alone. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (errorCode(error) !== 'EINVAL') throw error;
  } finally {
    await handle.close();
  }
}

/** The same for a folder of somebody else's, which may let us make one in it but not read it. */
async function syncNames(folder: string): Promise<void> {
  try {
    await syncFolder(folder);
  } catch (error) {
    if (errorCode(error) !== 'EACCES') throw error;
  }
}

/** Removes a file, durably; one that is not there is no error. */
export async function removeFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await syncFolder(dirname(path));
  } catch (error) {
    throw fileError(error, path, 'remove');
  }
}

/**
 * Removes what somebody left half written in a folder when he was killed or the power went: else
 * each time would leave one more. What cannot be removed stays.
 */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(TEMPORARY))) {
    const path = join(folder, name);
    if (await isLeftBehind(path, LEFT_BEHIND_MS)) await rm(path, { force: true }).catch(() => {});
  }
}

/**
 * Whether a file was changed more than so many milliseconds ago, by the clock of this machine; or
 * in its future: then the clock was set back, or is not set yet after a start without a battery.
 */
export async function isLeftBehind(path: string, ageMs: number): Promise<boolean> {
  try {
    return Math.abs(Date.now() - (await stat(path)).mtimeMs) > ageMs;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw fileError(error, path, 'read');
  }
}

/** Makes a folder (and those above it), durably, 0700 unless it is there already. */
export async function makeFolder(path: string): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    // The files in it are no more durable than the name of each folder that leads to them.
    const top = resolve(first);
    for (let made = resolve(path); made.length >= top.length; made = dirname(made)) {
      await syncNames(dirname(made));
    }
  } catch (error) {
    throw fileError(error, path, 'create');
  }
}

/**
 * Reads a whole file, or undefined if there is none.
 * `bytesMax`: default IO_LIMITS.smallFileBytesMax.
 * @throws NakodoError `file-too-long`, `no-permission` or `file-error`.
 */
export async function readFileIfAny(
  path: string,
  bytesMax: number = IO_LIMITS.smallFileBytesMax,
): Promise<Uint8Array | undefined> {
  try {
    const { size } = await stat(path);
    if (size > bytesMax) throw tooLong(path, size, bytesMax);
    return await readFile(path);
  } catch (error) {
    return noneOrThrow(error, path);
  }
}

/**
 * The same without a turn of the event loop: for a small file on whose content somebody waits, who
 * should not queue behind the flushes of the thread pool.
 */
export function readFileNow(path: string, bytesMax: number): Uint8Array | undefined {
  try {
    const { size } = statSync(path);
    if (size > bytesMax) throw tooLong(path, size, bytesMax);
    return readFileSync(path);
  } catch (error) {
    return noneOrThrow(error, path);
  }
}

function tooLong(path: string, size: number, bytesMax: number): NakodoError {
  return new NakodoError(
    'file-too-long',
    `${path} has ${size} bytes, more than the ${bytesMax} it may have`,
    'shorten it, or move it away and start again',
  );
}

function noneOrThrow(error: unknown, path: string): undefined {
  if (error instanceof NakodoError) throw error;
  if (errorCode(error) === 'ENOENT') return undefined;
  throw fileError(error, path, 'read');
}

/**
 * Reads a JSON file of a home, or undefined if there is none. `bytesMax`: as in `readFileIfAny`.
 * Root reads some in homes of others: what is no regular file neither holds it up nor fills it.
 * @throws NakodoError `file-damaged` if it is not JSON, and what `readFileIfAny` throws.
 */
export async function readJson(
  path: string,
  bytesMax: number = IO_LIMITS.smallFileBytesMax,
): Promise<unknown> {
  const bytes = await readRegular(path, bytesMax);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch {
    throw damagedFile(path, 'it is not JSON');
  }
}

async function readRegular(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, O_RDONLY | O_NONBLOCK);
    const facts = await file.stat();
    if (!facts.isFile()) throw damagedFile(path, 'it is no regular file');
    if (facts.size > bytesMax) throw tooLong(path, facts.size, bytesMax);
    return await file.readFile();
  } catch (error) {
    return noneOrThrow(error, path);
  } finally {
    await file?.close();
  }
}

/** The error for a file of ours that somebody or something changed. `why`: a short clause. */
export function damagedFile(path: string, why: string): NakodoError {
  return new NakodoError(
    'file-damaged',
    `${path} cannot be used: ${why}`,
    `restore it from a backup, or move it away and begin anew`,
  );
}

/** Turns a file system error into one that names the file and the next step. */
export function fileError(error: unknown, path: string, action: string): NakodoError {
  if (error instanceof NakodoError) return error;
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new NakodoError(
      'disk-full',
      `cannot ${action} ${path}: the disk is full`,
      'free some space on that file system and try again',
    );
  }
  if (code === 'EROFS') {
    return new NakodoError(
      'read-only',
      `cannot ${action} ${path}: the file system is read-only`,
      'a memory card that fails becomes read-only (see dmesg): replace it, or use another --home',
    );
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new NakodoError(
      'no-permission',
      `cannot ${action} ${path}: permission denied`,
      'run as the user who owns it, or choose another folder with --home',
    );
  }
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new NakodoError(
      'no-such-file',
      `cannot ${action} ${path}: there is no such file or folder`,
      'check the path',
    );
  }
  return new NakodoError(
    'file-error',
    `cannot ${action} ${path}: ${errorMessage(error)}`,
    'check the disk and the path',
  );
}
