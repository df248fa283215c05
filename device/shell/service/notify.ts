// What the agent tells the service manager that started it: sd_notify(3), spoken through the
// program `systemd-notify` as a child, since Node has no Unix datagram sockets. The unit therefore
// says NotifyAccess=all. The child waits until its message is taken (its own BARRIER, systemd ≥
// 246): a message of a process that is gone by then is attributed to no unit and dropped.
// Assumption: whatever goes wrong here is said once in the log and never ends the agent.

import { spawn } from 'node:child_process';
import { errorMessage } from '../../../protocol/errors.ts';
import type { Log } from '../../../protocol/io/log.ts';
import { MICROS_PER_MS } from '../../../protocol/time.ts';

/** Debian's `systemd` has it in /usr/bin, and every unit has that in its path. */
const PROGRAM = 'systemd-notify';
/** Milliseconds after which a child that does not end is ended: its own barrier waits for 5 s. */
const CHILD_MS_MAX = 10_000;
/** Characters of a status line: one line of `systemctl status`. */
const STATUS_CHARS_MAX = 200;
/** Milliseconds between two messages of the watchdog at the most: what a timer can express. */
const EVERY_MS_MAX = 2_147_483_647;

/** One message: the variables of sd_notify(3) that we use. */
export interface ServiceMessage {
  /** The service is up: what waits for it may start. */
  readonly ready?: boolean;
  /** It is going down. */
  readonly stopping?: boolean;
  /** It is alive: the watchdog starts over. */
  readonly alive?: boolean;
  /** One line for people. */
  readonly status?: string;
}

/** The way to the service manager. */
export interface ServiceManager {
  /**
   * Milliseconds in which it wants to hear `alive`, or it restarts us; undefined: it never asks.
   * Half of it is a good time for the next message.
   */
  readonly watchdogMs: number | undefined;
  /** Tells it; resolves when that is done or has failed. Messages follow one another. */
  tell(message: ServiceMessage): Promise<void>;
}

/**
 * The service manager that started this process, by $NOTIFY_SOCKET; undefined: there is none. Takes
 * its variables out of `env`, so that no child of ours speaks for us (sd_notify(3),
 * `unset_environment`).
 */
export function serviceManager(env: NodeJS.ProcessEnv, log: Log): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env;
  delete env.NOTIFY_SOCKET;
  delete env.WATCHDOG_USEC;
  delete env.WATCHDOG_PID;
  if (socket === undefined || socket === '') return undefined;
  let told: Promise<void> = Promise.resolve();
  let hasFailed = false;
  const send = async (message: ServiceMessage): Promise<void> => {
    try {
      await run(socket, variables(message), env.PATH);
    } catch (error) {
      if (hasFailed) return;
      hasFailed = true;
      log.warn('service-manager-not-told', { why: errorMessage(error) });
    }
  };
  return {
    watchdogMs: watchdogMs(usec, pid),
    tell(message) {
      told = told.then(() => send(message));
      return told;
    },
  };
}

/** sd_watchdog_enabled(3): the time is ours unless the variable names another process. */
function watchdogMs(usec: string | undefined, pid: string | undefined): number | undefined {
  if (usec === undefined || !/^\d{1,15}$/.test(usec)) return undefined;
  if (pid !== undefined && pid !== String(process.pid)) return undefined;
  const milliseconds = Math.floor(Number(usec) / MICROS_PER_MS);
  return milliseconds === 0 ? undefined : Math.min(milliseconds, EVERY_MS_MAX);
}

function variables({ ready, stopping, alive, status }: ServiceMessage): readonly string[] {
  // One line: a line feed would begin another variable.
  const line = status?.replaceAll(/\p{C}/gu, ' ').slice(0, STATUS_CHARS_MAX);
  return [
    ...(ready === true ? ['READY=1'] : []),
    ...(stopping === true ? ['STOPPING=1'] : []),
    ...(alive === true ? ['WATCHDOG=1'] : []),
    ...(line === undefined ? [] : [`STATUS=${line}`]),
  ];
}

function run(socket: string, words: readonly string[], path: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(PROGRAM, words, {
      stdio: 'ignore',
      env: { NOTIFY_SOCKET: socket, ...(path === undefined ? {} : { PATH: path }) },
    });
    // Not the option of that name: it keeps its timer where there is no such program.
    const late = setTimeout(() => child.kill('SIGKILL'), CHILD_MS_MAX);
    child.once('error', (error) => {
      clearTimeout(late);
      reject(error);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(late);
      if (code === 0) resolve();
      else reject(new Error(`${PROGRAM} ended with ${signal ?? code}`));
    });
  });
}
