// A server that changes its TLS key while its terminals run: they follow by what the manager
// signed, and nobody enrols again; and two that live with one identity: one stays.

import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { startBroker } from '../../broker/shell/broker-shell.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import { until } from '../../protocol/test/until.ts';
import { managerPublicKey } from '../../session-manager/shell/manager-shell.ts';
import { Agent } from '../agent.ts';
import { pair } from './real-world.ts';

t.test('S1000: a broker with a new TLS key is followed by terminals that run', async (t) => {
  const { world, caller, callee } = await pair(t);
  const before = await readFile(caller.home.enrolment, 'utf8');
  const server = world.home('server');
  const { port } = world.broker;
  await world.broker.close();
  await until(() => caller.status().link === 'down' && callee.status().link === 'down');
  await rm(join(server, 'tls.key'));
  await rm(join(server, 'tls.crt'));
  const clock = new Clock();
  const tls = await loadServerCertificate({ home: server, clock });
  const managerKeys = [await managerPublicKey(server, nodeSuite, entropy)];
  const shared = { suite: nodeSuite, clock, log: silentLog };
  const broker = await startBroker({ ...shared, port, tls, managerKeys });
  t.teardown(() => broker.close());
  await until(() => caller.status().registered && callee.status().registered, 'both are back');
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
  await until(async () => (await readFile(caller.home.enrolment, 'utf8')) !== before);
  const keysIn = (text: string): unknown => (JSON.parse(text) as { serverKeys: string }).serverKeys;
  const after = await readFile(caller.home.enrolment, 'utf8');
  t.not(keysIn(after), keysIn(before), 'the newer statement is kept for the next start');
});

t.test(
  'S1001: of two with one identity the first stays, the other says why it does not',
  async (t) => {
    const { world, caller } = await pair(t);
    const copied = world.home('COPY');
    await cp(caller.home.folder, copied, { recursive: true });
    await writeFile(join(copied, 'allow-list.toml'), '');
    const copy = await Agent.start({ home: copied, log: silentLog });
    t.teardown(() => copy.stop());
    t.equal(copy.id, caller.id, 'the same keys');
    await until(
      () => /another terminal runs/.test(copy.status().troubles.link ?? ''),
      'it is told',
    );
    await until(() => caller.status().registered, 'the first one is back');
    t.equal(copy.status().link, 'down', 'and keeps off');
    t.notOk(copy.status().registered);
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    session.finish('done');
    t.equal((await session.ended).reason, 'done', 'the first one goes on as before');
    const log = JSON.stringify(await world.manager.operations.log({}));
    t.match(log, /cloned/);
  },
);
