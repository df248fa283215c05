// The one evaluator of consent, as the callee and the manager use it: default deny, deny wins, the
// least of all limits, and what an extension may do.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import {
  type AllowEntry,
  type AllowList,
  type ListAsk,
  decidingEntry,
  grantFor,
  judge,
  matchesPattern,
  matchingEntries,
  reduceToCaller,
  toTravelling,
  travellingList,
} from '../consent/allow-list.ts';
import { encodeMessage } from '../control/codec.ts';
import type { ListEntry, Terms } from '../control/messages.ts';
import type { DeviceId, Name, RecordId, RequestId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { wallMs } from '../time.ts';

const TERM1 = 'TERM1' as Name;
const ID1 = 'a'.repeat(32) as DeviceId;
const ID2 = 'b'.repeat(32) as DeviceId;
// 2026-11-22T15:00:00Z
const NOON = { wallMs: wallMs(1_795_359_600_000), offsetMinutes: 0 };

const allow = (pattern: string, rest: Partial<ListEntry> = {}): ListEntry => ({
  action: 'allow',
  pattern,
  ...rest,
});
const deny = (pattern: string, rest: Partial<ListEntry> = {}): ListEntry => ({
  action: 'deny',
  pattern,
  ...rest,
});
const connect = (want: Terms = {}, rest: Partial<ListAsk> = {}): ListAsk => ({
  callerName: TERM1,
  callerId: ID1,
  service: 'file',
  want,
  kind: 'connect',
  ...rest,
});
const extend = (want: Terms, current: NonNullable<ListAsk['current']>): ListAsk =>
  connect(want, { kind: 'extend', current });
const isAllowed = (entries: readonly ListEntry[], ask = connect()): boolean =>
  judge(entries, ask).allowed;

t.test('S2004: the caller is searched for in the list of Fig. 7', async (t) => {
  const list = ['TERM1', 'TERM2', 'ABC', 'DEF'].map((name) => allow(name));
  for (const name of ['TERM1', 'TERM2', 'ABC', 'DEF'])
    t.equal(isAllowed(list, connect({}, { callerName: name as Name })), true, name);
  for (const name of ['TERM3', 'TERM', 'TERM11', 'term1', 'AB', 'xABC'])
    t.equal(isAllowed(list, connect({}, { callerName: name as Name })), false, name);
});

t.test('S2005: nobody is allowed unless the list says so', async (t) => {
  t.same(judge([], connect()), { allowed: false });
  t.same(judge([allow('TERM2')], connect()), { allowed: false });
});

t.test('S2004: a pattern stands for many names', async (t) => {
  const rows: readonly (readonly [string, string, boolean])[] = [
    ['*', 'anything', true],
    ['TERM*', 'TERM1', true],
    ['TERM*', 'TERM', true],
    ['TERM*', 'xTERM1', false],
    ['*@example.org', 'a@example.org', true],
    ['*@example.org', 'a@example.org.evil', false],
    ['a*b*c', 'abc', true],
    ['a*b*c', 'axxbyybzc', true],
    ['a*b*c', 'acb', false],
    ['ab*ba', 'aba', false],
    ['a**b', 'ab', true],
    ['**', '', true],
    ['*a*', 'bbb', false],
    ['a.c', 'abc', false],
    ['', 'a', false],
  ];
  for (const [pattern, name, wanted] of rows)
    t.equal(matchesPattern(pattern, name), wanted, `${pattern} and ${name}`);
});

t.test(
  'S2004: a pattern matches what its slow twin matches, and a hostile one is quick',
  async (t) => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 10 });
    let matched = 0;
    fc.assert(
      fc.property(letters, letters, (pattern, raw) => {
        const name = raw.replaceAll('*', '');
        const pieces = pattern.split('*').map((piece) => piece.replaceAll('.', '\\.'));
        const expected = new RegExp(`^${pieces.join('.*')}$`).test(name);
        if (expected) matched += 1;
        return matchesPattern(pattern, name) === expected;
      }),
      { numRuns: dose(2_000) },
    );
    t.ok(matched > 100, `${matched} of the pairs match`);
    // By trying every way to cut the name it would not end.
    t.equal(matchesPattern(`${'*a'.repeat(31)}*b`, 'a'.repeat(64)), false);
  },
);

t.test('claim 8: deny wins over every allow, wherever it stands', async (t) => {
  t.equal(isAllowed([deny('TERM1'), allow('TERM1')]), false);
  t.equal(isAllowed([allow('TERM1'), allow('*'), deny('TERM1')]), false);
  t.equal(isAllowed([allow('TERM1'), deny('TERM*')]), false);
  t.equal(isAllowed([allow('TERM1'), deny('TERM2')]), true, 'another one is denied');
  t.equal(isAllowed([allow('*'), deny('TERM1', { services: ['pipe'] })]), true, 'for a service');
  t.equal(isAllowed([allow('*'), deny('TERM1', { id: ID2 })]), true, 'with another ID');
  t.equal(isAllowed([allow('*'), deny('TERM1', { untilSeconds: 0 })]), false, 'never expires');
});

