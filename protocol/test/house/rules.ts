// The house rules as functions: source files in, complaints out (empty = tidy). One rule a
// function, so that each can be shown a file that breaks it.

import type { Folder, Source } from './sources.ts';

const FILE_LINES_MAX = 600;
const FILE_LINES_EXPLAINED = 400;
const FUNCTION_LINES_MAX = 70;
const COLUMNS_MAX = 100;
/** Whole numbers from here on need a name; smaller ones are lengths and offsets of layouts. */
const NAMED_NUMBER_MIN = 1_000;

/** Words that a pure file may not use, each with what to do instead. */
const IMPURE: Readonly<Record<string, string>> = {
  Date: 'take the time as an argument',
  performance: 'take `now` as an argument',
  'Math.random': 'take an Rng',
  setTimeout: 'return a deadline from nextTimeout()',
  setInterval: 'return a deadline from nextTimeout()',
  setImmediate: 'queue an output',
  queueMicrotask: 'queue an output',
  process: 'take a configuration',
  async: 'a core is synchronous',
  await: 'a core is synchronous',
  Promise: 'a core is synchronous',
  EventEmitter: 'queue an event',
  console: 'count it, or queue an event',
  Buffer: 'use Uint8Array',
  globalThis: 'name what you need, and take it as an argument',
  global: 'name what you need, and take it as an argument',
  crypto: 'take a CryptoSuite or an Rng',
  fetch: 'queue an output',
  WebSocket: 'queue an output',
  Worker: 'queue an output',
  Atomics: 'a core is synchronous',
  structuredClone: 'hand over values that need no copy',
  FinalizationRegistry: 'let go by name, at a bound',
  WeakRef: 'let go by name, at a bound',
  Intl: 'take a LocalMoment',
  toLocaleString: 'take a LocalMoment',
  eval: 'say it in code',
  Function: 'say it in code',
  require: 'import what is needed at the top',
  'import.meta': 'take a configuration',
};

