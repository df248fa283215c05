// A terminal whose clock was set wrong (a Pi has none at boot): it is not let in, says why and what
// to do, and connects by itself once the clock is right.

import t from 'tap';
import { Clock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { type WallMs, wallMs } from '../../protocol/time.ts';
import { until } from '../../protocol/test/until.ts';
import { Agent } from '../agent.ts';
import { RealWorld } from './real-world.ts';

/** The clock of this machine, set forward or back while the terminal runs. */
class JumpingClock extends Clock {
  shiftMs = 0;

  override wall(): WallMs {
    return wallMs(super.wall() + this.shiftMs);
  }
}

const HOURS_MS = 2 * 3_600_000;

for (const shiftMs of [HOURS_MS, -HOURS_MS]) {
  const which = shiftMs > 0 ? 'fast' : 'slow';
  t.test(`a clock two hours ${which} is said to be wrong, with the next step`, async (t) => {
    const world = await RealWorld.start(t);
    await world.enrol('TERM1');
    const clock = new JumpingClock();
    clock.shiftMs = shiftMs;
    const agent = await Agent.start({ home: world.home('TERM1'), log: silentLog, clock });
    t.teardown(() => agent.stop());
    const trouble = (): string => agent.status().troubles.link ?? '';
    await until(() => trouble().includes('clock'));
    t.match(trouble(), /clocks .* differ by minutes: set the one that is wrong/);
    t.notOk(agent.status().registered);
    await t.rejects(agent.call({ to: 'TERM3', service: 'file', waitMs: 50 }), {
      code: 'no-link',
      next: /nakodo status/,
    });
    clock.shiftMs = 0;
    await agent.registered;
    t.equal(agent.status().troubles.link, undefined, 'right again, it connects by itself');
    clock.shiftMs = shiftMs;
    t.equal(agent.status().link, 'up', 'and a jump does not cut a link that is up');
  });
}
