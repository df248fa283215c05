// Agents on real sockets: broker, manager and terminals in this process, talks over real UDP.

import { createHash, randomBytes } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { EXIT } from '../../protocol/errors.ts';
import { callLocal } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import { receiveFiles, sendFiles } from '../shell/file-service.ts';
import type { Session } from '../shell/session.ts';
import { RealWorld } from './real-world.ts';

const ALLOW_TERM1 = '[[allow]]\nname = "TERM1"\n';

async function* pieces(content: Uint8Array, size = 60_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

t.test('S1005: a file arrives with equal hash, through the local socket', async (t) => {
  const world = await RealWorld.start(t);
  await world.enrol('TERM1');
  await world.enrol('TERM3', ALLOW_TERM1);
  const caller = await world.agent('TERM1', { udpBind: '127.0.1.1' });
  const callee = await world.agent('TERM3', { udpBind: '127.0.3.1' });
  await Promise.all([caller.registered, callee.registered]);
  const served = [await serveAgent(caller, silentLog), await serveAgent(callee, silentLog)];
  t.teardown(() => Promise.all(served.map((each) => each.close())));
  const content = randomBytes(5_000_000);
  const events: Record<string, unknown>[] = [];
  const request = {
    op: 'send',
    to: 'TERM3',
    files: [
      { name: 'a.bin', size: 4_000_000 },
      { name: 'a.bin', size: 1_000_000 },
    ],
  };
  const result = await callLocal(caller.home.socket, request, {
    body: pieces(content),
    onEvent: (event) => events.push(event),
  });
  t.match(result, { reason: 'done', bytes: 5_000_000, path: { host: '127.0.3.1' } });
  t.match(result.files, [{ savedAs: 'a.bin' }, { savedAs: 'a.bin.1' }]);
  const inbox = callee.home.inbox;
  t.strictSame((await readdir(inbox)).sort(), ['a.bin', 'a.bin.1']);
  const first = await readFile(join(inbox, 'a.bin'));
  t.equal(sha256(first), sha256(content.subarray(0, 4_000_000)));
  const second = await readFile(join(inbox, 'a.bin.1'));
  t.equal(sha256(second), sha256(content.subarray(4_000_000)));
  t.strictSame(
    [...new Set(events.map(({ event }) => event))],
    ['waiting', 'introduced', 'established', 'progress', 'ended'],
  );
  t.match(await callLocal(caller.home.socket, { op: 'status' }), { name: 'TERM1', talks: [] });
});
