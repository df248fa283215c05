// A whole system in this process on real sockets: broker, session manager, and any number of
// enrolled agents, each in a home of its own below one temporary folder, over TLS as in earnest.
// The fleet and the story's tests live in it.

import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type BrokerShell, startBroker } from '../../broker/shell/broker-shell.ts';
import { Agent, type AgentOptions } from '../../device/agent.ts';
import { enrol } from '../../device/shell/enrol.ts';
import type { OperatorLimits } from '../../protocol/consent/allow-list.ts';
import type { Name } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import {
  type ServerCertificate,
  loadServerCertificate,
} from '../../protocol/io/server-certificate.ts';
import type { RateLimits } from '../../session-manager/manager-types.ts';
import {
  type RunningManager,
  managerPublicKey,
  startManager,
} from '../../session-manager/shell/manager-shell.ts';
import { openLmdbStore } from '../../session-manager/shell/store-lmdb.ts';
import type { Store } from '../../session-manager/shell/store.ts';

const TICKET_SECONDS = 600;

/** A running town; `close` ends it all and removes its folder. */
export interface Town {
  readonly folder: string;
  readonly broker: BrokerShell;
  readonly manager: RunningManager;
  /** What both servers show; undefined: they are plain. */
  readonly tls: ServerCertificate | undefined;
  /** Enrols a terminal whose allow-list file has this text; it does not run yet. */
  enrol(name: string, allowList: string): Promise<string>;
  /** Starts an enrolled terminal; it registers by itself. */
  begin(home: string, options?: Partial<AgentOptions>): Promise<Agent>;
  /** The same, and waits until both servers know it. */
  start(home: string, options?: Partial<AgentOptions>): Promise<Agent>;
  /** Puts a terminal's allow-list file in place; the next question reads it. */
  allow(home: string, allowList: string): Promise<void>;
  close(): Promise<void>;
}

/** What is special about a town. */
interface TownOptions {
  /** What the operator permits. */
  readonly policy?: OperatorLimits;
  readonly log?: Log;
  /** The manager reaches the broker over TCP, as when each is a process of its own [¶0028]. */
  readonly apart?: boolean;
  /** No TLS, as with `--plain`. */
  readonly plain?: boolean;
  /** Let reasons out with refusals. */
  readonly explain?: boolean;
  /** How often callers may ask in vain. */
  readonly rates?: RateLimits;
  /** The manager's store, from the one that it would have. */
  readonly storeOf?: (real: Store) => Store;
}

/** Opens a town without terminals. */
export async function openTown(options: TownOptions = {}): Promise<Town> {
  const log = options.log ?? silentLog;
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-town-'));
  const server = join(folder, 'server');
  const clock = new Clock();
  const shared = { suite: nodeSuite, clock, log };
  const key = await managerPublicKey(server, nodeSuite, entropy);
  const isPlain = options.plain === true;
  const tls = isPlain ? undefined : await loadServerCertificate({ home: server, clock });
  const broker = await startBroker({ ...shared, ...(tls && { tls }), managerKeys: [key] });
  const connect = (): Duplex => broker.connect();
  const pinFile = join(server, 'tls.pin');
  const { policy, explain, rates, storeOf } = options;
  const store = storeOf?.(await openLmdbStore({ folder: join(server, 'store') }));
  const manager = await startManager({
    ...shared,
    tls,
    home: server,
    rng: entropy,
    broker: { url: broker.url, ...(options.apart === true ? { pinFile } : { connect }) },
    ...(policy && { policy }),
    ...(explain === undefined ? {} : { explain }),
    ...(rates && { rates }),
    ...(store && { store }),
  });
  await manager.ready;
  const agents: Agent[] = [];
  const allow = async (home: string, allowList: string): Promise<void> => {
    // At once, as an editor does it: a question reads the old list or the new one.
    const path = join(home, 'allow-list.toml');
    await writeFile(`${path}.new`, allowList);
    await rename(`${path}.new`, path);
  };
  const begin: Town['begin'] = async (home, more = {}) => {
    const agent = await Agent.start({ home, log, ...more });
    agents.push(agent);
    return agent;
  };
  return {
    folder,
    broker,
    manager,
    tls,
    async enrol(name, allowList) {
      const home = join(folder, name);
      const { ticket } = await manager.operations.ticket({
        name,
        uses: 1,
        forSeconds: TICKET_SECONDS,
      });
      await enrol({ home, ticket, name: name as Name, suite: nodeSuite, rng: entropy });
      await allow(home, allowList);
      return home;
    },
    begin,
    async start(home, more) {
      const agent = await begin(home, more);
      await agent.registered;
      return agent;
    },
    allow,
    async close() {
      await Promise.all(agents.map((agent) => agent.stop()));
      await manager.close();
      await broker.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The text of an allow-list file with one `[[allow]]` for each name. */
export function allowing(...names: readonly string[]): string {
  return names.map((name) => `[[allow]]\nname = "${name}"\n`).join('\n');
}
