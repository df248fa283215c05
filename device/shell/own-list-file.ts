// The owner's allow-list file as commands change it [12, ¶0018]: read, changed and written back
// under a lock, by a command in a home of its own, or by the agent for one of its group. Nothing is
// lost when the disk is full or the power fails.

import type { AllowEntry, AllowList } from '../../protocol/consent/allow-list.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { readFileIfAny, writeFileAtomic } from '../../protocol/io/files.ts';
import { withLock } from '../../protocol/io/lock-file.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { formatListFile, parseListFile, withEntry } from '../list-file.ts';

const FILE_MODE = 0o600;

/** A list, and the text that it was read from; none is an empty text. */
interface ReadList {
  readonly list: AllowList;
  readonly text: string;
}

/** Reads the list. @throws NakodoError `list-unreadable` if the file says nothing sensible. */
export async function readOwnList(path: string): Promise<ReadList> {
  const bytes = await readFileIfAny(path, LIMITS.listFileBytesMax);
  const text = new TextDecoder().decode(bytes);
  return { list: listIn(text, path), text };
}

/** The list that a text says; `path`: where it is from. @throws NakodoError `list-unreadable` */
export function listIn(text: string, path: string): AllowList {
  const parsed = parseListFile(text);
  if ('list' in parsed) return parsed.list;
  throw new NakodoError(
    'list-unreadable',
    `the allow-list ${path} cannot be read: ${parsed.problem}`,
    'correct that line in an editor; until then nobody is allowed',
  );
}

/**
 * Puts one entry into the file, in the place of every entry of its name. Resolves with the path of
 * a copy of the old text, if that was written by hand: what is rewritten holds no comments.
 * @throws NakodoError `list-unreadable`, `locked`, `disk-full`; UsageError `list-full`.
 */
export function storeEntry(path: string, entry: AllowEntry): Promise<string | undefined> {
  return withLock(`${path}.lock`, async () => {
    const { list, text } = await readOwnList(path);
    const isByHand = text !== '' && text !== formatListFile(list);
    const copy = `${path}.old`;
    if (isByHand) await writeFileAtomic(copy, text, FILE_MODE);
    await writeFileAtomic(path, formatListFile(withEntry(list, entry)), FILE_MODE);
    return isByHand ? copy : undefined;
  });
}
