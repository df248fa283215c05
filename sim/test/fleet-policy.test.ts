// The policy file of a fleet: what it means, and what is refused before anything starts, each with
// the file, the entry and what to do. The lists that come of it say what the table says: judged by
// the real evaluator, for every pair and service.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { type AllowEntry, judge, toTravelling } from '../../protocol/consent/allow-list.ts';
import { NakodoError } from '../../protocol/errors.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { wallMs } from '../../protocol/time.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import { FLEET_LIMITS } from '../fleet/limits.ts';
import { planOf } from '../fleet/orders.ts';
import type { FleetPlan } from '../fleet/plan.ts';
import { parseShares } from '../fleet/profiles.ts';

const NOON: LocalMoment = { wallMs: wallMs(Date.UTC(2026, 0, 15, 12)), offsetMinutes: 0 };
const ID = 'a'.repeat(32) as DeviceId;

const policy = (text: string): FleetPlan => planOf({ kind: 'policy', file: 'p.toml', text });
const group = (name: string, more: string): string => `[[group]]\nname = "${name}"\n${more}\n`;
const rule = (action: string, callee: string, caller: string, more = ''): string =>
  `[[${action}]]\ncallee = ${callee}\ncaller = ${caller}\n${more}\n`;
const TWO = '[[terminal]]\nname = "A"\n[[terminal]]\nname = "B"\n';

/** What the real evaluator says of the list that a terminal would get. */
function judged(plan: FleetPlan, caller: number, callee: number, service: string): boolean {
  const entries: readonly AllowEntry[] = plan.listOf(callee).entries;
  const list = { version: 'v', mode: 'verdict', entries } as const;
  const callerName = plan.terminals[caller].name as Name;
  const ask = { callerName, callerId: ID, service, want: {}, kind: 'connect' } as const;
  return judge(toTravelling(list, NOON), ask).allowed;
}

function disagreements(plan: FleetPlan): readonly string[] {
  const { terminals, services } = plan;
  return terminals.flatMap((_, caller) =>
    terminals.flatMap((__, callee) =>
      [...services, 'no-such-service'].flatMap((service) => {
        if (caller === callee) return [];
        const verdict = plan.verdict({ caller, callee, service }, NOON);
        const isAllowed = judged(plan, caller, callee, service);
        return isAllowed === (verdict === 'permitted') ? [] : [`${caller} → ${callee} ${service}`];
      }),
    ),
  );
}

t.test('claim 8: names, groups, patterns, services, limits: the lists say what is meant', (t) => {
  const plan = policy(
    TWO +
      group('sensors', 'count = 12\nprofile = "polling"') +
      group('all', 'members = ["sensors", "A"]') +
      rule('allow', '"A"', '"sensors"', 'services = ["readings"]\nbytes = "2MB"\nfor = "10m"') +
      rule('allow', '"sensors"', '["A", "B"]') +
      rule('allow', '"B"', '"all"', 'until = "18:00"') +
      rule('allow', '"B"', '"sensors-1*"', 'services = ["port:22"]\nuntil = "11:00"') +
      rule('deny', '"sensors-3"', '"B"'),
  );
  t.equal(plan.terminals.length, 14);
  t.equal(plan.terminals.filter(({ profile }) => profile === 'polling').length, 12);
  t.strictSame(plan.services, ['readings', 'port:22', 'echo-hash']);
  const at = (name: string): number => plan.indexOf(name) ?? -1;
  const verdict = (caller: string, callee: string, service: string): string =>
    plan.verdict({ caller: at(caller), callee: at(callee), service }, NOON);
  t.equal(verdict('sensors-12', 'A', 'readings'), 'permitted');
  t.equal(verdict('sensors-12', 'A', 'port:22'), 'forbidden');
  t.equal(verdict('B', 'A', 'readings'), 'forbidden');
  t.equal(verdict('A', 'B', 'readings'), 'permitted', 'a member of a group of groups');
  t.equal(verdict('B', 'sensors-2', 'readings'), 'permitted');
  t.equal(verdict('B', 'sensors-3', 'readings'), 'forbidden', 'deny wins');
  t.strictSame(disagreements(plan), []);
  t.match(plan.listOf(at('A')).entries, [
    { action: 'allow', pattern: 'sensors-*', services: ['readings'], bytes: 2e6, seconds: 600 },
  ]);
  t.end();
});

t.test('claim 14: at the very end of an until either outcome is right, not a minute later', (t) => {
  const plan = policy(TWO + rule('allow', '"A"', '"B"', 'until = "12:00"'));
  const call = { caller: 1, callee: 0, service: 'echo-hash' };
  const at = (seconds: number): LocalMoment => ({
    ...NOON,
    wallMs: wallMs(NOON.wallMs + seconds * 1_000),
  });
  t.equal(plan.verdict(call, at(-60)), 'permitted');
  t.equal(plan.verdict(call, at(-3)), 'either');
  t.equal(plan.verdict(call, at(3)), 'either');
  t.equal(plan.verdict(call, at(60)), 'forbidden');
  t.end();
});