t.test('claim 8: no list with a matching deny allows, whatever else it says', async (t) => {
  const entry = fc.record({
    action: fc.constantFrom('allow' as const, 'deny' as const),
    pattern: fc.constantFrom('*', 'TERM1', 'TERM*', 'TERM2'),
    id: fc.constantFrom(undefined, ID1, ID2),
    services: fc.constantFrom(undefined, ['file'], ['*'], ['pipe']),
    seconds: fc.constantFrom(undefined, 10, 100),
    untilSeconds: fc.constantFrom(undefined, 0, 50),
    extend: fc.constantFrom(undefined, true, false),
  });
  const want = fc.record({ seconds: fc.constantFrom(undefined, 5, 60) });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 6 }), want, (entries, wanted) => {
      const ask = connect(wanted);
      const matching = matchingEntries(entries, { name: TERM1, id: ID1, service: 'file' });
      const verdict = judge(entries, ask);
      const denied = matching.some(({ action }) => action === 'deny');
      const first = matching.find(
        ({ action, untilSeconds }) => action === 'allow' && untilSeconds !== 0,
      );
      if (denied || first === undefined) return !verdict.allowed;
      if (!verdict.allowed) return false;
      const bounds = [wanted.seconds, first.seconds, first.untilSeconds].filter(
        (bound) => bound !== undefined,
      );
      return verdict.seconds === (bounds.length === 0 ? undefined : Math.min(...bounds));
    }),
    { numRuns: dose(1_000) },
  );
  t.pass('1,000 lists');
});

t.test('S2004: a stated ID and a stated service must fit', async (t) => {
  t.equal(isAllowed([allow('TERM1', { id: ID1 })]), true);
  t.equal(isAllowed([allow('TERM1', { id: ID2 })]), false);
  t.equal(isAllowed([allow('TERM1', { services: ['file', 'pipe'] })]), true);
  t.equal(isAllowed([allow('TERM1', { services: ['pipe'] })]), false);
  t.equal(isAllowed([allow('TERM1', { services: ['*'] })]), true);
  const port = connect({}, { service: 'port:22' });
  t.equal(isAllowed([allow('TERM1', { services: ['port:22'] })], port), true);
  t.equal(isAllowed([allow('TERM1', { services: ['port:2'] })], port), false);
  t.equal(isAllowed([allow('TERM1', { services: [] })]), false, 'no service at all');
});

t.test('S2005: of several entries that allow, the first decides', async (t) => {
  const list = [allow('TERM1', { seconds: 10 }), allow('*', { seconds: 1_000 })];
  t.same(judge(list, connect({ seconds: 500 })), { allowed: true, seconds: 10, bytes: undefined });
  const late = [allow('TERM1', { untilSeconds: 0 }), allow('*', { seconds: 1_000 })];
  t.match(judge(late, connect({ seconds: 500 })), { allowed: true, seconds: 500 });
});

t.test(
  'S2005: an entry that asks decides like any other, and refuses until approved',
  async (t) => {
    const asks = [allow('TERM1', { ask: true, seconds: 10 }), allow('*', { seconds: 1_000 })];
    t.same(judge(asks, connect()), { allowed: false }, 'the wider entry does not decide');
    t.same(judge(asks, connect({}, { approved: false })), { allowed: false });
    t.match(judge(asks, connect({}, { approved: true })), { allowed: true, seconds: 10 });
    t.match(judge([allow('TERM1')], connect({}, { approved: true })), { allowed: true });
    t.same(judge([...asks, deny('TERM1')], connect({}, { approved: true })), { allowed: false });
    t.same(
      judge([], connect({}, { approved: true })),
      { allowed: false },
      'a yes alone is nothing',
    );
    const late = [allow('TERM1', { ask: true, untilSeconds: 0 }), allow('*')];
    t.match(judge(late, connect()), { allowed: true }, 'one that is past does not decide');
    const current = { seconds: 60, elapsedSeconds: 42 };
    const longer = extend({ seconds: 120 }, current);
    t.equal(isAllowed([allow('TERM1', { ask: true })], longer), false);
    t.equal(isAllowed([allow('TERM1', { ask: true })], { ...longer, approved: true }), true);
  },
);

t.test('S2004: the deciding entry is the one that the judgement rests on', async (t) => {
  const first = allow('TERM1', { untilSeconds: 0 });
  const second = allow('TERM*', { seconds: 5 });
  t.equal(decidingEntry([first, second, allow('*')], connect()), second);
  t.equal(decidingEntry([first, second, deny('*')], connect()), undefined);
  t.equal(decidingEntry([allow('TERM2')], connect()), undefined);
});

