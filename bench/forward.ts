// What `nakodo forward` costs a connection: the time of a login by ssh, fifty connections at once,
// and bulk beside what a talk itself carries, in the same rounds. Both agents, the forward, sshd
// and ssh are processes of their own; this one writes and reads at the two TCP ends.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import {
  type AddressInfo,
  type Server,
  type Socket,
  createConnection,
  createServer,
} from 'node:net';
import { join } from 'node:path';
import type { Children } from '../cli/demo/children.ts';
import { AGENT_NODE_FLAGS } from '../deploy/node-flags.ts';
import { type Figure, median } from './figures.ts';
import { IdleProcess } from './idle-process.ts';
import { atExit } from '../sim/lab/clean-up.ts';
import { steady } from './lab/flow.ts';
import { OurSystem } from './lab/ours.ts';
import { has } from '../sim/lab/namespaces.ts';
import { loopback } from './lab/places.ts';
import { FAST } from './lab/rounds.ts';

const ROUNDS = 5;
const CHUNK_BYTES = 65_536;
const WARM_UP_MS = 1_000;
const BULK_MS = 2_000;
const LOGINS = 7;
const CONNECTIONS = 50;
const ECHO_BYTES = 200_000;
const MB = 1e6;
const GB = 1e9;
const MS_PER_SECOND = 1_000;
const SSHD = '/usr/sbin/sshd';

/** Where things are. */
interface ForwardPlace {
  readonly children: Children;
  /** The home of a server that runs. */
  readonly server: string;
  /** A folder that is made. */
  readonly folder: string;
  /** Where the version that is measured is built. */
  readonly root: string;
}

/** Login, connections, bulk. */
export async function forwardFigures(place: ForwardPlace): Promise<readonly Figure[]> {
  const { children, server, folder, root } = place;
  mkdirSync(folder, { recursive: true });
  const sink = new Sink();
  const ports = { sink: await listening(sink.server), echo: await listening(echo()) };
  const ssh = await startSshd(folder);
  const [desk, pi] = await enrolled(children, { server, folder, names: ['DESK', 'PI'] });
  const services = [ports.sink, ports.echo, ...(ssh ? [ssh.port] : [])].map((at) => `port:${at}`);
  await children.run(['allow', 'DESK', '--home', pi, '--service', ...services]);
  const [callee, caller] = [await agentOf(root, pi), await agentOf(root, desk)];
  const forward = async (port: number): Promise<{ readonly at: number; end(): Promise<void> }> => {
    const args = ['forward', '0', `PI:${port}`, '--home', desk, '--json'];
    const running = await children.serve(args);
    return { at: Number(running.ready.port), end: () => running.end() };
  };
  try {
    const figures: Figure[] = [];
    if (ssh !== undefined) {
      const through = await forward(ssh.port);
      figures.push(...logins(ssh, through.at));
      await through.end();
    }
    const echoes = await forward(ports.echo);
    figures.push(await manyConnections(echoes.at));
    await echoes.end();
    const bulk = await forward(ports.sink);
    figures.push(...(await bulkBeside(root, { sink, port: bulk.at, agents: [caller, callee] })));
    await bulk.end();
    return figures;
  } finally {
    await caller.end();
    await callee.end();
    ssh?.end();
    sink.server.close();
  }
}

/** The homes of terminals that have these names from now on. */
function enrolled(
  children: Children,
  where: { readonly server: string; readonly folder: string; readonly names: readonly string[] },
): Promise<readonly string[]> {
  const { server, folder, names } = where;
  return Promise.all(
    names.map(async (name) => {
      const home = join(folder, name);
      const { said } = await children.run(['ticket', '--name', name, '--home', server, '--json']);
      const { ticket } = said as { readonly ticket: string };
      await children.run(['enroll', ticket, '--home', home, '--json']);
      return home;
    }),
  );
}

/** An agent with the flags of the service. */
function agentOf(root: string, home: string): Promise<IdleProcess> {
  const program = join(root, 'out', 'cli', 'main.js');
  return IdleProcess.start({
    program: process.execPath,
    args: [...AGENT_NODE_FLAGS, program, 'agent', '--home', home, '--json'],
    ready: /"ready":true/,
  });
}

/** Takes what comes, and counts it. */
class Sink {
  bytes = 0;
  readonly server: Server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => (this.bytes += chunk.length));
  });
}

/** Gives back what comes, to the end. */
function echo(): Server {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  return server.unref();
}

