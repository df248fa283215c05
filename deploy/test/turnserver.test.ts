// The relay's settings as they are shipped, on a real coturn of this machine: credentials of the
// manager's shell let in, others and old ones do not, and nothing inside is reached through it.

import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import type { Path } from '../../protocol/core.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { openRelayed, realNow, skipCoturn as skip } from '../../protocol/test/coturn.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { RelayServers } from '../../session-manager/shell/relay-servers.ts';

const LOOPBACK = '127.0.0.1';
const SECRET = 'b7a1f0c25d8e4f6a9b3c1d2e3f405162';
const CREDENTIALS_REFUSED = 401;
const FORBIDDEN = 403;
const QUOTA = 12;

/** Coturn with our settings; what differs is where: a free port of loopback, files of its own. */
async function startRelay(t: Test): Promise<Path> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-turn-'));
  const shipped = await readFile(join(repositoryRoot(), 'deploy/server/turnserver.conf'), 'utf8');
  const server: Path = { host: LOOPBACK, port: await freePort() };
  const conf = join(folder, 'turnserver.conf');
  const edited = shipped
    .replace('listening-port=3480', `listening-port=${server.port}`)
    .replace('\nsyslog', '\nlog-file=stdout');
  t.notMatch(edited, /=3480|^syslog|^static-auth-secret/m, 'everything was replaced');
  await writeFile(conf, `${edited}static-auth-secret=${SECRET}\n`);
  const child: ChildProcess = spawn(
    'turnserver',
    [
      '-c',
      conf,
      `--listening-ip=${LOOPBACK}`,
      `--relay-ip=${LOOPBACK}`,
      `--pidfile=${join(folder, 'pid')}`,
      `--userdb=${join(folder, 'db')}`,
    ],
    { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  t.teardown(async () => {
    if (child.exitCode === null && child.kill('SIGKILL')) await once(child, 'exit');
    await rm(folder, { recursive: true, force: true });
  });
  let said = '';
  child.stdout?.on('data', (bytes: Buffer) => (said += bytes.toString()));
  child.stderr?.on('data', (bytes: Buffer) => (said += bytes.toString()));
  while (!/Total General servers/.test(said)) {
    if (child.exitCode !== null) throw new Error(`coturn ended: ${said}`);
    await Promise.race([once(child.stdout ?? child, 'data'), once(child, 'exit')]);
  }
  const wrong = said.match(/^.*(?:Bad configuration|Unknown|unrecognized).*$/m)?.[0];
  t.equal(wrong, undefined, 'coturn knows every line');
  return server;
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, LOOPBACK);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

/** What the manager makes of a session's name, good for so many seconds. */
function credentials(secret: string, seconds: number, name = 'session.caller') {
  const relay = {
    servers: [{ host: LOOPBACK, port: 1 }],
    secret: new TextEncoder().encode(secret),
  };
  const username = `${Math.ceil(Date.now() / 1000) + seconds}:${name}`;
  return { username, password: new RelayServers(relay, silentLog).credentials(username) };
}

t.test('credentials of the manager let in, until they end', { skip }, async (t) => {
  const server = await startRelay(t);
  const good = await openRelayed(t, { server, ...credentials(SECRET, 60) });
  good.client.start(realNow());
  await good.reaches(() => good.client.state === 'ready', 'an allocation');
  const [{ host, port }] = good.client.relayed;
  t.equal(host, LOOPBACK);
  t.ok(port >= 49_152 && port <= 51_199, `${port} is one of those that are open`);
  for (const [why, those] of [
    ['another secret', credentials('0123456789abcdef0123456789abcdef', 60)],
    ['an hour ago', credentials(SECRET, -3_600)],
    ['another name', { ...credentials(SECRET, 60), username: credentials(SECRET, 61).username }],
  ] as const) {
    const refused = await openRelayed(t, { server, ...those });
    refused.client.start(realNow());
    await refused.reaches(() => refused.client.state === 'failed', why);
    t.ok(refused.codes.includes(CREDENTIALS_REFUSED), why);
  }
});

t.test('nothing inside is reached through it, the Internet is', { skip }, async (t) => {
  const server = await startRelay(t);
  const forbids = async (peer: string): Promise<boolean> => {
    const one = await openRelayed(t, { server, ...credentials(SECRET, 60, `for.${peer}`) });
    one.client.start(realNow());
    await one.reaches(() => one.client.state === 'ready', 'an allocation');
    const codes = one.codes.length;
    one.client.permit(realNow(), [peer]);
    const at: Path = { host: peer, port: 9 };
    await one.reaches(
      () => one.codes.length > codes || one.client.canReach(realNow(), at),
      `an answer for ${peer}`,
    );
    return one.codes.includes(FORBIDDEN);
  };
  const inside = ['10.1.2.3', '127.0.0.1', '172.16.0.1', '192.168.1.1', '169.254.169.254'];
  for (const peer of [...inside, '100.64.0.1', '224.0.0.1', '0.0.0.1'])
    t.equal(await forbids(peer), true, peer);
  t.equal(await forbids('192.0.2.1'), false, 'the control may be reached');
});

t.test('one session’s credentials get a few allocations, and no more', { skip }, async (t) => {
  const server = await startRelay(t);
  const shared = credentials(SECRET, 60);
  const states: string[] = [];
  for (let each = 0; each <= QUOTA; each++) {
    const one = await openRelayed(t, { server, ...shared });
    one.client.start(realNow());
    await one.reaches(() => /ready|failed/.test(one.client.state), 'an end');
    states.push(one.client.state);
  }
  t.strictSame(states, [...Array.from({ length: QUOTA }, () => 'ready'), 'failed']);
});

t.test('it listens on TCP too, for networks that let no UDP through', { skip }, async (t) => {
  const { host, port } = await startRelay(t);
  const connection = connect(port, host);
  await once(connection, 'connect');
  t.equal(connection.remotePort, port);
  connection.destroy();
});