t.test('claim 14: a limit in time is the least of what is wanted, stated and left', async (t) => {
  const verdict = (entry: Partial<ListEntry>, want: Terms): unknown =>
    judge([allow('TERM1', entry)], connect(want));
  t.match(verdict({ seconds: 100 }, {}), { allowed: true, seconds: 100 });
  t.match(verdict({ seconds: 100 }, { seconds: 30 }), { allowed: true, seconds: 30 });
  t.match(verdict({ seconds: 100, untilSeconds: 40 }, { seconds: 60 }), { seconds: 40 });
  t.match(verdict({}, { seconds: 30 }), { allowed: true, seconds: 30 });
  t.match(verdict({}, {}), { allowed: true, seconds: undefined });
  t.same(verdict({ untilSeconds: 0 }, {}), { allowed: false }, 'until is past');
});

t.test('claim 15: a limit in bytes is the least of what is wanted and stated', async (t) => {
  const verdict = (entry: Partial<ListEntry>, want: Terms): unknown =>
    judge([allow('TERM1', entry)], connect(want));
  t.match(verdict({ bytes: 100 }, {}), { allowed: true, bytes: 100 });
  t.match(verdict({ bytes: 100 }, { bytes: 101 }), { allowed: true, bytes: 100 });
  t.match(verdict({ bytes: 100 }, { bytes: 99 }), { allowed: true, bytes: 99 });
  t.match(verdict({}, {}), { allowed: true, bytes: undefined });
});

t.test('S2007: the grant is the least of caller, callee and operator', async (t) => {
  const operator = { secondsDefault: 3_600, secondsMax: 7_200 };
  t.same(grantFor({}, {}, operator), { seconds: 3_600, bytes: undefined });
  t.same(grantFor({ seconds: 9_000 }, {}, operator), { seconds: 7_200, bytes: undefined });
  t.same(grantFor({ seconds: 60, bytes: 5 }, { seconds: 30, bytes: 9 }, operator), {
    seconds: 30,
    bytes: 5,
  });
  t.same(grantFor({}, { seconds: 5_000 }, operator), { seconds: 3_600, bytes: undefined });
  t.same(grantFor({}, {}, { ...operator, bytesMax: 7 }), { seconds: 3_600, bytes: 7 });
});

t.test(
  'S6002: an extension stays within the entry, and an entry that limits must say so',
  async (t) => {
    const current = { seconds: 60, bytes: 100, elapsedSeconds: 42 };
    const verdict = (entry: Partial<ListEntry>, want: Terms): unknown =>
      judge([allow('TERM1', entry)], extend(want, current));
    t.match(verdict({}, { seconds: 600 }), { allowed: true, seconds: 600 }, 'no limit stated');
    for (const limited of [{ seconds: 600 }, { bytes: 600 }, { untilSeconds: 600 }]) {
      t.same(verdict(limited, { seconds: 120 }), { allowed: false });
      t.same(verdict({ ...limited, extend: false }, { seconds: 120 }), { allowed: false });
      t.match(verdict({ ...limited, extend: true }, { seconds: 120 }), { allowed: true });
    }
    t.match(verdict({ seconds: 90, extend: true }, { seconds: 600 }), {
      allowed: true,
      seconds: 90,
    });
    t.match(verdict({ bytes: 150, extend: true }, { bytes: 600 }), { allowed: true, bytes: 150 });
    t.match(verdict({ untilSeconds: 30, extend: true }, { seconds: 600 }), { seconds: 72 });
    t.same(verdict({ seconds: 60, extend: true }, { seconds: 600 }), { allowed: false }, 'no more');
    t.same(verdict({ untilSeconds: 18, extend: true }, { seconds: 600 }), { allowed: false });
    t.same(verdict({ untilSeconds: 0, extend: true }, { seconds: 600 }), { allowed: false });
    t.same(verdict({}, {}), { allowed: false }, 'nothing is asked');
    t.same(judge([allow('*'), deny('TERM1')], extend({ seconds: 600 }, current)), {
      allowed: false,
    });
  },
);

t.test(
  'S6002: an extension never lowers a total, nor limits what was without a limit',
  async (t) => {
    const operator = { secondsDefault: 3_600, secondsMax: 7_200 };
    const current = { seconds: 100, bytes: 50 };
    t.same(grantFor({ bytes: 500 }, { bytes: 200 }, operator, current), {
      seconds: 100,
      bytes: 200,
    });
    t.same(grantFor({ seconds: 9_999 }, {}, operator, current), { seconds: 7_200, bytes: 50 });
    t.same(grantFor({ seconds: 10 }, { seconds: 5 }, operator, current), {
      seconds: 100,
      bytes: 50,
    });
    t.same(grantFor({ seconds: 200, bytes: 7 }, {}, operator, { seconds: 100 }), {
      seconds: 200,
      bytes: undefined,
    });
  },
);

