// Forwarding over two sessions on real UDP and real TCP: bytes both ways, half-close, resets, many
// connections, back-pressure, nothing that outlives its talk; datagrams with their flows.

import { randomBytes } from 'node:crypto';
import { type Socket as UdpSocket, createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import t, { type Test } from 'tap';
import { silentLog } from '../../protocol/io/log.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { DEFAULT_CONFIG } from '../services/config.ts';
import { Connections } from '../services/forward/connections.ts';
import { dial } from '../services/forward/dialler.ts';
import { UdpListener } from '../services/forward/flows.ts';
import { FORWARD_LIMITS } from '../services/forward/limits.ts';
import { untilListening } from '../services/forward/listen-answer.ts';
import { Listener } from '../services/forward/listener.ts';
import { scopeOf, serviceOfScope } from '../services/forward/scope.ts';
import { forwardService } from '../services/forward/services.ts';
import type { Session } from '../shell/session.ts';
import { talk as sessionPair } from './session-pair.ts';

const HOST = '127.0.0.1';
const MB = 1024 * 1024;

/** A TCP server of the callee's machine; what it accepted is destroyed with the test. */
async function target(test: Test, take: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    take(socket);
  });
  const port = await listening(server);
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return port;
}

async function listening(server: Server): Promise<number> {
  server.listen(0, HOST);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A port on which nothing listens. */
async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listening(server);
  server.close();
  await once(server, 'close');
  return port;
}

/** Two ends of a talk, which ends with the test: what serves it goes with it. */
async function talk(...of: Parameters<typeof sessionPair>): ReturnType<typeof sessionPair> {
  const { caller, callee } = await sessionPair(...of);
  const [test] = of;
  test.teardown(() => Promise.all([caller.close('local'), callee.close('local')]));
  return { caller, callee };
}

interface Forwarded {
  readonly caller: Session;
  readonly callee: Session;
  readonly connections: Connections;
  readonly listener: Listener;
  /** A client's connection, established. */
  readonly client: () => Promise<Socket>;
}

/** A forward of a local port to a port of the callee's. */
async function forwarded(
  test: Test,
  port: number,
  {
    config = DEFAULT_CONFIG,
    ...options
  }: Partial<Parameters<typeof talk>[2]> & {
    config?: typeof DEFAULT_CONFIG;
  } = {},
  limits = { seconds: 60 },
): Promise<Forwarded> {
  const { caller, callee } = await talk(test, limits, { ...options, service: `port:${port}` });
  forwardService.serve(callee, context(config));
  const connections = new Connections();
  const listener = await Listener.bind({ host: HOST, port: 0 }, connections);
  test.teardown(() => listener.close());
  listener.attach(caller);
  const client = (): Promise<Socket> => clientOf(test, listener.port);
  return { caller, callee, connections, listener, client };
}

const context = (config = DEFAULT_CONFIG): Parameters<typeof forwardService.serve>[1] => ({
  home: undefined as never,
  log: silentLog,
  config,
});

async function clientOf(test: Test, port: number): Promise<Socket> {
  const socket = connect({ host: HOST, port, allowHalfOpen: true });
  test.teardown(() => socket.destroy());
  await once(socket, 'connect');
  // Who expects an error listens for it with `codeOf`.
  socket.on('error', () => {});
  return socket;
}

