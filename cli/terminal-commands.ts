// What a terminal's owner can type: the one list of terminal commands, in the order of the help.
// A command of a terminal is declared here and nowhere else; it is then in the program of a
// developer (`main.ts`) and in the bundle that terminals are given (`terminal-main.ts`). Nothing
// that this list reaches, not even by `import()`, may be code of a server.

import { declareDoctor } from './commands/doctor.ts';
import { declareForward } from './commands/forward.ts';
import { declareGet } from './commands/get.ts';
import { declareList } from './commands/list.ts';
import { declareOwner } from './commands/owner.ts';
import { declarePing } from './commands/ping.ts';
import { declarePipe } from './commands/pipe.ts';
import { declareProvision } from './commands/provision.ts';
import { declareRun } from './commands/run.ts';
import { declareSend } from './commands/send.ts';
import { declareTerminal } from './commands/terminal.ts';
import type { CommandGroup } from './program.ts';

/** The commands of a terminal. */
export const TERMINAL_COMMANDS: CommandGroup = {
  title: 'Terminal:',
  declares: [
    declareTerminal,
    declareDoctor,
    declareProvision,
    declareList,
    declareOwner,
    declareSend,
    declareGet,
    declareForward,
    declarePipe,
    declareRun,
    declarePing,
  ],
};
