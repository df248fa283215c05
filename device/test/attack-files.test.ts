// A peer that is let in for files, and means harm: room that it only asks for, folders that cost
// nothing to ask for, streams that it opens and resets, files of others that are on their way, work
// that goes on for nobody. On real sockets.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Duplex, PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { DEFAULT_CONFIG } from '../services/config.ts';
import { inboxRules, receiveFiles } from '../services/file/file-service.ts';
import { getService } from '../services/file/get-service.ts';
import { JailedFolder } from '../services/file/jailed-folder.ts';
import { FILE_LIMITS } from '../services/file/limits.ts';
import { isFileName } from '../services/file/names.ts';
import { partialKey, prunePartials } from '../services/file/partial-file.ts';
import { refuseIfFull } from '../services/file/room.ts';
import { StreamReader } from '../services/file/stream-reader.ts';
import { Turns } from '../services/file/turns.ts';
import { encodeAsk, encodeOffer, found, frame, reply } from '../services/file/wire.ts';
import { ALLOW_TERM1, RealWorld, registeredPair } from './real-world.ts';
import { MODIFIED, offering, sendOne, takeFiles } from './sending.ts';

const GIB = 2 ** 30;

/** What a stream of `file` hears first. */
async function firstWord(stream: Duplex): Promise<string> {
  return (await new StreamReader(stream).frame(reply))?.code ?? 'nothing';
}

/** Offers a folder. */
const folderOffer = (path: string): Uint8Array =>
  encodeOffer({
    path,
    size: 0,
    modified: 0,
    kind: 'folder',
    isExecutable: false,
    resumes: false,
    replaces: false,
  });

/** TERM1 and TERM2, whom TERM3 lets in. */
async function three(test: Test): Promise<{ one: Agent; two: Agent; callee: Agent }> {
  const world = await RealWorld.start(test);
  await world.enrol('TERM1');
  await world.enrol('TERM2');
  await world.enrol('TERM3', `${ALLOW_TERM1}\n${ALLOW_TERM1.replace('TERM1', 'TERM2')}`);
  const one = await world.agent('TERM1', { udpBind: '127.0.1.1' });
  const two = await world.agent('TERM2', { udpBind: '127.0.2.1' });
  const callee = await world.agent('TERM3', { udpBind: '127.0.3.1' });
  await Promise.all([one.registered, two.registered, callee.registered]);
  return { one, two, callee };
}

t.test('room that one peer was promised and does not use keeps no other out', async (t) => {
  const { one, two, callee } = await three(t);
  callee.onIncoming((session) => takeFiles(session, callee));
  const { bavail, bsize } = await statfs(callee.home.inbox);
  const free = bavail * bsize;
  const greedy = await one.call({ to: 'TERM3', service: 'file' });
  const held = [0.5, 0.3, 0.15].map((share, at) => {
    const size = Math.floor(free * share);
    return greedy.openStream(undefined, offering({ name: `h${at}`, size, resumes: true }));
  });
  for (const stream of held) t.equal(await firstWord(stream), 'have');
  const other = await two.call({ to: 'TERM3', service: 'file' });
  const size = Math.floor(free * 0.3);
  const stream = other.openStream(undefined, offering({ name: 'x', size, resumes: true }));
  t.equal(await firstWord(stream), 'have', 'there is room on the disk');
  for (const each of [...held, stream]) each.destroy();
});

t.test('folders are no way round keep_free, and a refused file leaves none', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const { inbox } = callee.home;
  const { bavail, bsize } = await statfs(inbox);
  const keep_free = bavail * bsize * 2;
  callee.onIncoming((session) => takeFiles(session, callee, { keep_free }));
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const deep = Array.from({ length: 60 }, (_, at) => `d${at}`).join('/');
  const stream = session.openStream(undefined, folderOffer(deep));
  stream.end();
  t.equal(await firstWord(stream), 'no-room');
  await t.rejects(sendOne(session, 'e/f/g/x', randomBytes(3)), { code: 'no-room' });
  t.strictSame(readdirSync(inbox), []);
});

const MIB = 1024 * 1024;

