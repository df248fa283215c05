// The patent's steps and claims, where the code carries each out and which test shows it. Tags
// stand in comments of code as `[S2003]` or `claim 15`, and at the front of test titles as `S2003:
// …`. In brackets that hold nothing but tags, a step is carried out here; in parentheses, or in
// brackets that say more, it is only mentioned. Where things are only declared nothing is done.

import type { Source } from './sources.ts';

const range = (prefix: string, from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, at) => `${prefix}${from + at}`);

/** S1000 … S6005 and claim 1 … claim 22. */
export const TAGS: readonly string[] = [
  ...range('S', 1000, 1006),
  ...range('S', 2000, 2010),
  ...range('S', 3000, 3005),
  ...range('S', 4000, 4006),
  ...range('S', 5000, 5007),
  ...range('S', 6000, 6005),
  ...range('claim ', 1, 22),
];

/** In a few words, what the step or claim says (shared with the reader of the map). */
const SAYS: Readonly<Record<string, string>> = {
  S1000: 'caller registers its address',
  S1001: 'caller registers its name',
  S1002: 'the user names the peer',
  S1003: 'caller sends the connect request',
  S1004: 'caller receives address notice 1',
  S1005: 'caller talks directly, encrypted',
  S1006: 'caller stops when done or at expiry',
  S2000: 'names and device IDs are recorded',
  S2001: 'connect request received',
  S2002: 'trigger sent to the broker',
  S2003: 'allow-list received',
  S2004: 'the list is searched',
  S2005: 'the caller is on it, or not',
  S2006: 'both addresses are queried',
  S2007: 'session ID, expiry and key are made',
  S2008: 'address notice 1 sent',
  S2009: 'address notice 2 sent',
  S2010: 'error sent to the caller',
  S3000: 'addresses are recorded',
  S3001: 'trigger received',
  S3002: 'communication request sent',
  S3003: 'address query received',
  S3004: 'addresses looked up',
  S3005: 'address answer sent',
  S4000: 'callee registers its address',
  S4001: 'callee registers its name',
  S4002: 'communication request received',
  S4003: 'allow-list sent',
  S4004: 'callee receives address notice 2',
  S4005: 'callee talks directly, encrypted',
  S4006: 'callee stops when done or at expiry',
  S5000: 'the talk',
  S5001: 'an end request came',
  S5002: 'all data transferred?',
  S5003: 'expiry near (70 %)?',
  S5004: 'extension requested',
  S5005: 'new expiry received',
  S5006: 'expiry extended',
  S5007: 'end notice sent',
  S6000: 'end notice received',
  S6001: 'end logged',
  S6002: 'extension request received',
  S6003: 'new expiry set and sent',
  S6004: 'the operator forces an end',
  S6005: 'end request sent to the broker',
  'claim 1': 'terminal: register, allow-list, resolve, talk, poll',
  'claim 2': 'resolve by own name and destination name',
  'claim 3': 'stop when done or at expiry',
  'claim 4': 'ask to extend the expiry',
  'claim 5': 'send an end notice',
  'claim 6': 'obey an end request',
  'claim 7': 'encrypt with the key received',
  'claim 8': 'the list may refuse by name',
  'claim 9': 'session manager: names, trigger, search, query, notify',
  'claim 10': 'session manager makes an expiry',
  'claim 11': 'answers an extension with a new expiry',
  'claim 12': 'receives end notices',
  'claim 13': 'sends an end request through the broker',
  'claim 14': 'expiry as a time',
  'claim 15': 'expiry as an amount of data',
  'claim 16': 'makes and sends the key',
  'claim 17': 'trigger broker: addresses, triggers, polls, answers',
  'claim 18': 'passes end requests on',
  'claim 19': 'the terminal as a program',
  'claim 20': 'the session manager as a program',
  'claim 21': 'the trigger broker as a program',
  'claim 22': 'the whole system',
};

/** Files that declare what others carry out. */
const DECLARATIONS = /(^protocol\/control\/messages|-types)\.ts$/;