/** All that comes; a plain loop would destroy the direction that is still open. */
async function bytesOf(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

/** The code of the error that breaks a socket. */
async function codeOf(socket: Socket): Promise<unknown> {
  socket.resume();
  const [error] = (await once(socket, 'error', {})) as [NodeJS.ErrnoException];
  return error.code;
}

t.test('a scope is one of three services with a port, and nothing else', async (t) => {
  for (const name of ['port:22', 'udp:53', 'listen:65535', 'port:1']) {
    const scope = scopeOf(name);
    t.equal(scope && serviceOfScope(scope), name);
  }
  for (const name of ['port:0', 'port:65536', 'port:022', 'port:', 'port', 'tcp:22', 'port:22 ']) {
    t.equal(scopeOf(name), undefined, name);
    t.notOk(forwardService.matches(name), name);
  }
});

t.test('S1005: bytes go both ways, and each direction ends by itself', async (t) => {
  const port = await target(t, (socket) => {
    // Answers only when it has heard everything: a client that is half closed still reads.
    void bytesOf(socket).then((all) => socket.end(Buffer.concat([Buffer.from('heard '), all])));
  });
  const { client, connections } = await forwarded(t, port);
  const content = randomBytes(3 * MB);
  const socket = await client();
  socket.end(content);
  const answer = await bytesOf(socket);
  t.equal(answer.subarray(0, 6).toString(), 'heard ');
  t.ok(answer.subarray(6).equals(content));
  await until(() => connections.counts().open === 0);
  t.strictSame(connections.counts(), { open: 0, total: 1, refused: 0 });
});

t.test('a target that ends first still hears the rest', async (t) => {
  let heard: Promise<Buffer> | undefined;
  const port = await target(t, (socket) => {
    socket.end('banner');
    heard = bytesOf(socket);
  });
  const { client } = await forwarded(t, port);
  const socket = await client();
  t.equal((await bytesOf(socket)).toString(), 'banner');
  socket.end('after the end of the other direction');
  await until(() => heard !== undefined);
  t.equal((await heard)?.toString(), 'after the end of the other direction');
});

t.test('a reset goes through in either direction', async (t) => {
  const accepted: Socket[] = [];
  const port = await target(t, (socket) => accepted.push(socket));
  const { client, connections } = await forwarded(t, port);
  const first = await client();
  first.write('x');
  await until(() => accepted.length === 1);
  const broken = codeOf(first);
  accepted[0].resetAndDestroy();
  t.equal(await broken, 'ECONNRESET', 'from the target to the client');
  const second = await client();
  second.write('x');
  await until(() => accepted.length === 2);
  const other = codeOf(accepted[1]);
  second.resetAndDestroy();
  t.equal(await other, 'ECONNRESET', 'from the client to the target');
  await until(() => connections.counts().open === 0);
  t.equal(connections.counts().open, 0);
});

t.test('a target that does not answer: the client is reset, and it is told as such', async (t) => {
  const { client, connections, caller } = await forwarded(t, await freePort());
  const told: string[] = [];
  connections.onRefused = (code) => told.push(code);
  const socket = await client();
  t.equal(await codeOf(socket), 'ECONNRESET');
  t.strictSame(told, ['target-refused']);
  t.equal(connections.counts().refused, 1);
  t.equal(caller.end, undefined, 'the talk goes on');
});

t.test('[[port]] leads a port of the name elsewhere', async (t) => {
  const port = await target(t, (socket) => void socket.end('elsewhere'));
  const named = await freePort();
  const led = { ...DEFAULT_CONFIG, port: [{ port: named, to: `${HOST}:${port}` }] };
  const { client } = await forwarded(t, named, { config: led });
  t.equal((await bytesOf(await client())).toString(), 'elsewhere');
});

t.test('S1005: 60 connections in parallel, each with content of its own', async (t) => {
  const port = await target(t, (socket) => void socket.pipe(socket));
  const { client, connections } = await forwarded(t, port);
  const contents = Array.from({ length: 60 }, () => randomBytes(100_000));
  const sockets = await Promise.all(contents.map(() => client()));
  await until(() => connections.counts().open === 60);
  const echoed = await Promise.all(
    sockets.map((socket, at) => {
      const all = bytesOf(socket);
      socket.end(contents[at]);
      return all;
    }),
  );
  t.ok(echoed.every((bytes, at) => bytes.equals(contents[at])));
  await until(() => connections.counts().open === 0);
  t.equal(connections.counts().total, 60);
});

t.test('beyond the streams of a talk connections wait, beyond that they are reset', async (t) => {
  const accepted: Socket[] = [];
  const port = await target(t, (socket) => {
    accepted.push(socket);
    socket.resume().on('end', () => socket.end());
  });
  const { client, connections, listener } = await forwarded(t, port);
  const most = 64 + FORWARD_LIMITS.waitingMax;
  const sockets: Socket[] = [];
  for (let at = 0; at < most; at++) sockets.push(await client());
  await until(() => accepted.length === 64);
  const over = connect({ host: HOST, port: listener.port });
  t.equal(await codeOf(over), 'ECONNRESET');
  t.equal(connections.counts().refused, 1);
  t.equal(await untilStill(() => accepted.length), 64);
  // One after another makes room for one that waits, the last ones too.
  for (const socket of sockets.slice(0, FORWARD_LIMITS.waitingMax)) socket.destroy();
  await until(() => accepted.length === most);
  t.equal(connections.counts().total, most);
});

t.test('S1005: a client that does not read holds up its target, and nobody else', async (t) => {
  let given = 0;
  const chunk = randomBytes(64 * 1024);
  const port = await target(t, (socket) => {
    socket.once('data', (asked: Buffer) => {
      if (asked.toString() === 'little') {
        socket.end('little');
        return;
      }
      const fill = (): void => {
        while (!socket.destroyed && socket.write(chunk)) given += chunk.length;
      };
      socket.on('drain', fill);
      fill();
    });
  });
  const { client } = await forwarded(t, port);
  const deaf = await client();
  deaf.pause();
  deaf.write('endless');
  const most = await untilStill(() => given);
  t.ok(most > 0 && most < 32 * MB, `${most} bytes are under way, kernel and all`);
  const other = await client();
  other.write('little');
  t.equal((await bytesOf(other)).toString(), 'little');
});

t.test('claim 3: when the talk ends, every connection of both sides is cut at once', async (t) => {
  const accepted: Socket[] = [];
  const port = await target(t, (socket) => {
    accepted.push(socket);
    socket.resume();
  });
  const { client, caller, listener } = await forwarded(t, port);
  const sockets = await Promise.all([client(), client(), client()]);
  for (const socket of sockets) socket.write('a login, say');
  await until(() => accepted.length === 3);
  for (const socket of sockets) socket.resume();
  caller.finish('local');
  const all = [...sockets, ...accepted];
  await until(() => all.every((socket) => socket.destroyed));
  t.equal(all.filter((socket) => socket.destroyed).length, 6);
  // The port is still there, for another talk: a connection waits for it.
  const waiting = await client();
  t.equal(await untilStill(() => waiting.bytesRead), 0);
  const broken = codeOf(waiting);
  listener.close();
  t.equal(await broken, 'ECONNRESET');
});

t.test('S1006: a talk that is done lets its connections have what arrived', async (t) => {
  let heard: Promise<Buffer> | undefined;
  const port = await target(t, (socket) => {
    heard = bytesOf(socket);
    heard.catch(() => {});
  });
  const { client, caller } = await forwarded(t, port);
  const content = randomBytes(MB);
  const socket = await client();
  socket.end(content);
  await until(() => heard !== undefined);
  const before = socket.bytesWritten;
  await untilStill(() => caller.state?.counts.sentBytes ?? 0);
  await caller.close('done');
  t.equal(before, content.length);
  t.ok((await heard)?.equals(content));
});

t.test('listen:N: the callee listens while the talk lasts, the caller leads on', async (t) => {
  const port = await target(t, (socket) => void socket.pipe(socket));
  const there = await freePort();
  const { caller, callee } = await talk(t, { seconds: 60 }, { service: `listen:${there}` });
  forwardService.serve(callee, context());
  const connections = new Connections();
  caller.onStream = (stream) => dial(caller, stream, { host: HOST, port }, connections);
  await untilListening(caller, there);
  const socket = await clientOf(t, there);
  socket.end('through the door from behind');
  t.equal((await bytesOf(socket)).toString(), 'through the door from behind');
  await caller.close('local');
  await until(() => callee.end !== undefined);
  const late = connect({ host: HOST, port: there });
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  t.equal(error.code, 'ECONNREFUSED', 'with the talk the port is gone');
});

t.test('listen:N where the port is taken: the caller is told', async (t) => {
  const taken = await target(t, () => {});
  const { caller, callee } = await talk(t, { seconds: 60 }, { service: `listen:${taken}` });
  forwardService.serve(callee, context());
  await t.rejects(untilListening(caller, taken), { code: 'port-taken', exit: 1 });
});

t.test('a local port that is taken, or is none of ours, is a clear error', async (t) => {
  const taken = await target(t, () => {});
  const bind = (host: string, port: number): Promise<Listener> =>
    Listener.bind({ host, port }, new Connections());
  await t.rejects(bind(HOST, taken), { code: 'port-taken', next: /another port, or 0/ });
  await t.rejects(bind('192.0.2.1', 0), { code: 'bad-bind', exit: 2 });
  const udp = createSocket('udp4');
  udp.bind(0, HOST);
  await once(udp, 'listening');
  await t.rejects(UdpListener.bind({ host: HOST, port: udp.address().port }), {
    code: 'port-taken',
  });
  udp.close();
});

/** A UDP socket that a message can be awaited from. */
async function udp(test: Test): Promise<UdpSocket> {
  const socket = createSocket('udp4');
  socket.bind(0, HOST);
  await once(socket, 'listening');
  test.teardown(() => socket.close());
  return socket;
}

t.test('udp:N: each local sender gets its own answers, as many as are kept', async (t) => {
  const server = await udp(t);
  const ports = new Set<number>();
  server.on('message', (bytes, { port, address }) => {
    ports.add(port);
    server.send(Buffer.concat([Buffer.from('re: '), bytes]), port, address);
  });
  const { port } = server.address();
  const { caller, callee } = await talk(t, { seconds: 60 }, { service: `udp:${port}` });
  forwardService.serve(callee, context());
  const listener = await UdpListener.bind({ host: HOST, port: 0 });
  t.teardown(() => listener.close());
  listener.attach(caller);
  for (let at = 0; at < FORWARD_LIMITS.flowsMax + 2; at++) {
    const sender = createSocket('udp4');
    sender.send(`from ${at}`, listener.port, HOST);
    const [answer] = (await once(sender, 'message')) as [Buffer];
    t.equal(answer.toString(), `re: from ${at}`);
    sender.close();
  }
  const { flowsMax } = FORWARD_LIMITS;
  t.ok(ports.size >= flowsMax, 'a flow each; the port of one that was dropped may come again');
  t.match(listener.counts(), { open: flowsMax, total: flowsMax + 2 });
});

t.test('udp:N: what does not fit the path is dropped and counted', async (t) => {
  const { caller, callee } = await talk(t, { seconds: 60 }, { service: 'udp:9' });
  forwardService.serve(callee, context());
  const listener = await UdpListener.bind({ host: HOST, port: 0 });
  t.teardown(() => listener.close());
  listener.attach(caller);
  const sender = await udp(t);
  sender.send(new Uint8Array(40_000), listener.port, HOST);
  await until(() => listener.counts().dropped === 1);
  callee.sendDatagram(Uint8Array.of(1));
  callee.sendDatagram(Uint8Array.of(200, 200, 1));
  t.strictSame(listener.counts(), { open: 1, total: 1, dropped: 1 });
});
