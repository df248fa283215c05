#!/usr/bin/env node
// The program `nakodo`: reads the command line, runs one command, and ends with one of six exit
// codes (design §7). Commands load what they need when they run.

import { Command, CommanderError } from 'commander';
import { EXIT, type ExitCode, NakodoError, UsageError } from '../protocol/errors.ts';
import { declareDemo } from './commands/demo.ts';
import { declareFleet } from './commands/fleet.ts';
import { declareList } from './commands/list.ts';
import { declareLog } from './commands/log.ts';
import { declareOperator } from './commands/operator.ts';
import { declareOwner } from './commands/owner.ts';
import { declareSend } from './commands/send.ts';
import { declareServers } from './commands/servers.ts';
import { declareSim } from './commands/sim.ts';
import { declareTerminal } from './commands/terminal.ts';
import { Output, endOnClosedPipe } from './output.ts';

const VERSION = '0.1.0';

function nakodo(): Command {
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
      '\nExample:\n  $ nakodo demo\n\nEvery command has its own help: nakodo send --help',
    );
  program.commandsGroup('Trying:');
  declareDemo(program);
  declareSim(program);
  declareFleet(program);
  program.commandsGroup('Operator:');
  declareServers(program);
  declareOperator(program);
  declareLog(program);
  program.commandsGroup('Terminal:');
  declareTerminal(program);
  declareList(program);
  declareOwner(program);
  declareSend(program);
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

function exitOf(error: unknown, argv: readonly string[]): ExitCode {
  const output = new Output(argv.includes('--json'));
  const commands = nakodo().commands.map((command) => command.name());
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

async function main(argv: readonly string[]): Promise<void> {
  endOnClosedPipe();
  try {
    await nakodo().parseAsync(argv, { from: 'user' });
  } catch (error) {
    process.exitCode = exitOf(error, argv);
  }
  // A command that is done is done, whatever still keeps the event loop busy.
  process.stdout.write('', () => process.exit());
}

await main(process.argv.slice(2));