const listOf = (mode: AllowList['mode'], entries: readonly AllowEntry[]): AllowList => ({
  version: 'v1',
  mode,
  entries,
});
const asker = { callerName: TERM1, callerId: ID1, service: 'file' };

t.test('S4003: a verdict shows only the entries that fit the caller', async (t) => {
  const list = listOf('verdict', [
    { action: 'allow', pattern: 'FRIEND' },
    { action: 'allow', pattern: 'TERM*', services: ['pipe'] },
    { action: 'deny', pattern: 'TERM1' },
    { action: 'deny', pattern: 'ENEMY' },
  ]);
  t.same(
    reduceToCaller(list, asker).entries.map(({ pattern }) => pattern),
    ['TERM*', 'TERM1'],
  );
  const { entries, reduced } = travellingList(list, asker, NOON);
  t.same(
    entries.map(({ pattern }) => pattern),
    ['TERM*', 'TERM1'],
  );
  t.equal(reduced, true);
});

t.test('S4003: mode list shows the whole list, with until as the seconds left', async (t) => {
  const list = listOf('list', [
    { action: 'allow', pattern: 'TERM1', until: '18:00', bytes: 5 },
    { action: 'allow', pattern: 'TERM2', until: '14:00' },
    { action: 'deny', pattern: 'ENEMY' },
  ]);
  const { entries, reduced } = travellingList(list, asker, NOON);
  t.equal(reduced, false);
  t.match(entries, [
    { pattern: 'TERM1', untilSeconds: 10_800, bytes: 5 },
    { pattern: 'TERM2', untilSeconds: 0 },
    { action: 'deny', pattern: 'ENEMY', untilSeconds: undefined },
  ]);
  t.same(toTravelling(list, NOON), entries);
});

t.test(
  'S4003: that the owner is asked travels; how, and how long a yes holds, does not',
  async (t) => {
    const list = listOf('list', [
      { action: 'allow', pattern: 'TERM1', ask: '/home/me/ask', remember: 60 },
      { action: 'allow', pattern: 'TERM2', ask: true },
      { action: 'allow', pattern: 'TERM3', ask: false },
      { action: 'allow', pattern: 'TERM4' },
    ]);
    const entries = toTravelling(list, NOON);
    t.strictSame(
      entries.map(({ ask }) => ask),
      [true, true, undefined, undefined],
    );
    t.notOk(JSON.stringify(entries).includes('/home/me'));
    t.ok(JSON.stringify(list).includes('/home/me'), 'the search finds what is there');
  },
);

t.test(
  'S4003: whatever the list, the message fits and its verdict is that of the whole',
  async (t) => {
    const pattern = fc.constantFrom('*', 'TERM1', 'TERM*', 'T*', 'OTHER', 'O*');
    const block = fc.record({
      entry: fc.record({
        action: fc.constantFrom('allow' as const, 'allow' as const, 'deny' as const),
        pattern,
        id: fc.constantFrom(undefined, ID1, ID2),
        services: fc.constantFrom(undefined, ['file'], ['x'.repeat(48), 'y'.repeat(48)]),
        seconds: fc.constantFrom(undefined, 7, 1_000),
        until: fc.constantFrom(undefined, '18:00', '14:00'),
        ask: fc.constantFrom(undefined, undefined, true, 'a command'),
      }),
      times: fc.constantFrom(1, 2, 30, 120),
    });
    let full = 0;
    let cut = 0;
    fc.assert(
      fc.property(
        fc.constantFrom('verdict' as const, 'list' as const),
        fc.array(block, { maxLength: 5 }),
        (mode, blocks) => {
          const entries = blocks.flatMap(({ entry, times }) =>
            Array.from({ length: times }, () => entry),
          );
          const list = listOf(mode, entries);
          const travelling = travellingList(list, asker, NOON);
          if (travelling.reduced) cut += 1;
          else full += 1;
          const size = encodeMessage({
            kind: 'allowList',
            request: 'a'.repeat(26) as RequestId,
            mode,
            version: 'v'.repeat(64),
            record: 'a'.repeat(26) as RecordId,
            nonce: 'a'.repeat(26) as RequestId,
            approved: true,
            signature: new Uint8Array(64),
            ...travelling,
          }).length;
          const isSame = [true, false].every((approved) => {
            const ask = connect({}, { approved });
            const whole = judge(toTravelling(list, NOON), ask);
            return JSON.stringify(whole) === JSON.stringify(judge(travelling.entries, ask));
          });
          return size <= LIMITS.messageBytesMax && isSame;
        },
      ),
      { numRuns: dose(400) },
    );
    t.ok(full > 20 && cut > 20, `${full} whole, ${cut} reduced`);
  },
);
