// The log as text (shell/log-file.ts) and what a running manager does with it: every byte of a file
// counts, in whatever pieces it comes; an archive is forgotten here only when it is safe elsewhere.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBelow } from '../../protocol/random.ts';
import { dose } from '../../protocol/test/dose.ts';
import { HEAD_KEY } from '../log-head.ts';
import { LogVerifier, type LogVerdict } from '../log-verify.ts';
import type { Command, Reply } from '../manager-types.ts';
import type { Manager } from '../manager.ts';
import { LOG_FILE_TITLE, LogReader, logLine } from '../shell/log-file.ts';
import { type LogOperations, makeLogOperations } from '../shell/log-operations.ts';
import { openLmdbStore } from '../shell/store-lmdb.ts';
import type { Store } from '../shell/store.ts';
import { World } from './virtual-manager.ts';
import { WrittenLog } from './written-log.ts';

const log = new WrittenLog();
log.fill(30);
const { head, entries } = log.part();
const TEXT = [
  LOG_FILE_TITLE,
  logLine('head', head),
  ...entries.map((entry) => logLine('entry', entry)),
].join('');

function read(text: string, pieceBytes = text.length, managerKey = log.key.publicKey): LogVerdict {
  const verifier = new LogVerifier({ suite: nodeSuite, managerKey });
  const reader = new LogReader(verifier);
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    if (!reader.take(bytes.subarray(at, at + pieceBytes))) break;
  }
  reader.end();
  return verifier.finish();
}

t.test('S6001: a log as text verifies in whatever pieces it comes', async (t) => {
  for (const piece of [1, 7, 100, TEXT.length])
    t.match(read(TEXT, piece), { ok: true }, String(piece));
  t.match(read(TEXT, TEXT.length, new Uint8Array(32)), { ok: false });
});

t.test('S6001: no byte of a file can be another one', async (t) => {
  const tries = dose(400, 20);
  let missed = 0;
  for (let turn = 0; turn < tries; turn++) {
    const at = randomBelow(log.rng, TEXT.length);
    const code = TEXT.charCodeAt(at) ^ (1 + randomBelow(log.rng, 255));
    const changed = TEXT.slice(0, at) + String.fromCharCode(code) + TEXT.slice(at + 1);
    if (read(changed).ok) missed += 1;
  }
  t.equal(missed, 0);
  const lines = TEXT.split('\n');
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['an entry is gone', lines.toSpliced(4, 1).join('\n'), /entry 3 is missing/],
    ['the last is gone', lines.toSpliced(-2, 1).join('\n'), /ends at 29, not 30/],
    ['the head is gone', lines.toSpliced(1, 1).join('\n'), /line 2 cannot be read/],
    ['the head comes again', `${TEXT}${lines[1]}\n`, /cannot be read/],
    ['no line feed at the end', TEXT.slice(0, -1), /the last line is not whole/],
    ['nothing', '', /this is no log/],
    ['the title alone', LOG_FILE_TITLE, /it has no head/],
    ['another version', TEXT.replace('log 1', 'log 2'), /no log of a version/],
    ['a longer way to write it', TEXT.replace('\nentry', '=\nentry'), /cannot be read/],
    ['an unknown line', TEXT.replace('\nentry', '\nother AA\nentry'), /line 3 cannot be read/],
    ['a line without end', TEXT + 'x'.repeat(100_000), /a line is too long/],
  ];
  for (const [what, changed, why] of cases) t.match(read(changed), { ok: false, why }, what);
});

