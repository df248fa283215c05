// The service `get` at the callee [S4005]: peers read what the owner has put into one folder
// (`[get]` of agent.toml; docs/services.md), and see nothing else.

import { join } from 'node:path';
import { decodeCbor } from '../../../protocol/control/cbor.ts';
import { makeFolder } from '../../../protocol/io/files.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import type { Service } from '../service.ts';
import { DiskContent } from './disk-content.ts';
import { FairTurns } from './fair-turns.ts';
import { JailedFolder } from './jailed-folder.ts';
import { FILE_LIMITS } from './limits.ts';
import { GET_SERVICE, isFilePath } from './names.ts';
import { giveFile, roomIn } from './source.ts';
import { StreamReader } from './stream-reader.ts';
import { transferCode } from './transfer-error.ts';
import { type TreeEntry, namesIn, walkTree } from './tree.ts';
import { type Entry, ask, entry, found, frame } from './wire.ts';

const OUTBOX = 'outbox';
const turns = new FairTurns();

/** Files out of this terminal's outbox. */
export const getService: Service = {
  matches: (name) => name === GET_SERVICE,
  serve: (session, { home, log, config }) => {
    const folder = config.get.folder ?? join(home.folder, OUTBOX);
    turns.serve(session, {
      // A listing stands beside the files.
      streams: FILE_LIMITS.streamsAtOnce + 1,
      work: (stream) => giveOne(stream, folder),
      log,
      trouble: 'file-not-given',
    });
  },
};

async function giveOne(stream: TalkStream, folder: string): Promise<void> {
  const asked = decodeCbor(ask, stream.parameters);
  if (asked?.wanted === 'file') return giveContent(stream, folder, asked);
  await makeFolder(folder);
  stream.resume();
  return list(stream, folder, asked?.path ?? '..');
}

async function giveContent(
  stream: TalkStream,
  folder: string,
  { path, resumes }: { readonly path: string; readonly resumes: boolean },
): Promise<void> {
  let content: DiskContent;
  try {
    if (!isFilePath(path)) throw Object.assign(new Error('no path'), { code: 'no-such-file' });
    content = await DiskContent.open(folder, path);
  } catch (error) {
    stream.end(frame(found, { code: transferCode(error, 'not-readable') }));
    stream.resume();
    return;
  }
  try {
    const { size, modified, isExecutable } = content;
    stream.write(frame(found, { code: 'ok', size, modified, isExecutable }));
    await giveFile(stream, new StreamReader(stream), content, { path, resumes });
  } finally {
    await content.close();
  }
}

/** Says what is at and below a path, at the pace of its reader. */
async function list(stream: TalkStream, folder: string, path: string): Promise<void> {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  let count = 0;
  let code = 'no-such-file';
  const say = async (told: Entry): Promise<void> => {
    const said = frame(entry, told);
    waiting.push(said);
    bytes += said.length;
    if (bytes < FILE_LIMITS.listingChunkBytes && told.kind !== 'end') return;
    const hasRoom = stream.write(Buffer.concat(waiting));
    waiting = [];
    bytes = 0;
    if (!hasRoom) await roomIn(stream);
  };
  for await (const each of everythingAt(folder, path)) {
    code = 'ok';
    if (stream.destroyed) return;
    if (count === FILE_LIMITS.entriesMax) {
      code = 'too-many-files';
      break;
    }
    if (each !== undefined) await say(entryOf(each));
    count += 1;
  }
  await say({ kind: 'end', path: '', code });
  stream.end();
}

/** The entries at and below a path of the folder; `undefined` first for the folder itself. */
async function* everythingAt(
  folder: string,
  path: string,
): AsyncGenerator<TreeEntry | undefined, void, undefined> {
  const root = await JailedFolder.open(folder);
  try {
    if (path === '') {
      yield undefined;
      for (const name of await namesIn(root)) yield* walkTree(root, name, name);
    } else if (isFilePath(path)) {
      const names = path.split('/');
      const above = await root.walk(names.slice(0, -1)).catch(() => {});
      if (above === undefined) return;
      try {
        yield* walkTree(above, names.at(-1) ?? '', path);
      } finally {
        await above.close();
      }
    }
  } finally {
    await root.close();
  }
}

function entryOf(each: TreeEntry): Entry {
  if (each.kind === 'file') return each;
  if (each.kind === 'folder') return { kind: 'folder', path: each.path };
  return { kind: 'skipped', path: sayable(each.path), code: each.why };
}

/** A path that may stand in a listing, whatever it is called on the disk. */
function sayable(path: string): string {
  const fit = path.replace(/[\p{Cc}\p{Cs}]/gu, '\ufffd');
  // At most 3 bytes a unit of UTF-16.
  return fit.slice(0, Math.floor(FILE_LIMITS.pathBytesMax / 3));
}