/** Puts a small file system in place of a folder; false if this user may not. */
function mountSmall(test: Test, folder: string, options: string): boolean {
  try {
    const how = ['-t', 'tmpfs', '-o', options, 'nakodo-test', folder];
    execFileSync('mount', how, { stdio: 'pipe' });
  } catch {
    return false;
  }
  test.teardown(() => execFileSync('umount', ['-l', folder]));
  return true;
}

t.test('room that an owner wants kept is kept, whatever was promised', async (t) => {
  const { one, two, callee } = await three(t);
  const { inbox } = callee.home;
  if (!mountSmall(t, inbox, `size=${8 * MIB}`)) return t.pass('this user may not mount');
  callee.onIncoming((session) => takeFiles(session, callee, { keep_free: 2 * MIB }));
  const first = await one.call({ to: 'TERM3', service: 'file' });
  let go = (): void => {};
  const gate = new Promise<void>((resolve) => (go = resolve));
  const large = sendOne(first, 'large', Buffer.alloc(5.5 * MIB), {
    onChunk: (at) => (at > 0 ? gate : undefined),
  });
  large.catch(() => {});
  await until(() => readdirSync(inbox).length === 1);
  const second = await two.call({ to: 'TERM3', service: 'file' });
  await sendOne(second, 'small', Buffer.alloc(1.5 * MIB));
  go();
  await t.rejects(large, { code: 'no-room' });
  t.strictSame(readdirSync(inbox), ['small']);
});

t.test('files without content are no way round keep_free', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nk-inodes-'));
  t.teardown(() => rmdirSync(folder));
  if (!mountSmall(t, folder, 'size=1m,nr_inodes=128')) return t.pass('this user may not mount');
  await refuseIfFull(folder, 0, 1);
  for (let at = 0; at < 126; at++) writeFileSync(join(folder, `e${at}`), '');
  await t.rejects(refuseIfFull(folder, 0, 1), { code: 'no-room' });
  await refuseIfFull(folder, 0, undefined);
});

t.test('streams that are reset while they wait are forgotten', async (t) => {
  const turns = new Turns(1);
  await turns.take(1);
  const stream = new PassThrough();
  let done = 0;
  const work = async (): Promise<void> => void (done += 1);
  const waiting = turns.run(1, work, stream);
  const behind = turns.run(1, work, new PassThrough());
  stream.destroy();
  await waiting;
  t.equal(done, 0, 'over, though no turn came');
  t.equal(stream.listenerCount('close'), 0);
  turns.give(1);
  await behind;
  t.equal(done, 1, 'its turn was not lost, nor was anything done for it');
});

t.test('a peer that lets all its streams lie keeps no other waiting', async (t) => {
  const { one, two, callee } = await three(t);
  callee.onIncoming((session) => takeFiles(session, callee));
  const held: Duplex[] = [];
  for (let talks = 0; talks * FILE_LIMITS.streamsAtOnce < FILE_LIMITS.filesAtOnce; talks++) {
    const session = await one.call({ to: 'TERM3', service: 'file' });
    for (let at = 0; at < FILE_LIMITS.streamsAtOnce; at++) {
      held.push(session.openStream(undefined, offering({ name: `h${talks}.${at}`, size: 5 })));
    }
  }
  const { inbox } = callee.home;
  await until(() => readdirSync(inbox).length >= FILE_LIMITS.filesAtOnceOfPeer);
  const session = await two.call({ to: 'TERM3', service: 'file' });
  t.match(await sendOne(session, 'x', randomBytes(3)), { savedAs: 'x' });
  t.equal(readdirSync(inbox).length, FILE_LIMITS.filesAtOnceOfPeer + 1);
  for (const stream of held) stream.destroy();
  await until(() => readdirSync(inbox).length === 1);
});

t.test('a peer that is refused again and again fills no log', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const lines: string[] = [];
  const warn = (event: string): void => void lines.push(event);
  const log: Log = { ...silentLog, warn, info: warn, error: warn };
  callee.onIncoming((session) => {
    const config = DEFAULT_CONFIG;
    if (session.info.service === 'get')
      getService.serve(session, { home: callee.home, log, config });
    else receiveFiles(session, inboxRules(callee.home.folder, config), log);
  });
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  for (let at = 0; at < 50; at++) {
    const stream = session.openStream(undefined, offering({ name: '../x', size: 5 }));
    t.equal(await firstWord(stream), 'bad-name');
    stream.destroy();
  }
  t.ok(lines.length >= 1 && lines.length < 5, `${lines.length} lines for 50 refusals`);
});

