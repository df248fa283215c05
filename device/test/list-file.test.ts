// The owner's allow-list file, as text: read as a list, or a problem that says where and what; and
// what `allow` and `deny` do to it.

import fc from 'fast-check';
import t from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import type { AllowEntry, AllowList } from '../../protocol/consent/allow-list.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { formatListFile, parseEntryOptions, parseListFile, withEntry } from '../list-file.ts';

const ID = 'a2'.repeat(16) as DeviceId;

function read(text: string): AllowList {
  const parsed = parseListFile(text);
  if ('problem' in parsed) throw new Error(parsed.problem);
  return parsed.list;
}

function problem(text: string): string {
  const parsed = parseListFile(text);
  return 'problem' in parsed ? parsed.problem : 'no problem';
}

const WHOLE = `
# my friends
mode = "list"

[[allow]]
name = "TERM1"
id = "${ID}"
services = ["file", "port:22"]
bytes = "200MB"
for = "1h"
until = "18:00"
extend = true

[[allow]]
name = "*@example.org"
bytes = 4096

[[allow]]
name = "ASKED"
ask = true

[[allow]]
name = "KNOCK"
ask = "/usr/local/bin/knock --loud"
remember = "8h"

[[deny]]
name = "TERM9"
services = ["pipe"]
`;

t.test('S4003: the file of the owner becomes a list', async (t) => {
  const list = read(WHOLE);
  t.equal(list.mode, 'list');
  t.match(list.version, /^[a-z2-7]{16}$/);
  t.match(list.entries, [
    {
      action: 'allow',
      pattern: 'TERM1',
      id: ID,
      services: ['file', 'port:22'],
      bytes: 200_000_000,
      seconds: 3_600,
      until: '18:00',
      extend: true,
    },
    { action: 'allow', pattern: '*@example.org', bytes: 4_096, seconds: undefined },
    { pattern: 'ASKED', ask: true, remember: undefined },
    { pattern: 'KNOCK', ask: '/usr/local/bin/knock --loud', remember: 28_800 },
    { action: 'deny', pattern: 'TERM9', services: ['pipe'] },
  ]);
  t.not(read(`${WHOLE}\n`).version, list.version, 'another text, another version');
  t.equal(read(WHOLE).version, list.version);
});

t.test('S4003: an empty file is an empty list, and shows only verdicts', async (t) => {
  t.match(read(''), { mode: 'verdict', entries: [] });
});

t.test('a file that says anything else is a problem that tells where and what', async (t) => {
  const rows: readonly (readonly [string, RegExp])[] = [
    ['mode = "open"', /mode: got "open", wanted "verdict" or "list"/],
    ['moode = "list"', /unknown key 'moode'/],
    ['[[allow]]\nname = "A"\nbyte = "1MB"', /line 1, \[\[allow\]\]: unknown key 'byte'/],
    ['[[deny]]\nname = "A"\nbytes = "1MB"', /\[\[deny\]\]: unknown key 'bytes'/],
    ['[[allow]]\nbytes = "1MB"', /\[\[allow\]\]: key 'name' is missing/],
    ['[[allow]]\nname = "A B"', /name: got "A B", wanted a name/],
    ['[[allow]]\nname = 5', /name: got 5, wanted string/],
    ['[[allow]]\nname = "A"\nid = "xyz"', /id: got "xyz", wanted a device ID/],
    ['[[allow]]\nname = "A"\nservices = []', /services: .*wanted at least one/],
    ['[[allow]]\nname = "A"\nservices = ["a b"]', /services\.0: got "a b", wanted a service/],
    ['[[allow]]\nname = "A"\nbytes = "much"', /size: got 'much', wanted one like 200MB/],
    ['[[allow]]\nname = "A"\nbytes = 0', /bytes: got '0', wanted at least 1/],
    ['[[allow]]\nname = "A"\nbytes = true', /bytes: got true, wanted a size/],
    ['[[allow]]\nname = "A"\nfor = "500ms"', /for: got '500ms', wanted at least 1s/],
    ['[[allow]]\nname = "A"\nfor = 60', /for: got 60, wanted a time/],
    ['[[allow]]\nname = "A"\nuntil = "6pm"', /until: got '6pm', wanted a time of day/],
    ['[[allow]]\nname = "A"\nuntil = 18:00:00', /until: got .*, wanted a time of day/],
    ['[[allow]]\nname = "A"\nextend = 1', /extend: got 1, wanted true or false/],
    ['[[allow]]\nname = "A"\nask = 1', /ask: got 1, wanted true, false or a command/],
    ['[[allow]]\nname = "A"\nask = " "', /ask: got ' ', wanted true or a command/],
    ['[[allow]]\nname = "A"\nask = "a\\u0000b"', /ask: got 'a\?b', wanted true or a command/],
    [`[[allow]]\nname = "A"\nask = "${'x'.repeat(1_025)}"`, /at most 1024 characters/],
    ['[[allow]]\nname = "A"\nremember = "1h"', /remember: there is nothing .* without ask/],
    ['[[allow]]\nname = "A"\nask = false\nremember = "1h"', /nothing to remember without ask/],
    ['[[allow]]\nname = "A"\nask = true\nremember = "9ms"', /remember: got '9ms', wanted at l/],
    ['[[allow]]\nname = "A"\nask = true\nremember = "31d"', /remember: .*wanted at most 30d/],
    ['[[allow]]\nname = "A"\nask = true\nremember = 5', /remember: got 5, wanted a time/],
    ['[[deny]]\nname = "A"\nask = true', /\[\[deny\]\]: unknown key 'ask'/],
    ['[allow]\nname = "A"', /allow: got a table, wanted \[\[allow\]\] in double brackets/],
    ['\n\n[[allow]]\nname = "A', /line 4: /],
    ['mode = "list"\nmode = "list"', /line 2: /],
    ['\u0000', /line 1: /],
  ];
  for (const [text, wanted] of rows) t.match(problem(text), wanted, JSON.stringify(text));
  const second = '[[allow]]\nname = "A"\n\n[[allow]]\nname = "B"\nuntil = "x"';
  t.match(problem(second), /^line 4, \[\[allow\]\]: /, 'the line of the entry at fault');
});

