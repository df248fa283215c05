// The allow-list file: the owner's own text, edited at any time by hand or by `allow` and `deny`
// [¶0018, Fig. 7, claim 8]. This file turns text into a list and back; the disk is the shell's.
//
//   mode = "verdict"            # or "list": show the manager everything
//   [[allow]]
//   name = "TERM1"              # or a pattern: "*@example.org"
//   id = "…"                    # only the terminal with this ID
//   services = ["file", "port:22"]
//   bytes = "200MB"
//   for = "1h"
//   until = "18:00"             # of every day; with bytes: a vendor window, bytes in all
//   extend = true
//   ask = true                  # ask me at every call; or a command: ask = "/usr/local/bin/ask"
//   remember = "8h"             # a yes counts for this caller's next calls as well
//   [[deny]]
//   name = "TERM9"
//
// A text that does not say exactly this is a problem for its owner and allows nobody.

import { blake2s } from '@noble/hashes/blake2.js';
import { utf8ToBytes } from '@noble/hashes/utils.js';
import { TomlError, parse, stringify } from 'smol-toml';
import * as v from 'valibot';
import { base32 } from '../protocol/base32.ts';
import type { AllowEntry, AllowList } from '../protocol/consent/allow-list.ts';
import { isPattern } from '../protocol/consent/allow-list.ts';
import { UsageError, errorMessage } from '../protocol/errors.ts';
import { type DeviceId, isDeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MS_PER_SECOND } from '../protocol/time.ts';
import { isUntil, parseDuration, parseSize } from '../protocol/units.ts';

/** What was read: a list, or a sentence for its owner that says where and what. */
export type ParsedList = { readonly list: AllowList } | { readonly problem: string };

/** What `allow` and `deny` take on the command line, as typed. */
export interface EntryOptions {
  readonly service?: readonly string[] | undefined;
  readonly bytes?: string | undefined;
  readonly for?: string | undefined;
  readonly until?: string | undefined;
  readonly extend?: boolean | undefined;
  readonly ask?: boolean | undefined;
  /** Implies `ask`. */
  readonly askCommand?: string | undefined;
  readonly remember?: string | undefined;
}

const SECONDS_PER_HOUR = 3_600;
const SECONDS_PER_DAY = 86_400;
const SERVICE = /^[!-~]+$/;
/** What only a shell understands: `check && log` would be a yes as soon as `check` is one. */
const SHELL_WORDS = /["'`;|<>]|&&|\$\(/;
const CONTROL = /\p{C}/u;
// Characters of the version that travels with a list: 80 bits of its text's hash.
const VERSION_LENGTH = 16;

const named = {
  name: v.pipe(v.string(), v.check(isPattern, 'wanted a name, in which * may stand anywhere')),
  id: v.optional(
    v.pipe(v.string(), v.check(isDeviceId, 'wanted a device ID: 32 characters a-z2-7')),
  ),
  services: v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.check(isService, 'wanted a service like file or port:22'))),
      v.minLength(1, 'wanted at least one service, or no services at all'),
      v.maxLength(LIMITS.entryServicesMax, `wanted at most ${LIMITS.entryServicesMax} services`),
    ),
  ),
};
const allowTable = v.strictObject({
  ...named,
  bytes: v.optional(v.union([v.string(), v.number()], 'wanted a size like "200MB"')),
  for: v.optional(v.string('wanted a time like "1h"')),
  until: v.optional(v.string('wanted a time of day like "18:00"')),
  extend: v.optional(v.boolean('wanted true or false')),
  ask: v.optional(v.union([v.boolean(), v.string()], 'wanted true, false or a command')),
  remember: v.optional(v.string('wanted a time like "8h"')),
});
const denyTable = v.strictObject(named);
const fileTable = v.strictObject({
  mode: v.optional(v.picklist(['verdict', 'list'], 'wanted "verdict" or "list"'), 'verdict'),
  allow: v.optional(v.array(allowTable, 'wanted [[allow]] in double brackets'), []),
  deny: v.optional(v.array(denyTable, 'wanted [[deny]] in double brackets'), []),
});

