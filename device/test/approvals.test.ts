// An entry that asks: remembered approvals and when they stop counting, and the owner's word
// between two real terminals: by hand, by a command, remembered, refused, too late.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { callLocal } from '../../protocol/io/local-socket.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { until } from '../../protocol/test/until.ts';
import { serveAgent } from '../shell/agent-operations.ts';
import { Approvals } from '../shell/approvals.ts';
import { pair } from './real-world.ts';

const ID = 'a'.repeat(32) as DeviceId;
const ENTRY: AllowEntry = { action: 'allow', pattern: 'TERM1', ask: true };
const of = (service: string, id = ID, entry = ENTRY) => ({ id, service, entry });
const T0_MS = 1_750_000_000_000;
const HOUR_MS = 3_600_000;

function clockAt(unixMs: number): CorrectedClock {
  const clock = new CorrectedClock();
  clock.correct(unixMs);
  return clock;
}

async function file(test: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-ap-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'approvals.json');
}

async function opened(path: string, clock: CorrectedClock): Promise<Approvals> {
  const approvals = new Approvals(path, clock, silentLog);
  await approvals.load();
  return approvals;
}

t.test(
  'an approval counts for one caller and service, over a restart, until its end',
  async (t) => {
    const path = await file(t);
    const clock = clockAt(T0_MS);
    const first = await opened(path, clock);
    t.notOk(first.holds(of('file')));
    first.remember(of('file'), 8 * 3_600);
    t.ok(first.holds(of('file')));
    await first.settled();
    t.equal((await stat(path)).mode & 0o777, 0o600);

    const again = await opened(path, clock);
    t.ok(again.holds(of('file')));
    t.notOk(again.holds(of('port:22')), 'another service');
    t.notOk(again.holds(of('file', 'b'.repeat(32) as DeviceId)), 'another caller');
    clock.correct(T0_MS + 7 * HOUR_MS);
    t.ok(again.holds(of('file')));
    clock.correct(T0_MS + 9 * HOUR_MS);
    t.notOk(again.holds(of('file')), 'over');
    clock.correct(0);
    t.notOk(again.holds(of('file')), 'a clock that was never set makes no approval last for years');
    clock.correct(T0_MS + HOUR_MS);
    again.forget(ID, 'file');
    await again.settled();
    t.notOk((await opened(path, clock)).holds(of('file')), 'taken back');
  },
);

t.test('approvals are bounded: the one that ends first makes room', async (t) => {
  const clock = clockAt(T0_MS);
  const approvals = await opened(await file(t), clock);
  approvals.remember(of('short'), 60);
  approvals.remember(of('ever'), 2 * LIMITS.approvalSecondsMax);
  for (let at = 0; at < LIMITS.approvalsMax - 1; at++) approvals.remember(of(`port:${at}`), 3_600);
  t.notOk(approvals.holds(of('short')));
  t.ok(approvals.holds(of('port:0')) && approvals.holds(of('ever')));
  clock.correct(T0_MS + (LIMITS.approvalSecondsMax + 1) * 1_000);
  t.notOk(approvals.holds(of('ever')), 'no approval lasts for longer than the longest');
  await approvals.settled();
});

t.test('a file of approvals is read or refused by name, whatever is in it', async (t) => {
  const path = await file(t);
  const clock = clockAt(T0_MS);
  const one = { id: ID, service: 'file', entry: '0'.repeat(32), until: T0_MS + HOUR_MS };
  const good = { version: 1, approvals: [one] };
  const bad: readonly unknown[] = [
    [],
    { ...good, version: 2 },
    { ...good, more: 1 },
    { version: 1, approvals: [{ ...one, id: 'TERM1' }] },
    { version: 1, approvals: [{ ...one, until: '2030' }] },
    { version: 1, approvals: [{ ...one, until: -1 }] },
    { version: 1, approvals: [{ ...one, service: '' }] },
    { version: 1, approvals: [{ ...one, entry: '' }] },
    { version: 1, approvals: [{ ...one, entry: undefined }] },
    { version: 1, approvals: Array.from({ length: LIMITS.approvalsMax + 1 }, () => one) },
  ];
  for (const content of bad) {
    await writeFile(path, JSON.stringify(content));
    await t.rejects(opened(path, clock), { code: 'file-damaged', message: /approvals\.json/ });
  }
  await writeFile(path, JSON.stringify(good));
  t.notOk((await opened(path, clock)).holds(of('file')), 'read, and of another entry');
});

