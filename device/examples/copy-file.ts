// A file by pipeline(): the disk, the network and the other disk go at the pace of the slowest, and
// no more than windows and buffers of it are in memory.
//   node out/device/examples/copy-file.js take ~/term3 copy.bin
//   node out/device/examples/copy-file.js give ~/term1 TERM3 photo.jpg

import { createReadStream, createWriteStream } from 'node:fs';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Agent } from 'nakodo';

/** Takes one file, then ends. */
async function take(home: string, path: string): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  console.log(`${agent.name} takes a file`);
  for await (const session of agent.sessions()) {
    for await (const stream of session) {
      const file = createWriteStream(path);
      await pipeline(stream, file);
      // Half-closed by its sender; our direction is still open.
      stream.end(`${file.bytesWritten} bytes taken`);
    }
    break;
  }
  await agent.stop();
}

async function give(home: string, to: string, path: string): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  // At most ten minutes, and more at 70 % of them, if the callee agrees.
  const session = await agent.call({ to, service: 'copy', want: { seconds: 600 }, extend: true });
  const stream = session.openStream('copy');
  await pipeline(createReadStream(path), stream);
  console.log(await text(stream));
  const { reason, counts } = await session.close();
  console.log(`${reason}: ${counts.sentBytes} bytes sent in ${counts.durationMs} ms`);
  await agent.stop();
}

const [role, home, ...rest] = process.argv.slice(2);
await (role === 'take' ? take(home, rest[0]) : give(home, rest[0], rest[1]));
