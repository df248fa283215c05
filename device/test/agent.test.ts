// Agents on real sockets: broker, manager and terminals in this process, talks over real UDP.
// Each test has servers, homes and loopback addresses of its own.

import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import { EXIT, type NakodoError, errorCode } from '../../protocol/errors.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { callLocal } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { Agent } from '../agent.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import { enrol } from '../shell/enrol.ts';
import { sendFiles, takeFiles } from './sending.ts';
import { ALLOW_TERM1, RealWorld, pair, pieces, registeredPair } from './real-world.ts';

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

t.test('S1005: files arrive with equal hashes, whose agent serves commands', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const served = [
    await serveAgent(caller, { log: silentLog }),
    await serveAgent(callee, { log: silentLog }),
  ];
  t.teardown(() => Promise.all(served.map((each) => each.close())));
  const content = randomBytes(5_000_000);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const files = [
    { name: 'a.bin', size: 4_000_000 },
    { name: 'a.bin', size: 1_000_000 },
  ];
  const delivered = await sendFiles(session, files, pieces(content));
  t.match(delivered, [{ savedAs: 'a.bin' }, { savedAs: 'a.bin.1' }]);
  session.finish('done');
  t.match(await session.ended, { reason: 'done', path: { host: '127.0.3.1' } });
  const inbox = callee.home.inbox;
  t.strictSame((await readdir(inbox)).sort(), ['a.bin', 'a.bin.1']);
  const first = await readFile(join(inbox, 'a.bin'));
  t.equal(sha256(first), sha256(content.subarray(0, 4_000_000)));
  const second = await readFile(join(inbox, 'a.bin.1'));
  t.equal(sha256(second), sha256(content.subarray(4_000_000)));
  t.match(await callLocal(caller.home.socket, { op: 'status' }), { name: 'TERM1', talks: [] });
});

const nothing = (): void => {};

/** The name of a partial file that nobody writes. */
const isResting = (name: string): boolean => /^\.part-[0-9a-f]{32}$/.test(name);

t.test('S4005: content flows back on the same stream, at the pace of its reader', async (t) => {
  const { caller, callee } = await pair(t);
  const content = randomBytes(16_000_000);
  let written = 0;
  callee.onIncoming((session) => {
    session.onStream = (stream, parameters) => {
      t.strictSame([...parameters], [1, 2, 3]);
      stream.resume();
      void (async () => {
        for await (const piece of pieces(content)) {
          if (!stream.write(piece)) await once(stream, 'drain');
          written += piece.length;
        }
        stream.end();
      })();
    };
  });
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const stream = session.openStream(undefined, Uint8Array.of(1, 2, 3));
  stream.end();
  await once(stream, 'readable');
  // Nobody reads: the writer is stopped by windows and buffers, all of them bounded.
  const bytes = await untilStill(() => written);
  t.ok(bytes > 0 && bytes < content.length, `stopped after ${bytes} of ${content.length}`);
  const hash = createHash('sha256');
  await pipeline(stream, hash);
  t.equal(hash.digest('hex'), sha256(content));
  session.finish('done');
  t.match(await session.ended, { reason: 'done', counts: { receivedBytes: content.length } });
});

t.test('S2010: a refused caller gets one answer, and no address', async (t) => {
  const { world, callee, incoming } = await pair(t, '[[deny]]\nname = "TERM1"\n');
  await world.enrol('TERM9');
  const stranger = await world.agent('TERM9');
  await stranger.registered;
  const said = new Set<string>();
  for (const to of ['TERM3', 'NOBODY']) {
    const call = stranger.call({ to, service: 'file', waitMs: 300 });
    const error = await call.then(nothing, (reason: NakodoError) => reason);
    t.match(error, { code: 'refused', exit: EXIT.refused });
    said.add(String(error?.message.replace(to, '')));
  }
  t.equal(said.size, 1, 'refused and unknown sound the same');
  t.equal(incoming.length, 0);
  t.equal(callee.status().talks.length, 0);
});

