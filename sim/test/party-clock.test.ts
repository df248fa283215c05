// The clocks of one machine: what they show, when they show it, and what a night of sleep does to
// them.

import fc from 'fast-check';
import t from 'tap';
import { type Micros, NEVER, micros, ms, seconds, wallMs } from '../../protocol/time.ts';
import { PartyClock } from '../parties/party-clock.ts';

const WALL = wallMs(1_800_000_000_000);
const START = micros(seconds(1));
const clockOf = (driftPpm: number): PartyClock =>
  new PartyClock({ now: START, wall: WALL, driftPpm });
const moment = fc.integer({ min: 0, max: 10 ** 12 }).map((by) => micros(START + by));
const drift = fc.double({ min: -500, max: 500, noNaN: true });

t.test('a timer set for a local time is due by then, never a moment before', async (t) => {
  fc.assert(
    fc.property(drift, moment, (ppm, local) => {
      const clock = clockOf(ppm);
      const at = clock.world(local);
      return clock.local(at) >= local && clock.local(micros(at - 3)) < local + 3;
    }),
  );
  t.equal(clockOf(100).world(NEVER), NEVER);
});

t.test('local time never goes back, whatever is done to the machine', async (t) => {
  const deed = fc.record({
    what: fc.constantFrom('stop', 'go', 'jump', 'correct', 'set', 'wait'),
    by: fc.integer({ min: 0, max: 10 ** 10 }),
    counted: fc.boolean(),
  });
  fc.assert(
    fc.property(drift, fc.array(deed, { maxLength: 30 }), (ppm, deeds) => {
      const clock = clockOf(ppm);
      let now: Micros = START;
      let isStopped = false;
      let before = clock.local(now);
      for (const { what, by, counted } of deeds) {
        now = micros(now + by);
        if (what === 'stop' && !isStopped) clock.stop(now);
        if (what === 'go' && isStopped) clock.go(now, counted ? by : 0);
        if (what === 'jump') clock.jump(by - 5 * 10 ** 9);
        if (what === 'correct') clock.correct(now, WALL + by, 1_000);
        if (what === 'set') clock.set(now, wallMs(WALL + by));
        isStopped = what === 'stop' || (isStopped && what !== 'go');
        const local = clock.local(now);
        if (local < before) return false;
        before = local;
      }
      return true;
    }),
  );
  t.pass('for all of them');
});

t.test('drift: 500 ppm fast is half a millisecond a second', async (t) => {
  const clock = clockOf(500);
  const after = clock.local(micros(START + seconds(1_000)));
  t.ok(Math.abs(after - (START + seconds(1_000) + ms(500))) < 1, `${after}`);
});

t.test(
  'asleep: nothing is due; awake: the wall clock has gone on, the other if it counts',
  async (t) => {
    for (const counted of [0, seconds(60)]) {
      const clock = clockOf(0);
      const sleeps = micros(START + seconds(10));
      const wakes = micros(sleeps + seconds(60));
      clock.stop(sleeps);
      t.equal(clock.local(wakes), sleeps);
      t.equal(clock.world(micros(sleeps + 1)), NEVER);
      clock.go(wakes, counted);
      t.equal(clock.local(wakes), sleeps + counted);
      t.ok(Math.abs(clock.wall(wakes) - (WALL + 70_000)) <= 1, 'seventy seconds have passed');
    }
  },
);

t.test('a wall clock jumps until somebody knows better', async (t) => {
  const clock = clockOf(0);
  clock.jump(86_400_000);
  t.equal(clock.wall(START), WALL + 86_400_000);
  clock.correct(START, WALL, 2_000);
  t.equal(clock.wall(START), WALL + 2_000, 'the nearest that the server can have meant');
  clock.jump(-86_400_000);
  t.equal(clock.wall(START), WALL + 2_000);
});
