// The MQTT link against a real broker over real TCP: up, messages, refusal, loss, down.
// Each test has a broker of its own on a free port.

import { type Server, type Socket, createServer } from 'node:net';
import { Aedes } from 'aedes';
import t, { type Test } from 'tap';
import { type MqttLink, openLink } from '../io/mqtt-link.ts';

interface Broker {
  readonly url: string;
  readonly aedes: Aedes;
  readonly sockets: Set<Socket>;
  readonly passwords: string[];
  letIn: boolean;
}

async function startBroker(test: Test): Promise<Broker> {
  const aedes = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    aedes.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const url = `mqtt://127.0.0.1:${port}`;
  const broker: Broker = { url, aedes, sockets, passwords: [], letIn: true };
  aedes.authenticate = (_client, _username, password, done) => {
    broker.passwords.push(String(password));
    if (broker.letIn) done(null, true);
    else done(Object.assign(new Error('no'), { returnCode: 5 }), null);
  };
  test.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await new Promise<void>((resolve) => aedes.close(resolve));
  });
  return broker;
}

/** What a link reported, in order, and a way to wait for the next report. */
class Heard {
  readonly all: string[] = [];
  #waiting: (() => void) | undefined;

  say(what: string): void {
    this.all.push(what);
    this.#waiting?.();
  }

  async until(what: string, times: number = 1): Promise<void> {
    while (this.all.filter((each) => each === what).length < times) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }
}

function link(test: Test, broker: Broker, heard: Heard): MqttLink {
  let tokens = 0;
  const opened = openLink({
    url: broker.url,
    clientId: 'a',
    username: 'terminal',
    password: () => Buffer.from(`token ${++tokens}`),
    subscriptions: ['down/a', 'call/a'],
    onUp: () => heard.say('up'),
    onDown: (trouble, wasUp) => heard.say(`down ${trouble.refusedCode ?? ''} ${wasUp}`),
    onMessage: (topic, bytes) => heard.say(`${topic} ${Buffer.from(bytes).toString()}`),
  });
  test.teardown(() => opened.close());
  return opened;
}

t.test('a link comes up, publishes and hears what it subscribed to', async (t) => {
  const broker = await startBroker(t);
  const heard = new Heard();
  const opened = link(t, broker, heard);
  t.notOk(opened.publish('call/a', Buffer.from('too early')));
  await heard.until('up');
  t.ok(opened.publish('down/a', Buffer.from('hello')));
  await heard.until('down/a hello');
  t.equal(opened.localAddress, '127.0.0.1');
  t.strictSame(opened.counts, { connections: 1, dropped: 1 });
});

t.test('a lost connection is reported and made again, with a fresh password', async (t) => {
  const broker = await startBroker(t);
  const heard = new Heard();
  const opened = link(t, broker, heard);
  await heard.until('up');
  for (const socket of broker.sockets) socket.destroy();
  await heard.until('up', 2);
  t.strictSame(heard.all, ['up', 'down  true', 'up']);
  t.strictSame(broker.passwords, ['token 1', 'token 2']);
  t.ok(opened.isUp);
});

t.test('a refused token is reported with its code, and tried again', async (t) => {
  const broker = await startBroker(t);
  broker.letIn = false;
  const heard = new Heard();
  link(t, broker, heard);
  await heard.until('down 5 false');
  broker.letIn = true;
  await heard.until('up');
  t.ok(broker.passwords.length >= 2);
});

t.test('claim 1: down really closes the TCP connection, up makes a new one', async (t) => {
  const broker = await startBroker(t);
  const heard = new Heard();
  const opened = link(t, broker, heard);
  await heard.until('up');
  const [socket] = broker.sockets;
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  opened.publish('down/a', Buffer.from('last words'));
  opened.down();
  await closed;
  t.equal(broker.sockets.size, 0);
  t.notOk(opened.isUp);
  opened.up();
  await heard.until('up', 2);
  t.equal(broker.sockets.size, 1);
  t.equal(opened.counts.connections, 2);
});

t.test("what is no broker's URL is said at once", async (t) => {
  const heard = new Heard();
  const broker = { url: 'http://127.0.0.1' } as Broker;
  t.throws(() => link(t, broker, heard), { code: 'bad-broker-url' });
});