/** Reads the text of a list file; never throws, and an empty text is an empty list. */
export function parseListFile(text: string): ParsedList {
  const bytes = utf8ToBytes(text);
  if (bytes.length > LIMITS.listFileBytesMax) {
    return { problem: `the list is longer than ${LIMITS.listFileBytesMax} bytes` };
  }
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    const line = error instanceof TomlError ? `line ${error.line}: ` : '';
    return { problem: `${line}${errorMessage(error).split('\n')[0]}` };
  }
  return parseListTables(raw, text);
}

/** The same of parsed TOML; `text`: what it was parsed from, for the lines of what is wrong. */
export function parseListTables(raw: unknown, text: string): ParsedList {
  const checked = v.safeParse(fileTable, raw);
  if (!checked.success) return { problem: describeIssue(checked.issues[0], text) };
  const { mode, allow, deny } = checked.output;
  if (allow.length + deny.length > LIMITS.listFileEntriesMax) {
    return { problem: `the list has more than ${LIMITS.listFileEntriesMax} entries` };
  }
  const entries: AllowEntry[] = [];
  for (const [at, table] of allow.entries()) {
    try {
      entries.push(allowEntry(table));
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      return { problem: `${placeOf('allow', at, text)}: ${error.message}` };
    }
  }
  for (const { name, id, services } of deny) {
    entries.push({ action: 'deny', pattern: name, id: deviceId(id), services });
  }
  return { list: { version: versionOf(utf8ToBytes(text)), mode, entries } };
}

/** Writes a list as text that `parseListFile` reads as the same mode and entries. */
export function formatListFile(list: Pick<AllowList, 'mode' | 'entries'>): string {
  const tables = (action: AllowEntry['action']): unknown[] =>
    list.entries.filter((entry) => entry.action === action).map(tableOf);
  const allow = tables('allow');
  const deny = tables('deny');
  return `${stringify({
    mode: list.mode,
    ...(allow.length > 0 ? { allow } : {}),
    ...(deny.length > 0 ? { deny } : {}),
  }).trimEnd()}\n`;
}

/**
 * The list with this entry in the place of every entry of the same name: `allow TERM1` also undoes
 * `deny TERM1`. A new name goes in front of the first pattern, which would decide before it.
 * @throws UsageError `list-full`
 */
export function withEntry(list: AllowList, entry: AllowEntry): AllowList {
  const isSame = (other: AllowEntry): boolean => other.pattern === entry.pattern;
  const kept = list.entries.filter((other) => !isSame(other));
  if (kept.length >= LIMITS.listFileEntriesMax) {
    throw new UsageError('list-full', `the list has ${kept.length} entries, which is the most`);
  }
  const replaced = list.entries.findIndex(isSame);
  const wild = kept.findIndex((other) => other.pattern.includes('*'));
  const inFront = wild < 0 || entry.pattern.includes('*') ? kept.length : wild;
  const entries = kept.toSpliced(replaced < 0 ? inFront : replaced, 0, entry);
  return {
    ...list,
    entries,
    version: versionOf(utf8ToBytes(formatListFile({ ...list, entries }))),
  };
}

/**
 * Reads `NAME[#ID]` and the options of `allow` or `deny`.
 * @throws UsageError that says what was wanted
 */
