// A terminal in a process of its own, for tests that kill it; takes files and commands: arguments
// are its home and the address to bind to; says `ready` when it is registered.

import { silentLog } from '../../protocol/io/log.ts';
import { Agent } from '../agent.ts';
import { serveAgent } from '../shell/agent-operations.ts';

const [home, udpBind] = process.argv.slice(2);
const agent = await Agent.start({ home, udpBind, log: silentLog });
await serveAgent(agent, { log: silentLog });
await agent.registered;
process.send?.('ready');
