// docs/troubleshooting.md has a row for every code that a person may meet, and for none that is not
// in the code any more: where errors are made, their codes are read from the source.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { END_REASONS } from '../ends.ts';
import { readSources, repositoryRoot } from './house/sources.ts';

const PAGE = 'docs/troubleshooting.md';
/** Where errors are made for people; sim and bench speak to developers. */
const FOLDERS: readonly string[] = [
  'protocol',
  'device',
  'cli',
  'broker',
  'session-manager',
  'deploy',
];
/** Said by tools that only make the packages, or by the demo. */
const DEVELOPERS = /^(deploy\/bundle|cli\/demo)\//;
/** `new NakodoError('code'`, also through a class of its own. */
const MADE = /new (?:NakodoError|UsageError)\(\s*'([a-z-]+)'/g;
/** Helpers that take the code first, in files where `new NakodoError(code` stands. */
const HELPED = /\b(?:refused|failed|refusal)\(\s*'([a-z-]+)'/g;
const HELPS = /new NakodoError\(\s*code\b/;
/** Tables of codes: the words of each stand in a tuple behind it. */
const TABLED = /^ {2}(?:'([a-z-]+)'|([a-z]+)): \[/gm;
/** Files whose tables are codes. */
const TABLES = [
  'device/shell/call-error.ts',
  'device/shell/enrol.ts',
  'device/services/file/transfer-error.ts',
  'session-manager/shell/enrolment-http.ts',
  'cli/commands/run.ts',
];

const sources = readSources(repositoryRoot()).filter(
  ({ folder, kind, path }) => FOLDERS.includes(folder) && kind !== 'test' && !DEVELOPERS.test(path),
);
const page = readFileSync(join(repositoryRoot(), PAGE), 'utf8');
const rows = [...page.matchAll(/^\| `([a-z-]+)` \| .+ \| .+ \|$/gm)].map(([, code]) => code);

/** Codes, each with a place where it is made. */
function made(): ReadonlyMap<string, string> {
  const codes = new Map<string, string>(END_REASONS.map(({ reason }) => [reason, 'ends.ts']));
  for (const { path, text } of sources) {
    const patterns = [
      MADE,
      ...(HELPS.test(text) ? [HELPED] : []),
      ...(TABLES.includes(path) ? [TABLED] : []),
    ];
    for (const pattern of patterns) {
      for (const [, quoted, plain] of text.matchAll(pattern)) codes.set(quoted ?? plain, path);
    }
  }
  // What the system says, in our words: keys of one table.
  const output = sources.find(({ path }) => path === 'cli/output.ts')?.text ?? '';
  for (const [, code] of output.matchAll(/^ {2}(E[A-Z]+): \{/gm)) {
    codes.set(code.toLowerCase(), 'cli/output.ts');
  }
  return codes;
}

t.test('every code that a person may meet has its row', async (t) => {
  const codes = made();
  t.ok(codes.size > 150, `${codes.size} codes are found`);
  const missing = [...codes].filter(([code]) => !rows.includes(code));
  t.strictSame(missing, [], `${PAGE}: a row | \`code\` | what it means | what to do |`);
});

t.test('no row is of a code that is gone, and none stands twice', async (t) => {
  const codes = made();
  const isWritten = (code: string): boolean =>
    sources.some(({ text }) => text.includes(`'${code}'`));
  t.strictSame(
    rows.filter((code) => !codes.has(code) && !isWritten(code)),
    [],
  );
  t.equal(new Set(rows).size, rows.length, 'once each');
});
