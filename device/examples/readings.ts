// Sensor readings as datagrams: the newest matters, an old one is not worth a wait. They overtake
// bulk, are never sent again, and their numbers tell how many were lost.
//   node out/device/examples/readings.js watch ~/term3
//   node out/device/examples/readings.js send ~/term1 TERM3 100

import { setTimeout as delay } from 'node:timers/promises';
import { Agent, type Session } from 'nakodo';

const READING_BYTES = 12;
const EVERY_MS = 20;

async function watch(home: string): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  console.log(`${agent.name} watches`);
  process.once('SIGINT', () => void agent.stop());
  for await (const session of agent.sessions()) void show(session);
}

async function show(session: Session): Promise<void> {
  let count = 0;
  let newest = -1;
  for await (const message of session.datagrams()) {
    if (message.length !== READING_BYTES) continue;
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    const number = view.getUint32(0);
    count += 1;
    // One that was overtaken is counted, not shown.
    if (number < newest) continue;
    newest = number;
    console.log(`${session.info.peer.name}: ${view.getFloat64(4).toFixed(1)} degrees`);
  }
  console.log(`${count} of ${newest + 1} readings came`);
}

async function send(home: string, to: string, count: number): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  const session = await agent.call({ to, service: 'readings' });
  let skipped = 0;
  for (let number = 0; number < count; number++) {
    const reading = new DataView(new ArrayBuffer(READING_BYTES));
    reading.setUint32(0, number);
    reading.setFloat64(4, 20 + Math.sin(number / 10));
    if (!session.sendDatagram(new Uint8Array(reading.buffer))) skipped += 1;
    await delay(EVERY_MS);
  }
  const { counts } = await session.close();
  console.log(`sent ${count - skipped}, skipped ${skipped}, lost ${counts.lostBytes} bytes`);
  await agent.stop();
}

const [role, home, to, count] = process.argv.slice(2);
await (role === 'watch' ? watch(home) : send(home, to, Number(count)));
