// `allow`, `deny`, `allowed`: the owner's list [12, ¶0018, claim 8]. They edit the file in the home
// of the terminal; an agent that runs reads it anew at every question, so none has to run or
// restart. In a home of another user, where ours is in the agent's group, they ask the agent to.

import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import type { AllowEntry, AllowList } from '../../protocol/consent/allow-list.ts';
import { EXIT, type ExitCode } from '../../protocol/errors.ts';
import type { Name } from '../../protocol/ids.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import type { EntryOptions } from '../../device/list-file.ts';
import { askAgent } from '../ask.ts';
import { isOwnHome, makeTerminalHome, terminalFolder } from '../home.ts';
import { type Output, table } from '../output.ts';
import { declare, runs } from './command.ts';

const LIST_FILE = 'allow-list.toml';

/** Adds `allow`, `deny` and `allowed`. */
export function declareList(program: Command): void {
  const allow = declare(program, {
    usage: 'allow',
    summary: 'Let a terminal introduce itself to this one; replaces the entry of that name.',
    examples: [
      'nakodo allow TERM1 --service file --bytes 200MB --for 1h --extend',
      "nakodo allow '*@example.org' --until 18:00",
      'nakodo allow TERM5 --ask --remember 8h',
    ],
  });
  whoArgument(allow)
    .usage('<name> [options]')
    .option('--service <names...>', 'only these services, like file (default: every service)')
    .option('--bytes <size>', 'at most this much in one talk, like 200MB or 64MiB')
    .option('--for <time>', 'at most this long in one talk, like 90s, 15m or 1h')
    .option('--until <moment>', 'only until then: 18:00 today, or 2030-01-31T18:00:00Z')
    .option('--extend', 'a talk may be extended up to these limits')
    .option('--ask', 'ask me at every call: it waits for nakodo approve')
    .option('--ask-command <command>', 'ask by running this (no shell); exit code 0 is a yes')
    .option('--remember <time>', 'a yes counts so long, like 8h, or until the entry is changed');
  runs<EntryOptions>(allow, (output, options, [who]) =>
    store(output, { home: options.home, action: 'allow', who, options }),
  );

  const deny = declare(program, {
    usage: 'deny',
    summary: 'Refuse a terminal, whatever else the list says; replaces the entry of that name.',
    examples: ['nakodo deny TERM9', 'nakodo deny TERM1 --service pipe'],
  });
  whoArgument(deny)
    .usage('<name> [options]')
    .option('--service <names...>', 'only these services (default: every service)');
  runs<EntryOptions>(deny, (output, options, [who]) =>
    store(output, { home: options.home, action: 'deny', who, options }),
  );

  const allowed = declare(program, {
    usage: 'allowed',
    summary: 'Show who is allowed and who is refused.',
    examples: ['nakodo allowed', 'nakodo allowed --json'],
  });
  runs<object>(allowed, (output, { home }) => show(output, home));
}

const whoArgument = (command: Command): Command =>
  command.addArgument(new Argument('<name>', 'a name, NAME#ID, or a pattern with *'));

/** What `--json` prints of an entry: the words of the file. */
function fields(entry: AllowEntry): Readonly<Record<string, unknown>> {
  const { action, pattern, id, services, seconds, bytes, until, extend, ask, remember } = entry;
  return { action, name: pattern, id, services, bytes, seconds, until, extend, ask, remember };
}

function words(entry: AllowEntry): Record<string, string> {
  const { action, pattern, id, services, seconds, bytes, until, extend } = entry;
  return {
    action,
    name: id === undefined ? pattern : `${pattern}#${id}`,
    services: services?.join(' ') ?? 'all',
    bytes: bytes === undefined ? '-' : formatSize(bytes),
    time: seconds === undefined ? '-' : formatDuration(seconds * 1000),
    until: until ?? '-',
    extend: extend === true ? 'yes' : '-',
    ask: askWords(entry),
  };
}

function askWords({ ask, remember }: AllowEntry): string {
  if (ask === undefined || ask === false) return '-';
  const how = ask === true ? 'me' : ask;
  return remember === undefined ? how : `${how}, for ${formatDuration(remember * 1000)}`;
}

/** Puts one entry into the file. */
async function store(
  output: Output,
  wanted: {
    readonly home: string | undefined;
    readonly action: AllowEntry['action'];
    readonly who: string;
    readonly options: EntryOptions;
  },
): Promise<ExitCode> {
  const { parseEntryOptions } = await import('../../device/list-file.ts');
  const entry = parseEntryOptions(wanted.action, wanted.who, wanted.options);
  const kept = await (isOwnHome(terminalFolder(wanted.home))
    ? storeHere(wanted.home, entry)
    : storeThere(wanted.home, entry));
  if (kept !== undefined) {
    output.warn(`The list as it was written by hand is kept in ${kept}`);
  }
  output.result(fields(entry), table([words(entry)]));
  return EXIT.done;
}

/** In a home of ours. Resolves with the path of a copy, if one was made. */
async function storeHere(home: string | undefined, entry: AllowEntry): Promise<string | undefined> {
  const { storeEntry } = await import('../../device/shell/own-list-file.ts');
  return storeEntry(join(makeTerminalHome(home), LIST_FILE), entry);
}

/** Through the agent of a home that is not ours. */
async function storeThere(
  home: string | undefined,
  entry: AllowEntry,
): Promise<string | undefined> {
  const { formatListFile } = await import('../../device/list-file.ts');
  const text = formatListFile({ mode: 'verdict', entries: [entry] });
  const { kept } = await askAgent(home, { op: 'storeEntry', entry: text });
  return typeof kept === 'string' ? kept : undefined;
}

async function show(output: Output, home: string | undefined): Promise<ExitCode> {
  const { entries } = await readList(home);
  const nobody = 'Nobody is allowed. To let somebody in: nakodo allow NAME';
  output.result(entries.map(fields), entries.length === 0 ? nobody : table(entries.map(words)));
  return EXIT.done;
}

/** The IDs that the list of a home states for a name. @throws NakodoError `list-unreadable` */
export async function listedIds(home: string | undefined, name: Name): Promise<readonly string[]> {
  const { statedIds } = await import('../../device/own-list.ts');
  return statedIds(await readList(home), name);
}

/** @throws NakodoError `list-unreadable` if the file is there and says nothing sensible. */
async function readList(home: string | undefined): Promise<AllowList> {
  const { listIn, readOwnList } = await import('../../device/shell/own-list-file.ts');
  const folder = terminalFolder(home);
  const path = join(folder, LIST_FILE);
  if (isOwnHome(folder)) return (await readOwnList(path)).list;
  const chunks: Uint8Array[] = [];
  const onData = (bytes: Uint8Array): void => void chunks.push(Uint8Array.from(bytes));
  await askAgent(home, { op: 'list' }, { onData });
  return listIn(Buffer.concat(chunks).toString('utf8'), path);
}