/** Ways to reach the same things that a search for words does not see. */
const HIDDEN: readonly (readonly [RegExp, string])[] = [
  [/(?<![\w.$#])import\s*\(/, 'imports while it runs'],
  [/\bMath\s*(?:\[|\?\.)|=\s*Math\s*[;,}]/, 'reaches into Math by another way'],
  [/\bfor\s+await\b|\.then\(/, 'waits'],
  [/\bdebugger\b/, 'stops'],
];

/** Packages that only compute, welcome in cores. */
const PURE_PACKAGES = /^(cbor-x|@noble\/(ciphers|hashes)(\/.*)?|smol-toml|valibot)$/;

/** Purity: cores name no clock, timer, randomness, promise, console, nor an impure module. */
export function purity(sources: readonly Source[]): string[] {
  return sources
    .filter((source) => source.kind === 'core')
    .flatMap((source) => impurities(source, 'a core'));
}

/** Parts of the simulator that live in real time, or start processes. */
const REAL_TIME = /^sim\/(runner|fleet|sabotage|lab)\//;

/** Worlds in virtual time are decided by their seed alone: as pure as cores, but for Buffer. */
export function worldPurity(sources: readonly Source[]): string[] {
  return sources
    .filter(({ path, kind }) => path.startsWith('sim/') && kind !== 'test' && !REAL_TIME.test(path))
    .flatMap((source) => [
      ...impurities(source, 'a world').filter((text) => !text.includes(' uses Buffer')),
      ...source.imports
        .filter(({ target }) => target !== undefined && REAL_TIME.test(target))
        .map(({ specifier }) => `${source.path}: a world imports ${specifier}`),
    ]);
}

function impurities(source: Source, who: string): string[] {
  return [
    ...source.imports
      .filter(({ target, specifier }) => target === undefined && !PURE_PACKAGES.test(specifier))
      .map(({ specifier }) => `${source.path}: ${who} imports ${specifier}`),
    ...Object.entries(IMPURE).flatMap(([word, instead]) =>
      used(word).test(source.code) ? [`${source.path}: ${who} uses ${word}; ${instead}`] : [],
    ),
    ...HIDDEN.flatMap(([pattern, what]) =>
      pattern.test(source.code) ? [`${source.path}: ${who} ${what}`] : [],
    ),
  ];
}

/** The word itself, not a property, a key or a part of another name; a choice's arm is no key. */
const used = (word: string): RegExp => {
  const itself = `(?<![\\w.#$])${word.replace('.', '\\.')}`;
  return new RegExp(`${itself}(?![\\w$]|\\s*:|\\?:)|\\?\\s*${itself}\\s*:`);
};

const PARTIES: readonly Folder[] = ['device', 'broker', 'session-manager'];

/** Import direction: protocol ← cores ← shells; parties apart; nobody imports bench. */
export function importDirection(sources: readonly Source[]): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  return sources.flatMap((source) =>
    source.imports.flatMap(({ target, specifier }) => {
      if (target === undefined) return [];
      const to = byPath.get(target);
      if (to === undefined) return [`${source.path}: imports ${specifier}, which is not there`];
      const why = forbidden(source, to);
      return why === undefined ? [] : [`${source.path} imports ${to.path}: ${why}`];
    }),
  );
}

function forbidden(from: Source, to: Source): string | undefined {
  if (from.kind === 'test') return undefined;
  if (to.kind === 'test') return 'only tests import tests';
  if (to.folder === 'bench' && from.folder !== 'bench') return 'nothing imports bench';
  if (from.kind === 'core' && to.kind === 'shell') return 'a core imports no shell';
  if (from.folder === 'protocol' && to.folder !== 'protocol') return 'protocol imports nobody';
  const apart = PARTIES.includes(from.folder) && from.folder !== to.folder;
  if (apart && to.folder !== 'protocol') return 'the parties meet only through protocol';
  return undefined;
}

/** Import cycles among values make load order matter; types may be mutual. */
export function cycles(sources: readonly Source[]): string[] {
  const edges = new Map<string, readonly string[]>(
    sources.map((source) => [
      source.path,
      source.imports.flatMap(({ target, typeOnly }) =>
        target !== undefined && !typeOnly ? [target] : [],
      ),
    ]),
  );
  const done = new Set<string>();
  const complaints: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      complaints.push(`cycle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`);
      return;
    }
    if (done.has(path)) return;
    for (const target of edges.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return complaints;
}

const DECLARED = /^export (?:async )?(?:const|function\*?|class|interface|type) ([\w$]+)/;
/** A type that is read off the value above it has that value's comment. */
const DERIVED = /^export type \w+ = (?:Infer<typeof|\(typeof)/;

/**
 * Docstrings: a doc comment stands before every exported declaration, or before the run of short
 * constants, without a blank line, that it belongs to. A `limits.ts` documents its members instead.
 */
export function docstrings(sources: readonly Source[]): string[] {
  return sources
    .filter(({ kind, path }) => kind !== 'test' && !/(^|\/)limits\.ts$/.test(path))
    .flatMap(({ path, lines }) =>
      lines.flatMap((line, at) => {
        const [, name] = DECLARED.exec(line) ?? [];
        if (name === undefined || DERIVED.test(line)) return [];
        let above = at - 1;
        while (above >= 0 && /^(export const .*(;|=>)|  .*;)$/.test(lines[above])) above -= 1;
        const isDocumented = above >= 0 && lines[above].trimEnd().endsWith('*/');
        return isDocumented ? [] : [`${path}:${at + 1}: ${name} is exported without a docstring`];
      }),
    );
}

/** Length of files and width of lines. */
export function sizes(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => {
    const complaints: string[] = [];
    const length = source.lines.length;
    if (length > FILE_LINES_MAX) complaints.push(`${source.path}: ${length} lines, at most 600`);
    const explained = /\b(over|than) 400 lines\b|long because/i.test(head(source));
    if (length > FILE_LINES_EXPLAINED && !explained)
      complaints.push(`${source.path}: ${length} lines and no "long because …" in its head`);
    source.lines.forEach((line, at) => {
      if (line.length > COLUMNS_MAX && !/https?:\/\//.test(line))
        complaints.push(`${source.path}:${at + 1}: ${line.length} columns`);
    });
    return complaints;
  });
}

/** A head comment of at least two lines: what this file is. */
export function heads(sources: readonly Source[]): string[] {
  return sources
    .filter((source) => head(source).split('\n').length < 2)
    .map((source) => `${source.path}: no head comment of two lines or more`);
}

function head(source: Source): string {
  const lines = source.lines[0].startsWith('#!') ? source.lines.slice(1) : source.lines;
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines.slice(0, end < 0 ? lines.length : end).join('\n');
}

/** Functions fit on a screen. Relies on the formatter: a body ends at its own indentation. */
export function functionLengths(sources: readonly Source[]): string[] {
  const control = /^\s*(\} )?(if|for|while|switch|else|do|try|catch|finally|class|interface)\b/;
  const opensBody = /(=>|\)(: [^=]*)?) \{\s*$/;
  return sources.flatMap((source) => {
    if (source.kind === 'test') return [];
    const lines = source.code.split('\n');
    return lines.flatMap((line, at) => {
      if (control.test(line) || !opensBody.test(line)) return [];
      const indent = line.slice(0, line.length - line.trimStart().length);
      const end = lines.findIndex((other, index) => index > at && other.startsWith(`${indent}}`));
      const length = end - at + 1;
      if (length <= FUNCTION_LINES_MAX) return [];
      return [`${source.path}:${at + 1}: a function of ${length} lines, at most 70`];
    });
  });
}

/** Named limits: a large number in a core stands in a limits file or in a named constant. */
export function namedLimits(sources: readonly Source[]): string[] {
  return sources
    .filter((source) => source.kind === 'core' && !/(^|\/)limits\.ts$/.test(source.path))
    .flatMap((source) =>
      source.code.split('\n').flatMap((line, at) => {
        if (/^(export )?const [A-Z][A-Z0-9_]*\b/.test(line.trim())) return [];
        const numbers = [...line.matchAll(/(?<![\w.#$])(\d[\d_]*)(?![\w.]|n\b)/g)]
          .map((match) => Number(match[1].replaceAll('_', '')))
          .filter((number) => number >= NAMED_NUMBER_MIN);
        return numbers.map((n) => `${source.path}:${at + 1}: the number ${n} has no name`);
      }),
    );
}

/** What never lands. */
export function leftovers(sources: readonly Source[]): string[] {
  const banned: readonly (readonly [RegExp, string])[] = [
    [/\b(TO[D]O|FIX[M]E|XX[X])\b/, 'a leftover marker'],
    [/@ts-ignore|oxlint-disable|eslint-disable/, 'a silenced check'],
    [/\.only\(|\bonly:\s*true/, 'a focused test'],
    [/^export default\b/m, 'a default export'],
    [/:\s*any\b|\bas any\b|<any>/, 'an any'],
    [/^(export )?(const )?enum\b/m, 'an enum'],
  ];
  return sources
    .filter((source) => !source.path.startsWith('protocol/test/house/'))
    .flatMap((source) =>
      banned.flatMap(([pattern, what]) =>
        pattern.test(/marker|silenced/.test(what) ? source.text : source.code)
          ? [`${source.path}: ${what}`]
          : [],
      ),
    );
}

/** No test sleeps: waiting for a condition is in one file, with a bound. */
export function sleeping(sources: readonly Source[]): string[] {
  // `t.setTimeout` is a bound on a whole file, not a sleep.
  const sleeps = /(?<!\bt\.)\bset(Timeout|Interval)\s*\(/;
  return sources
    .filter(({ kind, path }) => kind === 'test' && path !== 'protocol/test/until.ts')
    .filter(
      ({ code, imports }) =>
        sleeps.test(code) || imports.some(({ specifier }) => specifier === 'node:timers/promises'),
    )
    .map(({ path }) => `${path}: a test sleeps; wait with protocol/test/until.ts`);
}

/** Nothing is exported that nobody else imports. */
export function deadExports(sources: readonly Source[]): string[] {
  const names = new Set<string>();
  for (const source of sources)
    for (const imported of source.imports)
      for (const each of imported.names) names.add(`${imported.target}#${each}`);
  const declaration = /^export (?:async )?(?:const|function\*?|class|interface|type) ([\w$]+)/gm;
  return sources.flatMap((source) => {
    if (source.kind === 'test' || names.has(`${source.path}#*`)) return [];
    const exported = [...source.code.matchAll(declaration)];
    return exported
      .filter(([, each]) => !names.has(`${source.path}#${each}`) && !isPublic(source.path))
      .map(([, each]) => `${source.path}: ${each} is exported and nobody imports it`);
  });
}

/** What users of the library import (docs/ARCHITECTURE.md): the agent and its sessions. */
function isPublic(path: string): boolean {
  return path === 'device/agent.ts' || path === 'device/shell/session.ts';
}