t.test('S1002: what is no name, and a call that is given up, are said at once', async (t) => {
  const { caller } = await pair(t);
  await t.rejects(caller.call({ to: 'TERM/+', service: 'file' }), { code: 'bad-name' });
  const abort = new AbortController();
  const call = caller.call({
    to: 'NOBODY',
    service: 'file',
    waitMs: 60_000,
    signal: abort.signal,
  });
  abort.abort();
  await t.rejects(call, { code: 'cancelled' });
});

t.test('claim 15: a byte quota ends the talk at exactly that many bytes', async (t) => {
  const { caller, callee, incoming } = await pair(t);
  const quota = 300_000;
  const session = await caller.call({ to: 'TERM3', service: 'file', want: { bytes: quota } });
  const files = [{ name: 'big.bin', size: 1_000_000 }];
  const sent = sendFiles(session, files, pieces(randomBytes(1_000_000)), nothing);
  await t.rejects(sent, { code: 'quota', exit: EXIT.limit });
  const [ours, theirs] = await Promise.all([session.ended, incoming[0].ended]);
  t.equal(ours.reason, 'quota');
  t.equal(theirs.reason, 'quota');
  t.equal(ours.counts.sentBytes + theirs.counts.sentBytes, quota);
  t.equal(ours.counts.sentBytes, theirs.counts.receivedBytes);
  await until(async () => (await readdir(callee.home.inbox)).every(isResting));
  t.ok((await readdir(callee.home.inbox)).every(isResting), 'nothing under its final name');
});

t.test('claim 14: a talk ends when its time is up', async (t) => {
  const { caller, callee, incoming } = await pair(t);
  const session = await caller.call({ to: 'TERM3', service: 'file', want: { seconds: 1 } });
  t.equal(session.info.seconds, 1);
  const stream = session.openStream();
  const [ours, theirs] = await Promise.all([session.ended, incoming[0].ended]);
  t.strictSame([ours.reason, theirs.reason], ['time', 'time']);
  // The clock that started first runs out; the other end hears of it, earlier by its own clock.
  const durationMs = Math.max(ours.counts.durationMs, theirs.counts.durationMs);
  t.ok(durationMs >= 1_000 && durationMs < 10_000, `${durationMs} ms`);
  stream.resume();
  await until(() => stream.destroyed, 'what had arrived is read, then the stream fails');
  t.equal(errorCode(stream.errored), 'time');
  await until(async () => callee.status().talks.length === 0);
  t.equal(callee.status().talks.length, 0);
});

t.test('S5007: a terminal that was killed in mid-talk reports `restarted`', async (t) => {
  const { world, caller } = await pair(t);
  await world.enrol('TERM7', ALLOW_TERM1);
  const home = world.home('TERM7');
  const child = fork(new URL('./agent-child.js', import.meta.url), [home, '127.0.7.1']);
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'message');
  const session = await caller.call({ to: 'TERM7', service: 'file' });
  const { session: id } = session.info;
  await until(async () => (await readdir(join(home, 'ends'))).includes(id));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const again = await world.agent('TERM7', { udpBind: '127.0.7.1' });
  await until(async () => (await readdir(again.home.ends)).length === 0);
  t.strictSame(await readdir(again.home.ends), [], 'the manager has acknowledged it');
  const log = JSON.stringify(await world.manager.operations.log({}));
  t.match(log, 'restarted');
  session.finish('local');
  await session.ended;
});

