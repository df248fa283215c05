// Pinning at the terminal's home (design §3): whom it talked to is remembered on disk, a change is
// refused loudly in both directions until its owner says `trust`, and a damaged file is no reason
// to trust anybody anew.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { callLocal } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import { PinsStore } from '../shell/pins-store.ts';
import { RealWorld, pair } from './real-world.ts';

const OTHER = 'z'.repeat(32) as DeviceId;
const TERM3 = 'TERM3' as Name;

async function file(test: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-pin-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'pins.json');
}

function store(test: Test, path: string): PinsStore {
  return new PinsStore(path, (error) => test.fail(String(error)));
}

const pinsText = (...pins: readonly { name: string; id: string }[]): string =>
  JSON.stringify({ version: 1, pins });

t.test('pins are kept over a restart, in their order, 0600', async (t) => {
  const path = await file(t);
  const first = store(t, path);
  t.strictSame(await first.load(), []);
  first.keep('TERM1' as Name, 'a'.repeat(32) as DeviceId);
  first.keep(TERM3, OTHER);
  first.keep('TERM9' as Name, OTHER);
  first.keep('TERM9' as Name, undefined);
  await first.settled();
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.strictSame(await store(t, path).load(), [
    { name: 'TERM1', id: 'a'.repeat(32) },
    { name: 'TERM3', id: OTHER },
  ]);
});

t.test('a full house of pins is kept and read; nobody new pushes one out', async (t) => {
  const path = await file(t);
  const full = store(t, path);
  const longest = (at: number): Name => `n${at}`.padEnd(64, 'x') as Name;
  for (let at = 0; at <= LIMITS.pinsMax; at++) full.keep(longest(at), OTHER);
  await full.settled();
  const pins = await store(t, path).load();
  t.equal(pins.length, LIMITS.pinsMax);
  t.equal(pins[0].name, longest(0));
});

t.test('a file of pins is read or refused by name, whatever is in it', async (t) => {
  const path = await file(t);
  const good = pinsText({ name: 'TERM3', id: OTHER });
  const bad = [
    '',
    '[]',
    '{"version":1}',
    good.replace('1', '2'),
    good.replace('TERM3', 'TERM/3'),
    good.replace('zz', 'Z!'),
    good.replace('"pins"', '"pin"'),
  ];
  for (const text of bad) {
    await writeFile(path, text);
    await t.rejects(store(t, path).load(), { code: 'file-damaged', message: /pins\.json/ }, text);
  }
});

async function talk(caller: Agent): Promise<void> {
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  session.finish('done');
  await session.ended;
}

const pinned = async (agent: Agent): Promise<string> =>
  readFile(agent.home.pins, 'utf8').catch(() => '');

t.test('claim 19: a peer that shows another key is refused until it is trusted', async (t) => {
  const { world, caller, callee } = await pair(t);
  await talk(caller);
  await until(async () => (await pinned(caller)).includes(callee.id), 'the callee is pinned');
  await until(async () => (await pinned(callee)).includes(caller.id), 'the caller is pinned');
  await caller.stop();
  // As if another terminal had stood behind the name at first.
  await writeFile(caller.home.pins, pinsText({ name: 'TERM3', id: OTHER }));
  const again = await world.agent('TERM1', { udpBind: '127.0.1.1' });
  await again.registered;
  const served = await serveAgent(again, { log: silentLog });
  t.teardown(() => served.close());
  await t.rejects(talk(again), { code: 'peer-changed', next: /nakodo trust TERM3/ });
  t.strictSame(again.status().changedPeers, [{ name: 'TERM3', pinned: OTHER, seen: callee.id }]);
  t.ok(again.status().troubles.peer?.endsWith(`nakodo trust TERM3#${callee.id}`));
  const ask = (request: object): Promise<object> => callLocal(again.home.socket, request);
  await t.rejects(ask({ op: 'trust', name: 'TERM9' }), { code: 'nothing-to-trust' });
  t.match(await ask({ op: 'trust', name: 'TERM3' }), { name: 'TERM3', id: callee.id });
  await talk(again);
  t.equal(again.status().troubles.peer, undefined, 'all is well');
  await until(async () => !(await pinned(again)).includes(OTHER), 'the new pin is on disk');
  t.match(
    await ask({ op: 'trust', name: 'TERM3', id: OTHER }),
    { id: OTHER },
    'any ID may be told',
  );
  await t.rejects(talk(again), { code: 'peer-changed' });
});

t.test(
  'S4003: a callee refuses a caller with another key, though its list allows the name',
  async (t) => {
    const { world, caller, callee } = await pair(t);
    await callee.stop();
    await writeFile(callee.home.pins, pinsText({ name: 'TERM1', id: OTHER }));
    const again = await world.agent('TERM3', { udpBind: '127.0.3.1' });
    await again.registered;
    const call = caller.call({ to: 'TERM3', service: 'file', waitMs: 500 });
    await t.rejects(call, { code: 'refused' }, 'the caller hears what every refused one hears');
    t.match(again.status().changedPeers, [{ name: 'TERM1', pinned: OTHER, seen: caller.id }]);
    t.equal(again.trust('TERM1' as Name, undefined), caller.id);
    again.onIncoming(() => {});
    await talk(caller);
  },
);

t.test(
  'S4003: an ID that the list states is changed by the list, and status says so',
  async (t) => {
    const { world, caller, callee } = await pair(t);
    await world.setList('TERM3', `[[allow]]\nname = "TERM1"\nid = "${OTHER}"\n`);
    const refused = async (): Promise<void> => {
      const call = caller.call({ to: 'TERM3', service: 'file', waitMs: 500 });
      await t.rejects(call, { code: 'refused' });
    };
    await refused();
    const wanted = `nakodo allow TERM1#${caller.id}`;
    t.match(callee.status().troubles.peer, `${OTHER} is stated in the allow-list`);
    t.match(callee.status().troubles.peer, wanted);
    t.equal(callee.trust('TERM1' as Name, undefined), caller.id);
    await refused();
    t.match(callee.status().troubles.peer, wanted, 'trust alone changes no list');
    await world.setList('TERM3', `[[allow]]\nname = "TERM1"\nid = "${caller.id}"\n`);
    t.equal(callee.status().troubles.peer, undefined, 'said no more once it is so');
    callee.onIncoming(() => {});
    await talk(caller);
  },
);

t.test('a terminal with damaged pins does not start', async (t) => {
  const world = await RealWorld.start(t);
  await world.enrol('TERM1');
  await writeFile(join(world.home('TERM1'), 'pins.json'), '{');
  await t.rejects(world.agent('TERM1'), { code: 'file-damaged', message: /pins\.json/ });
});
