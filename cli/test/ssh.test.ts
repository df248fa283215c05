// SSH through a forward, with the system's own ssh and sshd: a login runs a command, a file is
// copied, the ProxyCommand form works, and the vendor's login is cut when its time is up.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../../protocol/test/until.ts';
import { type Result, folder, run, serve, start, terminal } from './program.ts';

const SSHD = '/usr/sbin/sshd';
/** Long enough to call and to log in on a busy machine. */
const WINDOW_MS = 9_000;
const why = reasonNotTo();
const skip = why === undefined ? {} : { skip: why };

function reasonNotTo(): string | undefined {
  if (process.getuid?.() !== 0) return 'sshd needs root';
  if (!existsSync(SSHD)) return 'there is no sshd here: apt-get install openssh-server';
  return undefined;
}

/** An sshd of this test's own on a port of 127.0.0.1. */
async function sshd(test: Test, at: string): Promise<{ port: number; key: string }> {
  const [host, key] = ['host', 'user'].map((name) => {
    const file = join(at, `${name}_key`);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
    return file;
  });
  const port = await freePort();
  const config = join(at, 'sshd_config');
  const lines = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${host}`,
    `AuthorizedKeysFile ${key}.pub`,
    `PidFile ${join(at, 'sshd.pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin prohibit-password',
    'Subsystem sftp internal-sftp',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  execFileSync('mkdir', ['-p', '/run/sshd']);
  const child = spawn(SSHD, ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  test.teardown(() => ended(child));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until(() => said.includes('listening'), 'sshd listens');
  return { port, key };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'close');
}

/** A server, an sshd behind PI, and LAPTOP, whom PI allows nothing yet. */
async function town(test: Test): Promise<{
  readonly allow: (...limits: readonly string[]) => Promise<void>;
  readonly laptop: string;
  readonly pi: string;
  readonly port: number;
  readonly sshArgs: readonly string[];
}> {
  const at = folder(test);
  const { port, key } = await sshd(test, at);
  const [server, laptop, pi] = ['s', 'laptop', 'pi'].map((name) => join(at, name));
  await serve(test, server);
  await terminal(test, { server, home: laptop, name: 'LAPTOP' });
  await terminal(test, { server, home: pi, name: 'PI' });
  const known = join(at, 'known_hosts');
  writeFileSync(known, `PI ${readFileSync(join(at, 'host_key.pub'), 'utf8')}`);
  const options = ['BatchMode=yes', 'HostKeyAlias=PI', `UserKnownHostsFile=${known}`];
  const sshArgs = ['-F', 'none', '-i', key, ...options.flatMap((option) => ['-o', option])];
  const allow = async (...limits: readonly string[]): Promise<void> => {
    const entry = ['LAPTOP', '--service', `port:${port}`, ...limits];
    const { exit, stderr } = await run(['allow', ...entry, '--home', pi]);
    test.equal(exit, 0, stderr);
  };
  return { allow, laptop, pi, port, sshArgs };
}

/** Runs a program of the system to its end. */
async function system(program: string, args: readonly string[]): Promise<Result> {
  const child = spawn('env', ['-u', 'NODE_OPTIONS', program, ...args]);
  child.stdin.end();
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const [exit] = (await once(child, 'close')) as [number | null];
  const [stdout, stderr] = [out, err].map((chunks) => Buffer.concat(chunks).toString());
  return { exit, stdout, stderr, said: undefined };
}

const MAIN = join(import.meta.dirname, '..', 'main.js');

t.test('a login, a copy and a ProxyCommand go through a forward', skip, async (t) => {
  const { allow, laptop, port, sshArgs } = await town(t);
  await allow();
  const forward = await start(t, ['forward', '0', `PI:${port}`, '--home', laptop]);
  const { ready } = forward;
  t.match(ready, { ready: true, host: '127.0.0.1', to: 'PI', service: `port:${port}` });
  const door = ['-p', String(ready.port), 'root@127.0.0.1'];
  const over = await system('ssh', [...sshArgs, ...door, 'echo over; exit 7']);
  t.equal(over.exit, 7, over.stderr);
  t.equal(over.stdout, 'over\n');

  const content = randomBytes(5_000_000);
  const [from, back] = ['from', 'back'].map((name) => join(laptop, name));
  const there = join(laptop, 'there');
  writeFileSync(from, content);
  const scp = ['-P', String(ready.port)];
  const up = await system('scp', [...sshArgs, ...scp, from, `root@127.0.0.1:${there}`]);
  t.equal(up.exit, 0, up.stderr);
  const down = await system('scp', [...sshArgs, ...scp, `root@127.0.0.1:${there}`, back]);
  t.equal(down.exit, 0, down.stderr);
  t.ok(readFileSync(back).equals(content));

  const program = [process.execPath, MAIN].map((path) => `'${path}'`).join(' ');
  const proxy = `ProxyCommand=${program} forward - %n:${port} --home '${laptop}'`;
  const login = await system('ssh', [...sshArgs, '-o', proxy, 'root@PI', 'cat; echo by proxy']);
  t.equal(login.exit, 0, login.stderr);
  t.equal(login.stdout, 'by proxy\n');
  t.equal(await forward.end(), 0, 'Ctrl-C, or SIGTERM, ends a forward well');
});

t.test('claims 14, 15: the vendor window, cut in the middle of a login', skip, async (t) => {
  const { allow, laptop, pi, port, sshArgs } = await town(t);
  const until = new Date(Date.now() + WINDOW_MS).toISOString();
  await allow('--until', until, '--bytes', '200MB');
  const route = ['0', `PI:${port}`, '--home', laptop];
  const { ready, child } = await start(t, ['forward', ...route]);
  t.equal(ready.bytes, 200_000_000);
  t.ok(Number(ready.seconds) <= WINDOW_MS / 1_000, 'no longer than the window');
  const over = once(child, 'close');
  const through = ['-p', String(ready.port), 'root@127.0.0.1'];
  const login = await system('ssh', [...sshArgs, ...through, 'echo in; sleep 60; echo never']);
  t.equal(login.stdout, 'in\n');
  t.equal(login.exit, 255, 'ssh was cut');
  t.equal((await over)[0], 4, 'the forward ended by a limit');
  const again = await run(['forward', ...route, '--wait', '300ms']);
  t.equal(again.exit, 3, 'a second call is refused');
  const { stdout } = await run(['allowed', '--home', pi]);
  t.match(stdout, /closed: its time is up/);
});
