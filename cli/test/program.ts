// The program as a user runs it: real processes with homes of their own in a temporary folder,
// ended by their id when the test is over.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const MAIN = join(import.meta.dirname, '..', 'main.js');
// tap puts its own loaders into the NODE_OPTIONS of every child, which then takes a second to
// start; a user's process has none.
const NODE = ['-u', 'NODE_OPTIONS', process.execPath];
const PROGRAM = [...NODE, MAIN];

/** What tap's `t` offers for clearing away. */
interface Teardown {
  teardown(clear: () => unknown): void;
}

export interface Result {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as JSON; undefined if it is none. */
  readonly said: Record<string, unknown> | undefined;
}

/** Starts a command whose lines are read one by one; ended when the test is over. */
export function follow(
  t: Teardown,
  args: readonly string[],
): { readonly line: (wanted: (line: string) => boolean) => Promise<string> } {
  const child = spawn('env', [...PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGTERM');
    await closed;
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return {
    async line(wanted) {
      for (;;) {
        const found = text.split('\n').slice(0, -1).find(wanted);
        if (found !== undefined) return found;
        await once(child.stdout, 'data');
      }
    },
  };
}

export interface Running {
  readonly ready: Record<string, unknown>;
  readonly child: ChildProcess;
  /** SIGTERM; resolves with the exit code. */
  end(): Promise<number | null>;
}

/** A folder that is removed when the test is over. */
export function folder(t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'nk-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Runs a command to its end. `main`: another program than that of this checkout. */
export async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  main = MAIN,
): Promise<Result> {
  const child = spawn('env', [...NODE, main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NAKODO_HOME: undefined, NAKODO_DEBUG: undefined, ...env },
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const [exit] = (await once(child, 'close')) as [number | null];
  const stdout = Buffer.concat(out).toString();
  return { exit, stdout, stderr: Buffer.concat(err).toString(), said: json(stdout) };
}

/** Starts a server or an agent, waits for its ready line, and ends it when the test is over. */
export async function start(
  t: Teardown,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  main = MAIN,
): Promise<Running> {
  const child = spawn('env', [...NODE, main, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NAKODO_HOME: undefined, ...env },
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  const end = async (): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    const [exit] = await closed;
    return exit;
  };
  t.teardown(end);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const lines = createInterface(child.stdout);
  const ready = await new Promise<Record<string, unknown>>((resolve, reject) => {
    lines.on('line', (line) => {
      const value = json(line);
      if (value?.ready === true) resolve(value);
      else reject(new Error(`${args[0]}: ${line}`));
    });
    void closed.then(([exit]) => reject(new Error(`${args[0]} ended with ${exit}: ${stderr}`)));
  });
  return { ready, child, end };
}

/** A server in one process, on free ports. */
export async function serve(t: Teardown, home: string): Promise<Running> {
  return start(t, ['serve', '--home', home, '--mqtt-port', '0', '--http-port', '0']);
}

/** Enrols a terminal with a ticket of its own and starts its agent. */
export async function terminal(
  t: Teardown,
  where: { readonly server: string; readonly home: string; readonly name: string },
  options: readonly string[] = [],
): Promise<Running> {
  const { said } = await run(['ticket', '--name', where.name, '--home', where.server, '--json']);
  await run(['enroll', String(said?.ticket), '--home', where.home]);
  return start(t, ['agent', '--home', where.home, ...options]);
}

/** What a line of JSON says; undefined if it is none. */
export function json(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
