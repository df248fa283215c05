// Sessions as applications use them: datagram messages, streams and talks as async iterables, typed
// events, and the queues behind them, which are bounded.

import { once } from 'node:events';
import t from 'tap';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { Arrivals } from '../shell/arrivals.ts';
import type { Session } from '../shell/session.ts';
import type { TalkStream } from '../shell/talk-stream.ts';
import { registeredPair } from './real-world.ts';
import { talk } from './session-pair.ts';

/** Sends numbered messages, as many as the queue takes; those it did not take come later. */
async function sendNumbered(session: Session, count: number, size: number): Promise<void> {
  for (let number = 0; number < count; number++) {
    const message = Buffer.alloc(size);
    message.writeUInt32BE(number);
    await until(() => session.sendDatagram(message), 'room for a message');
  }
}

t.test(
  'S1005: datagrams both ways, as an event and as a loop; lost ones are counted',
  async (t) => {
    const count = 300;
    let sent = 0;
    let isLossy = false;
    // Every fifth datagram from either end is lost.
    const isLost = (): boolean => isLossy && ++sent % 5 === 0;
    const { caller, callee } = await talk(t, { seconds: 60 }, { isLost });
    await callee.established;
    const heard: number[] = [];
    callee.on('datagram', (message) => heard.push(message.length));
    const looped: number[] = [];
    const looping = (async (): Promise<void> => {
      for await (const message of caller.datagrams()) looped.push(message.length);
    })();
    isLossy = true;
    await Promise.all([sendNumbered(caller, count, 1_000), sendNumbered(callee, count, 700)]);
    await untilStill(() => heard.length + looped.length);
    isLossy = false;
    t.ok(heard.length > 0 && heard.length < count, `${heard.length} of ${count} came`);
    t.ok(heard.every((length) => length === 1_000) && looped.every((length) => length === 700));
    // Recovery notices what was lost when something later is acknowledged.
    caller.openStream().end();
    callee.openStream().end();
    const [ours, theirs] = await Promise.all([caller.close(), callee.ended]);
    await looping;
    t.ok(looped.length > 0 && looped.length < count, 'the loop ends with the talk');
    for (const { counts } of [ours, theirs]) t.ok(counts.lostBytes > 0, `${counts.lostBytes} lost`);
    const { sentBytes, lostBytes } = ours.counts;
    t.equal(sentBytes - lostBytes, theirs.counts.receivedBytes, 'every byte is accounted for');
  },
);

t.test('S1005: a message that is too large, too many, or too early is not sent', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  t.equal(callee.maxDatagramBytes, 0, 'not established');
  t.notOk(callee.sendDatagram(Uint8Array.of(1)));
  const most = caller.maxDatagramBytes;
  t.ok(most > 1_100);
  t.notOk(caller.sendDatagram(new Uint8Array(most + 1)));
  t.notOk(caller.sendDatagram(new Uint8Array(0)));
  t.ok(caller.sendDatagram(new Uint8Array(most)));
  let taken = 1;
  while (caller.sendDatagram(new Uint8Array(10))) taken += 1;
  t.equal(taken, DATA_LIMITS.datagramsSendMax, 'the queue is bounded, and says so');
  const [message] = await once(callee, 'datagram');
  t.equal((message as Uint8Array).length, most);
  await until(() => caller.sendDatagram(new Uint8Array(10)), 'room again');
  await caller.close();
  t.notOk(caller.sendDatagram(new Uint8Array(10)));
  t.equal(caller.maxDatagramBytes, 0, 'over');
});

t.test('S1005: a message of 1170 bytes passes on the smallest path', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 }, { config: { datagramBytes: 1200 } });
  t.equal(caller.maxDatagramBytes, 1170);
  const largest = Buffer.alloc(1170, 'x');
  const heard = once(callee, 'datagram');
  t.ok(caller.sendDatagram(largest));
  t.ok(largest.equals((await heard)[0] as Uint8Array));
});

t.test('S1005: of messages that nobody reads 64 are kept, the rest is counted', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const count = DATA_LIMITS.datagramsReceiveMax + 36;
  await sendNumbered(caller, count, 100);
  await until(() => callee.state?.droppedMessages === 36, 'the drops');
  const numbers: number[] = [];
  for await (const message of callee.datagrams()) {
    numbers.push(Buffer.from(message).readUInt32BE());
    if (numbers.length === DATA_LIMITS.datagramsReceiveMax) break;
  }
  t.strictSame([numbers[0], numbers.at(-1)], [36, count - 1], 'the newest are kept');
  caller.sendDatagram(Uint8Array.of(7));
  const [message] = (await once(callee, 'datagram')) as [Uint8Array];
  t.strictSame([...message], [7], 'whoever comes later takes over');
});

t.test(
  'S4005: streams of the peer as a loop, with parameters, to the end of the talk',
  async (t) => {
    const { caller, callee } = await talk(t, { seconds: 60 });
    const seen: string[] = [];
    const looping = (async (): Promise<void> => {
      for await (const stream of callee) {
        seen.push(`${Buffer.from(stream.parameters).toString()}: ${await wordOf(stream)}`);
      }
    })();
    // More than the loop takes at once: it reads one after the other.
    const names = Array.from({ length: 20 }, (_, index) => `stream ${index}`);
    for (const name of names) caller.openStream('test', Buffer.from(name)).end(name.toUpperCase());
    await until(() => seen.length > 0);
    await caller.close();
    await looping;
    t.strictSame(
      seen,
      names.map((name) => `${name}: ${name.toUpperCase()}`),
      'even those that it came to after the end',
    );
  },
);

