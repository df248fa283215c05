#!/usr/bin/env node
// The program `nakodo` with every command: of servers, of terminals, and for trying. What a
// terminal is given is `terminal-main.ts`; both run by `program.ts`.

import { declareDemo } from './commands/demo.ts';
import { declareFleet } from './commands/fleet.ts';
import { declareLog } from './commands/log.ts';
import { declareOperator } from './commands/operator.ts';
import { declareServers } from './commands/servers.ts';
import { declareSim } from './commands/sim.ts';
import { runProgram } from './program.ts';
import { TERMINAL_COMMANDS } from './terminal-commands.ts';

await runProgram(
  {
    example: 'nakodo demo',
    groups: [
      { title: 'Trying:', declares: [declareDemo, declareSim, declareFleet] },
      { title: 'Operator:', declares: [declareServers, declareOperator, declareLog] },
      TERMINAL_COMMANDS,
    ],
  },
  process.argv.slice(2),
);
