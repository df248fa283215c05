// What a link does when its owner has learnt that the network changed: it asks at once, and does
// not wait for its keepalive. Against a real broker behind a door that can be shut without a word.

import { type Server, type Socket, connect, createServer } from 'node:net';
import { Aedes } from 'aedes';
import t, { type Test } from 'tap';
import { type MqttLink, openLink } from '../io/mqtt-link.ts';
import { until, untilStill } from './until.ts';

interface Door {
  readonly url: string;
  /** Bytes from clients that the broker was shown. */
  passed: number;
  /** Of them by the first connection. */
  passedFirst: number;
  connections: number;
  /** Nothing of the connections that there are passes any more. */
  shut(): void;
  /** Ends every connection. */
  cut(): void;
}

async function listening(test: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as { port: number }).port;
}

/** A broker, and a door before it: whom it is shut to is taken everything, and passed nothing. */
async function door(test: Test): Promise<Door> {
  const aedes = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  const broker = await listening(test, createServer(aedes.handle));
  const state = { passed: 0, passedFirst: 0, connections: 0 };
  let shutUpTo = 0;
  const own = createServer((outer) => {
    const number = (state.connections += 1);
    const inner = connect(broker, '127.0.0.1');
    for (const [from, to] of [
      [outer, inner],
      [inner, outer],
    ]) {
      sockets.add(from);
      from.on('error', () => {});
      from.once('close', () => to.destroy());
      from.on('data', (bytes: Buffer) => {
        if (number <= shutUpTo) return;
        if (from === outer) state.passed += bytes.length;
        if (from === outer && number === 1) state.passedFirst += bytes.length;
        to.write(bytes);
      });
    }
  });
  const port = await listening(test, own);
  test.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => aedes.close(resolve));
  });
  const shut = (): void => {
    shutUpTo = state.connections;
  };
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return Object.assign(state, { url: `mqtt://127.0.0.1:${port}`, shut, cut });
}

interface Told {
  ups: number;
  downs: number;
}

function link(test: Test, { url }: Door, told: Told): MqttLink {
  const opened = openLink({
    url,
    clientId: 'a',
    username: 'terminal',
    password: () => Buffer.from('token'),
    subscriptions: ['down/a'],
    onUp: () => {
      told.ups += 1;
    },
    onDown: () => {
      told.downs += 1;
    },
    onMessage: () => {},
  });
  test.teardown(() => opened.close());
  return opened;
}

/** Milliseconds to answer. */
const PATIENCE_MS = 100;
const stays = (): boolean => false;

t.test('a broker that answers the ping keeps its link', async (t) => {
  const broker = await door(t);
  const told = { ups: 0, downs: 0 };
  const opened = link(t, broker, told);
  await until(() => told.ups === 1);
  const before = await untilStill(() => broker.passed);
  opened.check(stays, PATIENCE_MS);
  opened.check(stays, PATIENCE_MS);
  await until(() => broker.passed > before);
  t.equal(broker.passed - before, 2, 'one PINGREQ (MQTT 3.1.1 §3.12), however often it is asked');
  const health = opened.health();
  await until(() => {
    const now = opened.health();
    return now.state === 'up' && health.state === 'up' && now.forMs > health.forMs + 150;
  });
  t.strictSame(told, { ups: 1, downs: 0 });
  t.equal(opened.remoteAddress, '127.0.0.1', 'where its STUN server is, too');
});

t.test('one that does not is left after a moment, and tried again', async (t) => {
  const broker = await door(t);
  const told = { ups: 0, downs: 0 };
  const opened = link(t, broker, told);
  await until(() => told.ups === 1);
  broker.shut();
  opened.check(stays, PATIENCE_MS);
  await until(() => told.downs === 1);
  await until(() => told.ups === 2);
  t.equal(broker.connections, 2);
});

t.test('the shortest patience of all that ask counts, and none outlives the answer', async (t) => {
  const broker = await door(t);
  const told = { ups: 0, downs: 0 };
  const opened = link(t, broker, told);
  await until(() => told.ups === 1);
  const before = broker.passed;
  opened.check(stays, 60_000);
  await until(() => broker.passed > before);
  broker.shut();
  // The first question has its answer by now, so that this is another one.
  await until(() => {
    const { state, heardMsAgo } = { heardMsAgo: 0, ...opened.health() };
    return state === 'up' && heardMsAgo > 5;
  });
  opened.check(stays, 60_000);
  opened.check(stays, PATIENCE_MS);
  opened.check(stays, 60_000);
  await until(() => told.downs === 1);
  await until(() => told.ups === 2);
});

t.test('a link that was doubted and is cut is made anew without a pause', async (t) => {
  const pauses: number[] = [];
  for (const isDoubted of [true, false]) {
    const broker = await door(t);
    const told = { ups: 0, downs: 0 };
    const opened = link(t, broker, told);
    await until(() => told.ups === 1);
    broker.shut();
    if (isDoubted) opened.check(stays, 60_000);
    broker.cut();
    await until(() => told.downs === 1);
    const health = opened.health();
    pauses.push(health.state === 'waiting' ? health.inMs : 0);
    await until(() => told.ups === 2);
  }
  t.ok(pauses[0] <= 1, `${pauses[0]} ms: our own network is the reason`);
  t.ok(pauses[1] > 10, `${pauses[1]} ms: a fleet whose broker goes away comes back in turn`);
});

t.test('a link whose own address is gone is not even asked', async (t) => {
  const broker = await door(t);
  const told = { ups: 0, downs: 0 };
  const opened = link(t, broker, told);
  await until(() => told.ups === 1);
  // What belongs to the coming up may still be under way.
  const before = await untilStill(() => broker.passedFirst);
  const asked: string[] = [];
  opened.check((address) => {
    asked.push(address);
    return true;
  }, PATIENCE_MS);
  await until(() => told.downs === 1);
  t.strictSame(asked, ['127.0.0.1']);
  t.equal(broker.passedFirst, before);
  // It waits to try again: whoever knows more need not.
  opened.check(stays, PATIENCE_MS);
  await until(() => told.ups === 2);
  t.ok(opened.isUp);
});

t.test('a link that is down is left down', async (t) => {
  const broker = await door(t);
  const told = { ups: 0, downs: 0 };
  const opened = link(t, broker, told);
  await until(() => told.ups === 1);
  opened.down();
  opened.check(stays, PATIENCE_MS);
  t.match(opened.health(), { state: 'down' });
  t.equal(opened.localAddress, undefined);
});
