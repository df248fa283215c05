// `allow`, `deny`, `allowed`: the owner's list [12, ¶0018, claim 8]. They edit the file in the home
// of the terminal; an agent that runs reads it anew at every question, so none has to run or
// restart. In a home of another user, where ours is in the agent's group, they ask the agent to.

import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import type { AllowEntry, AllowList } from '../../protocol/consent/allow-list.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { Name } from '../../protocol/ids.ts';
import { wallMs } from '../../protocol/time.ts';
import {
  type LocalMoment,
  formatDuration,
  formatSize,
  isTimeOfDay,
  parseUntil,
} from '../../protocol/units.ts';
import type { EntryOptions } from '../../device/list-file.ts';
import type { VendorWindows, WindowLeft } from '../../device/vendor-windows.ts';
import { askAgent } from '../ask.ts';
import { isOwnHome, makeTerminalHome, terminalFolder } from '../home.ts';
import { type Output, table } from '../output.ts';
import { declare, runs } from './command.ts';

const LIST_FILE = 'allow-list.toml';
const WINDOWS_FILE = 'windows.json';
const MS_PER_MINUTE = 60_000;

const ALLOW_DETAILS = `
Without --service a terminal is let in for every service but those with a colon: ports (port:22,
udp:53, listen:8080) and hooks (run:NAME) are named, each, or not allowed.

--for is how long each talk may last, not how long the entry stands: that is --until, or deny.

The vendor window: with both --until and --bytes the entry is open until then, for so many bytes
in all, over all talks that it lets in; 'nakodo allowed' shows what is left. At the moment that
--until names, and when the bytes are used up, a talk is cut in the middle of whatever it is in.
18:00 is 18:00 of today, and is stored as that moment: the window does not open again tomorrow.
(In a list that is edited by hand, until = "18:00" does: it is a window every day.) To close it
early: nakodo deny NAME; talks that it let in end within seconds.`;

/** Adds `allow`, `deny` and `allowed`. */
export function declareList(program: Command): void {
  const allow = declare(program, {
    usage: 'allow',
    summary: 'Let a terminal introduce itself to this one; replaces the entry of that name.',
    details: ALLOW_DETAILS,
    examples: [
      'nakodo allow TERM1 --service file --bytes 200MB --for 1h --extend',
      'nakodo allow support --service port:22 --until 18:00 --bytes 200MB',
      "nakodo allow '*@example.org' --until 18:00",
      'nakodo allow TERM5 --ask --remember 8h',
    ],
  });
  whoArgument(allow)
    .usage('<name> [options]')
    .option('--service <names...>', 'only these services, like file (default: every service)')
    .option('--bytes <size>', 'at most this much in one talk (with --until: in all), like 200MB')
    .option('--for <time>', 'at most this long in one talk, like 90s, 15m or 1h')
    .option('--until <moment>', 'only until then: 18:00 of today, or 2030-01-31T18:00:00Z')
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
    details: 'Talks under way that are no longer allowed end within seconds.',
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
    summary: 'Show who is allowed and who is refused, and what is left of vendor windows.',
    examples: ['nakodo allowed', 'nakodo allowed --json'],
  });
  runs<object>(allowed, (output, { home }) => show(output, home));
}

const whoArgument = (command: Command): Command =>
  command.addArgument(new Argument('<name>', 'a name, NAME#ID, or a pattern with *'));

/** What is spent of vendor windows, and the moment at which somebody looks. */
interface WindowsNow {
  readonly windows: VendorWindows;
  readonly at: LocalMoment;
}

/** What `--json` prints of an entry: the words of the file. */
function fields(entry: AllowEntry): Readonly<Record<string, unknown>> {
  const { action, pattern, id, services, seconds, bytes, until, extend, ask, remember } = entry;
  return { action, name: pattern, id, services, bytes, seconds, until, extend, ask, remember };
}

/**
 * What time it is for the owner's list: as the agent says, which follows the server's clock where
 * this machine has none that is right (a Pi has no battery); without an agent as the system says.
 */
async function localMoment(home: string | undefined): Promise<LocalMoment> {
  const status = await askAgent(home, { op: 'status' }).catch(() => undefined);
  const ahead = status?.clockOffsetMs;
  const now = Date.now() + (typeof ahead === 'number' ? ahead : 0);
  return { wallMs: wallMs(now), offsetMinutes: -new Date(now).getTimezoneOffset() };
}

/**
 * The moment that `--until` means, as it is stored: a time of day is that of today.
 * @throws UsageError `bad-until`; NakodoError `until-past` (exit 2)
 */
function untilOf(text: string, at: LocalMoment): string {
  if (parseUntil(text, at) === 0) {
    const next = 'a moment of another day has its date: --until 2030-01-31T18:00:00Z';
    throw new NakodoError('until-past', `until: ${text} is past`, next, EXIT.usage);
  }
  if (!isTimeOfDay(text)) return text;
  const [hours, minutes] = text.split(':').map(Number);
  const moment = new Date(at.wallMs);
  moment.setHours(hours, minutes, 0, 0);
  // With the offset of that moment, which need not be the one of now.
  const offset = -moment.getTimezoneOffset();
  const local = new Date(moment.getTime() + offset * MS_PER_MINUTE).toISOString().slice(0, 19);
  const two = (value: number): string => String(Math.floor(Math.abs(value))).padStart(2, '0');
  return `${local}${offset < 0 ? '-' : '+'}${two(offset / 60)}:${two(offset % 60)}`;
}

