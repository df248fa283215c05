// How every command is declared: arguments, --home, --json, an example and its exit codes in the
// help, and one way to run. Heavy modules are imported by the runs, never here, so that `--help`
// and wrong use answer at once.

import { Command, InvalidArgumentError, Option } from 'commander';
import { type ExitCode, UsageError } from '../../protocol/errors.ts';
import { formatDuration, parseDuration, parseSize } from '../../protocol/units.ts';
import { Output } from '../output.ts';

/** What every command takes. */
export interface CommonOptions {
  readonly home?: string;
  readonly json?: boolean;
}

/** A command's face. */
interface CommandFace {
  /** As commander reads it: `send <name> <files...>`. */
  readonly usage: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** What its own help says beside it. */
  readonly details?: string;
  /** What `--home` means to it, where that is not the usual. */
  readonly home?: string;
  /** Whole command lines, each one copied and pasted by somebody. */
  readonly examples: readonly string[];
  /** The exit codes it uses beside 0, 1 and 2. */
  readonly exits?: readonly ExitCode[];
}

const EXIT_WORDS: Readonly<Record<ExitCode, string>> = {
  0: 'done',
  1: 'failed',
  2: 'wrong use',
  3: 'refused (or unknown, asleep, away: one answer for all)',
  4: 'ended by a limit or by the operator',
  5: 'server or path not reachable',
};

const HOME_HELP = 'where the state is kept (else $NAKODO_HOME, else ~/.nakodo)';

/** Adds a command to the program; options are then added to what it returns. */
export function declare(program: Command, face: CommandFace): Command {
  const exits: readonly ExitCode[] = [0, 1, 2, ...(face.exits ?? [])];
  return program
    .command(face.usage)
    .summary(face.summary)
    .description([face.summary, ...(face.details === undefined ? [] : [face.details])].join('\n'))
    .option('--home <dir>', face.home ?? HOME_HELP)
    .option('--json', 'say it in JSON')
    .addHelpText(
      'after',
      [
        '',
        face.examples.length === 1 ? 'Example:' : 'Examples:',
        ...face.examples.map((example) => `  $ ${example}`),
        '',
        'Exit codes:',
        ...exits.map((code) => `  ${code}  ${EXIT_WORDS[code]}`),
      ].join('\n'),
    );
}

/** Binds what a command does; its exit code, or one that it passes on, becomes the program's. */
export function runs<O>(
  command: Command,
  run: (output: Output, options: O & CommonOptions, args: readonly string[]) => Promise<number>,
): void {
  command.action(async () => {
    const options = command.opts<O & CommonOptions>();
    const args = command.processedArgs.flat() as readonly string[];
    process.exitCode = await run(new Output(options.json === true), options, args);
  });
}

/** An option that takes a size (`200MB`, `200MiB`) of at least one byte, in bytes. */
export const someBytesOption = (flags: string, description: string): Option =>
  new Option(flags, description).argParser((text) => {
    const bytes = accepted(() => parseSize(text));
    return parsed(bytes >= 1 ? bytes : undefined, 'at least 1 byte, like 200MB');
  });

/** An option that takes a time from `minMs` to `maxMs`, in milliseconds. */
export const boundedDurationOption = (
  flags: string,
  description: string,
  { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
): Option =>
  new Option(flags, description).argParser((text) => {
    const time = accepted(() => parseDuration(text));
    const wanted = `a time from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
    return parsed(time >= minMs && time <= maxMs ? time : undefined, wanted);
  });

/** An option that takes a time (`90s`, `15m`, `1h`), in milliseconds. */
export const durationOption = (flags: string, description: string): Option =>
  new Option(flags, description).argParser((text) => accepted(() => parseDuration(text)));

/** An option with a form of its own; `parse` throws a UsageError for what is not in it. */
export const ownOption = <T>(flags: string, description: string, parse: (text: string) => T) =>
  new Option(flags, description).argParser((text) => accepted(() => parse(text)));

/**
 * An option that may be given up to `max` times, or take as many words; `parse` throws a UsageError
 * for a word that is not in its form.
 */
export const listOption = <T>(
  flags: string,
  description: string,
  { parse, max }: { readonly parse: (text: string) => T; readonly max: number },
): Option =>
  new Option(flags, description).argParser((text, before: readonly T[] | undefined) => {
    const given = before ?? [];
    if (given.length >= max) throw new InvalidArgumentError(`At most ${max} can be named.`);
    return [...given, accepted(() => parse(text))];
  });

/** An option that takes a port, 0 for any free one; without `preset` it may be left undefined. */
export function portOption(flags: string, description: string, preset?: number): Option {
  return new Option(flags, description).default(preset).argParser((text) => {
    const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
    return parsed(port <= 65_535 ? port : undefined, 'a port from 0 (any free one) to 65535');
  });
}

/** An option that takes a whole number of at least 1. */
export function countOption(flags: string, description: string, preset: number): Option {
  return new Option(flags, description).default(preset).argParser((text) => {
    const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
    return parsed(count >= 1 ? count : undefined, 'a whole number from 1');
  });
}

/** What a parser of ours gives; what it throws for a typing error becomes commander's. */
function accepted<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof UsageError) throw new InvalidArgumentError(error.message);
    throw error;
  }
}

function parsed<T>(value: T | undefined, wanted: string): T {
  if (value === undefined) throw new InvalidArgumentError(`It must be ${wanted}.`);
  return value;
}
