// What a refused call gives away, seen from outside: everything that the servers send to each of
// two terminals passes a recording proxy, and every byte of it is searched for the other's
// address. The same search finds both addresses in a permitted call, so it can find them.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { RecordingProxy, addressBytes } from '../../cli/demo/recording-proxy.ts';
import type { Agent } from '../../device/agent.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import { answerWithHash } from '../fleet/fleet.ts';
import { type Town, allowing, openTown } from '../fleet/town.ts';

const CALLER_ADDRESS = '127.0.9.1';
const CALLEE_ADDRESS = '127.0.3.1';

interface Watched {
  readonly agent: Agent;
  readonly home: string;
  readonly proxy: RecordingProxy;
}

async function watched(
  t: Test,
  town: Town,
  options: { readonly name: string; readonly address: string; readonly allowList: string },
): Promise<Watched> {
  const proxy = await RecordingProxy.listen();
  t.teardown(() => proxy.close());
  proxy.leadTo('127.0.0.1', town.broker.port);
  const home = await town.enrol(options.name, options.allowList);
  const agent = await town.start(home, { brokerUrl: proxy.url, udpBind: options.address });
  agent.onIncoming(answerWithHash);
  return { agent, home, proxy };
}

t.test('S2010: a refused call moves no byte of either address, and no key', async (t) => {
  const town = await openTown();
  const callee = await watched(t, town, {
    name: 'TERM3',
    address: CALLEE_ADDRESS,
    allowList: allowing('TERM1'),
  });
  const caller = await watched(t, town, {
    name: 'STRANGER',
    address: CALLER_ADDRESS,
    allowList: '',
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
  return proxy.received().flatMap((bytes) =>
    publishes(bytes).flatMap((payload) => {
      const message = decodeMessage(payload);
      return message?.kind === 'addressNotice' ? [Buffer.from(message.key).toString('hex')] : [];
    }),
  );
}

/** Payloads of the PUBLISH packets in what an MQTT 3.1.1 client was sent. */
function publishes(bytes: Buffer): readonly Buffer[] {
  const payloads: Buffer[] = [];
  let at = 0;
  while (at + 1 < bytes.length) {
    const head = bytes[at];
    let length = 0;
    let shift = 0;
    let next = at + 1;
    for (;;) {
      const byte = bytes[next++];
      length |= (byte & 0x7f) << shift;
      shift += 7;
      if (byte < 0x80) break;
    }
    if (head >> 4 === 3) {
      const topicLength = bytes.readUInt16BE(next);
      const identifier = (head & 0x06) === 0 ? 0 : 2;
      payloads.push(bytes.subarray(next + 2 + topicLength + identifier, next + length));
    }
    at = next + length;
  }
  return payloads;
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
