// The control plane is lost in mid-session, at both ends, and comes back: real Aedes, real UDP, the
// manager's own store on disk.

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { startBroker } from '../../broker/shell/broker-shell.ts';
import type { Name } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { until } from '../../protocol/test/until.ts';
import { managerPublicKey, startManager } from '../../session-manager/shell/manager-shell.ts';
import { Agent } from '../agent.ts';
import { enrol } from '../shell/enrol.ts';
import { sendFiles, takeFiles } from './sending.ts';
import type { Session } from '../shell/session.ts';
import { ALLOW_TERM1, pieces } from './real-world.ts';

const shared = { suite: nodeSuite, rng: entropy, clock: new Clock(), log: silentLog };

t.test(
  'claim 5: broker and manager gone in mid-talk and back: the talk goes on, its end is logged once',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'nk-c-'));
    const home = join(folder, 'm');
    const managerKeys = [await managerPublicKey(home, nodeSuite, entropy)];
    let broker = await startBroker({ ...shared, managerKeys });
    const { url } = broker;
    let manager = await startManager({ ...shared, home, broker: { url } });
    const agents: Agent[] = [];
    t.teardown(async () => {
      await Promise.all(agents.map((agent) => agent.stop()));
      await manager.close();
      await broker.close();
      await rm(folder, { recursive: true, force: true });
    });
    await manager.ready;
    for (const [name, udpBind] of [
      ['TERM1', '127.0.1.1'],
      ['TERM3', '127.0.3.1'],
    ] as const) {
      const { ticket } = await manager.operations.ticket({ name, uses: 1, forSeconds: 60 });
      const at = join(folder, name);
      await enrol({ ...shared, home: at, ticket, name: name as Name });
      await writeFile(join(at, 'allow-list.toml'), name === 'TERM3' ? ALLOW_TERM1 : '');
      agents.push(await Agent.start({ home: at, log: silentLog, udpBind }));
    }
    const [caller, callee] = agents;
    await Promise.all(agents.map((agent) => agent.registered));
    const incoming: Session[] = [];
    callee.onIncoming((session) => {
      incoming.push(session);
      takeFiles(session, callee);
    });
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    const id = session.info.session;

    await manager.close();
    await broker.close();
    await until(() => agents.every((agent) => agent.status().link === 'down'));
    const file = { name: 'meanwhile', size: 500_000 };
    await sendFiles(session, [file], pieces(randomBytes(file.size)), () => {});
    t.strictSame(await readdir(callee.home.inbox), ['meanwhile'], 'the talk goes on');
    session.finish('done');
    const ends = await Promise.all([session.ended, incoming[0].ended]);
    t.strictSame(
      ends.map(({ reason }) => reason),
      ['done', 'done'],
    );
    await until(async () => {
      const kept = await Promise.all(agents.map((agent) => readdir(agent.home.ends)));
      return kept.every((names) => names.includes(id));
    });
    t.strictSame(
      agents.map((agent) => agent.status().endNotices),
      [1, 1],
    );

    broker = await startBroker({ ...shared, managerKeys, port: Number(new URL(url).port) });
    manager = await startManager({ ...shared, home, broker: { url } });
    await until(() => agents.every((agent) => agent.status().endNotices === 0));
    for (const agent of agents) {
      t.equal(agent.status().endNotices, 0, 'acknowledged');
      await until(async () => (await readdir(agent.home.ends)).length === 0);
      t.strictSame(await readdir(agent.home.ends), []);
    }
    const log = await manager.operations.log({});
    const text = JSON.stringify(log);
    t.equal(text.split('"kind":"report"').length - 1, 2, 'one report of each end');
    t.ok(text.includes('"done"') && !text.includes('restarted'));
    const again = await caller.call({ to: 'TERM3', service: 'file' });
    again.finish('done');
    t.equal((await again.ended).reason, 'done', 'and both can be introduced again');
  },
);
