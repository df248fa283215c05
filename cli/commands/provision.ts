// `provision`: the first start of a terminal that was set up on a PC (docs/pi.md). The package runs
// it as root at every boot, before the agent; what it takes is redeemed by the agent.

import type { Command } from 'commander';
import { EXIT, type ExitCode } from '../../protocol/errors.ts';
import { SYSTEM_HOME, makeTerminalHome, terminalFolder } from '../home.ts';
import type { Output } from '../output.ts';
import { type CommonOptions, declare, runs } from './command.ts';

interface ProvisionOptions extends CommonOptions {
  readonly from?: string;
}

/** Adds `provision`. */
export function declareProvision(program: Command): void {
  const provision = declare(program, {
    usage: 'provision',
    summary: "Take this terminal's ticket, name and list from the boot partition, once.",
    details: [
      'The package runs it at every start of the system, as root and before the agent. It reads',
      '/boot/firmware/nakodo.toml (or /boot/nakodo.toml), which somebody wrote on a PC:',
      '',
      '  ticket = "nakodo1..."       # what `nakodo ticket` printed',
      '  name = "pi-{serial}"        # unless the ticket fixes it; {hostname} will do as well',
      '  [[allow]]                   # and all else that an allow-list file may hold',
      '  name = "TERM1"',
      '',
      'The file is kept in the home for the agent, which enrols with it as soon as it reaches the',
      'server, and is then removed from the boot partition; the ticket is overwritten there and in',
      'what cloud-init keeps of its user-data. What is wrong stands in nakodo.error.txt beside it,',
      'in the journal, and in what `nakodo status` says. An allow-list that is there stays.',
    ].join('\n'),
    examples: ['sudo nakodo provision', 'nakodo provision --from ./nakodo.toml --home ./term1'],
  });
  provision.option('--from <file>', 'read this file instead, and remove it');
  runs<ProvisionOptions>(provision, runProvision);
}

async function runProvision(output: Output, options: ProvisionOptions): Promise<ExitCode> {
  const { provision } = await import('../../device/shell/provision.ts');
  // Root would make a home that no agent can use; the package makes it.
  const isRoot = process.getuid?.() === 0;
  const home = isRoot ? terminalFolder(options.home) : makeTerminalHome(options.home);
  const done = await provision({ home, from: options.from });
  const { from, outcome, scrubbed, trouble } = done;
  const said = {
    none: 'There is nothing to take.',
    pending: `Taken from ${from ?? ''}: the agent enrols as soon as it reaches the server.`,
    used: `The ticket in ${from ?? ''} was used before; the file is removed.`,
  }[outcome];
  const isStarted = outcome === 'pending' && home === SYSTEM_HOME && (await startService());
  const lines = [
    said,
    ...(isStarted ? ['The service nakodo is started.'] : []),
    ...scrubbed.map((path) => `The ticket is overwritten in ${path}.`),
    ...(trouble === undefined ? [] : [`! ${trouble}`]),
  ];
  output.result(done, lines.join('\n'));
  return EXIT.done;
}

/** Has systemd start the packaged agent, or start it again; false where there is no systemd. */
async function startService(): Promise<boolean> {
  const { spawn } = await import('node:child_process');
  const words = ['restart', '--no-block', 'nakodo.service'];
  const child = spawn('systemctl', words, { stdio: 'ignore' });
  return new Promise((resolve) => {
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}
