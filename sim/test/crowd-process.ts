// Many terminals in a process of their own (`apart.ts`): enrolled with one ticket, started, and
// watched: when each was registered last, and what kept the others. Ends with its parent.

import { join } from 'node:path';
import { Agent } from '../../device/agent.ts';
import { enrol } from '../../device/shell/enrol.ts';
import type { Name } from '../../protocol/ids.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import type { CrowdOrder, CrowdReport, CrowdState } from './apart.ts';

/** Enrolments under way at once. */
const AT_ONCE = 8;

/** Those who are registered now: kept as they tell, as it is asked often. */
const registered = new Set<string>();
/** By terminal: when it was registered last, Unix milliseconds. */
const registeredAt = new Map<string, number>();
const troubles: Record<string, number> = {};

/** What an agent says of itself, read: `registered`, and why a link went or did not come. */
function ear(name: string): Log {
  const onLine: Log['warn'] = (event, fields) => {
    if (event === 'link-down') registered.delete(name);
    const code = `${event} ${String(fields?.code)}`;
    troubles[code] = (troubles[code] ?? 0) + 1;
  };
  return {
    ...silentLog,
    info: (event) => {
      if (event !== 'registered') return;
      registered.add(name);
      registeredAt.set(name, Date.now());
    },
    // Each further try in vain is a line for debugging.
    debug: (event, fields) => {
      if (event === 'link-down') onLine(event, fields);
    },
    warn: onLine,
  };
}

async function joinIn(folder: string, name: string, ticket: string): Promise<void> {
  const home = join(folder, name);
  await enrol({ home, ticket, name: name as Name, suite: nodeSuite, rng: entropy });
  await Agent.start({ home, log: ear(name) });
}

async function begin(order: CrowdOrder & { kind: 'start' }): Promise<void> {
  const { folder, from, count, ticket } = order;
  const names = Array.from({ length: count }, (_, at) => `C${from + at}`).values();
  const work = async (): Promise<void> => {
    for (const name of names) await joinIn(folder, name, ticket);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

function report(): CrowdReport {
  const { user, system } = process.cpuUsage();
  return {
    registeredAt: [...registeredAt.values()],
    troubles: { ...troubles },
    cpuMicros: user + system,
  };
}

process.on('message', (order: CrowdOrder) => {
  if (order.kind === 'start') void begin(order);
  if (order.kind === 'forget') {
    registeredAt.clear();
    for (const code of Object.keys(troubles)) delete troubles[code];
  }
  const state: CrowdState = { registered: registered.size };
  process.send?.(order.kind === 'report' ? report() : state);
});
process.on('disconnect', () => process.exit());
