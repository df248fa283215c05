// One file of `get` over a talk, and the listing that says which there are: what a peer answers is
// looked at before a name of it is used here.

import { access, mkdir, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { Landing } from '../device/services/file/landing.ts';
import { FILE_LIMITS } from '../device/services/file/limits.ts';
import { isFileName, isFilePath } from '../device/services/file/names.ts';
import { Room } from '../device/services/file/room.ts';
import { takeFile } from '../device/services/file/sink.ts';
import { StreamReader } from '../device/services/file/stream-reader.ts';
import { harmless, shown, transferError } from '../device/services/file/transfer-error.ts';
import { type Entry, encodeAsk, entry, found } from '../device/services/file/wire.ts';
import { EXIT, NakodoError } from '../protocol/errors.ts';
import { fileError } from '../protocol/io/files.ts';
import { Pacer } from './pacer.ts';
import type { CommandTalk } from './talk.ts';
import type { FileMeter } from './transfer-progress.ts';

/** A file to fetch, or a folder in which there is nothing. */
export interface FetchedFile {
  readonly kind: 'file' | 'folder';
  /** Its path in the outbox there. */
  readonly remote: string;
  /** Its path here, below the folder that everything goes to. */
  readonly path: string;
  readonly size: number;
}

/** Where fetched files go. */
export interface Destination {
  readonly folder: string;
  /** What the one file or folder is called here; undefined: as it is called there. */
  readonly name: string | undefined;
}

/** What a peer says of its outbox. */
export interface Listing {
  readonly entries: readonly Entry[];
  readonly skipped: readonly { readonly path: string; readonly why: string }[];
}

/** Everything there is, for `get NAME` and `get NAME .`. */
export const EVERYTHING = '';

/**
 * A path in a peer's outbox as its user types it.
 * @throws NakodoError `bad-path` (exit 2).
 */
export function pathThere(text: string): string {
  const path = text.replace(/^(?:\.\/+)+/, '').replace(/(?<=.)\/+$/, '');
  if (path === '.' || path === '') return EVERYTHING;
  if (isFilePath(path)) return path;
  throw new NakodoError(
    'bad-path',
    `${JSON.stringify(text)} is no path in an outbox`,
    'see what there is: nakodo get NAME --list',
    EXIT.usage,
  );
}

/**
 * Where `count` fetched paths go, as `cp` has it: into `dest` if it is a folder, ends with a slash
 * or there are several; else one takes its name. Makes the folder that was named.
 * @throws NakodoError `not-a-folder`, `no-such-file`, `no-permission`.
 */
export async function destinationOf(dest: string, count: number): Promise<Destination> {
  const facts = await stat(dest).catch(() => {});
  const isFolder = facts?.isDirectory() === true;
  if (!isFolder && facts !== undefined && (count > 1 || dest.endsWith('/'))) {
    throw new NakodoError(
      'not-a-folder',
      `${dest} is no folder`,
      'name a folder as the last word, or one file at a time',
      EXIT.usage,
    );
  }
  try {
    if (isFolder || count > 1 || dest.endsWith('/')) {
      await mkdir(dest, { recursive: true });
      return { folder: resolve(dest), name: undefined };
    }
    const path = resolve(dest);
    await access(dirname(path));
    if (!isFileName(basename(path))) throw transferError('bad-name', dest);
    return { folder: dirname(path), name: basename(path) };
  } catch (error) {
    throw fileError(error, dest, 'write to');
  }
}

/** Asks what is at and below a path. @throws NakodoError `no-such-file`, `too-many-files` … */
export async function listThere(talk: CommandTalk, path: string): Promise<Listing> {
  const asked = encodeAsk({ wanted: 'list', path, resumes: false });
  const stream = await talk.openStream(asked);
  try {
    stream.end();
    const reader = new StreamReader(stream);
    const entries: Entry[] = [];
    const skipped: { path: string; why: string }[] = [];
    for (;;) {
      const said = await reader.frame(entry);
      if (said === undefined || entries.length > FILE_LIMITS.entriesMax) {
        throw transferError('bad-answer', path);
      }
      if (said.kind === 'end') {
        if (said.code !== 'ok') throw noListing(said.code ?? '', path);
        return { entries, skipped };
      }
      if (said.kind === 'skipped')
        skipped.push({ path: harmless(said.path), why: WHY[said.code ?? ''] ?? '' });
      else if (isBelow(said.path, path)) entries.push(said);
      else throw transferError('bad-answer', path);
      if (skipped.length > FILE_LIMITS.entriesMax) throw transferError('bad-answer', path);
    }
  } finally {
    stream.destroy();
  }
}

/**
 * What of a listing is to be fetched; `path`: what was asked for. Who asks for everything does not
 * get what is hidden at its top: where that is a home, a peer would settle what its shell does.
 */
export function filesOf(
  { entries }: Listing,
  path: string,
  name: string | undefined,
): readonly FetchedFile[] {
  const own = path.slice(path.lastIndexOf('/') + 1);
  const local = (remote: string): string =>
    path === EVERYTHING ? remote : (name ?? own) + remote.slice(path.length);
  return entries.flatMap((each, at) => {
    const { kind, path: remote, size = 0 } = each;
    // Of folders only the empty ones: the others are made along with what is in them.
    const isWanted = kind === 'file' || !entries.at(at + 1)?.path.startsWith(`${remote}/`);
    if (path === EVERYTHING && remote.startsWith('.')) return [];
    if (!isWanted || (kind !== 'file' && kind !== 'folder')) return [];
    return [{ kind, remote, path: local(remote), size }];
  });
}

/** What `filesOf` leaves out. */
export function hiddenOf({ entries }: Listing, path: string): Listing['skipped'] {
  if (path !== EVERYTHING) return [];
  const tops = entries.filter(({ path: remote }) => remote.startsWith('.'));
  const names = new Set(tops.map(({ path: remote }) => remote.split('/')[0]));
  return [...names].map((name) => ({ path: name, why: 'a hidden name; say it to fetch it' }));
}

/** How files are fetched. */
interface FetchWishes {
  readonly folder: string;
  readonly replaces: boolean;
  readonly resumes: boolean;
  readonly bytesPerSecond: number | undefined;
}

/** Makes what fetches one file [S1005]; resolves when it is on the disk here. */
export async function fileFetcher({
  folder,
  replaces,
  resumes,
  bytesPerSecond,
}: FetchWishes): Promise<
  (talk: CommandTalk, file: FetchedFile, meter: FileMeter) => Promise<object>
> {
  const pacer = bytesPerSecond === undefined ? undefined : new Pacer(bytesPerSecond);
  const umask = process.umask();
  const rules = {
    folder,
    overwrite: replaces ? 'replace' : 'number',
    fileMode: ANYBODY_READS & ~umask,
    folderMode: ANYBODY_ENTERS,
  } as const;
  const landing = new Landing(rules, new Room());
  await landing.clean();
  return async (talk, file, meter) => {
    const { path, remote } = file;
    if (file.kind === 'folder') {
      await landing.folder(path);
      return { savedAs: path };
    }
    const asked = encodeAsk({ wanted: 'file', path: remote, resumes });
    const stream = await talk.openStream(asked);
    try {
      const reader = new StreamReader(stream);
      const said = await reader.frame(found);
      const { code, size, modified, isExecutable = false } = said ?? { code: 'bad-answer' };
      if (code !== 'ok' || size === undefined || modified === undefined) {
        throw transferError(code === 'ok' ? 'bad-answer' : code, path);
      }
      const peer = talk.open.peer.id;
      const coming = { peer, path, size, modified, isExecutable, resumes, replaces };
      return await takeFile(stream, reader, landing, coming, {
        onBytes: meter.add,
        pace: pacer === undefined ? undefined : (bytes) => pacer.spend(bytes),
      });
    } catch (error) {
      stream.destroy();
      throw error;
    }
  };
}

const ANYBODY_READS = 0o666;
const ANYBODY_ENTERS = 0o777;

const WHY: Readonly<Record<string, string>> = {
  link: 'a link',
  special: 'no regular file',
  name: 'a name that cannot be carried',
  unreadable: 'not readable there',
};

/** Whether a peer may say that this is at or below what was asked for. */
function isBelow(said: string, path: string): boolean {
  if (!isFilePath(said)) return false;
  return path === EVERYTHING || said === path || said.startsWith(`${path}/`);
}

function noListing(code: string, path: string): NakodoError {
  if (code === 'no-such-file') {
    return new NakodoError(
      code,
      `there is no ${path === EVERYTHING ? 'outbox' : shown(path)} there`,
      'see what there is: nakodo get NAME --list',
    );
  }
  if (code !== 'too-many-files') return transferError(code, path);
  return new NakodoError(
    code,
    `there are more than the ${FILE_LIMITS.entriesMax} files that one listing takes`,
    'name a folder of it, or ask its owner for an archive',
  );
}
