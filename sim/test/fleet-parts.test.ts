// The parts of a fleet, each on its own: times in buckets, arrivals that wait for nobody, profiles,
// options that cannot be, file descriptors, the course of a long run, the page.
// What the fleet has to see is in fleet-controls.test.ts.

import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { seededRng } from '../../protocol/random.ts';
import { parsePercent, parseRate, parseWhole } from '../fleet/amounts.ts';
import { Arrivals } from '../fleet/arrivals.ts';
import { Course, type CourseRow, slopeOf } from '../fleet/course.ts';
import { Histogram } from '../fleet/histogram.ts';
import { FLEET_LIMITS } from '../fleet/limits.ts';
import {
  type FleetOptions,
  checkOptions,
  descriptorLimit,
  terminalsFor,
} from '../fleet/options.ts';
import { planOf } from '../fleet/orders.ts';
import { countsOf, parseShares, profilesOf } from '../fleet/profiles.ts';
import { reportPage } from '../fleet/report-page.ts';
import { type Findings, reportOf } from '../fleet/report.ts';
import { Tally } from '../fleet/tally.ts';

const ENV = { ...process.env, NODE_OPTIONS: undefined };
const PROGRAM = join(dirname(dirname(import.meta.dirname)), 'cli', 'main.js');

const options: FleetOptions = {
  source: {
    kind: 'random',
    terminals: 100,
    shares: parseShares('always-on=1'),
    permitPercent: 50,
    seed: 1,
  },
  permitPercent: undefined,
  seed: 1,
  processes: 2,
  rampPerSecond: 100,
  callsPerSecond: 10,
  parallel: 100,
  bytesMax: 1_000,
  forMs: 10_000,
  waitMs: 1_000,
  pollSeconds: 5,
  isPlain: true,
  isApart: false,
  isFewerAllowed: false,
  folder: tmpdir(),
  isKept: false,
  program: PROGRAM,
  env: ENV,
};

t.test('quantiles are those of the sorted values, to within a per cent, also added up', (t) => {
  const times = fc.array(fc.double({ min: 0.1, max: 60_000, noNaN: true }), {
    minLength: 1,
    maxLength: 200,
  });
  fc.assert(
    fc.property(times, times, fc.double({ min: 0, max: 1, noNaN: true }), (a, b, share) => {
      const both = new Histogram();
      for (const values of [a, b]) {
        const one = new Histogram();
        for (const value of values) one.add(value);
        both.merge(one.record());
      }
      const sorted = [...a, ...b].toSorted((x, y) => x - y);
      const exact = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1];
      const found = both.quantile(share) ?? NaN;
      const isNear = Math.abs(found - exact) <= 0.0101 * exact;
      return isNear && both.count === sorted.length && both.maxMs === sorted.at(-1);
    }),
  );
  t.equal(new Histogram().quantile(0.5), undefined);
  const slow = new Histogram();
  slow.add(1e9);
  t.equal(slow.maxMs, 1e9, 'what is beyond the last bucket is kept as the largest');
  t.strictSame(slow.steps(4, 10), [0, 0, 0, 1]);
  t.end();
});

t.test('calls come as those of many who know nothing of one another', (t) => {
  const arrivals = new Arrivals(seededRng(5), 50);
  const gaps: number[] = [];
  let last = 0;
  while (arrivals.nextMs < 200_000) {
    const at = arrivals.take();
    gaps.push(at - last);
    last = at;
  }
  const mean = gaps.reduce((all, gap) => all + gap, 0) / gaps.length;
  const deviation = Math.sqrt(gaps.reduce((all, gap) => all + (gap - mean) ** 2, 0) / gaps.length);
  t.ok(Math.abs(mean - 20) < 1, `${mean} ms apart`);
  t.ok(Math.abs(deviation / mean - 1) < 0.05, 'as irregular as exponential gaps are');
  t.ok(gaps.filter((gap) => gap < 2).length > gaps.length / 20, 'often nearly at once');
  t.end();
});

t.test('a fleet is divided as it is said, and evenly', (t) => {
  const shares = parseShares('always-on=70, polling=10,flaky=10,chatty=5,hostile=5');
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3_000 }), (count) => {
      const counts = countsOf(shares, count);
      const profiles = profilesOf(shares, count);
      const isNear = Math.abs(counts['always-on'] - 0.7 * count) <= 1;
      return isNear && profiles.length === count;
    }),
    { numRuns: 50 },
  );
  const half = profilesOf(shares, 200).filter((_, at) => at % 2 === 0);
  t.ok(half.filter((profile) => profile === 'hostile').length >= 3, 'each process has some of all');
  for (const text of ['', 'polling', 'polling=x', 'lazy=5', 'polling=0', 'polling=1,polling=2']) {
    t.throws(() => parseShares(text), { code: 'bad-profile' }, text);
  }
  t.end();
});