function words(entry: AllowEntry, windows?: WindowsNow): Record<string, string> {
  const { action, pattern, id, services, seconds, bytes, until, extend } = entry;
  return {
    action,
    name: id === undefined ? pattern : `${pattern}#${id}`,
    services: services?.join(' ') ?? (action === 'deny' ? 'all' : 'all but ports, hooks'),
    bytes: bytes === undefined ? '-' : formatSize(bytes),
    time: seconds === undefined ? '-' : formatDuration(seconds * 1000),
    until: until ?? '-',
    ...(windows === undefined ? {} : { left: leftWords(entry, windows) }),
    extend: extend === true ? 'yes' : '-',
    ask: askWords(entry),
  };
}

function leftWords(entry: AllowEntry, windows: WindowsNow): string {
  const left = leftOf(entry, windows);
  if (left === undefined) return '-';
  if (left.leftSeconds === 0) return 'closed: its time is up';
  const held = left.heldBytes > 0 ? `, ${formatSize(left.heldBytes)} held by talks` : '';
  if (left.leftBytes === 0) return `nothing${held}`;
  return `${formatSize(left.leftBytes)}, ${formatDuration(left.leftSeconds * 1000)}${held}`;
}

/** What is left of an entry that is a window. */
function leftOf(entry: AllowEntry, { windows, at }: WindowsNow): WindowLeft | undefined {
  const { action, until, bytes } = entry;
  if (action === 'deny' || until === undefined || bytes === undefined) return undefined;
  return windows.leftOf({ ...entry, until, bytes }, at);
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
  const { until: wish } = wanted.options;
  const isLimited = wanted.action === 'allow' && wish !== undefined;
  const until = isLimited ? untilOf(wish, await localMoment(wanted.home)) : undefined;
  const entry = parseEntryOptions(wanted.action, wanted.who, { ...wanted.options, until });
  const kept = await (isOwnHome(terminalFolder(wanted.home))
    ? storeHere(wanted.home, entry)
    : storeThere(wanted.home, entry));
  if (kept !== undefined) {
    output.warn(`The list as it was written by hand is kept in ${kept}`);
  }
  const foreign = (entry.services ?? []).filter((service) => !isOfNakodo(service));
  if (foreign.length > 0) {
    const ours = 'file get pipe live ping port:N udp:N listen:N run:NAME';
    output.warn(`${foreign.join(' ')}: for programs of your own only; nakodo itself has ${ours}`);
  }
  output.result(fields(entry), table([words(entry)]));
  return EXIT.done;
}

/** Whether a service is one that this agent may serve: else it is a program's, or mistyped. */
function isOfNakodo(service: string): boolean {
  const [, port] = /^(?:port|udp|listen):(\d{1,5}|\*)$/.exec(service) ?? [];
  if (port !== undefined) return port === '*' || (Number(port) >= 1 && Number(port) <= 65_535);
  return /^(?:\*|file|get|pipe|live|ping|run:.+)$/.test(service);
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
  const { list, windows: spent } = await readAll(home);
  const windows: WindowsNow = { windows: spent, at: await localMoment(home) };
  const { entries } = list;
  const nobody = 'Nobody is allowed. To let somebody in: nakodo allow NAME';
  const shown = entries.map((entry) => ({ ...fields(entry), window: leftOf(entry, windows) }));
  const hasWindow = shown.some(({ window }) => window !== undefined);
  const rows = entries.map((entry) => words(entry, hasWindow ? windows : undefined));
  output.result(shown, entries.length === 0 ? nobody : table(rows));
  return EXIT.done;
}

/** The IDs that the list of a home states for a name. @throws NakodoError `list-unreadable` */
export async function listedIds(home: string | undefined, name: Name): Promise<readonly string[]> {
  const { statedIds } = await import('../../device/own-list.ts');
  return statedIds((await readAll(home)).list, name);
}

/** @throws NakodoError `list-unreadable` if the file is there and says nothing sensible. */
async function readAll(
  home: string | undefined,
): Promise<{ readonly list: AllowList; readonly windows: VendorWindows }> {
  const { listIn, readOwnList } = await import('../../device/shell/own-list-file.ts');
  const { readWindows, windowsIn } = await import('../../device/shell/windows-store.ts');
  const { VendorWindows } = await import('../../device/vendor-windows.ts');
  const folder = terminalFolder(home);
  const path = join(folder, LIST_FILE);
  const windowsPath = join(folder, WINDOWS_FILE);
  if (isOwnHome(folder)) {
    const { list } = await readOwnList(path);
    const { used, talks } = await readWindows(windowsPath);
    return { list, windows: new VendorWindows(used, talks) };
  }
  const chunks: Uint8Array[] = [];
  const onData = (bytes: Uint8Array): void => void chunks.push(Uint8Array.from(bytes));
  const said = await askAgent(home, { op: 'list' }, { onData });
  const list = listIn(Buffer.concat(chunks).toString('utf8'), path);
  const { used, talks } = windowsIn(said.windows, windowsPath);
  return { list, windows: new VendorWindows(used, talks) };
}
