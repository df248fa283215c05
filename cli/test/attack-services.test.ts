// A peer that is let in, or that was called, against the commands and the services: streams without
// end at a command that waits, words of its own in our terminal and our log, hidden files, flows of
// programs that have gone, windows asked for many times at once, folders that hold our own keys.

import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { UdpListener } from '../../device/services/forward/flows.ts';
import { FORWARD_LIMITS } from '../../device/services/forward/limits.ts';
import { type Entry, entry, frame } from '../../device/services/file/wire.ts';
import { registeredPair } from '../../device/test/real-world.ts';
import { talk as sessionPair } from '../../device/test/session-pair.ts';
import { errorCode } from '../../protocol/errors.ts';
import { readJson } from '../../protocol/io/files.ts';
import { type Log, silentLog } from '../../protocol/io/log.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { filesOf, listThere } from '../get-files.ts';
import { acceptPipe } from '../pipe.ts';
import { CommandTalk } from '../talk.ts';
import { folder } from './program.ts';
import { servedPair } from './served-pair.ts';

const HOST = '127.0.0.1';

/** A port of this machine on which nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** What is written to a log, by event. */
function heard(): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const add = (event: string): void => void lines.push(event);
  return { log: { ...silentLog, info: add, warn: add, error: add }, lines };
}

t.test('streams without end at a command that waits are nothing to its agent', async (t) => {
  const { caller, calleeHome } = await servedPair(t);
  let taken = 0;
  const take = Object.getOwnPropertyDescriptor(CommandTalk.prototype, 'takeStream')?.value as (
    this: CommandTalk,
    number: number,
  ) => Promise<Duplex>;
  const counting = function counting(this: CommandTalk, number: number): Promise<Duplex> {
    taken += 1;
    return take.call(this, number);
  };
  t.teardown(() => Object.assign(CommandTalk.prototype, { takeStream: take }));
  Object.assign(CommandTalk.prototype, { takeStream: counting });
  let onKnown = (): void => {};
  const known = new Promise<void>((resolve) => (onKnown = resolve));
  const onEvent = ({ event }: { event: string }): void => void (event === 'accepting' && onKnown());
  const accepted = acceptPipe({ service: 'pipe' }, { home: calleeHome, onEvent });
  await known;
  const session = await caller.call({ to: 'TERM3', service: 'pipe' });
  const first = session.openStream();
  first.write('x');
  const { talk } = await accepted;
  for (let at = 0; at < 60; at++) session.openStream().write('y');
  await untilStill(() => taken);
  t.equal(taken, 1, 'one local connection, for the stream that it is about');
  talk.giveUp();
  await session.ended;
});

t.test('a port that nobody answers at fills no log', async (t) => {
  const port = await freePort();
  const { log, lines } = heard();
  const { caller } = await servedPair(t, { services: [`port:${port}`], log });
  const session = await caller.call({ to: 'TERM3', service: `port:${port}` });
  for (let at = 0; at < 50; at++) {
    const stream = session.openStream();
    stream.resume();
    await new Promise((resolve) => stream.once('close', resolve));
    t.match(stream.errored, { code: 'target-refused' });
  }
  t.equal(lines.filter((line) => line === 'forward-no-target').length, 1);
});

t.test('a callee keeps no flow open whose sender has gone', async (t) => {
  const { caller, callee } = await sessionPair(t, { seconds: 60 }, { service: 'udp:9' });
  const listener = await UdpListener.bind({ host: HOST, port: 0 });
  t.teardown(() => listener.close());
  listener.attach(caller);
  callee.on('datagram', () => {});
  const senders = Array.from({ length: FORWARD_LIMITS.flowsMax }, () => createSocket('udp4'));
  t.teardown(() => senders.forEach((each) => each.close()));
  let answers = 0;
  senders[0].on('message', () => (answers += 1));
  for (const [at, sender] of senders.entries()) {
    sender.send('asks', listener.port, HOST);
    await until(() => listener.counts().open === at + 1);
  }
  callee.sendDatagram(Uint8Array.of(0, 0, 1));
  await until(() => answers === 1);
  const last = createSocket('udp4');
  t.teardown(() => last.close());
  last.send('asks', listener.port, HOST);
  await until(() => listener.counts().total === FORWARD_LIMITS.flowsMax + 1);
  callee.sendDatagram(Uint8Array.of(0, 0, 1));
  await untilStill(() => answers);
  t.equal(answers, 1, 'the longest idle one went, whatever the callee sends to it');
});

