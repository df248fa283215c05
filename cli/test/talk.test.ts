// A talk in a command's hands, on real sockets: streams and messages through the agent's local
// socket, half-closed, refused, failed and ended as they are on the talk itself.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import type { Agent } from '../../device/agent.ts';
import { serveAgent } from '../../device/shell/agent-operations.ts';
import { registeredPair } from '../../device/test/real-world.ts';
import { errorCode } from '../../protocol/errors.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import { CommandTalk, type TalkWish } from '../talk.ts';

/** Two served terminals, and a talk that a command of the first one holds. */
async function town(test: Test): Promise<{
  caller: Agent;
  callee: Agent;
  readonly begin: (wish?: Partial<TalkWish>) => Promise<CommandTalk>;
}> {
  const { caller, callee } = await registeredPair(test);
  const served = [caller, callee].map((agent) => serveAgent(agent, { log: silentLog }));
  test.teardown(async () => Promise.all((await Promise.all(served)).map((each) => each.close())));
  await Promise.all(served);
  const home = caller.home.folder;
  const begin = (wish: Partial<TalkWish> = {}): Promise<CommandTalk> =>
    CommandTalk.begin({ to: 'TERM3', service: 'pipe', ...wish }, { home });
  return { caller, callee, begin };
}

/** A command at the callee that waits, and then echoes what it is sent, with its parameters. */
async function echoOnce(callee: Agent): Promise<void> {
  const streams: (readonly [number, Uint8Array])[] = [];
  let isKnown = (): void => {};
  const known = new Promise<void>((resolve) => {
    isKnown = resolve;
  });
  const accepted = CommandTalk.accept(
    { service: 'pipe', from: 'TERM1' },
    {
      home: callee.home.folder,
      onEvent: ({ event }) => event === 'accepting' && isKnown(),
      onStream: (take, parameters) => streams.push([take, parameters]),
    },
  );
  await known;
  void accepted.then(async (talk) => {
    await until(() => streams.length > 0);
    const [take, parameters] = streams[0];
    const stream = await talk.takeStream(take);
    stream.write(parameters);
    stream.pipe(stream);
  });
}

t.test('S1005: bytes go both ways through two commands, and each direction ends', async (t) => {
  const { callee, begin } = await town(t);
  await echoOnce(callee);
  const talk = await begin();
  t.match(talk.open, { service: 'pipe', peer: { name: 'TERM3' }, path: { host: '127.0.3.1' } });
  const stream = await talk.openStream(Uint8Array.of(1, 2, 250, 255));
  const content = randomBytes(3_000_000);
  const back = buffer(stream);
  stream.end(content);
  await once(stream, 'finish');
  const echoed = await back;
  t.strictSame([...echoed.subarray(0, 4)], [1, 2, 250, 255]);
  t.ok(echoed.subarray(4).equals(content));
  t.match(await talk.done(), { reason: 'done', sentBytes: Number });
});

t.test('messages go both ways, each whole', async (t) => {
  const { callee, begin } = await town(t);
  callee.onIncoming((session) => {
    session.on('datagram', (message) => void session.sendDatagram(message));
  });
  const talk = await begin();
  const messages = await talk.messages();
  t.ok(talk.open.maxMessageBytes > 1_000);
  const arriving = messages.arriving();
  for (const size of [1, 700, 1_000]) {
    await messages.send(new Uint8Array(size).fill(size & 0xff));
    const { value } = await arriving.next();
    t.equal(value?.length, size);
  }
  messages.close();
  await talk.done();
});

t.test('a stream that nobody takes, a refused call, a talk that is given up', async (t) => {
  const { caller, begin } = await town(t);
  const talk = await begin({ service: 'unheard-of' });
  const stream = await talk.openStream();
  const failed = once(stream, 'error');
  stream.resume().end('x');
  t.equal(errorCode((await failed)[0]), 'stream-refused');
  talk.giveUp();
  await until(() => caller.status().talks.length === 0);
  t.equal(caller.status().talks.length, 0);
  const refused = await begin({ to: 'NOBODY', waitMs: 100 }).catch(errorCode);
  t.equal(refused, 'refused');
});

t.test(
  'S5007: a limit that ends the talk is the error of its streams and of the talk',
  async (t) => {
    const { callee, begin } = await town(t);
    await echoOnce(callee);
    const talk = await begin({ bytes: 100_000 });
    const stream = await talk.openStream();
    const failed = once(stream, 'error');
    stream.resume().end(randomBytes(200_000));
    t.equal(errorCode((await failed)[0]), 'quota');
    t.match(await talk.ended.catch((error: unknown) => error), { code: 'quota', exit: 4 });
  },
);