t.test('what was on its way for one peer is not pushed out by another', async (t) => {
  const folder = t.testdir();
  const jail = await JailedFolder.open(folder);
  t.teardown(() => jail.close());
  const plant = (peer: string, path: string, secondsAgo: number): string => {
    const name = `.part-${partialKey({ peer, path, size: GIB, modified: MODIFIED })}`;
    writeFileSync(join(folder, name), '');
    truncateSync(join(folder, name), FILE_LIMITS.resumeBytesLeast);
    const at = Date.now() / 1_000 - secondsAgo;
    utimesSync(join(folder, name), at, at);
    return name;
  };
  const backup = plant('honest', 'backup.img', 5_000);
  const notes = plant('other', 'notes', 4_000);
  for (let at = 0; at < 3 * FILE_LIMITS.partialsMax; at++) plant('greedy', `x${at}`, 3_000 - at);
  await prunePartials(jail);
  const left = readdirSync(folder);
  t.equal(left.length, FILE_LIMITS.partialsMax);
  t.ok(left.includes(backup) && left.includes(notes), 'those of others are still there');
});

/** Asks for a large file, says that all of it is here already, and hears nothing more of it. */
async function pretend(
  callee: Agent,
  session: Awaited<ReturnType<Agent['call']>>,
): Promise<Duplex> {
  t.ok(existsSync(join(callee.home.folder, 'outbox')));
  const stream = session.openStream(
    undefined,
    encodeAsk({ wanted: 'file', path: 'large', resumes: true }),
  );
  const reader = new StreamReader(stream);
  const { size = 0 } = (await reader.frame(found)) ?? {};
  stream.write(frame(reply, { code: 'have', bytes: size }));
  return stream;
}

t.test('a file is not read on for somebody who has gone', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const outbox = join(callee.home.folder, 'outbox');
  mkdirSync(outbox);
  writeFileSync(join(outbox, 'large'), '');
  // Holes are read like anything else: some seconds of hashing.
  truncateSync(join(outbox, 'large'), 2 * GIB);
  callee.onIncoming((session) =>
    getService.serve(session, { home: callee.home, log: silentLog, config: DEFAULT_CONFIG }),
  );
  const isRead = (): boolean => openFiles().some((path) => path.endsWith('/outbox/large'));
  const session = await caller.call({ to: 'TERM3', service: 'get' });
  const stream = await pretend(callee, session);
  await until(isRead, 'it is open');
  const readBefore = bytesRead();
  await until(() => bytesRead() - readBefore > 20_000_000, 'it is being read');
  stream.destroy();
  await until(() => !isRead(), 'it is let go of', 30_000);
  const read = bytesRead() - readBefore;
  t.ok(read < 2 * GIB, `${read} bytes of ${2 * GIB}`);
});

/** Bytes that this process has read, of everything. */
const bytesRead = (): number =>
  Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);

/** Paths of this process's open files. */
function openFiles(): readonly string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

t.test('no name is a partial file’s on a card that knows no capitals', (t) => {
  for (const name of ['.part-x', '.PART-x', `.Part-${'0'.repeat(32)}`])
    t.notOk(isFileName(name), name);
  t.ok(isFileName('.parts'), 'other names are');
  t.end();
});

t.test('sizes and times at their edge cost nothing', async (t) => {
  const { caller, callee } = await registeredPair(t);
  callee.onIncoming((session) => takeFiles(session, callee));
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const { MAX_SAFE_INTEGER: most } = Number;
  const huge = session.openStream(undefined, offering({ name: 'x', size: most }));
  t.equal(await firstWord(huge), 'disk-full');
  huge.destroy();
  const { savedAs } = await sendOne(session, 'late', randomBytes(3), { modified: most });
  t.equal(savedAs, 'late');
  t.strictSame(readdirSync(callee.home.inbox), ['late']);
});
