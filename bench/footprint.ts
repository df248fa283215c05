// What a terminal costs that waits: the bundle as its service starts it, connected over TLS to a
// real server in another process. Memory and start beside bare Node in the same rounds, since a
// busy machine slows both; then all of them wait side by side for minutes, and the kernel tells
// what they used up.

import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Children } from '../cli/demo/children.ts';
import { buildBundle } from '../deploy/bundle/bundle.ts';
import { AGENT_NODE_FLAGS } from '../deploy/node-flags.ts';
import { type Figure, median } from './figures.ts';
import { BARE_NODE, type IdlePeer, mosquittoSub, nebulaIdle } from './idle-peers.ts';
import { type IdleCommand, IdleProcess, type Spent } from './idle-process.ts';
import { sessionWrites } from './session-writes.ts';

const ROUNDS = 9;
/** After a process is ready, until its memory is looked at: the garbage of its start is gone. */
const SETTLE_MS = 3_000;
const MS_PER_SECOND = 1_000;
const SECONDS_PER_DAY = 86_400;
const MIB = 1_048_576;
const MB = 1e6;
const KB = 1e3;
/** MB a day, of the agents: those come first. */
const TRAFFIC_AIMS = ['; ≤ 0.5', '; ≤ 0.1'] as const;
const CODE_WAIT_MS_MAX = 20_000;
const LOOK_MS = 100;
/** Before their idleness is counted: V8 tidies up some seconds after a start. */
const IDLE_SETTLE_MS = 20_000;

/** Where things are. */
interface FootprintPlace {
  readonly children: Children;
  /** The home of a server that runs. */
  readonly server: string;
  /** An empty folder. */
  readonly folder: string;
  /** The checkout. */
  readonly root: string;
  /** How long all of them wait. */
  readonly idleSeconds: number;
}

/** Memory and start; then processor time, traffic and writes of waiting; writes of a session. */
export async function footprintFigures(place: FootprintPlace): Promise<readonly Figure[]> {
  const { children, server, folder, root } = place;
  mkdirSync(folder, { recursive: true });
  const bundle = await buildBundle(root, join(folder, 'bundle'));
  const agents = ['PI1', 'PI2'].map((name) => ({ name, home: join(folder, name) }));
  for (const { name, home } of agents) {
    const { said } = await children.run(['ticket', '--name', name, '--home', server, '--json']);
    const { ticket } = said as { readonly ticket: string };
    await children.run(['enroll', ticket, '--home', home, '--json']);
  }
  const cache = join(folder, 'cache');
  mkdirSync(cache);
  const agent = (home: string, ...options: readonly string[]): IdleCommand => ({
    program: process.execPath,
    args: [...AGENT_NODE_FLAGS, bundle.start, 'agent', '--home', home, '--json', ...options],
    env: { CACHE_DIRECTORY: cache },
    ready: /"ready":true/,
  });
  const [first, second] = agents;
  const command = agent(first.home);
  await warm(command, cache);
  const peers = [await mosquittoSub(), nebulaIdle(join(folder, 'nebula'))].filter(
    (peer) => peer !== undefined,
  );
  try {
    return [
      ...(await starts(command, peers)),
      ...(await waits({
        commands: { agent: command, rare: agent(second.home, '--keepalive', '5m'), peers },
        home: first.home,
        seconds: place.idleSeconds,
      })),
      ...(await sessionWrites(children, { command, from: second, to: first })),
      ...sizes(bundle.bytes, join(root, 'out', 'deploy')),
    ];
  } finally {
    for (const peer of peers) await peer.close();
  }
}

/** The service has run before: its code cache is there, as on a machine that boots again. */
async function warm(command: IdleCommand, cache: string): Promise<void> {
  const agent = await IdleProcess.start(command);
  for (let waited = 0; readdirSync(cache).length === 0; waited += LOOK_MS) {
    if (waited > CODE_WAIT_MS_MAX) throw new Error('the agent keeps no code');
    await pause(LOOK_MS);
  }
  await agent.end();
}

interface Start {
  readonly readyMs: number;
  readonly residentBytes: number;
}

