// A terminal whose clock is wrong (a Pi has none at boot, and says 1970) joins all the same: the
// server's time comes with the first answer over the pinned TLS, the system's clock is left alone.

import t from 'tap';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { type WallMs, wallMs } from '../../protocol/time.ts';
import { Agent } from '../agent.ts';
import { RealWorld } from './real-world.ts';

/** A machine whose clock is off, and may be set while the terminal runs. */
class WrongClock extends CorrectedClock {
  shiftMs = 0;
  isCorrected = false;

  override wall(): WallMs {
    return this.isCorrected ? super.wall() : wallMs(Math.max(0, super.wall() + this.shiftMs));
  }

  override correct(unixMs: number): void {
    this.isCorrected = true;
    super.correct(unixMs);
  }
}

const HOURS_MS = 2 * 3_600_000;
const SINCE_1970_MS = Date.now() - 5_000;

for (const [which, shiftMs] of [
  ['two hours fast', HOURS_MS],
  ['two hours slow', -HOURS_MS],
  ['in 1970', -SINCE_1970_MS],
] as const) {
  t.test(`S1001: a terminal whose clock is ${which} registers, and knows the time`, async (t) => {
    const world = await RealWorld.start(t);
    await world.enrol('TERM1');
    const clock = new WrongClock();
    clock.shiftMs = shiftMs;
    t.ok(Math.abs(clock.wall() - Date.now()) > HOURS_MS / 2, 'it is wrong');
    const agent = await Agent.start({ home: world.home('TERM1'), log: silentLog, clock });
    t.teardown(() => agent.stop());
    await agent.registered;
    t.ok(Math.abs(clock.wall() - Date.now()) < 10_000, 'it follows the server');
    t.equal(agent.status().troubles.link, undefined);
    const offset = clock.wall() - Date.now();
    clock.shiftMs = -shiftMs;
    t.ok(Math.abs(clock.wall() - Date.now() - offset) < 1_000, 'a jump of the system is nothing');
    t.equal(agent.status().link, 'up', 'and cuts no link');
  });
}
