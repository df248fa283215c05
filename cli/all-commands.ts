// Every command of the program `nakodo`, in the groups and the order of its help: of servers, of
// terminals, and for trying. Commands load what they need when they run.

import { declareDemo } from './commands/demo.ts';
import { declareFleet } from './commands/fleet.ts';
import { declareLog } from './commands/log.ts';
import { declareOperator } from './commands/operator.ts';
import { declareServers } from './commands/servers.ts';
import { declareSim } from './commands/sim.ts';
import type { ProgramParts } from './program.ts';
import { TERMINAL_COMMANDS } from './terminal-commands.ts';

/** The whole program. */
export const ALL_COMMANDS: ProgramParts = {
  example: 'nakodo demo',
  groups: [
    { title: 'Trying:', declares: [declareDemo, declareSim, declareFleet] },
    { title: 'Operator:', declares: [declareServers, declareOperator, declareLog] },
    TERMINAL_COMMANDS,
  ],
};