/** Memory and start of each in turn, round by round; ratios are those within a round. */
async function starts(agent: IdleCommand, peers: readonly IdlePeer[]): Promise<readonly Figure[]> {
  const rounds: { readonly bare: Start; readonly ours: Start; readonly others: Start[] }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const bare = await oneStart(BARE_NODE);
    const ours = await oneStart(agent);
    const others: Start[] = [];
    for (const { command } of peers) others.push(await oneStart(command));
    rounds.push({ bare, ours, others });
  }
  const mib = (of: (round: (typeof rounds)[number]) => Start): number =>
    median(rounds.map((round) => of(round).residentBytes)) / MIB;
  const ms = (of: (round: (typeof rounds)[number]) => Start): number =>
    median(rounds.map((round) => of(round).readyMs));
  const ratio = (of: (start: Start) => number): number =>
    median(rounds.map(({ bare, ours }) => of(ours) / of(bare)));
  return [
    figure(
      'agent, memory',
      mib((round) => round.ours),
      'MiB',
      'resident, idle, over TLS; aim 60',
    ),
    figure(
      'bare node, memory',
      mib((round) => round.bare),
      'MiB',
      'resident, a script that waits',
    ),
    figure(
      'memory, ratio',
      ratio((start) => start.residentBytes),
      '×',
      `agent by bare node, median of ${ROUNDS} rounds; ≤ 1.55, aim 1.4`,
    ),
    ...peers.map(({ name }, at) =>
      figure(
        `${name}, memory`,
        mib((round) => round.others[at]),
        'MiB',
        'resident, idle',
      ),
    ),
    figure(
      'agent, ready',
      ms((round) => round.ours),
      'ms',
      'from its start, registered',
    ),
    figure(
      'bare node, ready',
      ms((round) => round.bare),
      'ms',
      'from its start to a line',
    ),
    figure(
      'ready, ratio',
      ratio((start) => start.readyMs),
      '×',
      `agent by bare node, median of ${ROUNDS} rounds; ≤ 2.2, aim 1.8`,
    ),
    ...peers.map(({ name }, at) =>
      figure(
        `${name}, ready`,
        ms((round) => round.others[at]),
        'ms',
        'from its start',
      ),
    ),
  ];
}

async function oneStart(command: IdleCommand): Promise<Start> {
  const started = await IdleProcess.start(command);
  await pause(SETTLE_MS);
  const { readyMs, residentBytes } = started;
  await started.end();
  return { readyMs, residentBytes };
}

/** All of them wait, side by side. */
async function waits(wait: {
  readonly commands: {
    readonly agent: IdleCommand;
    /** An agent that pings each five minutes. */
    readonly rare: IdleCommand;
    readonly peers: readonly IdlePeer[];
  };
  /** Of the first agent. */
  readonly home: string;
  readonly seconds: number;
}): Promise<readonly Figure[]> {
  const { commands, home, seconds } = wait;
  const { agent, rare, peers } = commands;
  const names = ['agent', 'agent, keepalive 5 min', 'bare node', ...peers.map(({ name }) => name)];
  const all = [agent, rare, BARE_NODE, ...peers.map(({ command }) => command)];
  const running = await Promise.all(all.map((command) => IdleProcess.start(command)));
  await pause(IDLE_SETTLE_MS);
  const filesBefore = listing(home);
  const before = running.map((each) => each.spent());
  await pause(seconds * MS_PER_SECOND);
  const after = running.map((each) => each.spent());
  const changed = listing(home).filter((row) => !filesBefore.includes(row)).length;
  await Promise.all(running.map((each) => each.end()));
  const spent = (at: number, of: (spent: Spent) => number | undefined): number | undefined => {
    const [from, to] = [of(before[at]), of(after[at])];
    return from === undefined || to === undefined ? undefined : to - from;
  };
  const over = `over ${seconds} s`;
  const figures = names.flatMap((name, at) => {
    const cpu = spent(at, ({ cpuSeconds }) => cpuSeconds);
    const wire = spent(at, ({ wireBytes }) => wireBytes);
    const isOurs = at < 2;
    return [
      figure(
        `${name}, idle CPU`,
        ((cpu ?? NaN) / seconds) * 100,
        '%',
        `of one processor, by its scheduler, ${over}${isOurs ? '; ≤ 0.05' : ''}`,
      ),
      ...(wire === undefined
        ? []
        : [
            figure(
              `${name}, idle traffic`,
              ((wire / seconds) * SECONDS_PER_DAY) / MB,
              'MB/day',
              `both ways with IP and TCP headers, ${over}${TRAFFIC_AIMS[at] ?? ''}`,
            ),
          ]),
    ];
  });
  const written = spent(0, ({ diskBytes }) => diskBytes) ?? NaN;
  return [
    ...figures,
    figure('idle disk writes', written + changed, '', `bytes, and files changed, ${over}; 0`),
  ];
}

/** Every file under a folder with its size and the moment of its last change. */
function listing(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => {
    const path = join(folder, name);
    const { size, mtimeMs } = existsSync(path) ? statSync(path) : { size: 0, mtimeMs: 0 };
    return `${name} ${size} ${mtimeMs}`;
  });
}

function sizes(programBytes: number, out: string): readonly Figure[] {
  const packages = existsSync(out) ? readdirSync(out).filter((name) => name.endsWith('.deb')) : [];
  return [
    figure('bundle', programBytes / KB, 'kB', 'one file, before any packing'),
    ...packages.map((name) =>
      figure('package', readFileSync(join(out, name)).length / KB, 'kB', `${name}; ≤ 400`),
    ),
  ];
}

function figure(name: string, value: number, unit: string, meaning: string): Figure {
  return { name, value, unit, meaning };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
