// A failing world is made small. What fails here is an invariant of our own, put into real worlds,
// so that there is a failure whatever is mended.

import t from 'tap';
import { OPTION_NAMES } from '../options.ts';
import { planOf } from '../runner/plan.ts';
import { shrink } from '../runner/shrink.ts';
import type { Wanted } from '../runner/wanted.ts';
import { type SeedResult, runSeed } from '../seed-run.ts';
import type { Watcher, World } from '../world.ts';

/** Fails when a kick follows a crash of the manager: it takes two faults, and a little time. */
const twoFaults = (world: World): Watcher => {
  let isCrashed = false;
  return {
    onHappening({ kind }) {
      if (kind === 'managerKilled') isCrashed = true;
      if (kind === 'linkGone' && isCrashed && world.faults.has('mqtt.kick'))
        world.violate('kicks', 'a kick after a crash');
    },
  };
};
const run = (wanted: Wanted): SeedResult =>
  runSeed({ ...planOf(4, wanted), watch: (world) => [twoFaults(world)] });

t.test(
  'only what it takes is left: of all faults two, of the terminals two, little time',
  async (t) => {
    const wanted: Wanted = {
      scenario: 'swarm',
      terminals: 4,
      seconds: 16,
      only: ['udp.loss', 'mqtt.delay', 'mqtt.kick', 'manager.crash', 'list.edit', 'work.calls'],
      set: { 'mqtt.kick': 30, 'manager.crash': 6, 'udp.loss': 0.05, 'work.calls': 9 },
    };
    const result = run(wanted);
    t.equal(result.violation?.invariant, 'kicks', 'it fails before');
    const shrunk = await shrink(4, wanted, { result, attempt: async (less) => run(less) });
    t.strictSame(shrunk.wanted.only, ['mqtt.kick', 'manager.crash']);
    t.strictSame(shrunk.wanted.set, { 'mqtt.kick': 30, 'manager.crash': 6 });
    t.ok((shrunk.wanted.terminals ?? 9) < 4, `${shrunk.wanted.terminals} terminals`);
    t.ok((shrunk.wanted.seconds ?? 99) <= 16);
    t.equal(run(shrunk.wanted).hash, shrunk.result.hash, 'what is left fails by itself');
    t.ok(shrunk.runs < 60, `${shrunk.runs} tries`);
  },
);

t.test('another failure is not taken for this one, and tries have a bound', async (t) => {
  const wanted: Wanted = { scenario: 'swarm' };
  const fails = (invariant: string): SeedResult => ({
    seed: 4,
    violation: { invariant, says: '', at: planOf(4, wanted).seconds as never, stack: undefined },
    hash: '',
    events: 0,
    virtualSeconds: 0,
    faults: {},
    marks: {},
  });
  let tries = 0;
  const attempt = async (): Promise<SeedResult> => {
    tries += 1;
    return fails('another');
  };
  const shrunk = await shrink(4, wanted, { result: fails('this'), attempt });
  t.equal(shrunk.result.violation?.invariant, 'this');
  t.equal(shrunk.runs, tries);
  t.ok(tries <= OPTION_NAMES.length + 4, 'each by itself, once');

  tries = 0;
  const never = { result: fails('this'), attempt: async (): Promise<undefined> => undefined };
  t.ok((await shrink(4, wanted, never)).runs < 200, 'who is told to stop stops');
});
