// Three hundred terminals of every profile on real sockets, over TLS as in earnest, against the
// program `nakodo serve` in a process of its own: what the policy forbids is never introduced, what
// it permits is never refused, every byte arrives, and the log verifies and agrees.

import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { FleetOptions } from '../fleet/options.ts';
import { parseShares } from '../fleet/profiles.ts';
import { runFleet } from '../fleet/run.ts';
import { allowing, openTown } from '../fleet/town.ts';

const TERMINALS = 300;

const options: FleetOptions = {
  source: {
    kind: 'random',
    terminals: TERMINALS,
    shares: parseShares('always-on=76,polling=10,flaky=5,chatty=6,hostile=3'),
    permitPercent: 50,
    seed: 7,
  },
  permitPercent: undefined,
  seed: 7,
  processes: 2,
  rampPerSecond: 150,
  callsPerSecond: 40,
  parallel: 200,
  bytesMax: 20_000,
  forMs: IS_PROOF ? 120_000 : 8_000,
  waitMs: 1_000,
  pollSeconds: 2,
  isPlain: false,
  isApart: false,
  isFewerAllowed: false,
  folder: tmpdir(),
  isKept: false,
  program: join(dirname(dirname(import.meta.dirname)), 'cli', 'main.js'),
  // Without tap's own loaders, which take a second of every process.
  env: { ...process.env, NODE_OPTIONS: undefined },
};

t.test('claim 22: a fleet of 300 terminals, both servers, a random policy', async (t) => {
  const report = await runFleet(options);
  const { calls, fleet, log } = report;
  t.strictSame(report.why, [], 'nothing is wrong');
  t.ok(report.ok);
  t.strictSame(report.faults, {
    wronglyIntroduced: [],
    wronglyRefused: [],
    damaged: [],
    inTheLog: [],
  });
  t.equal(fleet.terminals, TERMINALS);
  t.equal(fleet.wanted, TERMINALS);
  t.match(fleet.profiles, { 'always-on': 228, polling: 30, flaky: 15, chatty: 18, hostile: 9 });
  const { introduced, refused, unreached, overslept, limited, missed, noAnswer } = calls;
  t.ok(introduced >= 50 && refused >= 50, 'both outcomes were really tried');
  t.ok(calls.hostileCalls > 0 && calls.hostileMessages > 0, 'the hostile ones did their worst');
  t.equal(
    introduced + refused + unreached + overslept + limited + missed + noAnswer,
    calls.due,
    'every call that was due is in one of the outcomes',
  );
  t.equal(calls.delivered + calls.cut, introduced, 'and every introduction');
  t.ok(calls.delivered >= 0.8 * introduced, 'most of them deliver');
  t.match(log, { isVerified: true, forbidden: 0 }, 'the log verifies, and knows no other talk');
  t.ok(log !== null && log.begun >= introduced, 'and knows every introduction');
  t.ok((report.setUpMs.p50 ?? 0) > 0 && (report.setUpMs.max ?? 0) >= (report.setUpMs.p99 ?? 0));
  t.ok((report.memory.perTerminalHeapBytes ?? 0) > 0 && report.memory.serversBytes > 0);
  const { p50, p99 } = report.setUpMs;
  t.comment(`${introduced} introduced, ${refused} refused, p50 ${p50} ms, p99 ${p99} ms`);
  t.comment(`${overslept} slept through, ${unreached} unreached, ${missed} missed`);
  t.comment(`took ${JSON.stringify(report.took)}`);
});

t.test(
  'claim 3: a talk that is over gives its socket back: calls in a row never run out',
  async (t) => {
    const town = await openTown();
    t.teardown(() => town.close());
    const [one, three] = [
      await town.enrol('TERM1', ''),
      await town.enrol('TERM3', allowing('TERM1')),
    ];
    const [caller] = [await town.start(one), await town.start(three)];
    // More than the sockets that one terminal may want at once.
    const calls = LIMITS.callsMax + 16;
    for (let at = 0; at < calls; at++) {
      const session = await caller.call({ to: 'TERM3', service: 'file' });
      session.finish('done');
      t.equal((await session.ended).reason, 'done');
    }
  },
);
