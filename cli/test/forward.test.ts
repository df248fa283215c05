// The command `forward` against two agents: what it says, what it refuses before and after a call,
// its exit codes; datagrams, the reverse way, one connection over standard input and output; called
// again when the path is lost, and not after a limit.

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { until } from '../../protocol/test/until.ts';
import { programOf } from '../program.ts';
import { TERMINAL_COMMANDS } from '../terminal-commands.ts';
import { folder, follow, run, serve, start, terminal } from './program.ts';

const HOST = '127.0.0.1';
const MAIN = join(import.meta.dirname, '..', 'main.js');

/** A TCP server that answers what it hears in capitals; its port. */
async function capitals(test: Test): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => socket.write(bytes.toString().toUpperCase()));
    socket.on('end', () => socket.end());
  });
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return listening(server);
}

/** The same for datagrams. */
async function shouting(test: Test): Promise<number> {
  const echo = createSocket('udp4');
  echo.on('message', (bytes, { port: from, address }) => {
    echo.send(bytes.toString().toUpperCase(), from, address);
  });
  echo.bind(0, HOST);
  await once(echo, 'listening');
  test.teardown(() => echo.close());
  return echo.address().port;
}

async function listening(server: Server): Promise<number> {
  server.listen(0, HOST);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listening(server);
  server.close();
  await once(server, 'close');
  return port;
}

/** What a connection to a port answers to some words; '' if it is reset. */
async function ask(port: number, words: string): Promise<string> {
  const socket = connect(port, HOST);
  socket.on('error', () => {});
  let answer = '';
  socket.on('data', (bytes: Buffer) => (answer += bytes.toString()));
  socket.end(words);
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

/** A server, LAPTOP and PI, in homes of one folder. */
const at = folder(t);
const [server, laptop, pi] = ['s', 'laptop', 'pi'].map((name) => join(at, name));
await serve(t, server);
await terminal(t, { server, home: laptop, name: 'LAPTOP' });
const firstPi = await terminal(t, { server, home: pi, name: 'PI' });
const [port, nobody, there, udp] = [
  await capitals(t),
  await freePort(),
  await freePort(),
  await shouting(t),
];
const allowed = [`port:${port}`, `port:${nobody}`, `listen:${there}`, `udp:${udp}`];
await run(['allow', 'LAPTOP', '--service', ...allowed, '--home', pi]);
const home = ['--home', laptop];

t.test('what leads nowhere is wrong use, before anybody is asked', async (t) => {
  const home = folder(t);
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['22', 'PI'], /'PI'.*NAME:PORT/],
    [['port', 'PI:22'], /'port'.*0 to 65535/],
    [['70000', 'PI:22'], /'70000'/],
    [['2222', 'PI:0'], /'0'.*1 to 65535/],
    [['2222', 'PI:ssh'], /'ssh'/],
    [['2222', '_:22'], /'_' is not a terminal's name/],
    [['PI:22', 'PI:23'], /'PI:23'/],
    [['--udp', 'PI:53', '53'], /UDP goes one way/],
    [['--udp', '-', 'PI:53'], /not UDP/],
    [['2222', 'PI:22', '--bind', 'localhost'], /'localhost'.*127\.0\.0\.1/],
    [['-', 'PI:22', '--json'], /nothing but the connection/],
  ];
  for (const [args, message] of wrong) {
    const program = programOf({ example: '', groups: [TERMINAL_COMMANDS] });
    const command = program.parseAsync(['forward', ...args, '--home', home], { from: 'user' });
    await t.rejects(command, { message }, args.join(' '));
  }
  const alone = await run(['forward', '0', 'PI:22', '--home', home]);
  t.equal(alone.exit, 5);
  t.match(alone.stderr, /no agent is running/);
});

