// Options of a world, what is asked for, and the command that asks for it again: the same world
// comes of it.

import { Command } from 'commander';
import fc from 'fast-check';
import t from 'tap';
import { declareSim, wantedOf } from '../../cli/commands/sim.ts';
import { seededRng } from '../../protocol/random.ts';
import { CALM, OPTION_NAMES, OPTION_SPECS, drawOptions, optionsOn } from '../options.ts';
import { planOf } from '../runner/plan.ts';
import { type Wanted, commandOf } from '../runner/wanted.ts';
import { SCENARIOS } from '../scenarios.ts';

const WORLDS = 400;

t.test('each option is off in half of all worlds, and in its range in the others', async (t) => {
  const worlds = Array.from({ length: WORLDS }, (_, seed) => drawOptions(seededRng(seed)));
  for (const name of OPTION_NAMES) {
    const { off, range } = OPTION_SPECS[name];
    const values = worlds.map((options) => options[name]);
    const on = values.filter((value) => value !== off);
    t.ok(on.length > 0.3 * WORLDS && on.length < 0.65 * WORLDS, `${name} on in ${on.length}`);
    t.ok(
      values.every((value) => value >= range[0] && value <= range[1]),
      `${name} in range`,
    );
    t.ok(off >= range[0] && off <= range[1], `${name}: where it is off`);
  }
  t.strictSame(optionsOn(CALM), []);
});

t.test('asking for an option changes nothing else of a seed', async (t) => {
  const drawn = planOf(7, { scenario: 'swarm' });
  const asked = planOf(7, { scenario: 'swarm', set: { 'udp.loss': 0.123 }, off: ['mqtt.drop'] });
  for (const name of OPTION_NAMES) {
    const expected = { 'udp.loss': 0.123, 'mqtt.drop': 0 }[String(name)] ?? drawn.options[name];
    t.equal(asked.options[name], expected, name);
  }
  t.equal(asked.terminals, drawn.terminals);
  const only = planOf(7, { scenario: 'swarm', only: ['udp.loss'], set: { 'udp.loss': 0.5 } });
  t.strictSame(optionsOn(only.options), ['udp.loss']);
  t.strictSame(optionsOn(planOf(7, { scenario: 'swarm', only: [] }).options), []);
});

t.test('one seed in fifty has the real cryptography, unless asked otherwise', async (t) => {
  const seeds = Array.from({ length: 100 }, (_, at) => at + 1);
  const real = seeds.filter((seed) => planOf(seed, { scenario: 'swarm' }).isReal);
  t.strictSame(real, [50, 100]);
  t.ok(planOf(1, { scenario: 'swarm', suite: 'real' }).isReal);
  t.notOk(planOf(50, { scenario: 'swarm', suite: 'fast' }).isReal);
});

/** What the program makes of a command line. */
function parsed(command: string): { readonly seed: number; readonly wanted: Wanted } {
  const program = new Command();
  declareSim(program);
  const [sim] = program.commands;
  const words = command.split(' ');
  const { unknown, operands } = sim.parseOptions(words.slice(2));
  const options = sim.opts();
  const isRead = unknown.length === 0 && operands.length === 0 && options.trace === true;
  if (!isRead || !command.startsWith('nakodo sim ')) throw new Error(`not a command: ${command}`);
  return { seed: options.seed, wanted: wantedOf(options as Parameters<typeof wantedOf>[0]) };
}

const someNames = fc.subarray([...OPTION_NAMES], { maxLength: 6 });
const anyWanted = fc
  .record({
    scenario: fc.constantFrom(...Object.keys(SCENARIOS)),
    terminals: fc.option(fc.integer({ min: 2, max: 20_000 }), { nil: undefined }),
    seconds: fc.option(fc.integer({ min: 1, max: 86_400 }), { nil: undefined }),
    only: fc.option(someNames, { nil: undefined }),
    off: someNames,
    set: someNames,
    suite: fc.constantFrom(undefined, 'fast' as const, 'real' as const),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ only, off, set, share, ...rest }): Wanted => {
    const value = (name: (typeof OPTION_NAMES)[number]): number => {
      const [least, most] = OPTION_SPECS[name].range;
      return least + share * (most - least);
    };
    const isOut = (name: (typeof OPTION_NAMES)[number]): boolean =>
      off.includes(name) || (only !== undefined && !only.includes(name));
    return {
      ...rest,
      only: only?.filter((name) => !off.includes(name)),
      off,
      set: Object.fromEntries(set.filter((name) => !isOut(name)).map((n) => [n, value(n)])),
    };
  });

t.test('the command that a report names makes the very same world', async (t) => {
  fc.assert(
    fc.property(fc.nat(), anyWanted, (seed, wanted) => {
      const again = parsed(commandOf(seed, wanted));
      t.equal(again.seed, seed);
      const [plan, same] = [planOf(seed, wanted), planOf(seed, again.wanted)];
      t.strictSame(
        [same.options, same.terminals, same.seconds, same.isReal],
        [plan.options, plan.terminals, plan.seconds, plan.isReal],
      );
    }),
    { numRuns: 60 },
  );
  t.equal(
    commandOf(17, { scenario: 'swarm', seconds: 2.5, only: [] }),
    'nakodo sim --seed 17 --until 2500ms --only none --trace',
  );
});
