// `nakodo agent --trace DIR`: two agents on real sockets, one talk, two files that tell of the same
// packets.

import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { packetsOf, parseQlog } from '../../protocol/test/text-sequence.ts';
import { sendFiles } from './sending.ts';
import { ALLOW_TERM1, pair, pieces } from './real-world.ts';

t.test('S5000: both ends write a trace of the talk, and the traces agree', async (t) => {
  const traceFolder = await mkdtemp(join(tmpdir(), 'nakodo-trace-'));
  t.teardown(() => rm(traceFolder, { recursive: true }));
  const { caller, callee, incoming } = await pair(t, ALLOW_TERM1, { traceFolder });
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const content = randomBytes(2_000_000);
  const files = [{ name: 'a.bin', size: content.length }];
  await sendFiles(session, files, pieces(content), () => {});
  session.finish('done');
  await Promise.all([session.ended, incoming[0].ended]);
  await Promise.all([caller.stop(), callee.stop()]);
  const names = (await readdir(traceFolder)).sort();
  t.strictSame(names, [
    `${session.info.session}-callee.sqlog`,
    `${session.info.session}-caller.sqlog`,
  ]);
  const [theirs, ours] = await Promise.all(
    names.map(async (name) => parseQlog(await readFile(join(traceFolder, name), 'utf8'))),
  );
  t.match(ours.header, { trace: { vantage_point: { type: 'client' } } });
  t.match(theirs.header, { trace: { vantage_point: { type: 'server' } } });
  for (const [sender, receiver] of [
    [ours, theirs],
    [theirs, ours],
  ]) {
    const sent = packetsOf(sender, 'transport:packet_sent');
    const received = packetsOf(receiver, 'transport:packet_received');
    const lost = packetsOf(sender, 'recovery:packet_lost');
    t.ok(received.size > 10, `${received.size} packets`);
    const invented = [...received].filter((number) => !sent.has(number));
    t.strictSame(invented, [], 'what was received was sent');
    const missing = [...sent].filter((number) => !received.has(number) && !lost.has(number));
    t.ok(missing.length <= 8, `${missing.length} still under way at the end`);
  }
  const text = JSON.stringify([ours, theirs]);
  t.notOk(/TERM[13]|127\.0\.|\bkey\b/.test(text), 'no names, no addresses, no keys');
  t.ok(text.includes('packet_sent'), 'a positive control');
});