t.test('claim 8: a port that is taken, reserved, exposed or not allowed', async (t) => {
  const forward = (...args: readonly string[]): ReturnType<typeof run> =>
    run(['forward', ...args, ...home]);
  const [taken, reserved, exposed, foreign] = await Promise.all([
    forward(String(port), `PI:${port}`),
    forward('22', `PI:${port}`),
    forward('0', `PI:${port}`, '--bind', '0.0.0.0'),
    forward('0', `PI:${port}`, '--bind', '192.0.2.1', '--expose'),
  ]);
  t.equal(taken.exit, 1);
  t.match(taken.stderr, /port \d+ of 127\.0\.0\.1 is taken by another program\nnext: .*0 for any/);
  t.equal(reserved.exit, 2);
  t.match(reserved.stderr, /ports below 1024 belong to the system.*\nnext: .*like 8022/);
  t.equal(exposed.exit, 2);
  t.match(exposed.stderr, /everybody who reaches 0\.0\.0\.0.*\nnext: .*--expose/);
  t.equal(foreign.exit, 2);
  t.match(foreign.stderr, /no address of this machine/);
  const sessions = await run(['sessions', '--home', server, '--json']);
  t.match(sessions.stdout, /^\[\]/, 'nobody was called for any of it');
  const other = await forward('0', `PI:${port === 23 ? 24 : 23}`, '--wait', '300ms');
  t.equal(other.exit, 3, 'another port than the one that is allowed');
});

t.test('S1002: ready, connections, a target that is gone, the end', async (t) => {
  const route = ['0', `PI:${port}`, ...home];
  const forward = await start(t, ['forward', ...route]);
  const { ready } = forward;
  t.match(ready, { ready: true, host: HOST, to: 'PI', service: `port:${port}`, seconds: Number });
  t.equal(await ask(Number(ready.port), 'two words'), 'TWO WORDS');
  const proxy = spawn(
    'env',
    ['-u', 'NODE_OPTIONS', process.execPath, MAIN, 'forward', '-', ...route.slice(1)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  proxy.stdin.end('over standard input');
  const [said, [exit]] = await Promise.all([text(proxy.stdout), once(proxy, 'close')]);
  t.equal(said, 'OVER STANDARD INPUT');
  t.equal(exit, 0);
  t.equal(await forward.end(), 0);
  const late = connect(Number(ready.port), HOST);
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  t.equal(error.code, 'ECONNREFUSED', 'the port goes with the command');
  const dead = await run(['forward', '-', `PI:${nobody}`, ...home]);
  t.equal(dead.exit, 1);
  t.match(dead.stderr, /the port at the other terminal does not answer/);
});

t.test('S1002: the reverse way, and datagrams', async (t) => {
  const reverse = await start(t, ['forward', `PI:${there}`, String(port), ...home]);
  t.notOk('port' in reverse.ready);
  t.equal(await ask(there, 'from behind'), 'FROM BEHIND');
  t.equal(await reverse.end(), 0);
  const taken = createServer();
  taken.listen(there, HOST);
  await once(taken, 'listening');
  const refused = await run(['forward', `PI:${there}`, String(port), ...home]);
  taken.close();
  t.equal(refused.exit, 1);
  t.match(refused.stderr, /port \d+ of PI is taken/);
  const { ready } = await start(t, ['forward', '--udp', '0', `PI:${udp}`, ...home]);
  const sender = createSocket('udp4');
  sender.send('a datagram', Number(ready.port), HOST);
  const [answer] = (await once(sender, 'message')) as [Buffer];
  sender.close();
  t.equal(answer.toString(), 'A DATAGRAM');
});

t.test('claim 15: a forward ends by its limit, and does not call again', async (t) => {
  const args = ['forward', '0', `PI:${port}`, '--bytes', '40kB', '--no-extend', ...home];
  const { ready, child } = await start(t, args);
  t.equal(ready.bytes, 40_000);
  const over = once(child, 'close');
  const answer = await ask(Number(ready.port), 'x'.repeat(100_000));
  t.ok(answer.length < 40_000);
  t.equal((await over)[0], 4);
  const { said } = await run(['status', '--home', pi, '--json']);
  t.strictSame(said?.talks, []);
});

t.test('a callee that restarts is called again; without --once only', async (t) => {
  const args = ['forward', '0', `PI:${port}`, ...home];
  const { ready, child } = await start(t, args);
  const single = await start(t, [...args, '--once']);
  const over = once(single.child, 'close');
  t.equal(await ask(Number(ready.port), 'before'), 'BEFORE');
  await firstPi.end();
  t.not((await over)[0], 0, '--once: the end is the end');
  const again = follow(t, ['agent', '--home', pi]);
  await again.line(() => true);
  let answer = '';
  await until(async () => {
    answer = await ask(Number(ready.port), 'after');
    return answer === 'AFTER';
  }, 'connections go on');
  t.equal(answer, 'AFTER', 'on the same port');
  t.equal(child.exitCode, null);
});