const wordOf = async (stream: TalkStream): Promise<string> =>
  Buffer.concat((await stream.toArray()) as Buffer[]).toString();

t.test('S4005: a loop that is left refuses what waits and what comes', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 });
  const streams = Array.from({ length: 3 }, () => caller.openStream());
  const fates = streams.map(async (stream) => {
    const [error] = (await once(stream, 'error')) as [{ code: string }];
    return error.code;
  });
  const loop = callee[Symbol.asyncIterator]();
  const first = await loop.next();
  t.notOk(first.done);
  await until(() => callee.state?.counts.receivedBytes === caller.state?.counts.sentBytes);
  await loop.return?.();
  t.strictSame(await Promise.all(fates.slice(1)), ['stream-refused', 'stream-refused']);
  t.strictSame(await loop.next(), { done: true, value: undefined });
  const [error] = (await once(caller.openStream(), 'error')) as [{ next: string }];
  t.match(error.next, /nobody serves it/);
  t.notOk(streams[0].destroyed, 'the one that was taken lives');
});

t.test('S4005: a queue of arrivals is bounded and gives each to one loop', async (t) => {
  let left: readonly number[] = [];
  const arrivals = new Arrivals<number>({ max: 3, onLeft: (values) => (left = values) });
  const loops = [arrivals.iterate(), arrivals.iterate()];
  const taken = loops.map((loop) => loop.next());
  t.ok([1, 2, 3, 4, 5].every((value) => arrivals.push(value)));
  t.notOk(arrivals.push(6), 'three wait');
  t.strictSame(
    (await Promise.all(taken)).map(({ value }) => value),
    [1, 2],
  );
  arrivals.drop(4);
  t.equal((await loops[0].next()).value, 3);
  await loops[0].return?.();
  t.strictSame(left, [], 'another loop is there');
  t.ok(arrivals.isTaken);
  await loops[1].return?.();
  t.strictSame(left, [5]);
  t.notOk(arrivals.isTaken);
  const late = arrivals.iterate();
  const waiting = late.next();
  arrivals.end();
  t.equal((await waiting).done, true);
  t.notOk(arrivals.push(7));
});

t.test(
  'S1005, S4005: incoming talks as a loop; streams wait for it; it ends with us',
  async (t) => {
    const { caller, callee } = await registeredPair(t);
    const loop = callee.sessions();
    const ours = await caller.call({ to: 'TERM3', service: 'words' });
    const stream = ours.openStream('words');
    stream.end('hello');
    // Nobody has taken the talk yet: its stream waits with it.
    await until(() => callee.status().talks[0]?.talk.counts.receivedBytes > 'hello'.length);
    const { value: theirs } = await loop.next();
    if (theirs === undefined) throw new Error('no talk');
    t.equal(theirs.info.peer.name, 'TERM1');
    const events: string[] = [];
    theirs.on('end', ({ reason }) => events.push(reason));
    for await (const each of theirs) {
      t.equal(await wordOf(each), 'hello');
      break;
    }
    const second = await caller.call({ to: 'TERM3', service: 'words' });
    await ours.close();
    await theirs.ended;
    t.strictSame(events, ['done']);
    // It waits for a loop that is left: ended, and its caller hears of it.
    await loop.return?.();
    t.equal((await second.ended).reason, 'local');
    const waiting = callee.sessions().next();
    await callee.stop();
    t.strictSame(await waiting, { done: true, value: undefined });
  },
);

t.test('S4005: a talk whose user takes no streams refuses those that waited', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const loop = callee.sessions();
  {
    await using session = await caller.call({ to: 'TERM3', service: 'words' });
    const refused = once(session.openStream(), 'error') as Promise<[{ code: string }]>;
    await loop.next();
    t.equal((await refused)[0].code, 'stream-refused');
    t.equal(session.end, undefined);
  }
  t.equal(caller.status().talks.length, 0, 'disposed of: closed');
});

t.test('S1005: what the agent passes on is told as typed events', async (t) => {
  const { caller } = await talk(t, { seconds: 60 });
  const told: unknown[] = [];
  caller.on('expiryNear', (by) => told.push(by));
  caller.on('extended', (terms) => told.push(terms));
  caller.on('extensionRefused', () => told.push('refused'));
  caller.on('path', (path) => told.push(path));
  caller.onTalkEvent({ kind: 'expiryNear', by: 'time' });
  caller.onTalkEvent({ kind: 'extended', seconds: 90, bytes: undefined });
  caller.onTalkEvent({ kind: 'extensionRefused' });
  const path = { host: '192.0.2.1', port: 7 };
  caller.onTalkEvent({ kind: 'path', path });
  t.strictSame(told, ['time', { seconds: 90, bytes: undefined }, 'refused', path]);
});
