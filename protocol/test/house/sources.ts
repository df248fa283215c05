// The source tree as the tidy test and the patent map see it: files, what kind of room each stands
// in, and their code with comments and strings blanked out (lines and columns kept).

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { existsSync } from 'node:fs';

export const FOLDERS = [
  'protocol',
  'device',
  'broker',
  'session-manager',
  'sim',
  'bench',
  'cli',
  'deploy',
] as const;
export type Folder = (typeof FOLDERS)[number];

export interface Source {
  /** Path from the root, with `/`. */
  readonly path: string;
  readonly folder: Folder;
  readonly kind: 'core' | 'shell' | 'test';
  readonly text: string;
  readonly lines: readonly string[];
  /** The text with comments and the insides of strings replaced by blanks. */
  readonly code: string;
  /** The text with strings blanked only in so far as needed to see comments. */
  readonly comments: string;
  readonly imports: readonly Import[];
}

export interface Import {
  /** As written. */
  readonly specifier: string;
  /** Path from the root for a relative import, else undefined. */
  readonly target: string | undefined;
  readonly typeOnly: boolean;
  readonly names: readonly string[];
}

/** The repository's root: the nearest folder above with package.json and protocol/. */
export function repositoryRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no package.json above ${import.meta.dirname}`);
    folder = parent;
  }
  return folder;
}

const SHELL_FOLDERS = [
  'protocol/io/',
  'device/shell/',
  'device/services/',
  'device/examples/',
  'broker/shell/',
  'session-manager/shell/',
];
const SHELL_FILES = ['device/agent.ts', 'device/index.ts'];

/** Which room a file stands in (docs/ARCHITECTURE.md). */
export function kindOf(path: string): Source['kind'] {
  if (/(^|\/)test\//.test(path)) return 'test';
  if (/^(sim|bench|cli|deploy)\//.test(path)) return 'shell';
  if (SHELL_FILES.includes(path) || SHELL_FOLDERS.some((f) => path.startsWith(f))) return 'shell';
  return 'core';
}

/** Every TypeScript file of the eight folders. */
export function readSources(root: string): readonly Source[] {
  return FOLDERS.flatMap((folder) =>
    filesUnder(join(root, folder)).map((file) => {
      const path = relative(root, file).split(sep).join('/');
      return sourceOf(path, readFileSync(file, 'utf8'));
    }),
  );
}

/** One file, parsed; exported so that the rules themselves can be tested on made-up files. */
export function sourceOf(path: string, text: string): Source {
  const { code, comments } = blank(text);
  return {
    path,
    folder: path.split('/')[0] as Folder,
    kind: kindOf(path),
    text,
    lines: text.split('\n'),
    code,
    comments,
    imports: importsOf(path, text),
  };
}

function filesUnder(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesUnder(path);
      return entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts') ? [path] : [];
    });
}

function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  const statement = /^(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s*['"]([^'"]+)['"]/gms;
  for (const [, type, clause, specifier] of text.matchAll(statement)) {
    const names = [...clause.matchAll(/(?:type\s+)?([A-Za-z_$][\w$]*)(?:\s+as\s+[\w$]+)?/g)];
    found.push(
      importOf(
        path,
        specifier,
        type !== undefined,
        names.map((match) => match[1]),
      ),
    );
  }
  for (const [, specifier] of text.matchAll(/import\(\s*['"`]([^'"`]+)['"`]/g))
    found.push(importOf(path, specifier, false, ['*']));
  for (const [, specifier] of text.matchAll(/^import\s+['"]([^'"]+)['"]/gm))
    found.push(importOf(path, specifier, false, []));
  return found;
}

function importOf(
  path: string,
  specifier: string,
  typeOnly: boolean,
  names: readonly string[],
): Import {
  const target = specifier.startsWith('.')
    ? posix.normalize(posix.join(posix.dirname(path), specifier))
    : undefined;
  return { specifier, target, typeOnly, names };
}

type State = 'code' | 'line' | 'block' | "'" | '"' | '`' | 'regex';

/** Splits code from comments; a small scanner, exact enough for formatted TypeScript. */
function blank(text: string): { code: string; comments: string } {
  let code = '';
  let comments = '';
  let state: State = 'code';
  const templates: number[] = [];
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    const next = text[at + 1];
    const keep = c === '\n' ? '\n' : ' ';
    if (state === 'code') {
      const opened = openedAt(text, at, code);
      if (opened !== undefined) state = opened;
      if (c === '{') depth += 1;
      if (c === '}') {
        if (templates.at(-1) === depth) {
          templates.pop();
          state = '`';
        }
        depth -= 1;
      }
      const isComment = state === 'line' || state === 'block';
      code += isComment ? keep : c;
      comments += isComment ? c : keep;
      continue;
    }
    const inComment = state === 'line' || state === 'block';
    comments += inComment ? c : keep;
    code += inComment || c !== state ? keep : c;
    if (state === 'line' && c === '\n') state = 'code';
    else if (state === 'block' && c === '*' && next === '/') {
      code += ' ';
      comments += '/';
      at += 1;
      state = 'code';
    } else if (!inComment && c === '\\') {
      code += ' ';
      comments += ' ';
      at += 1;
    } else if (state === '`' && c === '$' && next === '{') {
      code += '{';
      comments += ' ';
      at += 1;
      depth += 1;
      templates.push(depth);
      state = 'code';
    } else if (c === state || (state === 'regex' && (c === '/' || c === '\n'))) state = 'code';
    else if (state === 'regex' && c === '[') {
      const end = text.indexOf(']', at);
      const skipped = end < 0 ? 0 : end - at;
      code += ' '.repeat(skipped);
      comments += ' '.repeat(skipped);
      at += skipped;
    }
  }
  return { code, comments };
}

function openedAt(text: string, at: number, before: string): State | undefined {
  const c = text[at];
  if (c === '/' && text[at + 1] === '/') return 'line';
  if (c === '/' && text[at + 1] === '*') return 'block';
  if (c === "'" || c === '"' || c === '`') return c;
  // A slash begins a regular expression where a value may begin.
  if (c === '/' && /(^|[=(,:;!&|?{}[\n]|return|=>)\s*$/.test(before.slice(-12))) return 'regex';
  return undefined;
}