export function parseEntryOptions(
  action: AllowEntry['action'],
  who: string,
  options: EntryOptions,
): AllowEntry {
  const hash = who.indexOf('#');
  const pattern = hash < 0 ? who : who.slice(0, hash);
  const id = hash < 0 ? undefined : who.slice(hash + 1);
  if (!isPattern(pattern)) {
    throw new UsageError(
      'bad-name',
      `name: got '${printable(pattern)}', wanted letters, digits, . _ @ + - and * in patterns`,
    );
  }
  if (id !== undefined && !isDeviceId(id)) {
    throw new UsageError('bad-id', `id: got '${printable(id)}', wanted 32 characters a-z2-7`);
  }
  const services = serviceList(options.service);
  if (action === 'allow') {
    const { bytes, for: span, until, extend, remember } = options;
    const ask = options.askCommand ?? options.ask;
    if (typeof ask === 'string') refuseShellWords(ask);
    const limits = { bytes, for: span, until, extend, ask, remember };
    return allowEntry({ name: pattern, id, services, ...limits });
  }
  const limited = options.bytes ?? options.for ?? options.until ?? options.extend;
  const asking = options.ask ?? options.askCommand ?? options.remember;
  if (limited !== undefined || asking !== undefined) {
    throw new UsageError(
      'deny-limits',
      'deny takes no limits and asks nobody: it refuses, whatever is asked',
    );
  }
  return { action, pattern, id: deviceId(id), services };
}

function serviceList(services: readonly string[] | undefined): readonly string[] | undefined {
  if (services === undefined || services.length === 0) return undefined;
  if (services.length > LIMITS.entryServicesMax) {
    throw new UsageError(
      'bad-service',
      `service: got ${services.length} of them, wanted at most ${LIMITS.entryServicesMax}`,
    );
  }
  const wrong = services.find((service) => !isService(service));
  if (wrong === undefined) return services;
  throw new UsageError(
    'bad-service',
    `service: got '${printable(wrong)}', wanted one like file or port:22`,
  );
}

/** An [[allow]] table, or the same from the command line. */
interface AllowTable {
  readonly name: string;
  readonly id?: string | undefined;
  readonly services?: readonly string[] | undefined;
  readonly bytes?: string | number | undefined;
  readonly for?: string | undefined;
  readonly until?: string | undefined;
  readonly extend?: boolean | undefined;
  readonly ask?: boolean | string | undefined;
  readonly remember?: string | undefined;
}

function allowEntry(table: AllowTable): AllowEntry {
  const { name, id, services, until, extend, ask, remember } = table;
  if (until !== undefined && !isUntil(until)) {
    throw new UsageError(
      'bad-until',
      `until: got '${printable(until)}', wanted a time of day like 18:00 or 2030-01-31T18:00:00Z`,
    );
  }
  return {
    action: 'allow',
    pattern: name,
    id: deviceId(id),
    services,
    seconds: table.for === undefined ? undefined : wholeSeconds(table.for),
    bytes: table.bytes === undefined ? undefined : atLeastOneByte(table.bytes),
    until,
    extend,
    ask: typeof ask === 'string' ? command(ask) : ask,
    remember: remember === undefined ? undefined : approvalSeconds(remember, ask),
  };
}

/** A command that asks; what it is and does is its owner's, here only that there is one. */
function command(text: string): string {
  const isFit = text.trim() !== '' && text.length <= LIMITS.askCommandMax && !CONTROL.test(text);
  if (isFit) return text;
  const wanted = `true or a command of at most ${LIMITS.askCommandMax} characters`;
  throw new UsageError('bad-command', `ask: got '${printable(text)}', wanted ${wanted}`);
}

/** Somebody who types it thinks of a shell; in a file it may stand, and is passed on as it is. */
function refuseShellWords(text: string): void {
  if (!SHELL_WORDS.test(text)) return;
  throw new UsageError(
    'bad-command',
    `ask: got '${printable(text)}', and no shell runs it: quotes, && and | would be passed on as ` +
      'they are; put it into a script',
  );
}

function approvalSeconds(text: string, ask: AllowTable['ask']): number {
  if (ask === undefined || ask === false) {
    throw new UsageError('remember-alone', 'remember: there is nothing to remember without ask');
  }
  const seconds = wholeSeconds(text, 'remember');
  if (seconds <= LIMITS.approvalSecondsMax) return seconds;
  const days = LIMITS.approvalSecondsMax / SECONDS_PER_DAY;
  throw new UsageError(
    'bad-duration',
    `remember: got '${printable(text)}', wanted at most ${days}d`,
  );
}

