// A process of `scale.ts`: a server (broker and session manager), or many terminals. Does what it
// is told by messages, in order; ends with its parent. Needs --expose-gc for its gauges.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { startBroker } from '../broker/shell/broker-shell.ts';
import { Agent } from '../device/agent.ts';
import { enrol } from '../device/shell/enrol.ts';
import type { Name } from '../protocol/ids.ts';
import { Clock } from '../protocol/io/clock.ts';
import { entropy } from '../protocol/io/entropy.ts';
import { silentLog } from '../protocol/io/log.ts';
import { nodeSuite } from '../protocol/io/node-crypto.ts';
import { loadServerCertificate } from '../protocol/io/server-certificate.ts';
import {
  type RunningManager,
  managerPublicKey,
  startManager,
} from '../session-manager/shell/manager-shell.ts';
import { runLoad } from './scale-load.ts';
import {
  type Gauges,
  type ScaleOrder,
  type Usage,
  isAllowed,
  listOf,
  nameOf,
} from './scale-orders.ts';
import { Stages } from './scale-stages.ts';

/** Enrolments, or starts, under way at once. */
const AT_ONCE = 16;
const TICKET_SECONDS = 3_600;

const agents: Agent[] = [];
const stages = new Stages();
const seen = { called: 0, wronglyCalled: 0 };
let firstAgent = 0;
let manager: RunningManager | undefined;

async function serve(home: string, isPlain: boolean): Promise<object> {
  const clock = new Clock();
  const shared = { suite: nodeSuite, rng: entropy, clock, log: silentLog };
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const tls = isPlain ? undefined : await loadServerCertificate({ home, clock });
  const broker = await startBroker({ ...shared, managerKeys: [key], ...(tls && { tls }) });
  const place = { url: broker.url, connect: (): Duplex => broker.connect() };
  manager = await startManager({ ...shared, home, tls, broker: place });
  await manager.ready;
  return {};
}

/** Runs `work` for each number of a range, several at once. */
async function forRange(
  { from, count }: { readonly from: number; readonly count: number },
  work: (at: number) => Promise<void>,
): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => from + at).values();
  const worker = async (): Promise<void> => {
    for (const at of numbers) await work(at);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function enrolOne(folder: string, at: number, ticket: string): Promise<void> {
  const name = nameOf(at);
  const home = join(folder, name);
  await enrol({ home, ticket, name: name as Name, suite: nodeSuite, rng: entropy });
  await writeFile(join(home, 'allow-list.toml'), listOf(name));
}

async function startOne(folder: string, at: number): Promise<void> {
  const name = nameOf(at);
  const agent = await Agent.start({ home: join(folder, name), log: silentLog });
  agents[at - firstAgent] = agent;
  agent.onIncoming((session) => {
    seen.called += 1;
    if (!isAllowed(session.info.peer.name, name)) seen.wronglyCalled += 1;
  });
  await agent.registered;
}

function gauges(): Gauges {
  // Twice: the first lets go of what finalizers hold.
  globalThis.gc?.();
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rssBytes: rss, heapBytes: heapUsed, externalBytes: external };
}

function usage(): Usage {
  const { user, system } = process.cpuUsage();
  return { userMicros: user, systemMicros: system, ...seen };
}

async function answer(order: ScaleOrder): Promise<object> {
  switch (order.kind) {
    case 'serve':
      return serve(order.home, order.isPlain);
    case 'ticket':
      if (manager === undefined) throw new Error('no server here');
      return manager.operations.ticket({ uses: order.uses, forSeconds: TICKET_SECONDS });
    case 'enrol':
      await forRange(order, (at) => enrolOne(order.folder, at, order.ticket));
      return {};
    case 'start':
      if (agents.length === 0) firstAgent = order.from;
      await forRange(order, (at) => startOne(order.folder, at));
      return {};
    case 'load':
      return runLoad(agents, firstAgent, order);
    case 'profile':
      await stages.start();
      return {};
    case 'stages':
      return stages.stop();
    case 'usage':
      return usage();
    case 'gauges':
      return gauges();
  }
}

process.on('message', (order: ScaleOrder) => {
  answer(order).then(
    (answered) => process.send?.(answered),
    (error: unknown) => process.send?.({ failed: String(error) }),
  );
});
process.on('disconnect', () => process.exit());
