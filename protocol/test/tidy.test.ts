// The house rules, run on the house itself, and each rule run on a file that breaks it: a rule that
// cannot complain is no rule.

import t from 'tap';
import { gaps, patentMap } from './house/patent.ts';
import {
  cycles,
  deadExports,
  docstrings,
  functionLengths,
  heads,
  importDirection,
  leftovers,
  namedLimits,
  purity,
  sizes,
  sleeping,
  worldPurity,
} from './house/rules.ts';
import { type Source, readSources, repositoryRoot, sourceOf } from './house/sources.ts';

const sources = readSources(repositoryRoot());

const RULES: Readonly<Record<string, (sources: readonly Source[]) => string[]>> = {
  'cores are pure': purity,
  'worlds are decided by their seed': worldPurity,
  'imports flow one way': importDirection,
  'no import cycles': cycles,
  'files and lines keep their size': sizes,
  'every file says what it is': heads,
  'functions fit on a screen': functionLengths,
  'large numbers have names': namedLimits,
  'every export says what it is': docstrings,
  'no test sleeps': sleeping,
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
    ['worlds are decided by their seed', 'sim/x.ts', 'const now = performance.now();'],
    ['worlds are decided by their seed', 'sim/parties/x.ts', 'const x = Math.random();'],
    ['worlds are decided by their seed', 'sim/x.ts', 'const f = async () => 1;'],
    ['worlds are decided by their seed', 'sim/x.ts', "import { planOf } from './runner/plan.ts';"],
    ['cores are pure', 'device/x.ts', "import { readFileSync } from 'node:fs';"],
    ['cores are pure', 'broker/x.ts', 'const f = async () => 1;'],
    ['cores are pure', 'device/x.ts', 'const f = (now = Date.now()) => now;'],
    ['cores are pure', 'device/x.ts', 'const clock = isReal ? Date : undefined;'],
    ['cores are pure', 'device/x.ts', "import type { Socket } from 'node:net';"],
    ['cores are pure', 'device/x.ts', 'import { readFileSync } from "node:fs";'],
    ['cores are pure', 'device/x.ts', "const fs = import('node:fs');"],
    ['cores are pure', 'device/x.ts', 'const some = import(which);'],
    ['cores are pure', 'device/x.ts', "type Net = typeof import('node:net');"],
    ['cores are pure', 'device/x.ts', 'const x = globalThis[which]();'],
    ['cores are pure', 'device/x.ts', 'crypto.getRandomValues(bytes);'],
    ['cores are pure', 'device/x.ts', 'const { random } = Math;'],
    ['cores are pure', 'device/x.ts', "const x = Math['random']();"],
    ['cores are pure', 'device/x.ts', 'const copy = structuredClone(state);'],
    ['cores are pure', 'device/x.ts', 'const x = `${process.pid}`;'],
    ['cores are pure', 'device/x.ts', 'later.then(() => {});'],
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
    ['every export says what it is', 'device/x.ts', 'export const x = 1;'],
    ['every export says what it is', 'device/x.ts', '/** A. */\nconst x = 1;\n\nexport class A {}'],
    ['nothing is left over', 'device/x.ts', `// ${'TO'}${'DO'}: later`],
    ['no test sleeps', 'device/test/x.ts', 'setTimeout(go, 50);'],
    ['no test sleeps', 'cli/test/x.ts', "import { setTimeout as x } from 'node:timers/promises';"],
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

t.test('a step that is only mentioned or declared is not carried out', async (t) => {
  const carried = (path: string, comment: string): readonly string[] =>
    patentMap([sourceOf(path, `/** ${comment} */`)])
      .filter(({ code }) => code.length > 0)
      .map(({ tag }) => tag);
  t.strictSame(carried('device/x.ts', 'Does [S1000, claim 3, ¶0036] here.'), ['S1000', 'claim 3']);
  t.strictSame(carried('device/x.ts', 'As a program: claim 19.'), ['claim 19']);
  t.strictSame(
    carried('device/x.ts', '[S6001 told to us] (S1000, claim 3), (claims 7 and 16)'),
    [],
  );
  t.strictSame(carried('protocol/control/messages.ts', '[S1000]'), []);
  t.strictSame(carried('device/terminal-types.ts', '[S1000]'), []);
});

t.test('the patent map misses a step when its code or its test goes', async (t) => {
  const without = sources.filter((source) => source.kind === 'test');
  t.ok(gaps(patentMap(without)).includes('S2004: no code carries it'));
  const untested = sources.filter((source) => source.kind !== 'test');
  t.ok(gaps(patentMap(untested)).includes('claim 22: no test title begins with it'));
});
