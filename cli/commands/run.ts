// `run`: a command of another device's owner, started by us; the owner chose it and its words, we
// give it input and take its output.

import { Argument, type Command } from 'commander';
import { EXIT, NakodoError, errorCode } from '../../protocol/errors.ts';
import type { RunOutcome } from '../../device/services/run-frames.ts';
import type { Output } from '../output.ts';
import { type CallOptions, addCallOptions, wishOf } from './call-options.ts';
import { declare, runs } from './command.ts';
import { talkWords } from './talk-words.ts';

/** What shells add to a signal's number. */
const KILLED_EXIT = 128;

interface RunOptions extends CallOptions {
  readonly exitCode?: boolean;
}

/** Adds `run`. */
export function declareRun(program: Command): void {
  const run = declare(program, {
    usage: 'run',
    summary: 'Run a hook of another terminal: a command that its owner has set up for us.',
    details: [
      'Standard input goes to the command there; its standard output and standard error come out',
      'here. It gets no words of ours on its command line. It ends with the talk: SIGTERM, and two',
      'seconds later SIGKILL, to it and to what it started.',
      '',
      'There, in agent.toml (docs/services.md), and then in the list:',
      '  [[run]]',
      '  name = "temperature"',
      '  command = "/usr/local/bin/temperature --celsius"',
      '  at_once = 4',
      '  $ nakodo allow TERM1 --service run:temperature',
      '',
      'A hook that ends with another exit code than 0 makes this command end with 1, and with',
      "--exit-code with the hook's own (128 and the signal's number if it was killed).",
      'With --json what became of it is one line on standard error: standard output is content.',
    ].join('\n'),
    examples: [
      'nakodo run TERM3 temperature',
      'nakodo run TERM3 print --bytes 20MB < letter.pdf',
      'nakodo run TERM3 backup --exit-code > backup.tar',
    ],
    exits: [EXIT.refused, EXIT.limit, EXIT.unreachable],
  });
  addCallOptions(
    run
      .addArgument(new Argument('<name>', "the callee's name"))
      .addArgument(new Argument('<hook>', "the hook's name there")),
  ).option('--exit-code', "end with the hook's exit code");
  runs<RunOptions>(run, runRun);
}

/** [S1002]: asks for the service of one hook, and runs it. */
async function runRun(
  plain: Output,
  options: RunOptions,
  [to, hook]: readonly string[],
): Promise<number> {
  const [{ CommandTalk }, { runOnce }, { RUN_PREFIX, HOOK_NAME }] = await Promise.all([
    import('../talk.ts'),
    import('../run.ts'),
    import('../../device/services/run-frames.ts'),
  ]);
  const output = plain.besideContent();
  if (!HOOK_NAME.test(hook)) throw badHook(hook);
  const wish = wishOf(to, `${RUN_PREFIX}${hook}`, options);
  const words = talkWords(output, wish.to, options.extend);
  try {
    const talk = await CommandTalk.begin(wish, { home: options.home, onEvent: words.hear });
    const { stdin, stdout, stderr } = process;
    const outcome = await runOnce(talk, { stdin, stdout, stderr });
    const end = await talk.done();
    const trouble = troubleOf(outcome, wish.to, hook);
    const told = { hook, ...exitOf(outcome), ...end };
    if (trouble === undefined) {
      if (output.json) output.result(told, '');
      return EXIT.done;
    }
    const isOwn = options.exitCode === true && outcome.kind !== 'notRun';
    if (isOwn && !output.json) return passedExit(outcome);
    const exit = output.error(trouble, told);
    return isOwn ? passedExit(outcome) : exit;
  } catch (error) {
    return output.error(unserved(error, wish.to, hook), words.known());
  } finally {
    output.progressDone();
  }
}

function exitOf(outcome: RunOutcome): object {
  if (outcome.kind === 'exited') return { exitCode: outcome.code };
  return outcome.kind === 'killed' ? { signal: outcome.signal } : {};
}

function passedExit(outcome: RunOutcome): number {
  if (outcome.kind === 'exited') return outcome.code;
  return outcome.kind === 'killed' ? KILLED_EXIT + outcome.signal : EXIT.failed;
}

function troubleOf(outcome: RunOutcome, to: string, hook: string): NakodoError | undefined {
  if (outcome.kind === 'exited') {
    if (outcome.code === 0) return undefined;
    return new NakodoError(
      'hook-failed',
      `${hook} at ${to} ended with exit code ${outcome.code}`,
      'see what it said; --exit-code passes its code on',
    );
  }
  if (outcome.kind === 'killed') {
    return new NakodoError(
      'hook-failed',
      `${hook} at ${to} was ended by signal ${outcome.signal}`,
      'try again, and tell its owner',
    );
  }
  const [message, next] = WHY_NOT[outcome.why];
  return new NakodoError(outcome.why, `${to} ${message.replace('HOOK', hook)}`, next);
}

const WHY_NOT = {
  'no-hook': [
    'allows it, but has no hook HOOK in its agent.toml',
    'check the name, and ask its owner to add [[run]] with it',
  ],
  'hook-busy': [
    'runs HOOK as many times at once as its owner permits',
    'try again later, or ask its owner for a higher at_once',
  ],
  'hook-not-started': [
    'could not start the command of HOOK',
    'ask its owner to look into the log of the agent there',
  ],
} as const;

/** A talk whose streams nobody takes has a reason that the callee's owner can see. */
function unserved(error: unknown, to: string, hook: string): unknown {
  if (errorCode(error) !== 'stream-refused') return error;
  return new NakodoError(
    'not-served',
    `${to} agreed, but its agent does not serve ${hook} now`,
    'ask its owner to look at `nakodo status` there: its agent.toml may be broken',
  );
}

function badHook(text: string): NakodoError {
  const shown = text.replace(/\p{C}/gu, '?');
  return new NakodoError(
    'bad-hook',
    `'${shown}' is not a hook's name`,
    'a hook has 1 to 31 letters a-z, digits and . _ - and begins with a letter or digit',
    EXIT.usage,
  );
}
