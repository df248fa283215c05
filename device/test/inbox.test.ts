// Files that cannot arrive as they should: a disk that is full, an inbox that is gone, sizes that
// lie, ends that die. On real sockets, a real small file system and real processes.

import { execFileSync, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeCbor } from '../../protocol/control/cbor.ts';
import { field, record, text, uint } from '../../protocol/control/schema.ts';
import { callLocal } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import { sendFiles } from './sending.ts';
import type { Session } from '../shell/session.ts';
import { ALLOW_TERM1, RealWorld, pair, pieces } from './real-world.ts';

const DISK_BYTES = 1_048_576;
const SHORT_IDLE = { connection: { idleTimeoutMs: 1_500, keepAliveMs: 300 } };
const parameters = record({ name: field(0, text(300)), size: field(1, uint(2 ** 50)) });
const nothing = (): void => {};

function sendOne(session: Session, name: string, content: Uint8Array): Promise<unknown> {
  return sendFiles(session, [{ name, size: content.length }], pieces(content), nothing);
}

/** Puts a file system of 1 MiB in place of a folder. */
function mountSmall(folder: string): void {
  const how = ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'nakodo-test', folder];
  execFileSync('mount', how, { stdio: 'pipe' });
}

const unmount = (folder: string): void => void execFileSync('umount', ['-l', folder]);

/** Whether this user may mount at all; only the system's superuser may. */
function mayMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'nk-m-'));
  try {
    mountSmall(folder);
    unmount(folder);
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(folder);
  }
}

const skip = mayMount() ? false : 'this user may not mount a small file system';

t.test(
  'S4005: a full disk is told, leaves nothing, and the talk takes the next file',
  { skip },
  async (t) => {
    const { caller, callee } = await pair(t);
    const { inbox } = callee.home;
    mountSmall(inbox);
    t.teardown(() => unmount(inbox));
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    await t.rejects(sendOne(session, 'large', randomBytes(3 * DISK_BYTES)), { code: 'disk-full' });
    await until(async () => (await readdir(inbox)).length === 0);
    t.strictSame(await readdir(inbox), []);
    await sendOne(session, 'small', randomBytes(1_000));
    t.strictSame(await readdir(inbox), ['small']);
    session.finish('done');
    t.equal((await session.ended).reason, 'done');
  },
);

