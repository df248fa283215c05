// Traces as files: whole records, a bound that the file speaks of, and no talk that suffers from a
// disk that is slow or not there.

import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { errorCode } from '../errors.ts';
import { randomSessionId } from '../ids.ts';
import { IO_LIMITS } from '../io/limits.ts';
import { TraceFolder } from '../io/trace-file.ts';
import { seededRng } from '../random.ts';
import { micros } from '../time.ts';
import { packetsOf, parseQlog } from './text-sequence.ts';

const session = randomSessionId(seededRng(1));
const sent = (packetNumber: number) =>
  ({
    kind: 'packetSent',
    at: micros(packetNumber),
    packetNumber,
    bytes: 1200,
    eliciting: true,
  }) as const;

const noTrouble =
  (test: Test) =>
  (error: unknown): void =>
    void test.fail(String(error));

async function folderOf(test: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-trace-'));
  test.teardown(() => rm(folder, { recursive: true }));
  return join(folder, 'traces');
}

t.test('a trace is a file of its own, for its owner alone', async (t) => {
  const folder = await folderOf(t);
  const traces = await TraceFolder.open({ folder, onTrouble: noTrouble(t) });
  const trace = traces.trace(session, 'callee');
  for (let i = 0; i < 2_000; i++) trace?.(sent(i));
  trace?.({ kind: 'packetReceived', at: micros(2_000), packetNumber: 7, bytes: 40 });
  await traces.settled();
  t.strictSame(await readdir(folder), [`${session}-callee.sqlog`]);
  const path = join(folder, `${session}-callee.sqlog`);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.equal((await stat(folder)).mode & 0o777, 0o700);
  const qlog = parseQlog(await readFile(path, 'utf8'));
  t.equal(packetsOf(qlog, 'transport:packet_sent').size, 2_000, 'more than one piece');
  t.equal(packetsOf(qlog, 'transport:packet_received').size, 1, 'what was held back, too');
  trace?.(sent(9_999));
  await traces.settled();
  t.notOk((await readFile(path, 'utf8')).includes('9999'), 'what comes after the end is lost');
});

t.test('a trace that does not end stays bounded, and says so', async (t) => {
  const folder = await folderOf(t);
  const bytesMax = 200_000;
  const traces = await TraceFolder.open({ folder, bytesMax, onTrouble: noTrouble(t) });
  const trace = traces.trace(session, 'caller');
  for (let i = 0; i < 50_000; i++) trace?.(sent(i));
  await traces.settled();
  const text = await readFile(join(folder, `${session}-caller.sqlog`), 'utf8');
  t.ok(text.length > bytesMax * 0.99 && text.length < bytesMax + 200, `${text.length} bytes`);
  const last = parseQlog(text).events.at(-1);
  t.match(last, { name: 'loglevel:warning', data: { message: /cut at 200000 bytes/ } });
});

t.test('events that the disk is too slow for are dropped, and counted', async (t) => {
  const folder = await folderOf(t);
  const traces = await TraceFolder.open({ folder, onTrouble: noTrouble(t) });
  const trace = traces.trace(session, 'caller');
  const events = 100_000;
  // In one turn of the event loop no disk is fast enough.
  for (let i = 0; i < events; i++) trace?.(sent(i));
  await traces.settled();
  const text = await readFile(join(folder, `${session}-caller.sqlog`), 'utf8');
  const qlog = parseQlog(text);
  const message = String(qlog.events.at(-1)?.data.message);
  const missing = Number(/(\d+) events are missing/.exec(message)?.[1]);
  t.equal(packetsOf(qlog, 'transport:packet_sent').size + missing, events);
  t.ok(missing > 0 && text.length < 6 * 1024 * 1024, `${text.length} bytes in memory at most`);
});

t.test('a file that cannot be written is told of once, and hurts nobody', async (t) => {
  const folder = await folderOf(t);
  const troubles: unknown[] = [];
  const traces = await TraceFolder.open({ folder, onTrouble: (error) => troubles.push(error) });
  const path = join(folder, `${session}-caller.sqlog`);
  await writeFile(path, 'of somebody else');
  const trace = traces.trace(session, 'caller');
  for (let i = 0; i < 5_000; i++) trace?.(sent(i));
  await traces.settled();
  t.strictSame(troubles.map(errorCode), ['EEXIST']);
  t.equal(await readFile(path, 'utf8'), 'of somebody else');
});

t.test('only so many files are open at once; a talk more has no trace', async (t) => {
  const folder = await folderOf(t);
  const troubles: unknown[] = [];
  const traces = await TraceFolder.open({ folder, onTrouble: (error) => troubles.push(error) });
  const rng = seededRng(2);
  const heard = Array.from({ length: IO_LIMITS.traceFilesMax + 1 }, () =>
    traces.trace(randomSessionId(rng), 'caller'),
  );
  t.equal(heard.filter((trace) => trace === undefined).length, 1);
  t.equal(troubles.length, 1);
  await traces.settled();
  t.equal((await readdir(folder)).length, IO_LIMITS.traceFilesMax);
  t.ok(traces.trace(session, 'caller'), 'there is room again');
  await traces.settled();
});

t.test('a folder that cannot be made is an error at the start', async (t) => {
  const folder = await folderOf(t);
  await writeFile(folder, 'a file');
  await t.rejects(TraceFolder.open({ folder, onTrouble: noTrouble(t) }), { name: 'NakodoError' });
});