async function listening(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

/** A forward that leads to the sink. */
interface Bulk {
  readonly sink: Sink;
  readonly port: number;
  /** Caller and callee. */
  readonly agents: readonly IdleProcess[];
}

/** What was moved, and what both ends of the talk worked for it. */
interface Moved {
  readonly mbPerSecond: number;
  /** Processor seconds for 10⁹ bytes, both ends together. */
  readonly cpu: number;
}

/** Bulk through a forward and of a talk, in turn; ratios are those of each round. */
async function bulkBeside(root: string, bulk: Bulk): Promise<readonly Figure[]> {
  const here = loopback();
  const ours = await OurSystem.start(here, root);
  const rounds: { readonly talk: Moved; readonly forward: Moved }[] = [];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const { mbPerSecond, senderCpu, receiverCpu } = await steady(here, ours.flows(), FAST.wanted);
      const talk = { mbPerSecond, cpu: senderCpu + receiverCpu };
      rounds.push({ talk, forward: await pushed(bulk) });
    }
  } finally {
    await ours.stop();
  }
  const middle = (of: (round: (typeof rounds)[number]) => number): number => median(rounds.map(of));
  const over = `median of ${ROUNDS} rounds`;
  return [
    {
      name: 'forward, bulk',
      value: middle(({ forward }) => forward.mbPerSecond),
      unit: 'MB/s',
      meaning: 'one TCP connection through it, loopback; four processes on the way',
    },
    {
      name: 'bulk of a talk, same rounds',
      value: middle(({ talk }) => talk.mbPerSecond),
      unit: 'MB/s',
      meaning: 'one stream between two processes',
    },
    {
      name: 'forward by talk',
      value: middle(({ talk, forward }) => forward.mbPerSecond / talk.mbPerSecond),
      unit: '×',
      meaning: `speed, ${over}; ≥ 0.7`,
    },
    {
      name: 'forward by talk, work',
      value: middle(({ talk, forward }) => forward.cpu / talk.cpu),
      unit: '×',
      meaning: `processor time of both agents for a byte, ${over}`,
    },
  ];
}

/** What arrives once it runs. */
async function pushed({ sink, port, agents }: Bulk): Promise<Moved> {
  const socket = createConnection(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  const chunk = new Uint8Array(CHUNK_BYTES).fill(0x6e);
  const fill = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', fill);
  fill();
  await pause(WARM_UP_MS);
  const worked = (): number => agents.reduce((sum, agent) => sum + agent.cpuSeconds, 0);
  const [from, workedBefore, begun] = [sink.bytes, worked(), performance.now()];
  await pause(BULK_MS);
  const bytes = sink.bytes - from;
  const seconds = (performance.now() - begun) / MS_PER_SECOND;
  const cpu = (worked() - workedBefore) / (bytes / GB);
  socket.destroy();
  await once(socket, 'close');
  return { mbPerSecond: bytes / MB / seconds, cpu };
}

/** All of them open at once, each with its own bytes there and back. */
async function manyConnections(port: number): Promise<Figure> {
  const begun = performance.now();
  const sockets = await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, at) => {
      const socket = createConnection(port, '127.0.0.1');
      await once(socket, 'connect');
      return { socket, content: Buffer.alloc(ECHO_BYTES, at + 1) };
    }),
  );
  const right = await Promise.all(sockets.map(({ socket, content }) => echoed(socket, content)));
  const count = right.filter(Boolean).length;
  if (count < CONNECTIONS) throw new Error(`only ${count} of ${CONNECTIONS} came back right`);
  return {
    name: `forward, ${CONNECTIONS} connections`,
    value: performance.now() - begun,
    unit: 'ms',
    meaning: `open at once, each with ${ECHO_BYTES} bytes there and back, all right`,
  };
}

async function echoed(socket: Socket, content: Buffer): Promise<boolean> {
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  socket.end(content);
  await once(socket, 'close');
  return Buffer.concat(parts).equals(content);
}

interface Sshd {
  readonly port: number;
  /** What ssh needs to log in. */
  readonly args: readonly string[];
  end(): void;
}

/** An sshd on a free port of loopback; undefined where there is none, or no root to run it. */
async function startSshd(folder: string): Promise<Sshd | undefined> {
  if (process.getuid?.() !== 0 || !existsSync(SSHD) || !has('ssh')) return undefined;
  const [host, user] = ['host_key', 'user_key'].map((name) => {
    const file = join(folder, name);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
    return file;
  });
  const probe = createServer();
  const port = await listening(probe);
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  const config = join(folder, 'sshd_config');
  const lines = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${host}`,
    `AuthorizedKeysFile ${user}.pub`,
    `PidFile ${join(folder, 'sshd.pid')}`,
    'StrictModes no',
    'UsePAM no',
    'PermitRootLogin prohibit-password',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  mkdirSync('/run/sshd', { recursive: true });
  const known = join(folder, 'known_hosts');
  writeFileSync(known, `PI ${readFileSync(`${host}.pub`, 'utf8')}`);
  const child: ChildProcess = spawn(SSHD, ['-D', '-e', '-f', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const end = atExit(() => void child.kill('SIGTERM'));
  if (child.stderr !== null) await once(child.stderr, 'data');
  const options = ['BatchMode=yes', 'HostKeyAlias=PI', `UserKnownHostsFile=${known}`];
  const args = ['-F', 'none', '-i', user, ...options.flatMap((option) => ['-o', option])];
  return { port, args, end };
}

/** The time of `ssh … true`, straight and through the forward, in turn. */
function logins({ port, args }: Sshd, through: number): readonly Figure[] {
  const times = { straight: [] as number[], through: [] as number[] };
  for (let round = 0; round < LOGINS; round++) {
    for (const [name, at] of [
      ['straight', port],
      ['through', through],
    ] as const) {
      const begun = performance.now();
      execFileSync('ssh', [...args, '-p', `${at}`, 'root@127.0.0.1', 'true'], { stdio: 'ignore' });
      times[name].push(performance.now() - begun);
    }
  }
  const meaning = `a login, a command, its end; median of ${LOGINS}`;
  return [
    {
      name: 'ssh through a forward',
      value: median(times.through),
      unit: 'ms',
      meaning: `${meaning}; ≤ 1000`,
    },
    { name: 'ssh straight', value: median(times.straight), unit: 'ms', meaning },
  ];
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
