// `enroll`, `agent`, `status`: a terminal gets its name [S1001's precondition], runs, and says how
// it is. The agent is the terminal; the other commands are visits. The latter two are in files of
// their own.

import { Argument, type Command } from 'commander';
import { EXIT, type ExitCode } from '../../protocol/errors.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { SYSTEM_HOME, homeWords, makeTerminalHome } from '../home.ts';
import type { Output } from '../output.ts';
import { declareAgent } from './agent.ts';
import { type CommonOptions, declare, runs } from './command.ts';
import { declareStatus } from './status.ts';

interface EnrollOptions {
  readonly name?: string;
}

/** Adds `enroll`, `agent` and `status`. */
export function declareTerminal(program: Command): void {
  const enroll = declare(program, {
    usage: 'enroll',
    summary: "Redeem the operator's ticket: this terminal gets its name and its server.",
    examples: ['nakodo enroll nakodo1… --name TERM1', 'nakodo enroll nakodo1… --home ./term1'],
    exits: [EXIT.unreachable],
  });
  enroll
    .addArgument(new Argument('<ticket>', 'what `nakodo ticket` printed'))
    .option('--name <name>', 'the wanted name, where the ticket does not fix it');
  runs<EnrollOptions>(enroll, runEnroll);

  declareAgent(program);
  declareStatus(program);
}

async function runEnroll(
  output: Output,
  options: EnrollOptions & CommonOptions,
  [ticket]: readonly string[],
): Promise<ExitCode> {
  const name = options.name === undefined ? undefined : terminalName(options.name);
  const [{ enrol }, { forgetPending }, { nodeSuite }, { entropy }] = await Promise.all([
    import('../../device/shell/enrol.ts'),
    import('../../device/shell/pending.ts'),
    import('../../protocol/io/node-crypto.ts'),
    import('../../protocol/io/entropy.ts'),
  ]);
  const home = makeTerminalHome(options.home);
  const enrolled = await enrol({ home, ticket, name, suite: nodeSuite, rng: entropy });
  await forgetPending(home);
  const isService = home === SYSTEM_HOME;
  const agent = isService
    ? 'sudo systemctl restart nakodo'
    : `nakodo agent${homeWords(options.home)}`;
  const next = `Next: ${agent}`;
  output.result(enrolled, `This terminal is ${enrolled.name} (${enrolled.id}).\n${next}`);
  return EXIT.done;
}