t.test('S5007: a second agent in a home is refused before it reports the first one', async (t) => {
  const { caller } = await pair(t);
  const served = await serveAgent(caller, { log: silentLog });
  t.teardown(() => served.close());
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const record = join(caller.home.ends, session.info.session);
  await until(async () => (await readdir(caller.home.ends)).includes(session.info.session));
  const before = await readFile(record, 'utf8');
  const second = Agent.start({ home: caller.home.folder, log: silentLog });
  await t.rejects(second, { code: 'already-running' });
  t.equal(await readFile(record, 'utf8'), before);
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test('claim 1: a terminal that polls has no TCP connection between its polls', async (t) => {
  const { world, caller } = await pair(t);
  await world.enrol('TERM5', ALLOW_TERM1);
  const before = world.broker.stats().connections;
  const sleeper = await world.agent('TERM5', { pollSeconds: 1, udpBind: '127.0.5.1' });
  await sleeper.registered;
  await until(async () => sleeper.status().link === 'down');
  await until(async () => world.broker.stats().connections === before);
  t.equal(world.broker.stats().connections, before, 'the connection is really closed');
  sleeper.onIncoming((incoming) => takeFiles(incoming, sleeper));
  const session = await caller.call({ to: 'TERM5', service: 'file', waitMs: 10_000 });
  t.equal(sleeper.status().link, 'up', 'it stays for a talk that it agreed to');
  const files = [{ name: 'x', size: 10 }];
  const [delivered] = await sendFiles(session, files, pieces(randomBytes(10)), nothing);
  t.equal(delivered.savedAs, 'x');
  session.finish('done');
  await session.ended;
  await until(async () => sleeper.status().link === 'down');
  t.equal(sleeper.status().link, 'down');
});

t.test('S4005: what a file must not do in an inbox is refused, with a reason', async (t) => {
  const { caller, callee } = await pair(t);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const sending = (name: string, size: number, content: Uint8Array): Promise<unknown> =>
    sendFiles(session, [{ name, size }], pieces(content), nothing);
  const five = Buffer.from('12345');
  const bad = ['../x', '/etc/x', '..', '.part-x', 'a//b', './a', 'a/../b', 'a/.', 'a\\b', ''];
  for (const name of [...bad, '\u202etxt.exe', 'x'.repeat(251), `${'d/'.repeat(64)}x`]) {
    await t.rejects(sending(name, 5, five), { code: 'bad-name' }, JSON.stringify(name));
  }
  await t.rejects(sending('short', 9, five), { code: 'file-changed' });
  await sending('empty', 0, new Uint8Array());
  await sending('five', 5, five);
  await until(async () => (await readdir(callee.home.inbox)).length === 2);
  t.strictSame((await readdir(callee.home.inbox)).sort(), ['empty', 'five']);
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test(
  'claim 5: broker gone in mid-talk: the talk goes on, the notice waits on disk',
  async (t) => {
    const { world, caller, incoming } = await pair(t);
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    await world.broker.close();
    await until(async () => caller.status().link === 'down');
    const files = [{ name: 'late', size: 100_000 }];
    const [file] = await sendFiles(session, files, pieces(randomBytes(100_000)), nothing);
    t.equal(file.savedAs, 'late');
    session.finish('done');
    t.equal((await session.ended).reason, 'done');
    t.equal((await incoming[0].ended).reason, 'done');
    await until(async () => {
      const path = join(caller.home.ends, session.info.session);
      return (await readFile(path, 'utf8').catch(() => '')).includes('"done"');
    });
    t.equal(caller.status().endNotices, 1);
    await t.rejects(caller.call({ to: 'TERM3', service: 'file', waitMs: 200 }), {
      code: 'no-link',
      exit: EXIT.unreachable,
    });
  },
);

t.test('a ticket is used once; a bad one and an absent server are said', async (t) => {
  const world = await RealWorld.start(t);
  const ask = { uses: 1, forSeconds: 60 };
  const { ticket } = await world.manager.operations.ticket({ ...ask, name: 'TERM1' });
  const enrolAs = (home: string, text: string): Promise<object> =>
    enrol({ home: world.home(home), ticket: text, name: undefined, ...TOOLS });
  t.match(await enrolAs('a', ticket), { name: 'TERM1' });
  await t.rejects(enrolAs('b', ticket), { code: 'ticket-invalid' });
  await t.rejects(enrolAs('b', 'nonsense'), { code: 'not-a-ticket', exit: EXIT.usage });
  await t.rejects(enrolAs('b', `${ticket.slice(0, -9)}`), { code: 'ticket-damaged' });
  const { ticket: taken } = await world.manager.operations.ticket({ ...ask, name: 'TERM1' });
  await t.rejects(enrolAs('b', taken), { code: 'name-taken', next: /nakodo revoke NAME/ });
  const { ticket: second } = await world.manager.operations.ticket({ ...ask, name: 'TERM2' });
  await world.manager.close();
  await t.rejects(enrolAs('b', second), {
    code: 'server-unreachable',
    exit: EXIT.unreachable,
    next: /this very machine.*--public-url/,
  });
});

const TOOLS = { suite: nodeSuite, rng: entropy };
