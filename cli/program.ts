// The program `nakodo` from a list of commands: reads the command line, runs one command, and ends
// with one of six exit codes (design §7). `main.ts` gives it every command, `terminal-main.ts` only
// those of a terminal. Commands load what they need when they run.

import { Command, CommanderError } from 'commander';
import { EXIT, type ExitCode, NakodoError, UsageError } from '../protocol/errors.ts';
import { Output, endOnClosedPipe } from './output.ts';

/** The program's version, that of `package.json`; the bundle is not made with another. */
export const VERSION = '0.1.0';

/** Commands that stand together in the help, in the order in which they are listed. */
export interface CommandGroup {
  /** Its heading: `Terminal:`. */
  readonly title: string;
  /** Each adds one command, or a few. */
  readonly declares: readonly ((program: Command) => void)[];
}

/** What a program is made of. */
export interface ProgramParts {
  /** A whole command line for those who type `nakodo --help`. */
  readonly example: string;
  readonly groups: readonly CommandGroup[];
}

/**
 * Runs one command of `parts` as `argv` (without node and script) says, and ends the process when
 * it is done. Whatever goes wrong is said in two lines, or as JSON where `--json` stands in `argv`.
 */
export async function runProgram(parts: ProgramParts, argv: readonly string[]): Promise<void> {
  endOnClosedPipe();
  const program = programOf(parts);
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    process.exitCode = exitOf(error, argv, program);
  }
  // A command that is done is done, whatever still keeps the event loop busy.
  process.stdout.write('', () => process.exit());
}

/** The program as commander has it; nothing runs. */
export function programOf({ example, groups }: ProgramParts): Command {
  const program = new Command('nakodo')
    .description(
      'Introduces two terminals by name, only when the callee agrees, for a time and a number\n' +
        'of bytes; then they talk directly and encrypted, and the operator sees every talk end.',
    )
    .version(VERSION)
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ helpWidth: 100 })
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      'after',
      `\nExample:\n  $ ${example}\n\nEvery command has its own help: nakodo send --help`,
    );
  for (const { title, declares } of groups) {
    program.commandsGroup(title);
    for (const declare of declares) declare(program);
  }
  return program;
}

/** What commander found wrong, in our two lines. */
function wrongUse(error: CommanderError, argv: readonly string[], help: string): NakodoError {
  const [first, ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = rest.join(' ').replace(/[()]/g, '').trim() || hint(error, argv);
  return new NakodoError(
    'usage',
    first,
    suggestion === '' ? help : `${suggestion} — ${help}`,
    EXIT.usage,
  );
}

/** What to do about a slip that commander has no suggestion for; '' if we have none either. */
function hint(error: CommanderError, argv: readonly string[]): string {
  if (error.code === 'commander.unknownOption' && argv[0].startsWith('-')) {
    return 'options stand behind the command';
  }
  if (error.code === 'commander.excessArguments') {
    return "a size or a time is one word like 200MB or 15m, a pattern stands in quotes like '*'";
  }
  if (error.code === 'commander.missingArgument' && argv.includes('--service')) {
    return 'the name stands before --service, which takes every word behind it';
  }
  return '';
}

function exitOf(error: unknown, argv: readonly string[], program: Command): ExitCode {
  const output = new Output(argv.includes('--json'));
  const commands = program.commands.map((command) => command.name());
  const command = argv.find((word) => commands.includes(word));
  const help = `see nakodo ${command === undefined ? '' : `${command} `}--help`;
  if (error instanceof UsageError) {
    return output.error(new NakodoError(error.code, error.message, help, EXIT.usage));
  }
  if (!(error instanceof CommanderError)) return output.error(error);
  if (error.exitCode === 0) return EXIT.done;
  // `nakodo` alone: commander has already shown the help.
  if (error.code === 'commander.help') return EXIT.usage;
  return output.error(wrongUse(error, argv, help));
}
