// Who comes, for how long, and how it ends: sessions as an async iterable, and their events. Counts
// what each stream brings, slowly enough that its sender feels it.
//   node out/device/examples/visitors.js receive ~/term3
//   node out/device/examples/visitors.js visit ~/term1 TERM3 3

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, type Session } from 'nakodo';

async function receive(home: string): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  console.log(`${agent.name} receives`);
  process.once('SIGINT', () => void agent.stop());
  for await (const session of agent.sessions()) void host(session);
  console.log('no more visitors');
}

async function host(session: Session): Promise<void> {
  const { peer, seconds, bytes } = session.info;
  console.log(`${peer.name} comes for ${seconds} s and ${bytes ?? 'any number of'} bytes`);
  session.on('expiryNear', (by) => console.log(`${peer.name} must leave soon: ${by}`));
  session.on('extended', (terms) => console.log(`${peer.name} may stay for ${terms.seconds} s`));
  session.on('end', (end) => console.log(`${peer.name} left: ${end.reason}`));
  for await (const stream of session) {
    let received = 0;
    for await (const chunk of stream) {
      received += (chunk as Buffer).length;
      // While we are busy nothing is read: windows fill up, and the visitor's write() says so.
      await delay(1);
    }
    console.log(`${peer.name} brought ${received} bytes`);
  }
}

async function visit(home: string, to: string, count: number): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  const session = await agent.call({ to, service: 'visits', want: { seconds: 60 } });
  for (let number = 1; number <= count; number++) {
    const stream = session.openStream('visits');
    stream.end(Buffer.alloc(number * 100_000));
    // Every byte is acknowledged then.
    await once(stream, 'finish');
    console.log(`delivered ${number}`);
  }
  await session.close();
  await agent.stop();
}

const [role, home, to, count] = process.argv.slice(2);
await (role === 'receive' ? receive(home) : visit(home, to, Number(count)));
