// A terminal in a process of its own (`slow-disk.test.ts`), that calls when it is told to and notes
// in a file that it was refused, by its own seals: whatever its own patience makes of it. Arguments
// are its home and the file. Ends with its parent.

import { writeFileSync } from 'node:fs';
import { Agent } from '../../device/agent.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { listening } from './overheard.ts';

const [home, heard] = process.argv.slice(2);
const suite = listening(
  (bytes) => {
    if (decodeMessage(bytes)?.kind === 'refusal') writeFileSync(heard, '');
  },
  () => {},
);
const agent = await Agent.start({ home, suite, log: silentLog });
await agent.registered;
process.on('message', (to: string) => {
  // What comes of it is in the file.
  agent.call({ to, service: 'file', waitMs: 100 }).catch(() => {});
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
