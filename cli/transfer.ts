// Many files over one talk, for `send` and `get`: several at a time, small ones side by side, and
// again over a new talk when the path is lost, as far as they had not passed. A file that cannot
// pass keeps no other from it; a limit ends all.

import { setTimeout as delay } from 'node:timers/promises';
import { FILE_LIMITS } from '../device/services/file/limits.ts';
import { isOfOneFile } from '../device/services/file/transfer-error.ts';
import { Turns } from '../device/services/file/turns.ts';
import { END_REASONS } from '../protocol/ends.ts';
import { EXIT, NakodoError, errorCode } from '../protocol/errors.ts';
import type { TalkWords } from './commands/talk-words.ts';
import { CommandTalk, type TalkEnd, type TalkWish } from './talk.ts';
import type { FileMeter, TransferProgress } from './transfer-progress.ts';

/** Something to pass. */
export interface Job {
  /** As it is called there, or here: what a person knows it by. */
  readonly path: string;
  readonly size: number;
}

/** A job that passed, or did not and keeps no other from passing. */
export type Outcome<D> =
  | (D & { readonly path: string })
  | { readonly path: string; readonly error: FileTrouble };

/** Why one file did not pass. */
interface FileTrouble {
  readonly code: string;
  readonly message: string;
  readonly next: string;
}

/** What a transfer is made of. */
interface TransferOptions<J extends Job, D> {
  readonly home: string | undefined;
  readonly wish: TalkWish;
  readonly words: TalkWords;
  readonly progress: TransferProgress;
  /** What there is to do; called once, when the first talk is open. */
  readonly jobs: (talk: CommandTalk) => Promise<readonly J[]>;
  /** Passes one of them over a talk. */
  readonly pass: (talk: CommandTalk, job: J, meter: FileMeter) => Promise<D>;
  /** A new call is about to be made, in so many milliseconds. */
  readonly onAgain: (why: NakodoError, pauseMs: number) => void;
}

/** What became of it all. */
export interface Transferred<D> {
  readonly outcomes: readonly Outcome<D>[];
  readonly calls: number;
  /** Seconds from the first call to its open talk. */
  readonly setupSeconds: number | undefined;
  readonly end: TalkEnd;
}

/** An error that ended a transfer, and what had passed before it. */
export class TransferFailed<D> extends Error {
  override readonly cause: NakodoError;
  readonly outcomes: readonly Outcome<D>[];

  constructor(cause: NakodoError, outcomes: readonly Outcome<D>[]) {
    super(cause.message);
    this.name = 'TransferFailed';
    this.cause = cause;
    this.outcomes = outcomes;
  }
}

/**
 * Passes all jobs, in their order as far as they do not pass side by side.
 * @throws NakodoError if no talk came about at first, else TransferFailed.
 */
export async function transfer<J extends Job, D extends object>(
  options: TransferOptions<J, D>,
): Promise<Transferred<D>> {
  const outcomes: Outcome<D>[] = [];
  let left: readonly J[] | undefined;
  let setupSeconds: number | undefined;
  for (let calls = 1; ; calls++) {
    let failure: unknown;
    try {
      const talk = await begin(options);
      setupSeconds ??= talk.open.setupSeconds;
      left ??= await options.jobs(talk).catch((error: unknown) => leave(talk, error));
      const run = new Run(options, talk, outcomes);
      left = await run.all(left);
      if (run.failure === undefined) {
        // Every answer is here: whatever ends the talk now ends nothing that was wanted of it.
        const end = await talk.done().catch(() => options.words.known());
        return { outcomes, calls, setupSeconds, end };
      }
      failure = await leave(talk, run.failure).catch((error: unknown) => error);
    } catch (error) {
      failure = error;
    }
    const why = asNakodoError(failure);
    if (left === undefined) throw why;
    // A terminal that is being started again does not take calls yet.
    const mayReturn = why.exit === EXIT.unreachable || (calls > 1 && why.exit === EXIT.refused);
    if (!mayReturn || calls > FILE_LIMITS.callsAgainMax) throw new TransferFailed(why, outcomes);
    const pauseMs = FILE_LIMITS.callAgainFirstMs * 2 ** (calls - 1);
    options.onAgain(why, pauseMs);
    await delay(pauseMs);
  }
}

function begin<J extends Job, D>({
  home,
  wish,
  words,
}: TransferOptions<J, D>): Promise<CommandTalk> {
  return CommandTalk.begin(wish, { home, onEvent: words.hear });
}

const reasons: ReadonlySet<string> = new Set(END_REASONS.map(({ reason }) => reason));

/** Leaves a talk because of an error: waits for its end if that is the error. Always throws. */
async function leave(talk: CommandTalk, error: unknown): Promise<never> {
  if (reasons.has(errorCode(error))) await talk.ended.catch(() => {});
  else talk.giveUp();
  throw error;
}

/** All jobs over one talk. */
class Run<J extends Job, D extends object> {
  /** What ended it. */
  failure: unknown;
  readonly #options: TransferOptions<J, D>;
  readonly #talk: CommandTalk;
  readonly #outcomes: Outcome<D>[];
  readonly #turns = new Turns(FILE_LIMITS.streamsAtOnce);

  constructor(options: TransferOptions<J, D>, talk: CommandTalk, outcomes: Outcome<D>[]) {
    this.#options = options;
    this.#talk = talk;
    this.#outcomes = outcomes;
  }

  /** Answers with those that have not passed. */
  async all(jobs: readonly J[]): Promise<readonly J[]> {
    const left = new Set(jobs);
    const running = new Set<Promise<void>>();
    for (const job of jobs) {
      const share = job.size >= FILE_LIMITS.resumeBytesLeast ? FILE_LIMITS.largeFileShare : 1;
      await this.#turns.take(share);
      if (this.failure !== undefined) break;
      const one = this.#one(job).then((isOver) => {
        if (isOver) left.delete(job);
        running.delete(one);
        this.#turns.give(share);
      });
      running.add(one);
    }
    await Promise.all(running);
    return [...left];
  }

  /** Whether nothing more is to be done about it. */
  async #one(job: J): Promise<boolean> {
    const meter = this.#options.progress.file();
    const { path } = job;
    try {
      this.#outcomes.push({ ...(await this.#options.pass(this.#talk, job, meter)), path });
      meter.done();
      return true;
    } catch (error) {
      meter.undo();
      const { code, message, next } = asNakodoError(error);
      if (isOfOneFile(code)) {
        this.#outcomes.push({ path, error: { code, message, next } });
        return true;
      }
      // The others fail of the same, or of the talk that is left now.
      if (this.failure === undefined && !reasons.has(code)) this.#talk.giveUp();
      this.failure ??= error;
      return false;
    }
  }
}

function asNakodoError(error: unknown): NakodoError {
  if (error instanceof NakodoError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new NakodoError('unexpected', message, 'run it again with NAKODO_DEBUG=1');
}