t.test('claim 15: a window asked for many times at once is given once', async (t) => {
  const bytes = 500_000;
  const list = `[[allow]]\nname = "TERM1"\nuntil = "${inAnHour()}"\nbytes = "${bytes}B"\n`;
  const { caller, callee } = await registeredPair(t, list, {
    connection: { handshakeTimeoutMs: 1_000 },
  });
  callee.onIncoming((session) => {
    session.onStream = (stream) => stream.resume().end();
  });
  const calls = Array.from({ length: 8 }, () =>
    caller.call({ to: 'TERM3', service: 'pipe', waitMs: 1_000 }).catch(errorCode),
  );
  const answers = await Promise.all(calls);
  const granted = answers.flatMap((each) => (typeof each === 'string' ? [] : [each.info.bytes]));
  const sum = granted.reduce((all: number, each) => all + (each ?? Infinity), 0);
  t.ok(granted.length >= 1 && sum <= bytes, `${granted.length} talks, ${sum} bytes`);
});

const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+/, '');

t.test('a folder that holds our own keys is served to nobody', async (t) => {
  const { log, lines } = heard();
  const { caller, calleeHome } = await servedPair(t, { log });
  const link = join(folder(t), 'link');
  symlinkSync(join(calleeHome, '..'), link);
  const served = async (table: string, path: string): Promise<string> => {
    writeFileSync(join(calleeHome, 'agent.toml'), `[${table}]\nfolder = "${path}"\n`);
    const session = await caller.call({ to: 'TERM3', service: table });
    const stream = session.openStream();
    stream.resume().end();
    await new Promise((resolve) => stream.once('close', resolve));
    await session.close('local');
    return errorCode(stream.errored);
  };
  for (const table of ['file', 'get']) {
    for (const path of [calleeHome, join(calleeHome, '..'), '/', link]) {
      lines.length = 0;
      t.equal(await served(table, path), 'stream-refused', `${table} ${path}`);
      t.ok(lines.includes('config-unreadable'), lines.join(' '));
    }
    t.not(await served(table, join(calleeHome, 'inbox')), 'stream-refused');
  }
});

/** What a command hears of a callee that lists this, whatever it is asked. */
async function listing(
  test: Test,
  said: readonly Entry[],
): Promise<Awaited<ReturnType<typeof listThere>>> {
  const { callee, callerHome } = await servedPair(test);
  callee.onIncoming((session) => {
    session.onStream = (stream) => {
      for (const each of [...said, entryOf('end', '', 'ok')]) stream.write(frame(entry, each));
      stream.resume().end();
    };
  });
  const talk = await CommandTalk.begin({ to: 'TERM3', service: 'get' }, { home: callerHome });
  return listThere(talk, '').finally(() => talk.giveUp());
}

const entryOf = (kind: Entry['kind'], path: string, code?: string): Entry => ({
  kind,
  path,
  size: 3,
  modified: undefined,
  code,
});

t.test('a callee that is asked for everything plants no hidden files', async (t) => {
  const paths = ['.bashrc', '.ssh', '.ssh/authorized_keys', 'photos/.hidden', 'report'];
  const { entries } = await listing(
    t,
    paths.map((path) => entryOf(path === '.ssh' ? 'folder' : 'file', path)),
  );
  const all = filesOf({ entries, skipped: [] }, '', undefined);
  t.strictSame(
    all.map(({ path }) => path),
    ['photos/.hidden', 'report'],
  );
  const asked = filesOf({ entries: entries.slice(1, 3), skipped: [] }, '.ssh', undefined);
  t.equal(asked[0]?.path, '.ssh/authorized_keys', 'who names it has it');
});

t.test('no word of a listing can act upon a terminal', async (t) => {
  const { skipped } = await listing(t, [entryOf('skipped', 'gnp\u202ea.b\u2066', 'link')]);
  t.strictSame(skipped, [{ path: 'gnp�a.b�', why: 'a link' }]);
  const escape = entryOf('skipped', 'a\u001b[2J', 'link');
  t.throws(() => frame(entry, escape), 'control characters are no text on the wire');
});

t.test('what is no regular file is not read as one of ours', async (t) => {
  const at = folder(t);
  symlinkSync('/dev/zero', join(at, 'zero'));
  execFileSync('mkfifo', [join(at, 'fifo')]);
  mkdirSync(join(at, 'folder'));
  writeFileSync(join(at, 'file'), '{"a":1}');
  for (const name of ['zero', 'fifo', 'folder']) {
    await t.rejects(readJson(join(at, name)), { code: 'file-damaged' }, name);
  }
  t.strictSame(await readJson(join(at, 'file')), { a: 1 });
});
