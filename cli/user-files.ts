// The user's files: the command opens them with its user's rights and streams them to the agent,
// which never opens a user's path (design §7). All are opened before anybody is called, so that one
// that is missing costs no talk.

import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isFileName } from '../device/shell/file-service.ts';
import { EXIT, NakodoError } from '../protocol/errors.ts';
import { fileError } from '../protocol/io/files.ts';

/** Files that one `send` takes, as the agent does: each keeps a descriptor open. */
const FILES_MAX = 400;
/** Bytes of one read. */
const CHUNK_BYTES = 64 * 1024;
/** Parts of a second in which a limited rate is spent: finer than a person sees. */
const PACES_PER_SECOND = 20;

/** A file that is open for reading. */
export interface UserFile {
  readonly path: string;
  /** What it is called where it arrives. */
  readonly name: string;
  /** As it was when it was opened; exactly so many bytes are sent. */
  readonly bytes: number;
  readonly handle: FileHandle;
}

/**
 * Opens all of them, or none.
 * @throws NakodoError `no-such-file`, `no-permission`, `not-a-file`, `too-many-files`.
 */
export async function openUserFiles(paths: readonly string[]): Promise<readonly UserFile[]> {
  if (paths.length > FILES_MAX) {
    throw new NakodoError(
      'too-many-files',
      `${paths.length} files are more than the ${FILES_MAX} that one send takes`,
      'send them in parts, or as one archive',
      EXIT.usage,
    );
  }
  const files: UserFile[] = [];
  try {
    for (const path of paths) files.push(await openUserFile(path));
    return files;
  } catch (error) {
    await closeUserFiles(files);
    throw error;
  }
}

/** Closes all of them. */
export async function closeUserFiles(files: readonly UserFile[]): Promise<void> {
  await Promise.all(files.map(({ handle }) => handle.close()));
}

/**
 * The bytes of all files, one after the other, at most `bytesPerSecond` if that is given.
 * @throws NakodoError `file-changed` if one is shorter than when it was opened.
 */
export async function* contentOf(
  files: readonly UserFile[],
  bytesPerSecond?: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunkBytes =
    bytesPerSecond === undefined
      ? CHUNK_BYTES
      : Math.max(1, Math.min(CHUNK_BYTES, Math.floor(bytesPerSecond / PACES_PER_SECOND)));
  const started = performance.now();
  let sent = 0;
  for (const file of files) {
    for (let at = 0; at < file.bytes;) {
      const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, file.bytes - at));
      const { bytesRead } = await file.handle.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw changed(file);
      yield chunk.subarray(0, bytesRead);
      at += bytesRead;
      sent += bytesRead;
      if (bytesPerSecond === undefined) continue;
      const dueMs = started + (sent / bytesPerSecond) * 1000;
      const earlyMs = dueMs - performance.now();
      if (earlyMs > 0) await delay(earlyMs);
    }
  }
}

async function openUserFile(path: string): Promise<UserFile> {
  if (!isFileName(basename(path))) throw badName(path);
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw fileError(error, path, 'read');
  }
  const facts = await handle.stat();
  if (facts.isFile()) return { path, name: basename(path), bytes: facts.size, handle };
  await handle.close();
  throw new NakodoError(
    'not-a-file',
    `${path} is not a regular file`,
    'name files; pack a folder into an archive first',
    EXIT.usage,
  );
}

function badName(path: string): NakodoError {
  return new NakodoError(
    'bad-file-name',
    `${JSON.stringify(path)} has a name that no inbox takes`,
    'rename it: at most 250 bytes, no control characters, nothing that turns text around',
    EXIT.usage,
  );
}

function changed(file: UserFile): NakodoError {
  return new NakodoError(
    'file-changed',
    `${file.path} became shorter while it was sent`,
    'send it again when nothing writes to it any more',
  );
}
