// A process of a fleet: forked, asked in turn, ended by its id. It stands in a group of its own, so
// that Ctrl-C reaches the conductor alone, and ends when the channel to the conductor does, so that
// none is left whatever becomes of it.

import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { NakodoError } from '../../protocol/errors.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { Word } from './orders.ts';

/** How a process is started. */
interface ChildOptions {
  /** For messages: `terminals 1`, `broker`. */
  readonly name: string;
  /** The compiled module that it runs. */
  readonly file: string;
  readonly args?: readonly string[];
  readonly execArgv?: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly onTick?: (word: Extract<Word, { kind: 'tick' }>) => void;
  /** It ended without having been told to. */
  readonly onDeath: (error: NakodoError) => void;
}

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** A running process. */
export class Child {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #options: ChildOptions;
  /** Orders that wait for their answers, oldest first; a handful, as each waits for the last. */
  readonly #waiting: Waiting[] = [];
  readonly #exited: Promise<NakodoError>;
  #stderr = '';
  #isEnding = false;
  #death: NakodoError | undefined;

  constructor(options: ChildOptions) {
    this.name = options.name;
    this.#options = options;
    this.#process = fork(options.file, [...(options.args ?? [])], {
      execArgv: [...(options.execArgv ?? [])],
      env: options.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#process.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-FLEET_LIMITS.stderrCharacters);
    });
    this.#process.on('message', (word: Word) => this.#onWord(word));
    this.#exited = new Promise((resolve) => {
      const onEnd = (how: string): void => {
        resolve(this.#onEnd(how));
      };
      this.#process.once('error', (error) => onEnd(error.message));
      this.#process.once('exit', (code, signal) => onEnd(String(signal ?? `exit code ${code}`)));
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Resolves when it has ended, with how and what it said last. */
  get ended(): Promise<NakodoError> {
    return this.#exited;
  }

  /** What it prints; nobody else reads it. */
  get stdout(): NodeJS.ReadableStream | null {
    return this.#process.stdout;
  }

  /**
   * Asks, and waits for the answer.
   * @throws NakodoError `process-died`, `process-silent`, or what it says.
   */
  ask<Answer>(order: object, patienceMs: number = FLEET_LIMITS.answerMs): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      if (this.#death !== undefined) {
        reject(this.#death);
        return;
      }
      const timer = setTimeout(() => {
        const next = 'make the fleet smaller, or give the machine time for it';
        waiting.reject(this.#error('process-silent', 'does not answer', next));
      }, patienceMs);
      const waiting: Waiting = {
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer as Answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiting.push(waiting);
      this.tell(order);
    });
  }

  /** Says something that is not answered. */
  tell(order: object): void {
    // One that is gone is heard of by its end.
    if (this.#process.connected) this.#process.send(order, () => {});
  }

  /** Ends it: politely (`SIGTERM`), then without asking. Resolves when it is gone. */
  async end(): Promise<void> {
    this.#isEnding = true;
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill('SIGTERM');
      const patience = new AbortController();
      const isGone = await Promise.race([
        this.#exited.then(() => true),
        delay(FLEET_LIMITS.endMs, false, { signal: patience.signal }).catch(() => false),
      ]);
      patience.abort();
      if (!isGone) this.#process.kill('SIGKILL');
    }
    await this.#exited;
  }

  /** Ends it at once, for when there is no time to wait. */
  kill(): void {
    this.#isEnding = true;
    this.#process.kill('SIGKILL');
  }

  #onWord(word: Word): void {
    if (word.kind === 'tick') {
      this.#options.onTick?.(word);
      return;
    }
    const waiting = this.#waiting.shift();
    if (word.kind === 'answer') waiting?.resolve(word.answer);
    else waiting?.reject(new NakodoError(word.code, `${this.name}: ${word.why}`, NEXT));
  }

  #onEnd(how: string): NakodoError {
    if (this.#death !== undefined) return this.#death;
    const said = this.#stderr.trim().split('\n').slice(-3).join(' ');
    this.#death = this.#error('process-died', `ended: ${how}${said && `: ${said}`}`, NEXT);
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#death);
    if (!this.#isEnding) this.#options.onDeath(this.#death);
    return this.#death;
  }

  #error(code: string, what: string, next: string): NakodoError {
    return new NakodoError(code, `the process of ${this.name} ${what}`, next);
  }
}

const NEXT = 'see whether the machine ran out of memory or files; a smaller fleet needs less';