function wholeSeconds(text: string, key: 'for' | 'remember' = 'for'): number {
  const seconds = Math.floor(parseDuration(text) / MS_PER_SECOND);
  if (seconds >= 1) return seconds;
  throw new UsageError('bad-duration', `${key}: got '${printable(text)}', wanted at least 1s`);
}

function atLeastOneByte(size: string | number): number {
  const bytes = parseSize(String(size));
  if (bytes >= 1) return bytes;
  throw new UsageError('bad-size', `bytes: got '${size}', wanted at least 1`);
}

function tableOf(entry: AllowEntry): Record<string, unknown> {
  const { pattern, id, services, seconds, bytes, until, extend, ask, remember } = entry;
  const table = {
    name: pattern,
    id,
    services,
    bytes: bytes === undefined ? undefined : exactly(bytes, SIZES),
    for: seconds === undefined ? undefined : exactly(seconds, SPANS),
    until,
    extend,
    ask,
    remember: remember === undefined ? undefined : exactly(remember, SPANS),
  };
  return Object.fromEntries(Object.entries(table).filter(([, value]) => value !== undefined));
}

const SIZES = [
  [1e9, 'GB'],
  [2 ** 30, 'GiB'],
  [1e6, 'MB'],
  [2 ** 20, 'MiB'],
  [1, 'B'],
] as const;
const SPANS = [
  [SECONDS_PER_DAY, 'd'],
  [SECONDS_PER_HOUR, 'h'],
  [60, 'm'],
  [1, 's'],
] as const;

/** The amount in the first unit that divides it. */
function exactly(amount: number, units: readonly (readonly [number, string])[]): string {
  const unit = units.find(([size]) => amount % size === 0);
  return unit === undefined ? String(amount) : `${amount / unit[0]}${unit[1]}`;
}

/** A sentence from valibot's first complaint: where, what was got, what was wanted. */
function describeIssue(issue: v.BaseIssue<unknown>, text: string): string {
  const keys = (issue.path ?? []).map((step) => step.key);
  const [table, at, ...rest] = keys;
  const inEntry = (table === 'allow' || table === 'deny') && typeof at === 'number';
  const place = inEntry ? `${placeOf(table, at, text)}: ` : '';
  const key = printable((inEntry ? rest : keys).join('.'));
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    return `${place}unknown key '${key}'`;
  }
  if (issue.received === 'undefined') return `${place}key '${key}' is missing`;
  // What smol-toml makes of a table has no prototype, which valibot takes for null.
  const got = issue.received === 'null' ? 'a table' : printable(issue.received);
  return `${place}${key}: got ${got}, ${complaint(issue)}`;
}

function complaint(issue: v.BaseIssue<unknown>): string {
  return issue.message.startsWith('wanted') ? issue.message : `wanted ${issue.expected}`;
}

/** Names an entry, with the line of its header as far as the plain `[[allow]]` form shows it. */
function placeOf(action: AllowEntry['action'], at: number, text: string): string {
  const header = action === 'allow' ? /^\s*\[\[\s*allow\s*\]\]/ : /^\s*\[\[\s*deny\s*\]\]/;
  let left = at;
  for (const [index, line] of text.split('\n').entries()) {
    if (!header.test(line)) continue;
    if (left === 0) return `line ${index + 1}, [[${action}]]`;
    left -= 1;
  }
  return `[[${action}]] number ${at + 1}`;
}

function isService(text: string): boolean {
  return text.length <= LIMITS.serviceNameMax && SERVICE.test(text);
}

function deviceId(text: string | undefined): DeviceId | undefined {
  return text !== undefined && isDeviceId(text) ? text : undefined;
}

function versionOf(bytes: Uint8Array): string {
  return base32(blake2s(bytes)).slice(0, VERSION_LENGTH);
}

/** What somebody typed, fit for an error message. */
function printable(text: string): string {
  const plain = text.replace(/\p{C}/gu, '?');
  return plain.length > 60 ? `${plain.slice(0, 60)}…` : plain;
}
