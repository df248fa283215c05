// The owner's list for commands that cannot open it: those of a user in the agent's group. The
// agent reads and changes the file for them, as a command in a home of its own does by itself. What
// it does not take is an entry with a command to ask by: it would run as the agent's user, who may
// read the keys.

import * as v from 'valibot';
import { EXIT, NakodoError, UsageError } from '../../../protocol/errors.ts';
import type { ServedChannel } from '../../../protocol/io/local-socket.ts';
import { formatListFile, parseListFile } from '../../list-file.ts';
import type { Home } from '../home.ts';
import { readOwnList, storeEntry } from '../own-list-file.ts';
import { readWindows } from '../windows-store.ts';

/** Characters of one entry as text: names and services at their bounds, twice over. */
const ENTRY_CHARS_MAX = 16_384;

/** Asks for the text of the list. */
export const listRequest = v.strictObject({ op: v.literal('list') });
/** Puts an entry into it: the text of a list with this one entry. */
export const storeEntryRequest = v.strictObject({
  op: v.literal('storeEntry'),
  entry: v.pipe(v.string(), v.maxLength(ENTRY_CHARS_MAX)),
});

/**
 * Streams the list's text out; the result says what is used of its windows.
 * @throws NakodoError `list-unreadable`, `file-damaged`
 */
export async function showList(
  { list: path, windows: windowsPath }: Pick<Home, 'list' | 'windows'>,
  channel: ServedChannel,
): Promise<object> {
  const { list } = await readOwnList(path);
  const windows = await readWindows(windowsPath);
  await channel.write(new TextEncoder().encode(formatListFile(list)));
  return { entries: list.entries.length, windows: { version: 1, ...windows } };
}

/**
 * Stores the entry that a text says.
 * @throws NakodoError `bad-entry`, `ask-command-not-owner`, `list-full`, `list-unreadable` …
 */
export async function storeEntryText(path: string, text: string): Promise<object> {
  const parsed = parseListFile(text);
  if ('problem' in parsed || parsed.list.entries.length !== 1) {
    const why = 'problem' in parsed ? parsed.problem : 'it is not one entry';
    const next = 'bring the command and the agent to the same release';
    throw new NakodoError('bad-entry', `this is no entry of a list: ${why}`, next, EXIT.usage);
  }
  const [entry] = parsed.list.entries;
  if (typeof entry.ask === 'string') {
    throw new NakodoError(
      'ask-command-not-owner',
      'only the user that the agent runs as may have it run a command',
      'do it with its rights: sudo nakodo allow …',
    );
  }
  try {
    const kept = await storeEntry(path, entry);
    return kept === undefined ? {} : { kept };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new NakodoError(error.code, error.message, 'deny or remove what is no longer needed');
  }
}