t.test('claim 8: a yes counts for the entry that asked, as its owner wrote it then', async (t) => {
  const approvals = await opened(await file(t), clockAt(T0_MS));
  const remembering = { ...ENTRY, remember: 8 * 3_600 };
  approvals.remember(of('file', ID, remembering), 8 * 3_600);
  t.ok(approvals.holds(of('file', ID, { ...remembering })), 'the list was read anew');
  const others: readonly Partial<AllowEntry>[] = [
    { remember: undefined },
    { remember: 3_600 },
    { ask: '/usr/local/bin/ask' },
    { pattern: '*' },
    { id: ID },
    { services: ['file'] },
    { seconds: 60 },
    { bytes: 1 },
    { until: '18:00' },
    { extend: true },
  ];
  for (const change of others) {
    const changed = { ...remembering, ...change };
    t.notOk(approvals.holds(of('file', ID, changed)), JSON.stringify(change));
  }
  await approvals.settled();
});

const ASKING = '[[allow]]\nname = "TERM1"\nask = true\n';

t.test('S4003: the owner is asked, and the call waits for nakodo approve', async (t) => {
  const { world, caller, callee } = await pair(t, ASKING);
  const served = await serveAgent(callee, { log: silentLog });
  t.teardown(() => served.close());
  const ask = (request: object): Promise<Record<string, unknown>> =>
    callLocal(callee.home.socket, request);

  const seen = ask({ op: 'questions', waitMs: 20_000 });
  const call = caller.call({ to: 'TERM3', service: 'file', want: { bytes: 7 }, waitMs: 20_000 });
  const { questions } = (await seen) as { questions: readonly { ask: number }[] };
  t.match(questions, [{ name: 'TERM1', id: caller.id, service: 'file', bytes: 7 }]);
  t.match(callee.status().questions, [{ name: 'TERM1' }]);
  await t.rejects(ask({ op: 'approve', name: 'TERM9', approved: true }), { code: 'nobody-waits' });
  await t.rejects(ask({ op: 'approve', name: 'TERM1', service: 'pipe', approved: true }), {
    code: 'nobody-waits',
  });
  const [{ ask: number }] = questions;
  await ask({ op: 'approve', name: 'TERM1', ask: number, approved: true, rememberSeconds: 3_600 });
  const session = await call;
  t.equal(session.info.peer.name, 'TERM3');
  session.finish('done');
  await session.ended;
  t.strictSame(callee.status().questions, []);

  const again = await caller.call({ to: 'TERM3', service: 'file' });
  again.finish('done');
  t.equal((await again.ended).reason, 'done', 'the yes is remembered');
  await until(async () => (await readFile(callee.home.approvals, 'utf8')).includes(caller.id));

  await world.setList('TERM3', `${ASKING}bytes = "1MB"\n`);
  const changed = caller.call({ to: 'TERM3', service: 'file', waitMs: 500 });
  await t.rejects(changed, { code: 'refused' }, 'the entry is another: its owner is asked again');

  const other = caller.call({ to: 'TERM3', service: 'pipe', waitMs: 1_000 });
  await ask({ op: 'questions', name: 'TERM1', waitMs: 20_000 });
  await ask({ op: 'approve', name: 'TERM1', approved: false });
  await t.rejects(other, { code: 'refused' }, 'another service is asked about, and denied');

  const late = caller.call({ to: 'TERM3', service: 'pipe', waitMs: 500 });
  await ask({ op: 'questions', name: 'TERM1', waitMs: 20_000 });
  await t.rejects(late, { code: 'refused' }, 'no word in time');
  await until(() => callee.status().questions.length === 0);
  await t.rejects(ask({ op: 'approve', name: 'TERM1', approved: true }), { code: 'nobody-waits' });
});

t.test('claim 8: the list decides before its owner is asked, and by a command', async (t) => {
  const { world, caller, callee } = await pair(t, '[[allow]]\nname = "TERM1"\nask = "true"\n');
  const yes = await caller.call({ to: 'TERM3', service: 'file' });
  yes.finish('done');
  t.equal((await yes.ended).reason, 'done', 'its command said yes');
  await world.setList('TERM3', '[[allow]]\nname = "TERM1"\nask = "false"\n');
  const call = (): Promise<unknown> => caller.call({ to: 'TERM3', service: 'file', waitMs: 500 });
  await t.rejects(call(), { code: 'refused' }, 'its command said no');
  await world.setList('TERM3', `${ASKING}[[deny]]\nname = "TERM1"\n`);
  const refused = call();
  await t.rejects(refused, { code: 'refused' });
  t.strictSame(callee.status().questions, [], 'nobody was asked about it');
});
