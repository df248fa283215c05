// A service in a few lines: what comes on a stream goes back on it.
//   node out/device/examples/echo.js serve ~/term3
//   node out/device/examples/echo.js call ~/term1 TERM3 "good evening"

import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Agent, NakodoError, type Session } from 'nakodo';

async function serve(home: string): Promise<void> {
  const agent = await Agent.start({ home });
  await agent.registered;
  console.log(`${agent.name} echoes`);
  // Peers hear of our end; the loop below ends.
  process.once('SIGINT', () => void agent.stop());
  for await (const session of agent.sessions()) void echo(session);
}

async function echo(session: Session): Promise<void> {
  for await (const stream of session) {
    // Each by itself: a slow stream keeps no other one waiting.
    pipeline(stream, stream).catch((error: Error) => console.error(error.message));
  }
}

async function call(home: string, to: string, words: string): Promise<void> {
  const agent = await Agent.start({ home });
  try {
    await agent.registered;
    const session = await agent.call({ to, service: 'echo' });
    const stream = session.openStream('echo');
    stream.end(words);
    console.log(await text(stream));
    await session.close();
  } catch (error) {
    if (!(error instanceof NakodoError)) throw error;
    console.error(`${error.message}: ${error.next}`);
    process.exitCode = error.exit;
  } finally {
    await agent.stop();
  }
}

const [role, home, to, words] = process.argv.slice(2);
await (role === 'serve' ? serve(home) : call(home, to, words));
