#!/usr/bin/env node
// The program `nakodo` as terminals are given it: their commands only, no server, no simulator.
// `make bundle` makes one file of it, and a test holds that no server is reachable from here.

import { runProgram } from './program.ts';
import { TERMINAL_COMMANDS } from './terminal-commands.ts';

// Not awaited: the bundle is CommonJS, whose top level cannot wait. It rejects for nobody.
void runProgram(
  { example: 'nakodo send TERM2 photo.jpg', groups: [TERMINAL_COMMANDS] },
  process.argv.slice(2),
);
