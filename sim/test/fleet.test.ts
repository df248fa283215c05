// Fifty terminals on real sockets make two hundred calls against a random table of permissions:
// what the table forbids is never introduced, what it permits is never refused.

import t from 'tap';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { runFleet } from '../fleet/fleet.ts';
import { allowing, openTown } from '../fleet/town.ts';

t.test('claim 22: a fleet of terminals, both servers, a random table of permissions', async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  const report = await runFleet(town, {
    terminals: IS_PROOF ? 150 : 50,
    calls: IS_PROOF ? 3_000 : 200,
    parallel: 16,
    seed: 7,
    permittedPercent: 50,
    bytesMax: 20_000,
    waitMs: 1_000,
  });
  t.strictSame(report.wrongIntroductions, [], 'introductions without permission');
  t.strictSame(report.wrongRefusals, [], 'permitted calls refused');
  t.strictSame(report.damaged, [], 'deliveries damaged');
  t.ok(
    report.introduced >= 50 && report.refused + report.unanswered >= 50,
    'both outcomes were really tried',
  );
  const p50 = report.setUpMs[Math.floor(report.setUpMs.length / 2)];
  t.comment(`${report.introduced} introduced, ${report.refused} refused, p50 ${p50.toFixed(1)} ms`);
  const verified = await town.manager.operations.verify();
  t.ok(verified.ok, 'the log verifies');
  const sessions = await town.manager.operations.sessions({ all: true, limit: 1_000 });
  t.ok(
    sessions.every(({ reason }) => reason === 'done'),
    'every talk has its one end',
  );
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
