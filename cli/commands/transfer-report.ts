// What `send` and `get` say: how far they are, what passed under which name, what did not and why,
// and how to go on after a limit.

import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import { formatDuration, formatSize } from '../../protocol/units.ts';
import { shown } from '../../device/services/file/transfer-error.ts';
import type { Output } from '../output.ts';
import type { CommandTalk, TalkWish } from '../talk.ts';
import { type FileMeter, TransferProgress } from '../transfer-progress.ts';
import { type Job, type Outcome, TransferFailed, type Transferred, transfer } from '../transfer.ts';
import { talkWords } from './talk-words.ts';

/** Names of single files that are said; beyond it their number. */
const LINES_MAX = 20;
const MS = 1000;

/** Something that was passed over, and why. */
interface PassedOver {
  readonly path: string;
  readonly why: string;
}

/** A transfer as a command wants it. */
interface TransferCommand<J extends Job> {
  readonly home: string | undefined;
  readonly wish: TalkWish;
  readonly jobs: (
    talk: CommandTalk,
  ) => Promise<{ readonly files: readonly J[]; readonly skipped: readonly PassedOver[] }>;
  readonly pass: (talk: CommandTalk, job: J, meter: FileMeter) => Promise<object>;
  /** `Delivered to`, `Fetched from`. */
  readonly verb: string;
}

/** A file or folder that passed. */
type Passed = Readonly<{
  path: string;
  savedAs?: string;
  size?: number;
  resumedAt?: number;
  wasThere?: boolean;
}>;

/** Runs a transfer to its end and reports it; the exit code. */
export async function runTransfer<J extends Job>(
  output: Output,
  { home, wish, jobs, pass, verb }: TransferCommand<J>,
): Promise<ExitCode> {
  const words = talkWords(output, wish.to, wish.extend !== false);
  const progress = new TransferProgress(output);
  let skipped: readonly PassedOver[] = [];
  let session: string | undefined;
  try {
    const transferred = await transfer<J, object>({
      home,
      wish,
      words,
      progress,
      jobs: async (talk) => {
        ({ session } = talk.open);
        const planned = await jobs(talk);
        ({ skipped } = planned);
        const bytes = planned.files.reduce((sum, { size }) => sum + size, 0);
        progress.begin(planned.files.length, bytes);
        return planned.files;
      },
      pass,
      onAgain: (why, pauseMs) => {
        const pause = formatDuration(pauseMs);
        output.warn(`${why.message}: calling ${wish.to} again in ${pause} (${progress.words}).`);
      },
    });
    return report(output, { transferred, skipped, progress, wish, verb });
  } catch (error) {
    const [cause, outcomes] =
      error instanceof TransferFailed ? [error.cause as NakodoError, error.outcomes] : [error, []];
    sayPassedOver(output, skipped);
    const fields = session === undefined ? {} : { session, to: wish.to };
    return output.error(explained(cause, progress), {
      ...fields,
      ...words.known(),
      ...(outcomes.length === 0 ? {} : { files: outcomes }),
    });
  } finally {
    output.progressDone();
  }
}

/** An error that ended a transfer, with how far it got and how to go on. */
function explained(cause: unknown, progress: TransferProgress): unknown {
  if (!(cause instanceof NakodoError) || !progress.hasBegun) return cause;
  const { code, message, next, exit } = cause;
  if (exit !== EXIT.limit && exit !== EXIT.unreachable) return cause;
  return new NakodoError(
    code,
    `${message}; ${progress.words} had passed`,
    `the same command goes on where this one stopped; ${next}`,
    exit,
  );
}

interface Report {
  readonly transferred: Transferred<object>;
  readonly skipped: readonly PassedOver[];
  readonly progress: TransferProgress;
  readonly wish: TalkWish;
  readonly verb: string;
}

function report(output: Output, all: Report): ExitCode {
  const { transferred, skipped, progress, wish, verb } = all;
  const { outcomes, calls, setupSeconds, end } = transferred;
  const { seconds, bytes } = progress;
  const rate = seconds > 0 ? bytes / seconds : 0;
  const result = { ...end, to: wish.to, bytes, seconds, setupSeconds, rate, calls };
  const failed = outcomes.filter((each) => 'error' in each);
  sayPassedOver(output, skipped);
  const fields = { ...result, files: outcomes, skipped };
  if (failed.length > 0) return output.error(notAll(output, failed, outcomes.length), fields);
  const passed = outcomes as readonly Passed[];
  const what = passed.length === 1 ? '1 file' : `${passed.length} files`;
  const time = formatDuration(seconds * MS);
  const speed = `${formatSize(bytes)} in ${time} (${formatSize(rate)}/s)`;
  const first = `${verb} ${wish.to}: ${what}, ${speed}.`;
  output.result(fields, [first, ...remarks(passed)].join('\n'));
  return EXIT.done;
}

/** What a person wants to know of files whose names or contents are not as sent. */
function remarks(passed: readonly Passed[]): readonly string[] {
  const renamed = passed.filter(({ path, savedAs }) => savedAs !== undefined && savedAs !== path);
  const there = passed.filter(({ wasThere }) => wasThere === true).length;
  const resumed = passed.filter(
    ({ resumedAt = 0, wasThere }) => resumedAt > 0 && wasThere !== true,
  );
  return [
    ...few(
      renamed.map(
        ({ path, savedAs = '' }) =>
          `${shown(path)} was there already; this one is ${shown(savedAs)}.`,
      ),
    ),
    ...(there === 0 ? [] : [`${there === 1 ? '1 was' : `${there} were`} there already, the same.`]),
    ...few(
      resumed.map(
        ({ path, resumedAt }) => `${shown(path)} went on from ${formatSize(resumedAt ?? 0)}.`,
      ),
    ),
  ];
}

/** Some did not pass, each for a reason of its own. */
function notAll(
  output: Output,
  failed: readonly Outcome<object>[],
  count: number,
): NakodoError | undefined {
  const errors = failed.flatMap((each) => ('error' in each ? [each.error] : []));
  const [first] = errors;
  if (count > 1) {
    for (const line of few(errors.map(({ message }) => message))) {
      if (!output.json) output.warn(line);
    }
    const message = `${errors.length} of ${count} did not pass`;
    return new NakodoError(first.code, message, 'mend what is said above, then the same again');
  }
  const next = first.next;
  return new NakodoError(first.code, first.message, next);
}

function sayPassedOver(output: Output, skipped: readonly PassedOver[]): void {
  if (output.json) return;
  for (const line of few(skipped.map(({ path, why }) => `passed over: ${shown(path)} (${why})`))) {
    output.warn(line);
  }
}

function few(lines: readonly string[]): readonly string[] {
  if (lines.length <= LINES_MAX) return lines;
  return [...lines.slice(0, LINES_MAX), `… and ${lines.length - LINES_MAX} more`];
}
