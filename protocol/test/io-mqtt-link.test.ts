// The MQTT link against a real broker over real TCP and TLS: up, messages, refusal, loss, down,
// keys that change. Each test has a broker of its own on a free port. Long because all share that
// broker, and how a link of theirs is heard.

import { mkdtemp, rm } from 'node:fs/promises';
import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import { Aedes } from 'aedes';
import t, { type Test } from 'tap';
import { sameBytes } from '../bytes.ts';
import { NO_PIN } from '../identity/token.ts';
import { Clock } from '../io/clock.ts';
import { type LinkOptions, type MqttLink, brokerAddress, openLink } from '../io/mqtt-link.ts';
import { type ServerCertificate, loadServerCertificate } from '../io/server-certificate.ts';

interface Broker {
  readonly url: string;
  readonly aedes: Aedes;
  readonly sockets: Set<Socket>;
  readonly passwords: string[];
  letIn: boolean;
  returnCode: number;
}

/** `tls`: with this key, else plain. */
async function startBroker(
  test: Test,
  { tls }: { readonly tls?: ServerCertificate } = {},
): Promise<Broker> {
  const aedes = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  const take = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    aedes.handle(socket);
  };
  const server: Server =
    tls === undefined
      ? createServer(take)
      : createTlsServer({ ...tls, minVersion: 'TLSv1.3' }, take);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = (server.address() as { port: number }).port;
  const url = `${tls === undefined ? 'mqtt' : 'mqtts'}://127.0.0.1:${bound}`;
  const broker: Broker = {
    url,
    aedes,
    sockets,
    passwords: [],
    letIn: true,
    returnCode: 5,
  };
  aedes.authenticate = (_client, _username, password, done) => {
    broker.passwords.push(String(password));
    if (broker.letIn) done(null, true);
    else done(Object.assign(new Error('no'), { returnCode: broker.returnCode }), null);
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

async function certificate(test: Test): Promise<ServerCertificate> {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-link-'));
  test.teardown(() => rm(home, { recursive: true, force: true }));
  return loadServerCertificate({ home, clock: new Clock() });
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function link(
  test: Test,
  broker: Pick<Broker, 'url'>,
  heard: Heard,
  more: Partial<LinkOptions> = {},
): MqttLink {
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
    ...more,
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

t.test('over TLS the password is made for the key that the broker shows', async (t) => {
  const tls = await certificate(t);
  const broker = await startBroker(t, { tls });
  const heard = new Heard();
  const opened = link(t, broker, heard, {
    isPinned: (pin) => sameBytes(pin, tls.pin),
    password: (server) => Buffer.from(hex(server)),
  });
  await heard.until('up');
  opened.publish('down/a', Buffer.from('sealed'));
  await heard.until('down/a sealed');
  t.strictSame(broker.passwords, [hex(tls.pin)]);
  t.equal(opened.localAddress, '127.0.0.1');
  for (const socket of broker.sockets) socket.destroy();
  await heard.until('up', 2);
  t.equal(opened.counts.connections, 2, 'and again after a loss');
});

t.test('without TLS the password is for no key', async (t) => {
  const broker = await startBroker(t);
  const heard = new Heard();
  link(t, broker, heard, { password: (server) => Buffer.from(hex(server)) });
  await heard.until('up');
  t.strictSame(broker.passwords, [hex(NO_PIN)]);
});

t.test('another key: no password is made; once it is known, the link comes up', async (t) => {
  const tls = await certificate(t);
  const broker = await startBroker(t, { tls });
  const heard = new Heard();
  const known: Uint8Array[] = [NO_PIN];
  let passwords = 0;
  const opened: MqttLink = link(t, broker, heard, {
    isPinned: (pin) => known.some((one) => sameBytes(one, pin)),
    password: () => Buffer.from(String(++passwords)),
    onDown: (trouble, wasUp) => {
      heard.say(`${trouble.code} ${trouble.pin === undefined ? '' : hex(trouble.pin)} ${wasUp}`);
    },
  });
  const mismatch = `pin-mismatch ${hex(tls.pin)} false`;
  await heard.until(mismatch, 3);
  t.equal(passwords, 0);
  t.equal(broker.passwords.length, 0, 'nothing was said to it');
  known.push(tls.pin);
  opened.retryNow();
  await heard.until('up');
  t.equal(passwords, 1);
  opened.retryNow();
  t.ok(opened.isUp, 'a link that is up stays as it is');
});

t.test('down and up while TLS is under way leave one connection', async (t) => {
  const tls = await certificate(t);
  const broker = await startBroker(t, { tls });
  const heard = new Heard();
  const opened = link(t, broker, heard, { isPinned: () => true });
  for (let turn = 0; turn < 5; turn++) {
    opened.down();
    opened.up();
  }
  await heard.until('up');
  t.strictSame(heard.all, ['up']);
  t.equal(broker.passwords.length, 1);
  opened.down();
  await opened.close();
  t.notOk(opened.isUp);
});

t.test('a broker that waits for its revocation list is tried again soon', async (t) => {
  const broker = await startBroker(t);
  broker.letIn = false;
  broker.returnCode = 3;
  const heard = new Heard();
  const times: number[] = [];
  link(t, broker, heard, {
    onDown: (trouble) => {
      times.push(performance.now());
      heard.say(`refused ${trouble.refusedCode}`);
    },
  });
  await heard.until('refused 3', 3);
  t.ok(times[2] - times[0] < 1_000, `twice more in ${times[2] - times[0]} ms`);
  broker.letIn = true;
  await heard.until('up');
});

t.test('a link says what it is doing; a broker that confirms nothing is left', async (t) => {
  const broker = await startBroker(t);
  const heard = new Heard();
  let confirms = false;
  broker.aedes.authorizeSubscribe = (_client, subscription, done) => {
    if (confirms) done(null, subscription);
  };
  const troubles: string[] = [];
  const opened = link(t, broker, heard, {
    connectMs: 100,
    keepaliveSeconds: 300,
    onDown: ({ code, message }, wasUp) => {
      troubles.push(`${code}: ${message}`);
      heard.say(`down ${wasUp}`);
    },
  });
  t.match(opened.health(), { state: 'opening', forMs: Number });
  await heard.until('down false');
  t.match(troubles[0], /^timeout: .*subscriptions/);
  const waiting = opened.health();
  t.match(waiting, { state: 'waiting', lateMs: 0 });
  t.ok(waiting.state === 'waiting' && waiting.inMs > 0 && waiting.inMs <= 200);
  confirms = true;
  await heard.until('up');
  t.match(opened.health(), {
    state: 'up',
    keepaliveSeconds: 300,
    forMs: Number,
    heardMsAgo: Number,
  });
  opened.down();
  t.strictSame(opened.health(), { state: 'down' });
});

t.test("what is no broker's URL is said at once", async (t) => {
  const heard = new Heard();
  const at = (url: string): Broker => ({ url }) as Broker;
  const isPinned = (): boolean => true;
  t.throws(() => link(t, at('http://127.0.0.1'), heard), { code: 'bad-broker-url' });
  t.throws(() => link(t, at('mqtts://127.0.0.1:1'), heard), { code: 'bad-broker-url' });
  t.throws(() => link(t, at('mqtt://127.0.0.1:1'), heard, { isPinned }), {
    code: 'bad-broker-url',
  });
  for (const host of ['192.0.2.1', 'localhost', '[2001:db8::1]']) {
    t.throws(() => link(t, at(`mqtt://${host}:1`), heard), { code: 'plain-not-loopback' }, host);
  }
  t.strictSame(brokerAddress('mqtts://[::1]'), { host: '::1', port: 8_883, isTls: true });
  t.strictSame(brokerAddress('mqtt://127.0.0.1'), {
    host: '127.0.0.1',
    port: 1_883,
    isTls: false,
  });
});

t.test('messages that wait for a broker add no listener each, and are bounded', async (t) => {
  const [ours, theirs] = duplexPair();
  t.teardown(() => ours.destroy());
  ours.once('close', () => theirs.destroy());
  const heard = new Heard();
  const opened = link(t, { url: 'mqtt://127.0.0.1:1' }, heard, { connect: () => ours });
  let said = Buffer.alloc(0);
  let isGreeted = false;
  theirs.on('data', (chunk: Buffer) => {
    said = Buffer.concat([said, chunk]);
    // CONNECT and SUBSCRIBE are shorter than 128 bytes, and come in pieces.
    const end = said.length < 2 ? Number.POSITIVE_INFINITY : 2 + said[1];
    if (said.length >= end && !isGreeted) {
      isGreeted = true;
      theirs.write(Buffer.of(0x20, 2, 0, 0));
    }
    if (said.length < end + 4) return;
    theirs.pause();
    theirs.write(Buffer.of(0x90, 4, said[end + 2], said[end + 3], 0, 0));
  });
  await heard.until('up');
  let taken = 0;
  while (taken < 4_096 && opened.publish('down/a', new Uint8Array(1_000))) taken += 1;
  t.ok(taken > 500 && taken < 4_096, `${taken} taken`);
  t.ok(ours.listenerCount('drain') < 10, `${ours.listenerCount('drain')} listeners`);
  t.equal(opened.counts.dropped, 1);
});

/** A broker in an attacker's hands: lets anybody in, then says `what`, over and over. */
async function hostileBroker(
  test: Test,
  what: (turn: number) => Buffer,
): Promise<Pick<Broker, 'url'> & { readonly taken: () => number }> {
  let taken = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let turn = 0;
    const flood = (): void => {
      while (!socket.destroyed && turn < 4_096) {
        const said = what(turn++);
        taken += said.length;
        if (!socket.write(said)) return;
      }
    };
    socket.on('error', () => {});
    socket.on('drain', flood);
    socket.once('data', () => {
      socket.write(Buffer.of(0x20, 2, 0, 0));
      socket.once('data', (subscribe) => {
        const [high, low] = subscribe.subarray(2, 4);
        socket.write(Buffer.of(0x90, 4, high, low, 0, 0), flood);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  const url = `mqtt://127.0.0.1:${port}`;
  return { url, taken: () => taken };
}

/** A PUBLISH to `down/a` of 16 KiB; with QoS 2 it has to be kept until its release. */
function publish(qos: number, id: number): Buffer {
  const head = Buffer.of(0x30 | (qos << 1), 0x80, 0x80, 0x01, 0, 6, ...Buffer.from('down/a'));
  const packetId = qos === 0 ? [] : [(id >> 8) & 0xff, id & 0xff];
  return Buffer.concat([head, Buffer.of(...packetId), Buffer.alloc(16_376 - packetId.length)]);
}

const ANNOUNCED = Buffer.of(0x30, 0xff, 0xff, 0xff, 0x7f);

for (const [which, what, isLost] of [
  ['announces 256 MiB', (turn) => (turn === 0 ? ANNOUNCED : Buffer.alloc(16_384)), true],
  ['sends what would have to be kept', (turn) => publish(2, turn + 1), true],
  ['sends much, as it may', () => publish(0, 0), false],
] as const satisfies readonly (readonly [string, (turn: number) => Buffer, boolean])[]) {
  t.test(`of a broker that ${which}, a link holds little`, async (t) => {
    const broker = await hostileBroker(t, what);
    const heard = new Heard();
    let messages = 0;
    link(t, broker, heard, {
      onMessage: () => {
        messages += 1;
        if (messages === 1_000) heard.say('enough');
      },
    });
    await heard.until('up');
    await heard.until(isLost ? 'down  true' : 'enough');
    // What the kernel takes for both ends is in it.
    t.ok(!isLost || broker.taken() < 32 * 1_024 * 1_024, `${broker.taken()} bytes`);
    t.equal(messages >= 1_000, !isLost);
  });
}
