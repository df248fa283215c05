// A whole server in a process of its own (`apart.ts`), so that it can lose its power: the first
// message starts it, every other one asks. Ends with its parent.

import type { Duplex } from 'node:stream';
import { type BrokerShell, startBroker } from '../../broker/shell/broker-shell.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import {
  type RunningManager,
  managerPublicKey,
  startManager,
} from '../../session-manager/shell/manager-shell.ts';
import type { Ports, ServerGauges, ServerOrder } from './apart.ts';

interface Server {
  readonly broker: BrokerShell;
  readonly manager: RunningManager;
}

async function begin(home: string, ports: Ports): Promise<Server> {
  const clock = new Clock();
  const shared = { suite: nodeSuite, rng: entropy, clock, log: silentLog };
  const key = await managerPublicKey(home, nodeSuite, entropy);
  const tls = await loadServerCertificate({ home, clock });
  const broker = await startBroker({ ...shared, managerKeys: [key], tls, port: ports.mqtt });
  const place = { url: broker.url, connect: (): Duplex => broker.connect() };
  const manager = await startManager({ ...shared, home, tls, broker: place, httpPort: ports.http });
  await manager.ready;
  return { broker, manager };
}

function gauges({ broker, manager }: Server): ServerGauges {
  const { user, system } = process.cpuUsage();
  const devices = manager.operations.devices();
  return {
    broker: broker.stats(),
    manager: manager.counts(),
    named: devices.filter(({ registered }) => registered !== null).length,
    cloned: devices.filter(({ cloned }) => cloned !== null).length,
    cpuMicros: user + system,
    rssBytes: process.memoryUsage.rss(),
  };
}

let starting: Promise<Server> | undefined;

async function answer(order: ServerOrder): Promise<object> {
  if (order.kind === 'start') {
    starting = begin(order.home, order.ports);
    const { broker, manager } = await starting;
    return { mqtt: broker.port, http: manager.httpPort } satisfies Ports;
  }
  if (starting === undefined) throw new Error('not started');
  const server = await starting;
  if (order.kind === 'gauges') return gauges(server);
  return server.manager.operations.ticket({ uses: order.uses, forSeconds: order.forSeconds });
}

process.on('message', (order: ServerOrder) => {
  void answer(order).then((answered) => process.send?.(answered));
});
process.on('disconnect', () => process.exit());