t.test('rates, shares and numbers as they are typed', (t) => {
  t.equal(parseRate('50/s'), 50);
  t.equal(parseRate('0.5'), 0.5);
  t.equal(parseRate('30/m'), 0.5);
  for (const text of ['0', '0/s', '-5/s', 'fast', '5/h', '']) {
    t.throws(() => parseRate(text), { code: 'bad-rate' }, text);
  }
  t.equal(parsePercent('50%'), 50);
  t.equal(parsePercent('0'), 0);
  for (const text of ['101%', '-1', 'half', '']) {
    t.throws(() => parsePercent(text), { code: 'bad-percent' }, text);
  }
  t.equal(parseWhole('7'), 7);
  for (const text of ['-1', '1.5', '1e3', '']) {
    t.throws(() => parseWhole(text), { code: 'bad-number' }, text);
  }
  t.end();
});

t.test('options that cannot be are refused with what can', (t) => {
  const refused = (change: Partial<FleetOptions>, said: RegExp, next: RegExp): void => {
    const changed = { ...options, ...change };
    try {
      checkOptions(changed, planOf(changed.source));
      t.fail(String(said));
    } catch (error) {
      t.match(error, { code: 'fleet-options', exit: 2, message: said, next });
    }
  };
  const drawn = { ...options.source, kind: 'random' as const, shares: parseShares('always-on=1') };
  const random = { ...drawn, permitPercent: 50, seed: 1 };
  refused(
    { source: { ...random, terminals: 0 } },
    /^0 terminals/,
    /--terminals is from 2 to 10000/,
  );
  refused({ source: { ...random, terminals: 1 } }, /^1 terminals/, /--terminals/);
  refused({ source: { ...random, terminals: 10_001 } }, /^10001/, /--terminals/);
  refused({ source: { ...random, terminals: 9, permitPercent: 101 } }, /101 %/, /--permit/);
  refused({ processes: 101 }, /101 processes/, /--processes/);
  refused(
    { processes: 5, source: { ...random, terminals: 4 } },
    /5 processes are more than the 4 terminals/,
    /--processes is at most/,
  );
  refused({ rampPerSecond: -1 }, /-1 terminals a second/, /--ramp is above 0/);
  refused({ callsPerSecond: 0 }, /0 calls a second/, /--rate is above 0/);
  refused({ callsPerSecond: Infinity }, /Infinity/, /--rate/);
  refused({ parallel: 0 }, /^0 calls at once/, /--parallel/);
  refused({ bytesMax: 2 ** 31 }, /bytes/, /--bytes/);
  refused({ forMs: 10 }, /^10 ms/, /--for/);
  refused({ waitMs: NaN }, /NaN ms/, /--wait/);
  refused({ pollSeconds: 0 }, /^0 s/, /--poll-every/);
  const hostile = { ...random, terminals: 5, shares: parseShares('hostile=1') };
  refused({ source: hostile }, /every terminal is hostile/, /always-on/);
  const text = '[[group]]\nname="g"\ncount=3\n[[allow]]\ncallee="g"\ncaller="g"\nbytes="10kB"\n';
  const policy = { kind: 'policy', file: 'p.toml', text } as const;
  refused(
    { source: policy, bytesMax: 20_000 },
    /p\.toml: calls of 20 kB are over what 'g-1' grants 'g-\*': 10 kB/,
    /--bytes 8976 or less/,
  );
  checkOptions({ ...options, source: policy, bytesMax: 8_976 }, planOf(policy));
  checkOptions(options, planOf(options.source));
  t.end();
});

t.test('too few file descriptors: refused, or a fleet that they are enough for', (t) => {
  const plan = planOf(options.source);
  t.equal(terminalsFor(options, plan, 10_000), 100);
  t.throws(() => terminalsFor(options, plan, 180), {
    code: 'too-few-descriptors',
    message: /100 terminals need up to \d+ open files in one process, and 180 are allowed here/,
    next: /ulimit -n \d+ — or .*--fewer-if-needed/,
  });
  const fewer = terminalsFor({ ...options, isFewerAllowed: true, parallel: 10 }, plan, 150);
  t.ok(fewer >= 2 && fewer < 100, `${fewer}`);
  t.throws(() => terminalsFor({ ...options, isFewerAllowed: true }, plan, 100), {
    code: 'too-few-descriptors',
  });
  t.ok(descriptorLimit() > 100);
  t.end();
});

