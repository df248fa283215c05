// The relay's settings as they are shipped, on a real coturn of this machine: credentials of the
// manager's shell let in, others and old ones do not, and nothing inside is reached through it.

import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import type { Path } from '../../protocol/core.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { ATTRIBUTE, familyValue, transportValue } from '../../protocol/stun/attributes.ts';
import { type Attribute, METHOD, decodeMessage } from '../../protocol/stun/message.ts';
import { type TurnAnswer, TurnRequests } from '../../protocol/stun/turn-requests.ts';
import { openRelayed, realNow, skipCoturn as skip } from '../../protocol/test/coturn.ts';
import { repositoryRoot } from '../../protocol/test/house/sources.ts';
import { until } from '../../protocol/test/until.ts';
import { RelayServers } from '../../session-manager/shell/relay-servers.ts';

const LOOPBACK = '127.0.0.1';
const LOOPBACK_6 = '::1';
const hasIpv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === LOOPBACK_6),
);
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
      ...[LOOPBACK, ...(hasIpv6 ? [LOOPBACK_6] : [])].flatMap((one) => [
        `--listening-ip=${one}`,
        `--relay-ip=${one}`,
      ]),
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
  await until(() => {
    if (child.exitCode !== null) throw new Error(`coturn ended: ${said}`);
    return /Total General servers/.test(said);
  }, 'coturn is ready');
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

interface RawRequests {
  /** The error code of the answer; undefined: none, it was granted. */
  ask(
    method: number,
    attributes: (transaction: Uint8Array) => readonly Attribute[],
  ): Promise<number | undefined>;
}

const allocateIpv6 = (): readonly Attribute[] => [
  [ATTRIBUTE.requestedTransport, transportValue()],
  [ATTRIBUTE.requestedAddressFamily, familyValue(6)],
];

/** A client without the manners of ours. */
async function openRaw(
  t: Test,
  server: Path,
  user: { readonly username: string; readonly password: string },
): Promise<RawRequests> {
  const socket = createSocket('udp4').bind(0, LOOPBACK);
  await once(socket, 'listening');
  t.teardown(() => new Promise<void>((closed) => socket.close(() => closed())));
  const requests = new TurnRequests<string>(entropy, user);
  const answers: TurnAnswer<string>[] = [];
  socket.on('message', (bytes) => {
    const message = decodeMessage(bytes);
    const answer = message && requests.handleMessage(realNow(), bytes, message);
    if (answer !== undefined) answers.push(answer);
  });
  const into = new Uint8Array(2_000);
  return {
    ask: async (method, attributes) => {
      requests.ask(realNow(), { subject: 'a question', method, attributes });
      const before = answers.length;
      await until(() => {
        for (let size; (size = requests.pollRequest(realNow(), into)) > 0;)
          socket.send(into.slice(0, size), server.port, server.host);
        return answers.length > before;
      }, 'an answer');
      return answers[before].code;
    },
  };
}

/** XOR-PEER-ADDRESS of port 0 (RFC 8489 §14.2). */
function hiddenIpv6(address: Uint8Array, transaction: Uint8Array): Uint8Array {
  const mask = Uint8Array.of(0x21, 0x12, 0xa4, 0x42, ...transaction);
  return Uint8Array.of(0, 2, 0x21, 0x12, ...address.map((byte, at) => byte ^ mask[at]));
}

/** The 16 bytes of an address, as Node reads it and without a fold. */
function groupsOf(text: string): Uint8Array {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const [a, b, c, d] = dotted?.slice(2).map(Number) ?? [];
  const plain = dotted
    ? `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
    : text;
  const [head, tail = ''] = plain.split('::');
  const [before, behind] = [head, tail].map((side) => side.split(':').filter(Boolean));
  const zeros = Array.from({ length: 8 - before.length - behind.length }, () => '0');
  const groups = [...before, ...zeros, ...behind].map((group) => Number.parseInt(group, 16));
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
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
  for (const peer of [...inside, '100.64.0.1', '198.18.0.1', '224.0.0.1', '0.0.0.1'])
    t.equal(await forbids(peer), true, peer);
  for (const peer of ['192.0.2.1', '8.8.8.8', '203.0.113.7'])
    t.equal(await forbids(peer), false, `the control ${peer} may be reached`);
});

/** IPv6 addresses as they are written to the relay: our own client would fold them. */
const INSIDE_6 = {
  unspecified: '::',
  loopback: '::1',
  compatible: '::10.1.2.3',
  mapped: '::ffff:10.1.2.3',
  'mapped loopback': '::ffff:127.0.0.1',
  translated: '::ffff:0:a01:203',
  NAT64: '64:ff9b::a01:203',
  'local NAT64': '64:ff9b:1::a01:203',
  discard: '100::1',
  Teredo: '2001::1',
  '6to4': '2002:a01:203::1',
  'unique local': 'fd00::1',
  'link-local': 'fe80::1',
  'site-local': 'fec0::1',
  multicast: 'ff02::1',
};

const skipIpv6 = skip === false && !hasIpv6 ? 'this machine has no ::1' : skip;

t.test('the same by IPv6, also where it means an IPv4 address', { skip: skipIpv6 }, async (t) => {
  const server = await startRelay(t);
  const one = await openRaw(t, server, credentials(SECRET, 60));
  t.equal(await one.ask(METHOD.allocate, allocateIpv6), undefined, 'an allocation');
  const code = (peer: string): Promise<number | undefined> =>
    one.ask(METHOD.createPermission, (transaction) => [
      [ATTRIBUTE.xorPeerAddress, hiddenIpv6(groupsOf(peer), transaction)],
    ]);
  for (const [what, peer] of Object.entries(INSIDE_6)) t.equal(await code(peer), FORBIDDEN, what);
  t.equal(await code('2001:db8::1'), undefined, 'the control may be reached');
  t.equal(await code('2a00:1450::1'), undefined, 'and another one');
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