/** One row of the map. */
export interface Row {
  readonly tag: string;
  readonly says: string;
  /** Paths of code files whose comments carry the tag. */
  readonly code: readonly string[];
  /** `path: title` of tests. */
  readonly tests: readonly { readonly path: string; readonly title: string }[];
}

/** One row for every step and every claim. */
export function patentMap(sources: readonly Source[]): readonly Row[] {
  const tests = sources.filter((source) => source.path.endsWith('.test.ts')).flatMap(titles);
  const code = sources.filter(({ kind, path }) => kind !== 'test' && !DECLARATIONS.test(path));
  return TAGS.map((tag) => ({
    tag,
    says: SAYS[tag],
    code: code.filter((source) => carries(source, tag)).map(({ path }) => path),
    tests: tests.filter(({ title }) => prefix(title).has(tag)),
  }));
}

/** Rows that lack code or a test. */
export const gaps = (rows: readonly Row[]): string[] =>
  rows.flatMap(({ tag, code, tests }) => [
    ...(code.length === 0 ? [`${tag}: no code carries it`] : []),
    ...(tests.length === 0 ? [`${tag}: no test title begins with it`] : []),
  ]);

/** What may stand in a group of tags: steps, claims, means, paragraphs, figures. */
const TAG = String.raw`(S\d{4}|claims? \d+|means [\d–, ]+|\d+(–\d+)?|¶\d+|Fig\. \w+)`;
const GROUP = new RegExp(String.raw`^\[${TAG}(, ${TAG})*\]$`);

function carries(source: Source, tag: string): boolean {
  const said = source.comments.replaceAll(/\([^()\n]*\)/g, '');
  for (const [match] of said.matchAll(/\[[^\]]*\]|claims? [\d, –-]+/g)) {
    const group = match.replaceAll(/\n\s*(\/\/|\*)/g, '').replaceAll(/\s+/g, ' ');
    if (group.startsWith('[') && !GROUP.test(group)) continue;
    if (tagsIn(group).has(tag)) return true;
  }
  return false;
}

/** `[S1000, S3000]`, `claim 1, 17`, `[claim 14, claim 15]`, `claims 9–13` → tags. */
function tagsIn(text: string): Set<string> {
  const found = new Set<string>(text.match(/S\d{4}/g));
  for (const [, numbers] of text.matchAll(/claims? ([\d, –-]+)/g)) {
    for (const [, from, to] of numbers.matchAll(/(\d+)(?:\s*[–-]\s*(\d+))?/g))
      for (let n = Number(from); n <= Number(to ?? from) && n <= 22; n++) found.add(`claim ${n}`);
  }
  return found;
}

function titles(source: Source): { path: string; title: string }[] {
  const calls = /\bt(?:est)?\.test\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`([^`]*)`)/g;
  return [...source.text.matchAll(calls)].map((match) => ({
    path: source.path,
    title: (match[1] ?? match[2] ?? match[3]).replaceAll("\\'", "'"),
  }));
}

/** The tags in front of a title's first colon. */
function prefix(title: string): Set<string> {
  const colon = title.indexOf(':');
  return colon < 0 ? new Set() : tagsIn(title.slice(0, colon));
}

/** The map as Markdown. */
export function markdown(rows: readonly Row[]): string {
  const lines = rows.map(({ tag, says, code, tests }) => {
    const shown = tests.map(({ path, title }) => `\`${path}\`: ${title.replaceAll('|', '\\|')}`);
    const carried = code.map((path) => `\`${path}\``);
    return `| ${tag} | ${says} | ${carried.join('<br>')} | ${shown.join('<br>')} |`;
  });
  return [
    '# Patent map',
    '',
    'JP2004-042416, every flowchart step and every claim: where the code carries it out, and the',
    'test that shows it. Made by `make trace` from tags in comments and test titles: not by hand.',
    '',
    '| step | says | code | test |',
    '|---|---|---|---|',
    ...lines,
    '',
  ].join('\n');
}