const row = (seconds: number, more: Partial<CourseRow> = {}): CourseRow => ({
  seconds,
  phase: 'calling',
  registered: 5,
  due: seconds * 10,
  missed: 0,
  introduced: seconds * 5,
  refused: seconds * 5,
  failed: 0,
  bytes: 0,
  terminalsRssBytes: 1e8,
  serversRssBytes: 1e8 + seconds * 1_000,
  terminalsCpuSeconds: seconds / 2,
  serversCpuSeconds: seconds / 4,
  ...more,
});

t.test('a day has no more rows than ten minutes, and the same totals and slopes', (t) => {
  const course = new Course();
  for (let second = 0; second <= 86_400; second++) course.add(row(second));
  t.ok(course.rows.length < FLEET_LIMITS.courseMax && course.rows.length > 100);
  t.ok((course.rows.at(-1)?.seconds ?? 0) > 86_000);
  t.ok(Math.abs((slopeOf(course.rows, (each) => each.serversRssBytes) ?? 0) - 1_000) < 1);
  t.equal(
    slopeOf(course.rows.slice(0, 2), ({ due }) => due),
    undefined,
  );
  t.end();
});

const GAUGE = { rssBytes: 1e8, heapBytes: 2e7, cpuMicros: 1e6 };

function findings(tally: Tally, file: string): Findings {
  const text = '[[group]]\nname="g"\ncount=3\n[[allow]]\ncallee="g"\ncaller="g"\n';
  const source = { kind: 'policy', file, text } as const;
  return {
    options: { ...options, source },
    plan: planOf(source),
    active: 3,
    folder: '/x',
    registered: 3,
    begun: new Date(0),
    isInterrupted: false,
    trouble: undefined,
    took: { enrol: 1, ramp: 1, call: 10 },
    tally: tally.record(),
    without: GAUGE,
    with: { ...GAUGE, rssBytes: 1.3e8 },
    ramped: 3,
    cpuAt: [
      new Map([['servers', 0]]),
      new Map([
        ['servers', 5e6],
        ['terminals', 1e6],
      ]),
    ],
    serversBytes: 1e8,
    log: undefined,
    course: [row(0), row(1), row(2)],
  };
}

t.test('the page needs nothing beside it, and nothing in it is taken for markup', (t) => {
  const evil = '<script>alert(1)</script>"\'&';
  const tally = new Tally();
  tally.addFault('wronglyIntroduced', evil);
  tally.addError(evil);
  tally.setUp.add(12);
  const report = reportOf(findings(tally, `${evil}.toml`));
  t.notOk(report.ok);
  const page = reportPage(report);
  t.notMatch(page, /<script|onerror=|<img/i);
  t.match(page, /&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;&#39;&amp;/);
  t.notMatch(page.replaceAll('http://www.w3.org/2000/svg', ''), /https?:|src=|href=|url\(/);
  const nothing = findings(new Tally(), 'p.toml');
  const early = reportOf({ ...nothing, course: [], cpuAt: undefined, ramped: 0 });
  for (const each of [page, reportPage(early)]) t.notMatch(each, /NaN|Infinity|undefined/);
  t.equal(page.split('<svg').length - 1, 2, 'two figures');
  t.match(page, /1 introductions that the policy forbids/);
  t.match(report, {
    version: 1,
    cpu: { servers: { percent: 50 }, terminals: { percent: 10 } },
    memory: { perTerminalBytes: 1e7, terminalsSlopeBytesPer10Min: null },
  });
  t.ok(reportOf(findings(new Tally(), 'p.toml')).ok);
  t.end();
});

t.test('tallies add up; of faults and codes so many are kept, all are counted', (t) => {
  const [one, both] = [new Tally(), new Tally()];
  for (let at = 0; at < 150; at++) {
    one.addFault('damaged', `${at}`);
    one.addError(`code ${at}`);
  }
  both.merge(one.record());
  both.merge(one.record());
  const { counts, faults, errors } = both.record();
  t.equal(counts.damaged, 300);
  t.equal(faults.damaged.length, FLEET_LIMITS.faultsKept);
  t.ok(Object.keys(errors).length <= FLEET_LIMITS.codesMax + 1);
  t.equal(
    Object.values(errors).reduce((all, times) => all + times, 0),
    300,
  );
  t.end();
});
