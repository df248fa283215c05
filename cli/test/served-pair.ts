// Two terminals in this process that serve commands: TERM1 calls, TERM3 allows it what is wanted
// and has the settings (`agent.toml`) that a test gives it.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Agent } from '../../device/agent.ts';
import { serveAgent } from '../../device/shell/agent-operations.ts';
import { ALLOW_TERM1, registeredPair } from '../../device/test/real-world.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';

/** The two, and their homes. */
interface ServedPair {
  readonly caller: Agent;
  readonly callee: Agent;
  readonly callerHome: string;
  readonly calleeHome: string;
}

/** `services`: what TERM3 allows TERM1; everything that needs no name where it is not given. */
export async function servedPair(
  test: Test,
  options: {
    readonly services?: readonly string[];
    readonly settings?: string;
    readonly log?: Log;
  } = {},
): Promise<ServedPair> {
  const { services } = options;
  const named = services === undefined ? '' : `services = ${JSON.stringify(services)}\n`;
  const list = `${ALLOW_TERM1}${named}`;
  const { caller, callee } = await registeredPair(test, list);
  if (options.settings !== undefined) {
    await writeFile(join(callee.home.folder, 'agent.toml'), options.settings);
  }
  const log = options.log ?? silentLog;
  const served = await Promise.all([caller, callee].map((agent) => serveAgent(agent, { log })));
  test.teardown(() => Promise.all(served.map((each) => each.close())));
  return { caller, callee, callerHome: caller.home.folder, calleeHome: callee.home.folder };
}
