// `doctor`: looks at everything that a terminal needs and says, a line each, what is fine, what is
// not, and what to do. It works with and without a running agent, changes nothing, and tells the
// server nothing but who asks. What it cannot see from here it says it has not looked at.

import type { Command } from 'commander';
import { EXIT, type ExitCode } from '../../protocol/errors.ts';
import type { Examined } from '../doctor/examination.ts';
import type { Verdict } from '../doctor/finding.ts';
import { terminalFolder } from '../home.ts';
import type { Output } from '../output.ts';
import { type CommonOptions, declare, durationOption, runs } from './command.ts';

interface DoctorOptions extends CommonOptions {
  readonly peer?: string;
  readonly config?: string;
  readonly wait?: number;
}

/** Adds `doctor`. */
export function declareDoctor(program: Command): void {
  const doctor = declare(program, {
    usage: 'doctor',
    summary: 'Look at everything that this terminal needs, and say what to mend.',
    details: [
      'A line for each: the home and who may read in it, the identity, the agent, the allow-list,',
      "the settings, the broker's name, its port and its key, the login, the membership, the",
      'clock, UDP, the relay, disk, memory, Node. It works without a running agent, and changes',
      'nothing. Exit code 0: nothing has failed; what was not checked, and why, is said.',
    ].join('\n'),
    examples: ['nakodo doctor', 'nakodo doctor --peer TERM2', 'sudo nakodo doctor --json'],
  });
  doctor
    .option('--peer <name>', 'call this terminal for ping, to see that UDP passes both ways')
    .addOption(durationOption('--wait <time>', 'how long it may take to agree (5s)'))
    .option('--config <file>', 'the settings, where no agent runs that has them');
  runs<DoctorOptions>(doctor, runDoctor);
}

async function runDoctor(output: Output, options: DoctorOptions): Promise<ExitCode> {
  const [{ examine }, { becomeOwnerOf }] = await Promise.all([
    import('../doctor/examination.ts'),
    import('../as-owner.ts'),
  ]);
  // What root may read and write says nothing about the agent.
  becomeOwnerOf(terminalFolder(options.home));
  const found: Examined[] = [];
  for await (const finding of examine({ ...options, waitMs: options.wait })) {
    found.push(finding);
    output.remark(line(finding));
    output.progress('looking …');
  }
  output.progressDone();
  const failed = found.filter(({ verdict }) => verdict === 'fail').length;
  const words = failed === 0 ? 'Nothing has failed.' : `${failed} of ${found.length} failed.`;
  output.result({ ok: failed === 0, checks: found }, words);
  return failed === 0 ? EXIT.done : EXIT.failed;
}

const WORDS: Readonly<Record<Verdict, string>> = {
  ok: 'ok',
  warn: 'warn',
  fail: 'FAIL',
  unchecked: '-',
};
const VERDICT_WIDTH = 5;
const NAME_WIDTH = 11;

function line({ check, verdict, says, next }: Examined): string {
  const indent = VERDICT_WIDTH + NAME_WIDTH;
  const said = verdict === 'unchecked' ? `not checked: ${says}` : says;
  const first = `${WORDS[verdict].padEnd(VERDICT_WIDTH)}${check.padEnd(NAME_WIDTH)}${said}`;
  return next === undefined ? first : `${first}\n${' '.repeat(indent)}next: ${next}`;
}
