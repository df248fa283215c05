// A home on a memory card that is full, or that the kernel has made read-only after an error: its
// owner is told, talks go on, and what is on disk stays whole. The card is a small tmpfs.

import { spawnSync } from 'node:child_process';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { errorCode } from '../../protocol/errors.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { loadParts } from '../shell/agent-parts.ts';
import type { Session } from '../shell/session.ts';
import { ALLOW_TERM1, RealWorld } from './real-world.ts';

const CARD_KIB = 256;
const KIB = 1_024;

const mount = (...args: readonly string[]): boolean => spawnSync('mount', args).status === 0;

/** A folder on a file system of its own, unmounted at the end; undefined: we may not mount. */
async function card(test: Test, path: string): Promise<string | undefined> {
  await mkdir(path);
  if (!mount('-t', 'tmpfs', '-o', `size=${CARD_KIB}k`, 'nakodo', path)) return undefined;
  test.teardown(() => spawnSync('umount', ['-l', path]));
  return path;
}

/** Fills what is left; the path of what fills it. */
async function fill(folder: string): Promise<string> {
  const path = join(folder, 'photos');
  let bytes = 0;
  try {
    for (; bytes < 2 * CARD_KIB * KIB; bytes += KIB) {
      await writeFile(path, Buffer.alloc(KIB), { flag: 'a' });
    }
  } catch (error) {
    if (errorCode(error) === 'ENOSPC') return path;
    throw error;
  }
  throw new Error('it is never full');
}

interface Stage {
  readonly home: string;
  readonly caller: Agent;
  readonly callee: Agent;
}

/** Two terminals; TERM3's home is on the card. Undefined: skipped. */
async function stage(test: Test): Promise<Stage | undefined> {
  const world = await RealWorld.start(test);
  await world.enrol('TERM1');
  await world.enrol('TERM3', ALLOW_TERM1);
  const home = await card(test, world.home('card'));
  if (home === undefined) {
    test.comment('only root can mount a file system');
    return undefined;
  }
  await cp(world.home('TERM3'), home, { recursive: true });
  const caller = await world.agent('TERM1', { udpBind: '127.0.1.1' });
  const callee = await world.agent('card', { udpBind: '127.0.3.1' });
  await Promise.all([caller.registered, callee.registered]);
  callee.onIncoming((session) => {
    session.on('datagram', (message) => session.sendDatagram(message));
  });
  return { home, caller, callee };
}

/** Whether a message comes back. */
async function answers(session: Session): Promise<boolean> {
  const back = new Promise<boolean>((resolve) => session.once('datagram', () => resolve(true)));
  session.sendDatagram(Uint8Array.of(1));
  return back;
}

const skip = process.getuid?.() === 0 ? false : 'only root can mount a file system';

t.test('a full disk is told, cuts no talk, and damages nothing', { skip }, async (t) => {
  const ready = await stage(t);
  if (ready === undefined) return t.pass('skipped');
  const { home, caller, callee } = ready;
  const disk = (): string | undefined => callee.status().troubles.disk;
  const before = await caller.call({ to: 'TERM3', service: 'pipe' });
  t.ok(await answers(before));
  const pins = join(home, 'pins.json');
  await until(async () => (await readFile(pins, 'utf8').catch(() => '')).includes('TERM1'));
  const kept = await readFile(pins);
  const filler = await fill(home);

  const during = await caller.call({ to: 'TERM3', service: 'pipe' });
  await until(() => disk() !== undefined, 'its owner is told');
  t.match(disk(), /the disk is full/);
  t.ok((await answers(before)) && (await answers(during)), 'both talks go on');
  const short = await caller.call({ to: 'TERM3', service: 'pipe' });
  t.equal((await short.close()).reason, 'done');
  const isOver = (): boolean => callee.status().talks.length === 2;
  await until(() => isOver() && callee.status().endNotices === 0);
  t.match(disk(), /the disk is full/, 'a talk that needed no disk mends none');
  t.strictSame(await readFile(pins), kept);

  await rm(filler);
  t.equal((await before.close()).reason, 'done');
  t.equal((await during.close()).reason, 'done');
  const after = await caller.call({ to: 'TERM3', service: 'pipe' });
  await until(() => disk() === undefined, 'what is written again is told as well');
  await after.close();
  await callee.stop();
  const { restore } = await loadParts({ home }, silentLog);
  t.strictSame(restore.records, [], 'every end was told');
  return undefined;
});

t.test('a disk that became read-only is told, and cuts no talk', { skip }, async (t) => {
  const ready = await stage(t);
  if (ready === undefined) return t.pass('skipped');
  const { home, caller, callee } = ready;
  const before = await caller.call({ to: 'TERM3', service: 'pipe' });
  t.ok(await answers(before));
  t.ok(mount('-o', 'remount,ro', home));
  t.teardown(() => mount('-o', 'remount,rw', home));
  await t.rejects(writeFile(join(home, 'x'), ''), { code: 'EROFS' });
  const during = await caller.call({ to: 'TERM3', service: 'pipe' });
  await until(() => callee.status().troubles.disk !== undefined, 'its owner is told');
  t.match(callee.status().troubles.disk, /cannot write .*: the file system is read-only/);
  t.ok((await answers(before)) && (await answers(during)), 'both talks go on');
  t.equal((await during.close()).reason, 'done');
  t.equal((await before.close()).reason, 'done');
  t.equal(callee.status().link, 'up');
  return undefined;
});
