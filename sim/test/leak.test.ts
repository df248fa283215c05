// What a refused call gives away. To a terminal: everything that its own keys opened, and all that
// reached it besides, is searched for the other's address. To a broker: everything that passed it,
// as it was there, is searched for the session key. To the wire: TLS. The same searches find both
// addresses and the key where they may be, so they can find them.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { RecordingProxy } from '../../cli/demo/recording-proxy.ts';
import { errorCode } from '../../protocol/errors.ts';
import { allowing, openTown } from '../fleet/town.ts';
import { type Overheard, addressBytes, overheard, places } from './overheard.ts';

const CALLER_ADDRESS = '127.0.9.1';
const CALLEE_ADDRESS = '127.0.3.1';

t.test('S2010: a refused call moves no byte of either address, and no key', async (t) => {
  const town = await openTown({ apart: true });
  const callee = await overheard(t, town, {
    name: 'TERM3',
    allowList: allowing('TERM1'),
    agent: { udpBind: CALLEE_ADDRESS },
  });
  const caller = await overheard(t, town, {
    name: 'STRANGER',
    allowList: '',
    agent: { udpBind: CALLER_ADDRESS },
  });
  t.teardown(() => town.close());
  const call = { to: 'TERM3', service: 'file', waitMs: 300 };

  await t.rejects(caller.agent.call(call), { code: 'refused' });
  t.equal(callee.told('ask').length, 1, 'TERM3 was asked');
  t.equal(caller.told('refusal').length, 1, 'and STRANGER told no');
  t.equal(addressBytes(toldTo(caller), CALLEE_ADDRESS), 0, 'callee → caller');
  t.equal(addressBytes(toldTo(callee), CALLER_ADDRESS), 0, 'caller → callee');
  t.strictSame(keysIn(caller), []);
  t.strictSame(keysIn(callee), []);

  await town.allow(callee.home, allowing('STRANGER'));
  const session = await caller.agent.call(call);
  session.finish('done');
  await session.ended;
  t.ok(addressBytes(toldTo(caller), CALLEE_ADDRESS) > 0, 'the search finds the callee');
  t.ok(addressBytes(toldTo(callee), CALLER_ADDRESS) > 0, 'the search finds the caller');
  const keys = keysIn(caller);
  t.equal(keys.length, 1, 'the permitted call carried one key');
  t.strictSame(keysIn(callee), keys, 'the same to both');

  const [key] = keys.map((hex) => Buffer.from(hex, 'hex'));
  t.equal(places(caller.opened, key), 1, 'the terminal opened it');
  for (const [{ agent, proxy }, other] of [
    [caller, callee],
    [callee, caller],
  ] as const) {
    const passed = [...proxy.received(), ...proxy.sent()];
    t.equal(places(passed, key), 0, `the broker saw no key on ${agent.name}’s connection`);
    t.equal(places(passed, Buffer.from(other.agent.name)), 0, 'nor whom it talks to');
    t.equal(places(passed, Buffer.from(agent.name)), 0, 'nor its own name');
    t.ok(places(passed, Buffer.from(agent.id)) > 0, 'the same search finds the ID in its topics');
  }
  const server = join(town.folder, 'server');
  t.notOk(await holds(server, key), 'the session key is nowhere in the server’s home');
  t.ok(await holds(server, Buffer.from('STRANGER')), 'the same search finds the caller’s name');
  t.notOk(await holds(callee.home, key), 'nor in the callee’s');
  t.notOk(
    await holds(server, Buffer.from(CALLEE_ADDRESS.split('.').map(Number))),
    'no address is kept by the session manager',
  );
});

t.test('S1000: on the wire to the broker there is TLS and nothing else', async (t) => {
  const town = await openTown();
  const wire = await RecordingProxy.listen();
  t.teardown(async () => {
    await town.close();
    await wire.close();
  });
  wire.leadTo('127.0.0.1', town.broker.port);
  const home = await town.enrol('TERM1', '');
  const agent = await town.start(home, { brokerUrl: wire.url, udpBind: CALLER_ADDRESS });
  const passed = [...wire.sent(), ...wire.received()];
  t.ok(Buffer.concat(passed).length > 1_000, 'it registered through there');
  for (const needle of ['nakodo', 'terminal', 'MQTT', 'TERM1', agent.id]) {
    t.equal(places(passed, Buffer.from(needle)), 0, needle);
  }
  t.equal(addressBytes(passed, CALLER_ADDRESS), 0, 'no address');
  const heard = await overheard(t, town, { name: 'TERM3', allowList: '' });
  const inside = [...heard.proxy.sent(), ...heard.proxy.received()];
  for (const needle of ['nakodo', 'terminal', 'MQTT', heard.agent.id]) {
    t.ok(places(inside, Buffer.from(needle)) > 0, `with the broker’s key: ${needle}`);
  }
});

/** Everything that reached a terminal: what it opened, and all of its connection inside TLS. */
const toldTo = ({ opened, proxy }: Overheard): readonly Buffer[] => [
  ...opened,
  ...proxy.received(),
];

/** The session keys in every address notice that a terminal opened, as hex. */
const keysIn = (terminal: Overheard): readonly string[] =>
  terminal.told('addressNotice').map(({ key }) => Buffer.from(key).toString('hex'));

/** Whether any file below a folder holds these bytes. */
async function holds(folder: string, needle: Buffer): Promise<boolean> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const content = await readIfThere(join(entry.parentPath, entry.name));
    if (content.includes(needle)) return true;
  }
  return false;
}

/** A file's content; nothing of one that its owner has removed meanwhile. */
async function readIfThere(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}
