// The server's TLS key changes, its certificate is renewed, its clock and its terminals' are years
// apart: nobody enrols again. Real servers on real TLS, terminals as they are.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { startBroker } from '../../broker/shell/broker-shell.ts';
import { Agent } from '../../device/agent.ts';
import { enrol } from '../../device/shell/enrol.ts';
import { Clock, CorrectedClock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import {
  type ServerCertificate,
  loadServerCertificate,
} from '../../protocol/io/server-certificate.ts';
import { until } from '../../protocol/test/until.ts';
import { type WallMs, wallMs } from '../../protocol/time.ts';
import { managerPublicKey, startManager } from '../../session-manager/shell/manager-shell.ts';

const clock = new Clock();
const shared = { suite: nodeSuite, rng: entropy, clock, log: silentLog };
const DAY_MS = 86_400_000;

/** A clock that says 1970 until the server tells it the time, as a Pi's at boot. */
class BootClock extends CorrectedClock {
  #isCorrected = false;
  override wall(): WallMs {
    return this.#isCorrected ? super.wall() : wallMs(0);
  }
  override correct(unixMs: number): void {
    this.#isCorrected = true;
    super.correct(unixMs);
  }
}

class PastClock extends Clock {
  override wall(): WallMs {
    return wallMs(super.wall() - 3_640 * DAY_MS);
  }
}

interface Ports {
  readonly mqtt: number;
  readonly http: number;
}

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nakodo-keys-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Broker and manager on the home `server`, with this key, on these ports. */
async function openServer(server: string, tls: ServerCertificate, ports: Ports) {
  const key = await managerPublicKey(server, nodeSuite, entropy);
  const broker = await startBroker({ ...shared, managerKeys: [key], tls, port: ports.mqtt });
  const place = { url: broker.url, connect: (): Duplex => broker.connect() };
  const options = { ...shared, home: server, tls, broker: place, httpPort: ports.http };
  const manager = await startManager(options);
  await manager.ready;
  return {
    manager,
    broker,
    ports: { mqtt: broker.port, http: manager.httpPort },
    async close(): Promise<void> {
      await manager.close();
      await broker.close();
    },
  };
}

type Server = Awaited<ReturnType<typeof openServer>>;

async function enrolled(server: Server, home: string, name: string): Promise<string> {
  const { ticket } = await server.manager.operations.ticket({ name, uses: 1, forSeconds: 60 });
  await enrol({ home, ticket, name: undefined, suite: nodeSuite, rng: entropy });
  return home;
}

async function begin(t: Test, home: string, its?: CorrectedClock): Promise<Agent> {
  const agent = await Agent.start({ home, log: silentLog, ...(its && { clock: its }) });
  t.teardown(() => agent.stop());
  return agent;
}

const isUp = (agent: Agent): boolean => agent.status().registered;

t.test('S2000: another server key: who is there and who was away follow it alike', async (t) => {
  const base = await folder(t);
  const at = (name: string): string => join(base, name);
  const [one, two, foreign] = await Promise.all(
    ['k1', 'k2', 'k3'].map((name) => loadServerCertificate({ home: at(name), clock })),
  );
  const first = await openServer(at('s'), one, { mqtt: 0, http: 0 });
  const there = await begin(t, await enrolled(first, at('1'), 'THERE'));
  await there.registered;
  const away = await enrolled(first, at('2'), 'AWAY');
  const { ports } = first;
  await first.close();

  // Somebody else on the same ports, with a key and an identity of his own.
  const impostor = await openServer(at('x'), foreign, ports);
  const hasNoticed = (): boolean => /key/.test(there.status().troubles.link ?? '');
  await until(hasNoticed, 'the terminal to see another key');
  t.equal(impostor.broker.stats().loginsRefused, 0, 'it was told no token');
  t.notOk(isUp(there), 'a foreign key is not followed');
  await impostor.close();

  const second = await openServer(at('s'), two, ports);
  t.teardown(() => second.close());
  await until(() => isUp(there), 'who was there to be back');
  const late = await begin(t, away);
  await late.registered;
  t.ok(isUp(late), 'who was away comes back to another key');
  t.equal(second.manager.operations.devices().length, 2, 'nobody enrolled again');
  const fresh = await begin(t, await enrolled(second, at('3'), 'FRESH'));
  await fresh.registered;
  t.pass('a new ticket is for the new key');
});

t.test(
  'S2000: a renewed certificate, a server’s clock and a Pi in 1970 change nothing',
  async (t) => {
    const base = await folder(t);
    const at = (name: string): string => join(base, name);
    const old = await loadServerCertificate({ home: at('k'), clock: new PastClock() });
    const first = await openServer(at('s'), old, { mqtt: 0, http: 0 });
    const home = await enrolled(first, at('1'), 'TERM1');
    const pi = await begin(t, home, new BootClock());
    await pi.registered;
    t.ok(isUp(pi), 'to a Pi in 1970 that certificate is of the future');
    const { ports } = first;
    await first.close();
    const renewed = await loadServerCertificate({ home: at('k'), clock });
    t.not(renewed.cert, old.cert, 'ten days before its end it was renewed');
    await until(() => !isUp(pi), 'the terminal to notice that the server stopped');
    const second = await openServer(at('s'), renewed, ports);
    t.teardown(() => second.close());
    await until(() => isUp(pi), 'the terminal to be back');
    t.strictSame(renewed.pin, old.pin, 'to the same key');
  },
);