t.test('a drawn policy and its lists agree, and permit about the share that is asked for', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 40 }),
      fc.integer({ min: 0, max: 100 }),
      fc.nat(1_000),
      (terminals, permitPercent, seed) => {
        const shares = parseShares('always-on=3,polling=1');
        const source = { kind: 'random', terminals, shares, permitPercent, seed } as const;
        return disagreements(planOf(source)).length === 0;
      },
    ),
    { numRuns: 60 },
  );
  for (const permitPercent of [0, 50, 100]) {
    const shares = parseShares('always-on=1');
    const plan = planOf({ kind: 'random', terminals: 200, shares, permitPercent, seed: 3 });
    const verdicts = plan.terminals.flatMap((_, caller) =>
      plan.terminals.map((__, callee) =>
        plan.verdict({ caller, callee, service: 'echo-hash' }, NOON),
      ),
    );
    const permitted = verdicts.filter((verdict) => verdict === 'permitted').length;
    const percent = (100 * permitted) / verdicts.length;
    t.ok(Math.abs(percent - permitPercent) <= (permitPercent === 50 ? 5 : 0), `${percent} %`);
  }
  t.end();
});

/** Text, what is said about it, and what to do. */
const WRONG: readonly (readonly [what: string, text: string, said: RegExp, next?: RegExp])[] = [
  ['no TOML', TWO + 'x = [', /p\.toml: line \d+: /, /TOML/],
  ['an unknown table', `${TWO}[[allows]]\n`, /unknown key 'allows'/, /\[\[allow\]\]/],
  ['single brackets', '[terminal]\nname = "A"', /terminal is no list/, /double brackets/],
  [
    'an unknown key',
    `${TWO}port = 1\n`,
    /\[\[terminal\]\] number 2 \(line 3\): unknown key 'port'/,
  ],
  ['no name', '[[terminal]]\n', /number 1 \(line 1\): key 'name' is missing/],
  ['a bad name', '[[terminal]]\nname = "a b"', /name: got "a b", wanted 1 to 64/],
  ['a bad profile', '[[terminal]]\nname = "A"\nprofile = "lazy"', /profile: got "lazy", wanted/],
  ['nobody', '', /no terminal/, /add \[\[terminal\]\]/],
  ['somebody alone', '[[terminal]]\nname = "A"', /one terminal, who has nobody to call/],
  ['a name twice', TWO + '[[terminal]]\nname = "A"', /number 3 .*'A' is taken by .*number 1/],
  ['a group called like a terminal', TWO + group('A', 'count = 2'), /'A' is taken by/],
  ['an empty group', TWO + group('g', ''), /neither count nor members/],
  ['no terminals in a group', TWO + group('g', 'count = 0'), /count: got 0, wanted a whole number/],
  ['part of a terminal', TWO + group('g', 'count = 1.5'), /count: got 1.5, wanted a whole number/],
  ['too many', TWO + group('g', 'count = 90000'), /90002 terminals/, /at most 10000/],
  ['an unknown member', TWO + group('g', 'members = ["C"]'), /no terminal and no group 'C'/],
  [
    'groups in a circle',
    TWO +
      group('x', 'members = ["y"]') +
      group('y', 'members = ["z"]') +
      group('z', 'members = ["x"]'),
    /go round in a circle: x → y → z → x/,
    /take one of them out/,
  ],
  ['a group in itself', TWO + group('x', 'members = ["x"]'), /circle: x → x/],
  [
    'groups too deep',
    TWO +
      Array.from({ length: 18 }, (_, at) => group(`x${at}`, `members = ["x${at + 1}"]`)).join(''),
    /more than 16 deep|no group 'x18'/,
  ],
  [
    'a name that a group makes',
    '[[terminal]]\nname = "g-1"\n' + group('g', 'count = 3'),
    /a name that this group makes/,
    /rename/,
  ],
  [
    'a name like a group',
    '[[terminal]]\nname = "g-x"\n' + group('g', 'count = 3'),
    /'g-x' would be taken for one of 'g'/,
  ],
  ['an unknown caller', TWO + rule('allow', '"A"', '"C"'), /no group 'C' \(did you mean 'A'\?\)/],
  ['an unknown callee', TWO + rule('deny', '"Zebra-9"', '"A"'), /no group 'Zebra-9'/, /add a/],
  ['a pattern of nobody', TWO + rule('allow', '"A"', '"x*"'), /no terminal has a name like 'x\*'/],
  ['no caller', `${TWO}[[allow]]\ncallee = "A"`, /\[\[allow\]\] number 1 .*'caller' is missing/],
  ['no callers', TWO + rule('allow', '"A"', '[]'), /caller: .*wanted/],
  ['a caller twice', TWO + rule('allow', '"A"', '["B", "B"]'), /names somebody twice/],
  ['only itself', TWO + rule('allow', '"A"', '"A"'), /about nobody/],
  [
    'the same twice',
    TWO + rule('allow', '"A"', '"B"').repeat(2),
    /number 2 .*the same as .*number 1/,
  ],
  ['a bad size', TWO + rule('allow', '"A"', '"B"', 'bytes = "many"'), /size: got 'many'/],
  ['no bytes', TWO + rule('allow', '"A"', '"B"', 'bytes = 0'), /wanted at least 1/],
  ['a bad time', TWO + rule('allow', '"A"', '"B"', 'for = "soon"'), /time: got 'soon'/],
  ['no time', TWO + rule('allow', '"A"', '"B"', 'for = "5ms"'), /wanted at least 1s/],
  ['a bad until', TWO + rule('allow', '"A"', '"B"', 'until = "noon"'), /until: got 'noon'/],
  ['a bad service', TWO + rule('allow', '"A"', '"B"', 'services = ["a b"]'), /wanted a service/],
  ['no service', TWO + rule('allow', '"A"', '"B"', 'services = []'), /at least one service/],
  ['limits of a deny', TWO + rule('deny', '"A"', '"B"', 'for = "1h"'), /unknown key 'for'/],
  [
    'the same pair allowed and denied',
    TWO + rule('allow', '"A"', '"B"') + rule('deny', '"A"', '"B"'),
    /\[\[allow\]\] number 1 .* and \[\[deny\]\] number 1 .*contradict each other: 'A' .* 'B'/,
    /leave one of them out, or make one narrower/,
  ],
  [
    'a pair of two groups that share a member',
    TWO +
      group('g', 'members = ["A", "B"]') +
      group('h', 'count = 2\nmembers = ["B"]') +
      rule('allow', '"g"', '"h"') +
      rule('deny', '"h"', '"g"', 'services = ["file"]'),
    /contradict each other: 'B' both allows and denies 'B'/,
  ],
  [
    'an allow that a wider deny makes void',
    TWO + group('g', 'count = 3') + rule('allow', '"A"', '"g-1"') + rule('deny', '"*"', '"g"'),
    /'A' allows 'g-1' is denied by the other, which is wider/,
    /deny always wins/,
  ],
  ['a long file', `# ${'x'.repeat(FLEET_LIMITS.policyBytesMax)}`, /at most \d+ are read/],
];

