// What a refused call gives away, seen from outside: everything that the servers send to each of
// two terminals passes a recording proxy, and every byte of it is searched for the other's
// address. The same search finds both addresses in a permitted call, so it can find them.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { type RecordingProxy, addressBytes } from '../../cli/demo/recording-proxy.ts';
import { allowing, openTown } from '../fleet/town.ts';
import { messagesOf, overheard } from './overheard.ts';

const CALLER_ADDRESS = '127.0.9.1';
const CALLEE_ADDRESS = '127.0.3.1';

t.test('S2010: a refused call moves no byte of either address, and no key', async (t) => {
  const town = await openTown();
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
  t.equal(addressBytes(caller.proxy.received(), CALLEE_ADDRESS), 0, 'callee → caller');
  t.equal(addressBytes(callee.proxy.received(), CALLER_ADDRESS), 0, 'caller → callee');
  t.strictSame(keysIn(caller.proxy), []);
  t.strictSame(keysIn(callee.proxy), []);

  await town.allow(callee.home, allowing('STRANGER'));
  const session = await caller.agent.call(call);
  session.finish('done');
  await session.ended;
  t.ok(addressBytes(caller.proxy.received(), CALLEE_ADDRESS) > 0, 'the search finds the callee');
  t.ok(addressBytes(callee.proxy.received(), CALLER_ADDRESS) > 0, 'the search finds the caller');
  const keys = keysIn(caller.proxy);
  t.equal(keys.length, 1, 'the permitted call carried one key');
  t.strictSame(keysIn(callee.proxy), keys, 'the same to both');

  const [key] = keys.map((hex) => Buffer.from(hex, 'hex'));
  const server = join(town.folder, 'server');
  t.notOk(await holds(server, key), 'the session key is nowhere in the server’s home');
  t.ok(await holds(server, Buffer.from('STRANGER')), 'the same search finds the caller’s name');
  t.notOk(await holds(callee.home, key), 'nor in the callee’s');
  t.notOk(
    await holds(server, Buffer.from(CALLEE_ADDRESS.split('.').map(Number))),
    'no address is kept by the session manager',
  );
});

/** The session keys in every address notice that went to a terminal, as hex. */
function keysIn(proxy: RecordingProxy): readonly string[] {
  const notices = messagesOf(proxy.received(), 'addressNotice');
  return notices.map(({ key }) => Buffer.from(key).toString('hex'));
}

/** Whether any file below a folder holds these bytes. */
async function holds(folder: string, needle: Buffer): Promise<boolean> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const content = await readFile(join(entry.parentPath, entry.name));
    if (content.includes(needle)) return true;
  }
  return false;
}
