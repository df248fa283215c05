// The processes that calls are measured against: a server and a callee that says yes, on loopback,
// started as a user would start them.

import { join } from 'node:path';
import type { Children, Running } from '../cli/demo/children.ts';

/** What was started, and the home of who may call: enrolled, not started. */
interface Servants {
  readonly running: readonly Running[];
  readonly callerHome: string;
}

/** Starts both and enrols both terminals; `folder`: an empty one for the homes. */
export async function openServants(children: Children, folder: string): Promise<Servants> {
  const server = join(folder, 's');
  const ports = ['--mqtt-port', '0', '--http-port', '0'];
  const serving = await children.serve(['serve', '--home', server, ...ports, '--json']);
  const homes = { CALLER: join(folder, '1'), CALLEE: join(folder, '3') };
  for (const [name, home] of Object.entries(homes)) {
    const { said } = await children.run(['ticket', '--name', name, '--home', server, '--json']);
    const { ticket } = said as { ticket: string };
    await children.run(['enroll', ticket, '--home', home, '--json']);
  }
  await children.run(['allow', 'CALLER', '--home', homes.CALLEE]);
  const callee = await children.serve(['agent', '--home', homes.CALLEE, '--json']);
  return { running: [serving, callee], callerHome: homes.CALLER };
}
