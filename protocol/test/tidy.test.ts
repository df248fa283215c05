// The house rules, run on the house itself, and each rule run on a file that breaks it: a rule that
// cannot complain is no rule.

import t from 'tap';
import { gaps, patentMap } from './house/patent.ts';
import {
  cycles,
  deadExports,
  functionLengths,
  heads,
  importDirection,
  leftovers,
  namedLimits,
  purity,
  sizes,
} from './house/rules.ts';
import { type Source, readSources, repositoryRoot, sourceOf } from './house/sources.ts';

const sources = readSources(repositoryRoot());

const RULES: Readonly<Record<string, (sources: readonly Source[]) => string[]>> = {
  'cores are pure': purity,
  'imports flow one way': importDirection,
  'no import cycles': cycles,
  'files and lines keep their size': sizes,
  'every file says what it is': heads,
  'functions fit on a screen': functionLengths,
  'large numbers have names': namedLimits,
  'nothing is left over': leftovers,
  'nothing is exported for later': deadExports,
};

for (const [claim, rule] of Object.entries(RULES))
  t.test(claim, async (t) => {
    t.strictSame(rule(sources), []);
  });

t.test('every step and claim of the patent has code and a test', async (t) => {
  t.strictSame(gaps(patentMap(sources)), []);
});

t.test('each rule complains about a file that breaks it', async (t) => {
  const long = Array.from({ length: 80 }, (_, at) => `  counter += ${at};`).join('\n');
  const bad: readonly (readonly [keyof typeof RULES, string, string])[] = [
    ['cores are pure', 'device/x.ts', 'export const x = Date.now();'],
    ['cores are pure', 'device/x.ts', "import { readFileSync } from 'node:fs';"],
    ['cores are pure', 'broker/x.ts', 'const f = async () => 1;'],
    ['imports flow one way', 'device/x.ts', "import { y } from '../broker/trigger-broker.ts';"],
    ['imports flow one way', 'device/x.ts', "import { y } from './agent.ts';"],
    ['imports flow one way', 'protocol/x.ts', "import { y } from '../device/terminal.ts';"],
    ['imports flow one way', 'cli/x.ts', "import { y } from '../bench/main.ts';"],
    ['files and lines keep their size', 'device/x.ts', '\n'.repeat(601)],
    ['files and lines keep their size', 'device/x.ts', `const x = '${'y'.repeat(100)}';`],
    ['every file says what it is', 'device/x.ts', 'const x = 1;'],
    ['functions fit on a screen', 'device/x.ts', `export function f(): void {\n${long}\n}\n`],
    ['functions fit on a screen', 'device/x.ts', `class A {\n  f(): void {\n${long}\n  }\n}\n`],
    ['large numbers have names', 'device/x.ts', 'if (size > 4096) drop();'],
    ['nothing is left over', 'device/x.ts', `// ${'TO'}${'DO'}: later`],
    ['nothing is left over', 'device/x.ts', 'const x = y as any;'],
    ['nothing is exported for later', 'device/x.ts', 'export const neverUsed = 1;'],
  ];
  for (const [claim, path, text] of bad) {
    const complaints = RULES[claim]([
      ...sources.filter((source) => source.path !== path),
      sourceOf(path, text),
    ]);
    t.ok(
      complaints.some((line) => line.includes(path)),
      `${claim}: ${text.slice(0, 50)}`,
    );
  }
  const cyclic = [
    sourceOf('device/x.ts', "import { y } from './y.ts';"),
    sourceOf('device/y.ts', "import { x } from './x.ts';"),
  ];
  t.equal(cycles(cyclic).length, 1);
});

t.test('the patent map misses a step when its code or its test goes', async (t) => {
  const without = sources.filter((source) => source.kind === 'test');
  t.ok(gaps(patentMap(without)).includes('S2004: no code carries it'));
  const untested = sources.filter((source) => source.kind !== 'test');
  t.ok(gaps(patentMap(untested)).includes('claim 22: no test title begins with it'));
});
