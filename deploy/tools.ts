// Programs of the system that images, cards and emulated roots are made with: whether they are
// there, and what they said when one failed. What they print goes to the caller, not to the screen.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { NakodoError } from '../protocol/errors.ts';

/** Where a user's PATH often does not lead, and mount, losetup and debootstrap are. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin'];
/** Characters of what a failed program said that a person is shown. */
const SAID_SHOWN = 600;
/** Characters of a program's errors that are kept; the last ones say why it ended. */
const ERRORS_KEPT = 64_000;
/** Exit code of a program that a signal ended. */
const BY_SIGNAL = 128;

/** What a program is given beside its arguments. */
interface ToolOptions {
  /** Its standard input; nothing else is there to read. */
  readonly input?: string;
  /** More or other variables of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Hears each line that it prints, while it runs. */
  readonly onLine?: (line: string) => void;
}

/** How a program ended. */
export interface ToolResult {
  readonly exit: number;
  readonly stdout: string;
  /** The last 64,000 characters. */
  readonly stderr: string;
}

function searchPath(): string {
  return [process.env.PATH ?? '', ...SYSTEM_FOLDERS].join(delimiter);
}

/** The path of a file of this checkout that is not compiled, like `deploy/image/in-root.sh`. */
export function repositoryFile(path: string): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return join(folder, path);
}

/** The path of a program of this machine; undefined if it has none of that name. */
export function toolPath(name: string): string | undefined {
  return searchPath()
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => isProgram(path));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Which packages of Debian are missing, given programs and the package of each; [] if none is.
 * `{ mcopy: 'mtools' }` gives `['mtools']` on a machine without `mcopy`.
 */
export function missingPackages(tools: Readonly<Record<string, string>>): readonly string[] {
  const missing = Object.entries(tools).filter(([name]) => toolPath(name) === undefined);
  return [...new Set(missing.map(([, packageName]) => packageName))];
}

/** The environment of a program of the system: C locale, and where such programs are. */
export function toolEnvironment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  // What a test runner tells Node by its environment is nothing for programs that we start.
  return { ...process.env, NODE_OPTIONS: '', PATH: searchPath(), LC_ALL: 'C.UTF-8', ...more };
}

/** Runs a program to its end, however it ends. */
export async function tryTool(
  name: string,
  args: readonly string[],
  { input, env, onLine }: ToolOptions = {},
): Promise<ToolResult> {
  const child = spawn(name, args, { env: toolEnvironment(env), stdio: ['pipe', 'pipe', 'pipe'] });
  // One that ends without reading all of its input has its reasons, and says them.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input ?? '');
  let stdout = '';
  let stderr = '';
  let line = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (onLine === undefined) return;
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    lines.forEach(onLine);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-ERRORS_KEPT);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { exit: code ?? BY_SIGNAL, stdout, stderr };
}

/**
 * Runs a program that has to succeed; returns what it printed.
 * @throws NakodoError `tool-failed` with what it said.
 */
export async function runTool(
  name: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<string> {
  const { exit, stdout, stderr } = await tryTool(name, args, options);
  if (exit === 0) return stdout;
  const said = (stderr.trim() || stdout.trim()).slice(-SAID_SHOWN);
  throw new NakodoError(
    'tool-failed',
    `${name} ended with ${exit}: ${said}`,
    'mend what it says, then run this again; nothing half-made was left under its final name',
  );
}
