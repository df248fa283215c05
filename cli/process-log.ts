// The log of a process that runs on: agent and servers, on standard error, one line an event;
// more of them with NAKODO_DEBUG in the environment.

import { type Log, createLog } from '../protocol/io/log.ts';

/** `json`: the lines are JSON, as the rest of what the command says. */
export function processLog(json: boolean): Log {
  return createLog({ level: process.env.NAKODO_DEBUG ? 'debug' : 'info', json });
}
