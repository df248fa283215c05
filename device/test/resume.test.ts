// Files whose talk broke: by a limit, by a killed process at either end, by two at once. What had
// arrived is used by the next talk, and only if it is the beginning of the same file.

import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  link,
  mkdtemp,
  open,
  readFile,
  readdir,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { callLocal } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { JailedFolder } from '../services/file/jailed-folder.ts';
import { FILE_LIMITS } from '../services/file/limits.ts';
import { PartialFile, prunePartials } from '../services/file/partial-file.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import type { Session } from '../shell/session.ts';
import { ALLOW_TERM1, RealWorld, pair } from './real-world.ts';
import { sendOne } from './sending.ts';

const SHORT_IDLE = { connection: { idleTimeoutMs: 1_500, keepAliveMs: 300 } };
const SIZE = 2_000_000;

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

/** The partial files of an inbox that nobody writes. */
async function resting(inbox: string): Promise<readonly string[]> {
  return (await readdir(inbox)).filter((name) => /^\.part-[0-9a-f]{32}$/.test(name));
}

/** Sends until the talk breaks of its bytes, and waits for what is left of it. */
async function broken(caller: Agent, inbox: string, content: Uint8Array): Promise<string> {
  const before = await resting(inbox);
  const want = { bytes: 1_000_000 };
  const session = await caller.call({ to: 'TERM3', service: 'file', want });
  await sendOne(session, 'x', content, { resumes: true }).catch(() => {});
  await session.ended;
  const fresh = async (): Promise<string | undefined> =>
    (await resting(inbox)).find((name) => !before.includes(name));
  await until(async () => (await fresh()) !== undefined);
  return join(inbox, (await fresh()) ?? '');
}

async function done(session: Session): Promise<void> {
  session.finish('done');
  await session.ended;
}

t.test('claim 15: a file that its quota cut off goes on in the next talk, same hash', async (t) => {
  const { caller, callee } = await pair(t);
  const { inbox } = callee.home;
  const content = randomBytes(SIZE);
  await broken(caller, inbox, content);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const given = await sendOne(session, 'x', content, { resumes: true });
  t.ok(given.resumedAt > 800_000 && given.resumedAt < 1_000_000, `at ${given.resumedAt}`);
  t.match(given, { savedAs: 'x', sha256: sha256(content), wasThere: false });
  t.ok(content.equals(await readFile(join(inbox, 'x'))));
  t.strictSame(await readdir(inbox), ['x'], 'nothing else is left');
  const again = await sendOne(session, 'x', content, { resumes: true });
  t.match(again, { savedAs: 'x', wasThere: true, resumedAt: SIZE }, 'not sent, not saved twice');
  const anew = await sendOne(session, 'x', content);
  t.match(anew, { savedAs: 'x.1', resumedAt: 0 }, '--no-resume');
  const { sentBytes } = session.state?.counts ?? { sentBytes: 0 };
  t.ok(sentBytes < 2 * SIZE + 1_000, `${sentBytes} bytes for all three`);
  await done(session);
});

t.test(
  'S4005: what is left of another file, or was tampered with, is not gone on with',
  async (t) => {
    const { world, caller, callee } = await pair(t);
    const { inbox } = callee.home;
    const content = randomBytes(SIZE);
    const victim = world.home('victim');
    await writeFile(victim, 'untouched');
    const spoil: readonly (readonly [string, (partial: string) => Promise<void>])[] = [
      [
        'bytes that the disk lost',
        async (partial) => {
          const file = await open(partial, 'r+');
          await file.write(new Uint8Array(4_096), 0, 4_096, 100_000);
          await file.close();
        },
      ],
      [
        'a link',
        async (partial) => {
          await rm(partial);
          await symlink(victim, partial);
        },
      ],
      [
        'a second name of another file',
        async (partial) => {
          await rm(partial);
          await link(victim, partial);
        },
      ],
      ['more than the whole', async (partial) => writeFile(partial, randomBytes(SIZE + 1))],
    ];
    for (const [what, how] of spoil) {
      await how(await broken(caller, inbox, content));
      const session = await caller.call({ to: 'TERM3', service: 'file' });
      const given = await sendOne(session, 'x', content, { resumes: true });
      t.match(given, { savedAs: 'x', resumedAt: 0 }, what);
      t.ok(content.equals(await readFile(join(inbox, 'x'))), what);
      t.strictSame(await readdir(inbox), ['x'], what);
      await rm(join(inbox, 'x'));
      await done(session);
    }
    t.equal(await readFile(victim, 'utf8'), 'untouched');
    const left = await broken(caller, inbox, content);
    const session = await caller.call({ to: 'TERM3', service: 'file' });
    const changed = Buffer.from(content).fill(7, 0, 10);
    const other = await sendOne(session, 'x', changed, { resumes: true, modified: 1e12 });
    t.equal(other.resumedAt, 0, 'changed at another time: another file');
    t.strictSame(await resting(inbox), [left.slice(inbox.length + 1)]);
    await done(session);
  },
);