t.test('a file over its bounds is a problem', async (t) => {
  const entry = '[[deny]]\nname = "A"\n';
  t.equal(read(entry.repeat(LIMITS.listFileEntriesMax)).entries.length, LIMITS.listFileEntriesMax);
  t.match(problem(entry.repeat(LIMITS.listFileEntriesMax + 1)), /more than 10000 entries/);
  t.match(problem('#'.repeat(LIMITS.listFileBytesMax + 1)), /longer than 1048576 bytes/);
  t.match(problem(`${'[[allow]]\nname = "a"\n'}x = ${'['.repeat(50_000)}`), /line|nest|deep|call/i);
});

const ASKING = {
  ask: fc.constantFrom(undefined, true, false, 'knock'),
  remember: fc.constant(undefined),
};
const someEntry: fc.Arbitrary<AllowEntry> = fc.oneof(
  fc.record({
    action: fc.constant('allow' as const),
    pattern: fc.constantFrom('TERM1', 'TERM2', 'TERM3', 'T*', '*@b.c'),
    id: fc.constantFrom(undefined, ID),
    services: fc.constantFrom(undefined, ['file'], ['*', 'port:22', '"\\x']),
    seconds: fc.option(fc.integer({ min: 1, max: LIMITS.grantSecondsMax }), { nil: undefined }),
    bytes: fc.option(fc.integer({ min: 1, max: LIMITS.grantBytesMax }), { nil: undefined }),
    until: fc.constantFrom(undefined, '18:00', '2030-01-31T18:00:00Z'),
    extend: fc.constantFrom(undefined, true, false),
    ...ASKING,
  }),
  fc.record({
    action: fc.constant('allow' as const),
    pattern: fc.constantFrom('TERM1', 'K*'),
    id: fc.constantFrom(undefined, ID),
    services: fc.constant(undefined),
    seconds: fc.constant(undefined),
    bytes: fc.constant(undefined),
    until: fc.constant(undefined),
    extend: fc.constant(undefined),
    ask: fc.constantFrom(true, 'knock "twice" \\ é'),
    remember: fc.option(fc.integer({ min: 1, max: LIMITS.approvalSecondsMax }), { nil: undefined }),
  }),
  fc.record({
    action: fc.constant('deny' as const),
    pattern: fc.constantFrom('TERM1', 'E*'),
    id: fc.constantFrom(undefined, ID),
    services: fc.constantFrom(undefined, ['pipe']),
  }),
);

t.test('what is written is read back', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom('verdict' as const, 'list' as const),
      fc.array(someEntry, { maxLength: 8 }),
      (mode, entries) => {
        const back = read(formatListFile({ mode, entries }));
        const of = (action: string): readonly AllowEntry[] =>
          entries.filter((entry) => entry.action === action);
        const sorted = [...of('allow'), ...of('deny')];
        return back.mode === mode && JSON.stringify(back.entries) === JSON.stringify(sorted);
      },
    ),
    { numRuns: dose(300) },
  );
  t.match(
    formatListFile({
      mode: 'verdict',
      entries: [{ action: 'allow', pattern: 'A', bytes: 200_000_000, seconds: 5_400 }],
    }),
    /bytes = "200MB"\nfor = "90m"\n$/,
    'in units that a person reads',
  );
});