t.test('what cannot be meant is refused with file, entry and what to do', (t) => {
  for (const [what, text, said, next] of WRONG) {
    try {
      policy(text);
      t.fail(`${what} was taken`);
    } catch (error) {
      if (!(error instanceof NakodoError)) throw error;
      t.equal(error.code, 'policy', what);
      t.equal(error.exit, 2, what);
      t.match(error.message, /^p\.toml: /, what);
      t.match(error.message, said, what);
      t.match(error.next, next ?? /./, what);
      t.notMatch(error.message, /\n/, what);
    }
  }
  t.end();
});

t.test('a narrower deny is an exception, and other services are no contradiction', (t) => {
  const exception = policy(
    TWO + group('g', 'count = 3') + rule('allow', '"A"', '"g"') + rule('deny', '"A"', '"g-2"'),
  );
  t.strictSame(disagreements(exception), []);
  const services = policy(
    TWO +
      rule('allow', '"A"', '"B"', 'services = ["file"]') +
      rule('deny', '"A"', '"B"', 'services = ["port:22"]'),
  );
  t.strictSame(disagreements(services), []);
  t.end();
});

t.test('the whole policy file in docs/fleet.md is one', (t) => {
  const page = readFileSync(join(repositoryRoot(), 'docs', 'fleet.md'), 'utf8');
  const [, text = ''] = /```toml\n([^]*?)```/.exec(page) ?? [];
  const plan = policy(text);
  t.equal(plan.terminals.length, 54);
  t.strictSame(plan.services, ['readings', 'port:22', 'echo-hash']);
  t.strictSame(disagreements(plan), []);
  t.end();
});

t.test('any text is a plan or one error that says where', (t) => {
  const tables = ['[[terminal]]', '[[group]]', '[[allow]]', '[[deny]]', '[x]'];
  const keys = ['name = "A"', 'name = "B"', 'count = 2', 'members = ["A", "B"]', 'bytes = "1MB"'];
  const rules = ['callee = "A"', 'caller = "*"', 'caller = ["A", "B-1"]', 'until = "18:00"'];
  const pieces = fc.constantFrom(...tables, ...keys, ...rules, '"', '\u0000');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 16 }), (lines) => {
      try {
        return policy(lines.join('\n')).terminals.length >= 2;
      } catch (error) {
        return error instanceof NakodoError && error.code === 'policy';
      }
    }),
    { numRuns: 2_000 },
  );
  t.pass('held');
  t.end();
});
