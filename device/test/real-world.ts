// Broker, manager and agents on real sockets in this process, for tests: one temporary folder, free
// ports, everything closed and removed at the end of the test.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type BrokerShell, startBroker } from '../../broker/shell/broker-shell.ts';
import type { Name } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import {
  type RunningManager,
  managerPublicKey,
  startManager,
} from '../../session-manager/shell/manager-shell.ts';
import { Agent, type AgentOptions } from '../agent.ts';
import { enrol } from '../shell/enrol.ts';
import { receiveFiles } from '../shell/file-service.ts';
import type { Session } from '../shell/session.ts';

/** An allow-list file that allows TERM1 everything. */
export const ALLOW_TERM1 = '[[allow]]\nname = "TERM1"\n';

const clock = new Clock();
const shared = { suite: nodeSuite, rng: entropy, clock, log: silentLog };

/** A running pair of servers. */
export class RealWorld {
  readonly folder: string;
  readonly broker: BrokerShell;
  readonly manager: RunningManager;
  readonly #agents: Agent[] = [];

  private constructor(folder: string, broker: BrokerShell, manager: RunningManager) {
    this.folder = folder;
    this.broker = broker;
    this.manager = manager;
  }

  static async start(test: Test): Promise<RealWorld> {
    const folder = await mkdtemp(join(tmpdir(), 'nk-w-'));
    const home = join(folder, 'm');
    const broker = await startBroker({
      ...shared,
      managerKeys: [await managerPublicKey(home, nodeSuite, entropy)],
    });
    const manager = await startManager({ ...shared, home, broker: { url: broker.url } });
    const world = new RealWorld(folder, broker, manager);
    test.teardown(() => world.#stop());
    await manager.ready;
    return world;
  }

  home(name: string): string {
    return join(this.folder, name);
  }

  /** Enrols a terminal by ticket; `list`: its allow-list file. */
  async enrol(name: string, list: string = ''): Promise<void> {
    const ask = { name, uses: 1, forSeconds: 60 };
    const { ticket } = await this.manager.operations.ticket(ask);
    const { suite, rng } = shared;
    const home = this.home(name);
    await enrol({ home, ticket, name: name as Name, suite, rng, clock });
    await this.setList(name, list);
  }

  async setList(name: string, list: string): Promise<void> {
    await writeFile(join(this.home(name), 'allow-list.toml'), list);
  }

  /** Starts an enrolled terminal; stopped before the servers. */
  async agent(name: string, options: Partial<AgentOptions> = {}): Promise<Agent> {
    const agent = await Agent.start({ home: this.home(name), log: silentLog, ...options });
    this.#agents.push(agent);
    return agent;
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.stop()));
    await this.manager.close();
    await this.broker.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Two registered terminals of which TERM3 allows TERM1; TERM3 takes files. */
export async function pair(
  test: Test,
  list: string = ALLOW_TERM1,
  options: Partial<AgentOptions> = {},
): Promise<{ world: RealWorld; caller: Agent; callee: Agent; incoming: Session[] }> {
  const world = await RealWorld.start(test);
  await world.enrol('TERM1');
  await world.enrol('TERM3', list);
  const caller = await world.agent('TERM1', { udpBind: '127.0.1.1', ...options });
  const callee = await world.agent('TERM3', { udpBind: '127.0.3.1', ...options });
  await Promise.all([caller.registered, callee.registered]);
  const incoming: Session[] = [];
  callee.onIncoming((session) => {
    incoming.push(session);
    receiveFiles(session, callee.home.inbox, silentLog);
  });
  return { world, caller, callee, incoming };
}

/** The content in pieces, as a file is read. */
export async function* pieces(content: Uint8Array, size = 60_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}