t.test('any text is read or is a problem, never an exception', async (t) => {
  const words = ['[[allow]]\n', '[[deny]]\n', 'name="A"\n', 'for="1h"\n', '[', ']', '=', '"', "'"];
  words.push('\n', 'a.b=1\n', '__proto__=1\n', '{}', '1', '\u0000', '\ud800', 'mode="list"\n');
  const shuffled = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 3 })), {
    maxLength: 12,
  });
  let lists = 0;
  let problems = 0;
  fc.assert(
    fc.property(shuffled, (parts) => {
      const parsed = parseListFile(parts.join(''));
      if ('list' in parsed) lists += 1;
      else problems += 1;
      return 'list' in parsed || parsed.problem.length < 300;
    }),
    { numRuns: dose(2_000, 50) },
  );
  t.ok(lists > 5 && problems > 500, `${lists} lists, ${problems} problems`);
});

const patterns = (list: AllowList): readonly string[] =>
  list.entries.map(({ action, pattern }) => `${action} ${pattern}`);

t.test('claim 8: allow NAME and deny NAME replace whatever stood for that name', async (t) => {
  const list = read('[[allow]]\nname = "A"\n[[allow]]\nname = "B"\n[[deny]]\nname = "A"\n');
  const denied = withEntry(list, { action: 'deny', pattern: 'A' });
  t.same(patterns(denied), ['deny A', 'allow B']);
  const allowed = withEntry(denied, { action: 'allow', pattern: 'A', bytes: 5 });
  t.same(patterns(allowed), ['allow A', 'allow B']);
  t.not(denied.version, list.version);
  t.equal(read(formatListFile(allowed)).version, allowed.version, 'the version of its text');
  t.same(patterns(list), ['allow A', 'allow B', 'deny A'], 'the list it was given is unchanged');
});

t.test('a new name goes in front of the patterns that would decide before it', async (t) => {
  const list = read('[[allow]]\nname = "A"\n[[allow]]\nname = "*"\nfor = "1m"\n');
  t.same(patterns(withEntry(list, { action: 'allow', pattern: 'B' })), [
    'allow A',
    'allow B',
    'allow *',
  ]);
  t.same(patterns(withEntry(list, { action: 'allow', pattern: 'C*' })), [
    'allow A',
    'allow *',
    'allow C*',
  ]);
});

t.test('S4003: a full list refuses one more entry and stays as it is', async (t) => {
  const list = read('[[deny]]\nname = "A"\n'.repeat(LIMITS.listFileEntriesMax));
  t.throws(() => withEntry({ ...list }, { action: 'allow', pattern: 'B' }), { code: 'list-full' });
  t.equal(list.entries.length, LIMITS.listFileEntriesMax);
});

t.test('S4003: the options of the command line become an entry', async (t) => {
  t.match(
    parseEntryOptions('allow', `TERM1#${ID}`, {
      service: ['file', 'port:22'],
      bytes: '200MB',
      for: '1h',
      until: '18:00',
      extend: true,
    }),
    {
      action: 'allow',
      pattern: 'TERM1',
      id: ID,
      services: ['file', 'port:22'],
      bytes: 200_000_000,
      seconds: 3_600,
      until: '18:00',
      extend: true,
    },
  );
  t.match(parseEntryOptions('deny', 'T*', {}), { action: 'deny', pattern: 'T*', id: undefined });
  t.equal(parseEntryOptions('allow', 'A', { service: [] }).services, undefined);
  const asking = { ask: true, remember: '8h' };
  t.match(parseEntryOptions('allow', 'A', asking), { ask: true, remember: 28_800 });
  const knocking = { ask: true, askCommand: 'knock -l' };
  t.match(parseEntryOptions('allow', 'A', knocking), { ask: 'knock -l', remember: undefined });
});

t.test('wrong options are refused with what was wanted', async (t) => {
  const rows: readonly (readonly ['allow' | 'deny', string, object, string])[] = [
    ['allow', '', {}, 'bad-name'],
    ['allow', 'a/b', {}, 'bad-name'],
    ['allow', 'A#', {}, 'bad-id'],
    ['allow', 'A#xyz', {}, 'bad-id'],
    ['allow', 'A', { bytes: 'x' }, 'bad-size'],
    ['allow', 'A', { bytes: '0' }, 'bad-size'],
    ['allow', 'A', { for: '0s' }, 'bad-duration'],
    ['allow', 'A', { until: '25:00' }, 'bad-until'],
    ['allow', 'A', { service: ['a b'] }, 'bad-service'],
    ['allow', 'A', { service: Array.from({ length: 17 }, () => 'x') }, 'bad-service'],
    ['deny', 'A', { bytes: '1MB' }, 'deny-limits'],
    ['deny', 'A', { extend: true }, 'deny-limits'],
    ['deny', 'A', { ask: true }, 'deny-limits'],
    ['deny', 'A', { askCommand: 'x' }, 'deny-limits'],
    ['deny', 'A', { remember: '1h' }, 'deny-limits'],
    ['allow', 'A', { askCommand: '' }, 'bad-command'],
    ['allow', 'A', { remember: '1h' }, 'remember-alone'],
    ['allow', 'A', { ask: true, remember: '1y' }, 'bad-duration'],
  ];
  for (const [action, who, options, code] of rows)
    t.throws(() => parseEntryOptions(action, who, options), { name: 'UsageError', code }, who);
});
