// docs/simulator.md names every option with its range, every invariant with its file, and commands
// that can be typed.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import t from 'tap';
import { declareSim, wantedOf } from '../../cli/commands/sim.ts';
import { readSources, repositoryRoot } from '../../protocol/test/house/sources.ts';
import { OPTION_NAMES, OPTION_SPECS } from '../options.ts';
import { watchersOf } from '../invariants/all.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { CALM } from '../options.ts';
import { planOf } from '../runner/plan.ts';
import { headOf, verdictOf } from '../runner/show.ts';
import { tracer, traceWords } from '../runner/trace.ts';
import { runSeed } from '../seed-run.ts';
import { World } from '../world.ts';

const ROOT = repositoryRoot();
const page = readFileSync(join(ROOT, 'docs/simulator.md'), 'utf8');
const rows = page.split('\n').filter((line) => line.startsWith('| `'));

t.test('the table of options is OPTION_SPECS', async (t) => {
  for (const name of OPTION_NAMES) {
    const { off, range, says } = OPTION_SPECS[name];
    const row = `| \`${name}\` | ${says} | ${off} | ${range[0]} to ${range[1]} |`;
    t.ok(rows.includes(row), row);
  }
  const named = rows.flatMap((row) => /^\| `([a-z]+\.[a-z]+)` \|/.exec(row)?.[1] ?? []);
  t.strictSame(named, OPTION_NAMES, 'in their order, and no other');
});

t.test('the table of invariants has each that can fail, with a file of sim/', async (t) => {
  const sources = readSources(ROOT).filter(
    ({ path, kind }) => path.startsWith('sim/') && kind !== 'test',
  );
  const found = sources.flatMap(({ path, text }) =>
    [...text.matchAll(/(?:violate\(\s*|invariant: |lost\()'([a-z]+)'/g)].map(
      ([, name]) => [name, path] as const,
    ),
  );
  t.ok(found.length > 20);
  for (const [name, path] of found) {
    const row = rows.find((line) => line.startsWith(`| \`${name}\` |`));
    t.ok(row, `${name} of ${path}`);
  }
  const invariants = new Set(found.map(([name]) => name));
  for (const row of rows) {
    const [, name] = /^\| `([a-z]+)` \|.*`sim\//.exec(row) ?? [];
    if (name !== undefined) t.ok(invariants.has(name), `${name} is an invariant`);
  }
  const world = new World({ seed: 1, terminals: 2, options: CALM, suite: fastSuite });
  t.ok(watchersOf(world).length > 20);
});

t.test('the example is what its command shows, line by line in this order', async (t) => {
  const [, command] = /`nakodo sim (--seed 26 [^`]*)`/.exec(page) ?? [];
  const program = new Command();
  declareSim(program);
  const [sim] = program.commands;
  sim.parseOptions((command ?? '').split(/\s+/));
  const options = sim.opts<Parameters<typeof wantedOf>[0]>();
  const wanted = wantedOf(options);
  const lines = [headOf(26, wanted)];
  const watch = (world: World) => [tracer(world, (line) => lines.push(traceWords(line)))];
  lines.push(verdictOf(runSeed({ ...planOf(26, wanted), watch })));
  const [, section] = /^## Reading a trace$(.*?)^## /ms.exec(page) ?? [];
  const shown = (section ?? '')
    .split('\n')
    .flatMap((line) => /^ {4}(seed 26: | +\d).*/.exec(line)?.[0] ?? []);
  t.ok(shown.length > 20);
  let from = 0;
  for (const line of shown) {
    const [words] = line.slice(4).split('←');
    const at = lines.indexOf(words.trimEnd(), from);
    t.ok(at >= from, `${words}: as it is now: ${lines.at(-1)}`);
    from = at + 1;
  }
  t.equal(shown.at(-1)?.trim(), lines.at(-1));
});

t.test('every command of the page is understood', async (t) => {
  const commands = [...page.matchAll(/nakodo (sim(?: [^`\n]*)?)/g)].map(([, words]) => words);
  t.ok(commands.length > 6);
  for (const command of commands) {
    const words = command
      .split(/ {2,}| \|/)[0]
      .trim()
      .split(' ')
      .slice(1);
    if (words.some((word) => !/^--?[a-z]|[\w.=,]+$/.test(word))) continue;
    const program = new Command();
    declareSim(program);
    const [sim] = program.commands;
    sim.exitOverride().configureOutput({ writeErr: () => {} });
    t.strictSame(sim.parseOptions(words), { operands: [], unknown: [] }, command);
  }
});
