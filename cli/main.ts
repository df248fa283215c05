#!/usr/bin/env node
// The program `nakodo` with every command (`all-commands.ts`). What a terminal is given is
// `terminal-main.ts`; both run by `program.ts`.

import { ALL_COMMANDS } from './all-commands.ts';
import { runProgram } from './program.ts';

await runProgram(ALL_COMMANDS, process.argv.slice(2));