t.test('S4005: an inbox that is gone, or is none, is told', async (t) => {
  const { caller, callee } = await pair(t);
  const { inbox } = callee.home;
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  await rm(inbox, { recursive: true });
  await t.rejects(sendOne(session, 'x', randomBytes(100_000)), { code: 'not-stored' });
  await writeFile(inbox, 'a file');
  await t.rejects(sendOne(session, 'x', randomBytes(100_000)), { code: 'not-stored' });
  await rm(inbox);
  await mkdir(inbox);
  await sendOne(session, 'x', randomBytes(10));
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test('S4005: a sender that lies about the size or the hash is told so', async (t) => {
  const { caller, callee } = await pair(t);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const lies: readonly (readonly [string, number, number, string])[] = [
    ['shorter', 100, 50, 'size-differs'],
    ['longer', 100, 3_000_000, 'size-differs'],
    ['no hash', 100, 100, 'size-differs'],
    ['a byte of hash less', 100, 131, 'size-differs'],
    ['another hash', 100, 132, 'hash-differs'],
    ['an empty one with content', 0, 33, 'size-differs'],
    ['a huge one', 2 ** 50, 10, 'size-differs'],
  ];
  for (const [name, size, length, code] of lies) {
    const stream = session.openStream(undefined, encodeCbor(parameters, { name, size }));
    stream.end(Buffer.alloc(length, 1));
    const answer = Buffer.concat((await stream.toArray()) as Buffer[]).toString('latin1');
    t.ok(answer.includes(code), `${name}: ${answer}`);
  }
  await until(async () => (await readdir(callee.home.inbox)).length === 0);
  t.strictSame(await readdir(callee.home.inbox), []);
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

t.test('S4005: names at the edge, and three files in one talk', async (t) => {
  const { caller, callee } = await pair(t);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const longest = 'ä'.repeat(125);
  await sendOne(session, longest, randomBytes(1));
  await sendOne(session, longest, randomBytes(2));
  await t.rejects(sendOne(session, `${longest}x`, randomBytes(1)), { code: 'bad-name' });
  for (const name of ['x'.repeat(255), 'a\nb', 'a\\b', 'a/b', '.', '\u202etxt.exe', '\ud800']) {
    await t.rejects(sendOne(session, name, randomBytes(1)), { code: 'bad-name' });
  }
  const sizes = [70_000, 0, 1];
  const files = sizes.map((size, at) => ({ name: `f${at}`, size }));
  const content = randomBytes(70_001);
  const delivered = await sendFiles(session, files, pieces(content, 999), nothing);
  t.strictSame(
    delivered.map(({ savedAs, size }) => [savedAs, size]),
    [
      ['f0', 70_000],
      ['f1', 0],
      ['f2', 1],
    ],
  );
  const { inbox } = callee.home;
  t.ok(content.subarray(0, 70_000).equals(await readFile(join(inbox, 'f0'))));
  t.ok(content.subarray(70_000).equals(await readFile(join(inbox, 'f2'))));
  t.ok((await readdir(inbox)).includes(`${longest}.1`));
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
});

/** A terminal in a process of its own that takes files, as `nakodo agent` does. */
async function child(test: Test, home: string, udpBind: string): Promise<ReturnType<typeof fork>> {
  const process = fork(new URL('./agent-child.js', import.meta.url), [home, udpBind]);
  test.teardown(() => process.kill('SIGKILL'));
  await once(process, 'message');
  return process;
}

/** Content that goes on until somebody stops reading it. */
async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield randomBytes(60_000);
}

t.test(
  'S5007: a callee killed in mid-transfer leaves nothing in its inbox once it is back',
  async (t) => {
    const world = await RealWorld.start(t);
    await world.enrol('TERM1');
    await world.enrol('TERM7', ALLOW_TERM1);
    const home = world.home('TERM7');
    const caller = await world.agent('TERM1', { udpBind: '127.0.1.1', ...SHORT_IDLE });
    await caller.registered;
    const callee = await child(t, home, '127.0.7.1');
    const inbox = join(home, 'inbox');
    const session = await caller.call({ to: 'TERM7', service: 'file' });
    let sent = 0;
    const count = (bytes: number): void => void (sent = bytes);
    const sending = sendFiles(session, [{ name: 'x', size: 2 ** 40 }], endless(), count);
    const failed = t.rejects(sending, { code: 'peer-gone', exit: 5 });
    await until(async () => sent > 1_000_000 && (await readdir(inbox)).length === 1);
    callee.kill('SIGKILL');
    await once(callee, 'exit');
    t.match(await readdir(inbox), [/^\.part-/]);
    await failed;
    t.equal((await session.ended).reason, 'peer-gone');
    const again = await world.agent('TERM7', { udpBind: '127.0.7.1' });
    const served = await serveAgent(again, { log: silentLog });
    t.teardown(() => served.close());
    t.strictSame(await readdir(inbox), []);
  },
);

t.test(
  'S5007: a caller killed in mid-transfer: the callee ends, and keeps no half file',
  async (t) => {
    const { world, callee, incoming } = await pair(t, '[[allow]]\nname = "TERM7"\n', SHORT_IDLE);
    await world.enrol('TERM7');
    const home = world.home('TERM7');
    const caller = await child(t, home, '127.0.7.1');
    const request = { op: 'send', to: 'TERM3', files: [{ name: 'x', size: 2 ** 40 }] };
    const sending = callLocal(join(home, 'agent.sock'), request, { body: endless() });
    const failed = t.rejects(sending, { code: 'agent-gone' });
    await until(() => (incoming[0]?.state?.counts.receivedBytes ?? 0) > 1_000_000);
    caller.kill('SIGKILL');
    await failed;
    t.equal((await incoming[0].ended).reason, 'peer-gone');
    await until(async () => (await readdir(callee.home.inbox)).length === 0);
    t.strictSame(await readdir(callee.home.inbox), []);
  },
);

t.test('S1006: a command killed in mid-send ends the talk at both ends', async (t) => {
  const { caller, callee, incoming } = await pair(t);
  const served = await serveAgent(caller, { log: silentLog });
  t.teardown(() => served.close());
  const abort = new AbortController();
  const request = { op: 'send', to: 'TERM3', files: [{ name: 'x', size: 2 ** 40 }] };
  const sending = callLocal(caller.home.socket, request, {
    body: endless(),
    signal: abort.signal,
    onEvent: ({ sentBytes }) => {
      if (Number(sentBytes) > 1_000_000) abort.abort();
    },
  });
  await t.rejects(sending, { code: 'agent-gone' });
  t.equal((await incoming[0].ended).reason, 'local');
  await until(() => isIdle(caller) && isIdle(callee));
  t.ok(isIdle(caller) && isIdle(callee), 'nothing is left of it');
  await until(async () => (await readdir(callee.home.inbox)).length === 0);
  t.strictSame(await readdir(callee.home.inbox), []);
});

t.test('S1006: a command killed while it waits for consent gives up the call', async (t) => {
  const { caller } = await pair(t);
  const served = await serveAgent(caller, { log: silentLog });
  t.teardown(() => served.close());
  const abort = new AbortController();
  const files = [{ name: 'x', size: 1 }];
  const request = { op: 'send', to: 'NOBODY', files, waitMs: 60_000 };
  const sending = callLocal(caller.home.socket, request, {
    signal: abort.signal,
    onEvent: () => abort.abort(),
  });
  await t.rejects(sending, { code: 'agent-gone' });
  await until(() => isIdle(caller));
  t.ok(isIdle(caller));
});

const isIdle = (agent: Agent): boolean => {
  const { calls, talks, endNotices } = agent.status();
  return calls.length + talks.length + endNotices === 0;
};
