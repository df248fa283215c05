// The user's files, as one `send` takes them: everything that is named, and what is below it,
// looked at with its user's rights before anybody is called, so that a file that is missing costs
// no talk. A file is opened when its turn comes.

import { access, constants, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { JailedFolder } from '../device/services/file/jailed-folder.ts';
import { FILE_LIMITS } from '../device/services/file/limits.ts';
import { isFileName, isFilePath } from '../device/services/file/names.ts';
import { type TreeEntry, walkTree } from '../device/services/file/tree.ts';
import { EXIT, NakodoError } from '../protocol/errors.ts';
import { fileError } from '../protocol/io/files.ts';

/** A file to send, or a folder in which there is nothing. */
export interface PlannedFile {
  readonly kind: 'file' | 'folder';
  /** The folder of what was named, and the path below it, here. */
  readonly root: string;
  readonly local: string;
  /** Its path there. */
  readonly path: string;
  /** As it was when it was looked at. */
  readonly size: number;
}

/** Everything that one `send` sends. */
export interface SendPlan {
  readonly files: readonly PlannedFile[];
  /** What is passed over: links and what is no file, in folders that were named. */
  readonly skipped: readonly { readonly path: string; readonly why: string }[];
}

/**
 * Looks at everything that `paths` name.
 * `to`: the folder there, '' for the inbox itself.
 * @throws NakodoError `no-such-file`, `no-permission`, `not-a-file`, `bad-file-name`,
 *   `too-many-files`.
 */
export async function planFiles(paths: readonly string[], to: string): Promise<SendPlan> {
  const files: PlannedFile[] = [];
  const skipped: { path: string; why: string }[] = [];
  for (const path of paths) {
    const named = await lookAt(path);
    const there = to === '' ? named.name : `${to}/${named.name}`;
    const folder = await JailedFolder.open(named.root);
    try {
      for await (const each of walkTree(folder, named.base, there)) {
        const local = named.base + each.path.slice(there.length);
        if (each.kind === 'skipped') skipped.push(passedOver(each, join(named.root, local)));
        if (each.kind === 'file') await mayRead(join(named.root, local));
        if (each.kind === 'skipped' || (each.kind === 'folder' && !each.isEmpty)) continue;
        const size = each.kind === 'file' ? each.size : 0;
        files.push({ kind: each.kind, root: named.root, local, path: each.path, size });
        if (files.length > FILE_LIMITS.entriesMax) throw tooMany();
      }
    } finally {
      await folder.close();
    }
  }
  return { files, skipped };
}

/**
 * The folder there that a user names with --to, as it goes on the wire.
 * @throws NakodoError `bad-folder` (exit 2).
 */
export function folderThere(text: string): string {
  const path = text.replace(/^(?:\.\/+)+/, '').replace(/\/+$/, '');
  if (path === '.' || (path === '' && !text.startsWith('/'))) return '';
  if (isFilePath(path)) return path;
  throw new NakodoError(
    'bad-folder',
    `--to: ${JSON.stringify(text)} is no folder in an inbox`,
    'name one like photos/2026: relative, without .. in it',
    EXIT.usage,
  );
}

interface Named {
  /** The real folder that holds it, what it is called there, and what the user calls it. */
  readonly root: string;
  readonly base: string;
  readonly name: string;
}

/** What a user names may be a link: it is followed, once, here. */
async function lookAt(path: string): Promise<Named> {
  let real: string;
  try {
    real = await realpath(path);
    const facts = await stat(real);
    if (!facts.isFile() && !facts.isDirectory()) throw notAFile(path);
  } catch (error) {
    throw fileError(error, path, 'read');
  }
  const name = basename(resolve(path));
  const base = basename(real);
  if (!isFileName(name) || !isFileName(base)) throw badName(path);
  return { root: dirname(real), base, name };
}

function passedOver(
  { why, path: there }: Extract<TreeEntry, { kind: 'skipped' }>,
  path: string,
): { path: string; why: string } {
  if (why === 'name') throw isFileName(basename(path)) ? tooDeep(there) : badName(path);
  if (why === 'unreadable') throw fileError({ code: 'EACCES' }, path, 'read');
  return { path, why: why === 'link' ? 'a link' : 'no regular file' };
}

async function mayRead(path: string): Promise<void> {
  try {
    await access(path, constants.R_OK);
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}

function notAFile(path: string): NakodoError {
  return new NakodoError(
    'not-a-file',
    `${path} is neither a regular file nor a folder`,
    'name files and folders',
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

function tooDeep(path: string): NakodoError {
  return new NakodoError(
    'bad-file-name',
    `${JSON.stringify(path)} lies too deep: a path may have ` +
      `${FILE_LIMITS.pathBytesMax} bytes and ${FILE_LIMITS.depthMax} names`,
    'send a folder further down, or one archive of all',
    EXIT.usage,
  );
}

function tooMany(): NakodoError {
  return new NakodoError(
    'too-many-files',
    `there are more than the ${FILE_LIMITS.entriesMax} files that one send takes`,
    'send them in parts, or as one archive',
    EXIT.usage,
  );
}
