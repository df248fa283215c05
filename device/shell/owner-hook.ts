// Runs the command of an allow-list entry that asks (`ask = "command"`): the owner's own program,
// a lamp and a button perhaps, says yes by ending with exit code 0. There is no shell in between;
// whatever a caller chooses reaches the command in its environment only. A command that takes
// longer than the caller waits is killed, with all that it started.

import { type ChildProcess, spawn } from 'node:child_process';
import { errorCode } from '../../protocol/errors.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import type { Log } from '../../protocol/io/log.ts';
import { MICROS_PER_MS } from '../../protocol/time.ts';
import type { OwnerQuestion } from '../terminal-types.ts';

/**
 * Commands that run at the same time; further questions wait for their turn. Strangers get at most
 * half: a command may wait for somebody to press a button, for as long as a stranger waits.
 */
const HOOKS_MAX = 4;

interface Job {
  readonly question: OwnerQuestion;
  readonly command: string;
  readonly answer: (approved: boolean) => void;
}

interface Run {
  readonly isKnown: boolean;
  readonly child: ChildProcess;
  readonly deadline: NodeJS.Timeout;
  /** Undefined: nobody waits for it any more. */
  answer: Job['answer'] | undefined;
}

/** The commands of one terminal. */
export class OwnerHooks {
  readonly #clock: Clock;
  readonly #log: Log;
  /** As many as the owner's questions, at most; see owner.ts. */
  readonly #waiting: Job[] = [];
  readonly #running = new Map<number, Run>();

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Runs `command`, whose words are separated by blanks, and answers once: true if it ends with
   * exit code 0 before `question.until`. The environment is the agent's, with NAKODO_CALLER,
   * NAKODO_CALLER_ID, NAKODO_SERVICE, NAKODO_BYTES and NAKODO_SECONDS (empty: not stated).
   */
  run(question: OwnerQuestion, command: string, answer: (approved: boolean) => void): void {
    this.#waiting.push({ question, command, answer });
    this.#next();
  }

  /** Nobody waits for this answer any more: none is given. */
  forget(ask: number): void {
    const at = this.#waiting.findIndex((job) => job.question.ask === ask);
    if (at >= 0) this.#waiting.splice(at, 1);
    const run = this.#running.get(ask);
    if (run !== undefined) giveUp(run);
  }

  /** Kills what runs; nothing is answered any more. */
  stop(): void {
    this.#waiting.length = 0;
    for (const run of this.#running.values()) giveUp(run);
  }

  #next(): void {
    while (this.#running.size < HOOKS_MAX) {
      const strangers = [...this.#running.values()].filter((run) => !run.isKnown).length;
      const isTurn = (job: Job): boolean => job.question.isKnown || strangers < HOOKS_MAX / 2;
      const at = this.#waiting.findIndex(isTurn);
      if (at < 0) return;
      const [job] = this.#waiting.splice(at, 1);
      this.#start(job);
    }
  }

  #start({ question, command, answer }: Job): void {
    const { ask, isKnown, until } = question;
    const leftMs = (until - this.#clock.now()) / MICROS_PER_MS;
    const [program, ...words] = command.trim().split(/\s+/);
    if (leftMs <= 0 || program === '') {
      answer(false);
      return;
    }
    let child: ChildProcess;
    try {
      const env = { ...process.env, ...questionEnvironment(question) };
      // A group of its own, so that it can be killed with what it started.
      child = spawn(program, words, { shell: false, detached: true, stdio: 'ignore', env });
    } catch (error) {
      this.#log.warn('ask-command-failed', { program, code: errorCode(error) });
      answer(false);
      return;
    }
    const deadline = setTimeout(() => kill(child), leftMs);
    const run: Run = { isKnown, child, deadline, answer };
    this.#running.set(ask, run);
    const ended = (approved: boolean): void => {
      if (!this.#running.delete(ask)) return;
      clearTimeout(deadline);
      run.answer?.(approved);
      this.#next();
    };
    child.once('error', (error) => {
      this.#log.warn('ask-command-failed', { program, code: errorCode(error) });
      ended(false);
    });
    child.once('exit', (code, signal) => {
      this.#log.debug('ask-command-ended', { code: code ?? signal ?? '' });
      ended(code === 0);
    });
  }
}

function questionEnvironment({ caller, service, want }: OwnerQuestion): NodeJS.ProcessEnv {
  return {
    NAKODO_CALLER: caller.name,
    NAKODO_CALLER_ID: caller.id,
    NAKODO_SERVICE: service,
    NAKODO_BYTES: String(want.bytes ?? ''),
    NAKODO_SECONDS: String(want.seconds ?? ''),
  };
}

function giveUp(run: Run): void {
  run.answer = undefined;
  kill(run.child);
}

/** Ends a command and its children at once. */
function kill(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended a moment ago.
  }
}