/** The log operations on a manager in virtual time whose disk is a real store. */
async function operations(
  t: Test,
): Promise<{ readonly log: LogOperations; readonly store: Store; readonly world: World }> {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-log-'));
  const store = await openLmdbStore({ folder });
  t.teardown(async () => {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });
  const world = new World();
  const one = world.terminal('TERM1');
  world.introduce(one, world.terminal('TERM3'));
  const command = async (asked: Command): Promise<Reply> => {
    const to = world.command(asked);
    const reply = world.replies.get(to);
    if (reply === undefined) throw new Error('no reply');
    await copy();
    return reply;
  };
  /** What the world has on its disk goes into the store. */
  const copy = async (): Promise<void> => {
    for (const table of ['log', 'meta'] as const) {
      const rows = world.table(table);
      const past = table === 'log' ? store.range('log', { limit: 1_000 }) : [];
      const isOld = (key: string): boolean => past.length > 0 && key < past[0].key;
      const writes = [...rows].flatMap(([key, value]) =>
        isOld(key) ? [] : [{ table, key, value }],
      );
      await store.write(writes);
    }
  };
  await copy();
  const core: Manager = world.manager;
  const parts = { core, store, suite: nodeSuite, key: world.key, command };
  return { log: makeLogOperations(parts), store, world };
}

async function textOf(lines: AsyncGenerator<string>): Promise<string> {
  let text = '';
  for await (const each of lines) text += each;
  return text;
}

t.test('S6001: an archive is forgotten here when it is elsewhere, not before', async (t) => {
  const { log: operator, store, world } = await operations(t);
  const { publicKey } = world.key;
  const count = world.logBytes().length;
  t.match(await operator.verify(), { ok: true, entries: count, from: 1 });
  const archive = await textOf(operator.exportLog('archive'));
  const verdict = read(archive, 999, publicKey);
  t.match(verdict, { ok: true, entries: count });
  if (!verdict.ok) return;
  const sequence = verdict.span.head.sequence;
  const hash = Buffer.from(verdict.span.head.hash).toString('hex');
  t.equal(store.range('log', { limit: 100 }).length, count, 'nothing is gone yet');
  await t.rejects(operator.archived({ sequence, hash: hash.replace(/./, 'x') }), {
    code: 'not-archived',
  });
  const reading = operator.exportLog('head');
  await reading.next();
  await t.rejects(operator.archived({ sequence, hash }), { code: 'busy' }, 'somebody reads it');
  await reading.return();
  t.match(await operator.archived({ sequence, hash }), { removed: count });
  t.strictSame(
    store.range('log', { limit: 100 }).map(({ key }) => Number(key)),
    [count + 1],
  );
  await t.rejects(operator.archived({ sequence, hash }), { code: 'not-archived' }, 'twice');
  t.match(await operator.verify(), { ok: true, entries: 1, from: count + 1 });
  t.match(await operator.log({}), [{ sequence: count + 1, kind: 'archived', through: count }]);
  const tail = await textOf(operator.exportLog('head'));
  t.match(tail, /\nkey /, 'the keys of those who enrolled before');
  t.match(read(tail, 999, publicKey), { ok: true, entries: 1 });
});

t.test('S6001: a store that somebody else writes is told', async (t) => {
  const { log: operator, store, world } = await operations(t);
  const last = String(world.logBytes().length).padStart(16, '0');
  const behind = String(world.logBytes().length + 1).padStart(16, '0');
  const [row] = store.range('log', { reverse: true, limit: 1 });
  const [early] = store.range('meta', { prefix: HEAD_KEY, limit: 1 });
  await store.write([{ table: 'log', key: behind, value: row.value }]);
  // The world's own disk is not this one: nothing writes over what was put there.
  t.match(await operator.verify(), { ok: false, why: /added behind/ });
  await store.write([{ table: 'log', key: behind, value: undefined }]);
  t.match(await operator.verify(), { ok: true });
  world.table('log').delete(last);
  await store.write([{ table: 'log', key: last, value: undefined }]);
  t.match(await operator.verify(), { ok: false, why: /ends at/ });
  world.table('log').set(last, row.value);
  world.ticket();
  world.table('meta').set(HEAD_KEY, early.value);
  const set = await operator.verify();
  t.match(set, { ok: false, why: /set back/ });
  await t.rejects(textOf(operator.exportLog('head')), { code: 'log-damaged' });
});