t.test('S4005: one file sent twice at once arrives, whole, once', async (t) => {
  const { caller, callee } = await pair(t);
  const content = randomBytes(SIZE);
  const session = await caller.call({ to: 'TERM3', service: 'file' });
  const sent = await Promise.all(
    [1, 2].map(() => sendOne(session, 'x', content, { resumes: true })),
  );
  t.strictSame(sent.map(({ wasThere }) => String(wasThere)).toSorted(), ['false', 'true']);
  t.strictSame(await readdir(callee.home.inbox), ['x']);
  t.ok(content.equals(await readFile(join(callee.home.inbox, 'x'))));
  await done(session);
});

/** A terminal in a process of its own that takes files, as `nakodo agent` does. */
async function child(test: Test, home: string, udpBind: string): Promise<ReturnType<typeof fork>> {
  const process = fork(new URL('./agent-child.js', import.meta.url), [home, udpBind]);
  test.teardown(() => process.kill('SIGKILL'));
  await once(process, 'message');
  return process;
}

t.test(
  'S5007: a callee killed in mid-transfer goes on with the file once it is back',
  async (t) => {
    const world = await RealWorld.start(t);
    await world.enrol('TERM1');
    await world.enrol('TERM7', ALLOW_TERM1);
    const home = world.home('TERM7');
    const caller = await world.agent('TERM1', { udpBind: '127.0.1.1', ...SHORT_IDLE });
    await caller.registered;
    const callee = await child(t, home, '127.0.7.1');
    const inbox = join(home, 'inbox');
    const content = randomBytes(8_000_000);
    const session = await caller.call({ to: 'TERM7', service: 'file' });
    const kill = async (at: number): Promise<void> => {
      if (at !== 4_020_000) return;
      callee.kill('SIGKILL');
      await once(callee, 'exit');
    };
    const sending = sendOne(session, 'x', content, { resumes: true, onChunk: kill });
    await t.rejects(sending, { code: 'peer-gone', exit: 5 });
    t.match(await readdir(inbox), [/^\.part-/], 'nothing under its final name');
    t.equal((await session.ended).reason, 'peer-gone');
    const again = await world.agent('TERM7', { udpBind: '127.0.7.1' });
    const served = await serveAgent(again, { log: silentLog });
    t.teardown(() => served.close());
    await again.registered;
    const next = await caller.call({ to: 'TERM7', service: 'file', waitMs: 10_000 });
    const given = await sendOne(next, 'x', content, { resumes: true });
    t.ok(given.resumedAt >= FILE_LIMITS.resumeBytesLeast, `at ${given.resumedAt}`);
    t.equal(sha256(await readFile(join(inbox, 'x'))), sha256(content));
    t.strictSame(await readdir(inbox), ['x']);
    await done(next);
  },
);

t.test(
  'S5007: a caller killed in mid-transfer: the callee ends, and keeps what came',
  async (t) => {
    const { world, callee, incoming } = await pair(t, '[[allow]]\nname = "TERM7"\n', SHORT_IDLE);
    await world.enrol('TERM7');
    const home = world.home('TERM7');
    const caller = await child(t, home, '127.0.7.1');
    const opened = held(join(home, 'agent.sock'), 'TERM3');
    const session = await opened.session;
    const { offering } = await import('./sending.ts');
    const parameters = Buffer.from(offering({ name: 'x', size: 2 ** 30 })).toString('base64url');
    const request = { op: 'stream', session, parameters };
    const sending = callLocal(join(home, 'agent.sock'), request, { body: endless() });
    const failed = t.rejects(sending, { code: 'agent-gone' });
    await until(() => (incoming[0]?.state?.counts.receivedBytes ?? 0) > 2_000_000);
    caller.kill('SIGKILL');
    await failed;
    t.equal((await incoming[0].ended).reason, 'peer-gone');
    await until(async () => (await resting(callee.home.inbox)).length === 1);
    t.equal((await readdir(callee.home.inbox)).length, 1, 'a partial file, and nothing else');
  },
);

