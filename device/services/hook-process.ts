// One running command of the owner's that answers a peer: no shell, none of the peer's words on its
// command line, a small environment of its own, and a process group that goes when the work is
// over. What it leaves behind in its group when it ends goes with it.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { errorCode } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/io/log.ts';
import type { SessionInfo } from '../shell/session-types.ts';

/** Milliseconds between SIGTERM and SIGKILL. */
const KILL_AFTER_MS = 2_000;
/** Milliseconds without output after which a command that ended is not listened to any more. */
const LINGER_MS = 1_000;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** How a command ended: its exit code, or the signal's number. */
type HookEnd =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'killed'; readonly signal: number };

/** A command that runs. */
export interface HookProcess {
  readonly child: ChildProcessWithoutNullStreams;
  /** Resolves when it has ended, perhaps before all its output is read; never rejects. */
  readonly ended: Promise<HookEnd>;
  /** Ends it, with its group: SIGTERM, SIGKILL 2 s later. Does nothing the second time. */
  stop(): void;
}

/** Commands under way in this process; each is counted by its hook's `at_once`. */
const running = new Set<HookProcess>();
let isGuarded = false;

/**
 * Starts `command`, whose words are separated by blanks, for a talk. Never throws; undefined: it
 * could not be started, and its owner finds why in the log.
 */
export function startHook(command: string, info: SessionInfo, log: Log): HookProcess | undefined {
  const [program, ...words] = command.trim().split(/\s+/);
  const failed = (error: unknown): void =>
    log.error('hook-not-started', { program, code: errorCode(error) });
  try {
    const child = spawn(program, words, {
      cwd: '/',
      env: environment(info),
      shell: false,
      // A group of its own, so that it can be killed with what it started.
      detached: true,
      stdio: 'pipe',
    });
    child.on('error', failed);
    return child.pid === undefined ? undefined : watched(child);
  } catch (error) {
    failed(error);
    return undefined;
  }
}

/**
 * Ends all commands of this process, for an agent that stops; resolves when they have ended, 2 s
 * later at most.
 */
export async function stopHooks(): Promise<void> {
  for (const hook of running) hook.stop();
  await Promise.all([...running].map(({ ended }) => ended));
}

function watched(child: ChildProcessWithoutNullStreams): HookProcess {
  let late: NodeJS.Timeout | undefined;
  const ended = new Promise<HookEnd>((resolve) => {
    child.once('exit', (code, signal) => {
      running.delete(hook);
      clearTimeout(late);
      killGroup(child, 'SIGKILL');
      for (const output of [child.stdout, child.stderr]) closeWhenSilent(output as Socket);
      resolve(
        signal === null
          ? { kind: 'exited', code: code ?? 0 }
          : { kind: 'killed', signal: constants.signals[signal] },
      );
    });
  });
  // What a hook does with its streams is its own affair: EPIPE ends nothing here.
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream.on('error', () => {});
  const hook: HookProcess = {
    child,
    ended,
    stop() {
      if (late !== undefined || !running.has(hook)) return;
      killGroup(child, 'SIGTERM');
      late = setTimeout(() => killGroup(child, 'SIGKILL'), KILL_AFTER_MS);
    },
  };
  running.add(hook);
  guardExit();
  return hook;
}

/** An agent that stops leaves no command behind. */
function guardExit(): void {
  if (isGuarded) return;
  isGuarded = true;
  process.on('exit', () => {
    for (const { child } of running) killGroup(child, 'SIGKILL');
  });
}

/** Somebody who left the group may hold an output open for ever: it is not waited for. */
function closeWhenSilent(output: Socket): void {
  if (output.closed) return;
  let last = -1;
  const timer = setInterval(() => {
    // What is read, but not yet taken, waits for a slow peer.
    if (output.bytesRead === last && output.readableLength === 0) output.destroy();
    last = output.bytesRead;
  }, LINGER_MS);
  output.once('close', () => clearInterval(timer));
}

function environment({ peer, session, service }: SessionInfo): NodeJS.ProcessEnv {
  const { HOME, LANG } = process.env;
  return {
    PATH,
    ...(HOME !== undefined && { HOME }),
    ...(LANG !== undefined && { LANG }),
    NAKODO_PEER: peer.name,
    NAKODO_PEER_ID: peer.id,
    NAKODO_SESSION: session,
    NAKODO_SERVICE: service,
  };
}

function killGroup({ pid }: ChildProcessWithoutNullStreams, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in it.
  }
}
