// The deliberate bugs of sim/sabotage: each still applies to the code as it is, each is a module
// that loads, and nobody has one who did not ask for it. That each is found: `make sabotage`.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import t from 'tap';
import { ReplayWindow } from '../../protocol/data/replay.ts';
import { readSources, repositoryRoot } from '../../protocol/test/house/sources.ts';
import { SABOTAGES, findSabotage } from '../sabotage/list.ts';
import { initialize, load } from '../sabotage/patch-hook.ts';
import { moduleOf, patchModules, patchedText } from '../sabotage/patching.ts';
import { type Sabotage, sabotaged } from '../sabotage/sabotage.ts';

const LEAST = 30;
const LEAST_OF_A_CORE = 5;
const LEAST_CLASSIC = 10;
const OFF_BY_ONE = 'replay-window-off-by-one';

const isClassic = ({ source }: Sabotage): boolean =>
  source !== undefined && /^(invariant|classic): /.test(source);

t.test('there are enough of them, of each core and of the promises and old mistakes', async (t) => {
  t.ok(SABOTAGES.length >= LEAST);
  for (const core of ['data', 'device', 'broker', 'session-manager'] as const) {
    const own = SABOTAGES.filter((sabotage) => sabotage.core === core);
    t.ok(own.length >= LEAST_OF_A_CORE, `${core}: ${own.length}`);
  }
  t.ok(SABOTAGES.filter(isClassic).length >= LEAST_CLASSIC);
});

t.test('each has a name of its own and says what would happen', async (t) => {
  t.equal(new Set(SABOTAGES.map(({ name }) => name)).size, SABOTAGES.length);
  for (const { name, why, source } of SABOTAGES) {
    t.match(name, /^[a-z]+(-[a-z]+)*$/);
    t.match(why, /^\S[^\n]{20,}$/, name);
    t.ok(
      source === undefined ||
        /^((invariant|classic): |commit [0-9a-f]{7}$|found by sim seed \d+$)/.test(source),
      name,
    );
  }
  t.equal(findSabotage('no-such-bug'), undefined);
});

t.test('each applies exactly once to the code as it is compiled', async (t) => {
  for (const sabotage of SABOTAGES) {
    t.not(patchedText(sabotage), readFileSync(new URL(moduleOf(sabotage)), 'utf8'), sabotage.name);
  }
});

t.test('one that no longer applies, or at two places, is an error that names it', async (t) => {
  const bug: Sabotage = {
    name: 'one-too-many',
    core: 'data',
    file: 'protocol/data/x.ts',
    find: 'if (a > b) return;',
    replace: 'if (a >= b) return;',
    why: '',
  };
  const once = 'x;\n  if (a > b)\n    return;\ny;';
  t.equal(sabotaged(once, bug), 'x;\n  if (a >= b) return;\ny;', 'blanks stand for blanks');
  const wanted = /sabotage one-too-many no longer applies to protocol\/data\/x\.ts/;
  t.throws(() => sabotaged('if (a < b) return;', bug), wanted);
  t.throws(() => sabotaged(once + once, bug), wanted);
});

t.test('each is a module that loads', async (t) => {
  const urlOf = (sabotage: Sabotage): string => `${moduleOf(sabotage)}?sabotage=${sabotage.name}`;
  patchModules(new Map(SABOTAGES.map((one) => [urlOf(one), patchedText(one)])));
  for (const sabotage of SABOTAGES) {
    t.ok(Object.keys(await import(urlOf(sabotage))).length > 0, sabotage.name);
  }
});

t.test('the hook gives out what it was told of, and leaves the rest to Node', async (t) => {
  const attributes = { importAttributes: {}, importAssertions: {} };
  const context = { conditions: [], format: 'module' as const, ...attributes };
  const next = (url: string): { format: string; source: string } => ({
    format: 'json',
    source: url,
  });
  initialize(new Map([['file:///a.js', 'bug']]));
  const patched = { format: 'module', source: 'bug', shortCircuit: true };
  t.strictSame(load('file:///a.js', context, next), patched);
  t.strictSame(load('file:///b.js', context, next), { format: 'json', source: 'file:///b.js' });
});

t.test('a process has a bug that was asked for, and no other process has', async (t) => {
  const loader = new URL('../sabotage/load.js', import.meta.url).href;
  const replay = JSON.stringify(new URL('../../protocol/data/replay.js', import.meta.url).href);
  const program = `import { ReplayWindow } from ${replay};
    const window = new ReplayWindow(); window.accept(7); console.log(window.isFresh(7));`;
  const run = async (...how: readonly string[]): Promise<string> => {
    const args = [...how, '--input-type=module', '--eval', program];
    return (await promisify(execFile)(process.execPath, args)).stdout.trim();
  };
  const [spoilt, sound] = await Promise.all([
    run('--import', `${loader}?name=${OFF_BY_ONE}`),
    run(),
  ]);
  t.equal(spoilt, 'true', 'the copy is taken again');
  t.equal(sound, 'false');
  await t.rejects(run('--import', `${loader}?name=no-such-bug`), /no sabotage of the name/);
  const here = new ReplayWindow();
  here.accept(7);
  t.notOk(here.isFresh(7), 'this process imported it before any patch');
});

t.test('production code knows nothing of it', async (t) => {
  const sources = readSources(repositoryRoot());
  const isProduction = /^(protocol|device|broker|session-manager|cli)\/(?!(.*\/)?test\/)/;
  const production = sources.filter(({ path }) => isProduction.test(path));
  t.ok(production.length > 100, 'looked at');
  t.strictSame(
    production.filter(({ text }) => /sabotag/i.test(text)).map(({ path }) => path),
    [],
  );
});