/** Content that goes on until somebody stops reading it. */
async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield randomBytes(60_000);
}

/** Holds a talk through a local socket as a command does; `session` when it is open. */
function held(
  socket: string,
  to: string,
): {
  readonly session: Promise<string>;
  readonly ended: Promise<unknown>;
  readonly giveUp: () => void;
} {
  const abort = new AbortController();
  let ended: Promise<unknown> = Promise.resolve();
  const session = new Promise<string>((resolve) => {
    const onEvent = ({ event, session: id }: Record<string, unknown>): void => {
      if (event === 'open') resolve(String(id));
    };
    async function* untilThen(): AsyncGenerator<Uint8Array> {
      await once(abort.signal, 'abort');
      yield* [];
    }
    const request = { op: 'talk', to, service: 'file' };
    const options = { onEvent, body: untilThen(), signal: abort.signal };
    ended = callLocal(socket, request, options).catch((error: unknown) => error);
  });
  return { session, ended, giveUp: () => abort.abort() };
}

t.test('S1006: a command killed in mid-transfer ends the talk at both ends', async (t) => {
  const { caller, callee, incoming } = await pair(t);
  const served = await serveAgent(caller, { log: silentLog });
  t.teardown(() => served.close());
  const talk = held(caller.home.socket, 'TERM3');
  await talk.session;
  talk.giveUp();
  t.match(await talk.ended, { code: 'agent-gone' });
  t.equal((await incoming[0].ended).reason, 'local');
  await until(() => isIdle(caller) && isIdle(callee));
  t.ok(isIdle(caller) && isIdle(callee), 'nothing is left of it');
});

t.test('S1006: a command killed while it waits for consent gives up the call', async (t) => {
  const { caller } = await pair(t);
  const served = await serveAgent(caller, { log: silentLog });
  t.teardown(() => served.close());
  const abort = new AbortController();
  const request = { op: 'talk', to: 'NOBODY', service: 'file', waitMs: 60_000 };
  const waiting = callLocal(caller.home.socket, request, {
    signal: abort.signal,
    onEvent: () => abort.abort(),
  });
  await t.rejects(waiting, { code: 'agent-gone' });
  await until(() => isIdle(caller));
  t.ok(isIdle(caller));
});

const isIdle = (agent: Agent): boolean => {
  const { calls, talks, endNotices } = agent.status();
  return calls.length + talks.length + endNotices === 0;
};

t.test('of partial files the newest stay: not too many, not too old, none too small', async (t) => {
  const path = await mkdtemp(join(tmpdir(), 'nk-part-'));
  t.teardown(() => rm(path, { recursive: true }));
  const folder = await JailedFolder.open(path);
  t.teardown(() => folder.close());
  const key = (number: number): string => number.toString(16).padStart(32, '0');
  const worthIt = Buffer.alloc(FILE_LIMITS.resumeBytesLeast);
  const write = async (name: string, content: Uint8Array, hoursAgo: number): Promise<void> => {
    await writeFile(join(path, name), content);
    const seconds = Date.now() / 1_000 - hoursAgo * 3_600;
    await utimes(join(path, name), seconds, seconds);
  };
  const many = FILE_LIMITS.partialsMax + 3;
  for (let at = 0; at < many; at++) await write(`.part-${key(at)}`, worthIt, at + 1);
  await write(`.part-${key(100)}`, worthIt, 24 * 8);
  await write(`.part-${key(101)}`, worthIt.subarray(1), 0);
  await write(`.part-${key(102)}-4194305-1`, worthIt, 0);
  for (const name of ['.part-of-the-user', 'x', `.part-${key(1)}.txt`])
    await write(name, worthIt, 999);
  const live = await PartialFile.open(folder, key(103), { resumes: true, size: 5 });
  await prunePartials(folder);
  const names = new Set(await readdir(path));
  t.equal(names.size, FILE_LIMITS.partialsMax + 4, 'as many as may be, ours, and the user’s own');
  t.ok(names.has(`.part-${key(0)}`) && names.has(`.part-${key(102)}-4194305-1`), 'the newest');
  t.notOk(names.has(`.part-${key(many - 1)}`) || names.has(`.part-${key(100)}`), 'the oldest');
  t.notOk(names.has(`.part-${key(101)}`), 'too small');
  t.ok(names.has('.part-of-the-user'), 'not ours');
  await live.remove();
});
