// The vendor window: what is left of an entry with `until` and `bytes`, whatever order talks begin,
// grow, end and crash in; and on real sockets: used up over several talks, kept over a restart,
// closed when its file cannot be trusted, and ended when its owner takes the entry away.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import type { AllowEntry, AllowList } from '../../protocol/consent/allow-list.ts';
import { errorCode } from '../../protocol/errors.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { wallMs } from '../../protocol/time.ts';
import { until } from '../../protocol/test/until.ts';
import type { Agent } from '../agent.ts';
import { VendorWindows, isWindow, windowKey } from '../vendor-windows.ts';
import { registeredPair } from './real-world.ts';

const NOON = { wallMs: wallMs(Date.UTC(2026, 0, 31, 12)), offsetMinutes: 0 };
const EVENING = '2026-01-31T18:00:00Z';
const WINDOW = {
  action: 'allow',
  pattern: 'support',
  services: ['port:22'],
  bytes: 1_000,
  until: EVENING,
} as const satisfies AllowEntry;
const ASKER = {
  callerName: 'support' as Name,
  callerId: 'a'.repeat(32) as DeviceId,
  service: 'port:22',
};

const listOf = (...entries: readonly AllowEntry[]): AllowList => ({
  version: 'v',
  mode: 'verdict',
  entries,
});
const idOf = (number: number): SessionId => `s${number}` as SessionId;

t.test('a window is an entry with both limits; its name is all but its bytes', (t) => {
  t.ok(isWindow(WINDOW));
  t.notOk(isWindow({ ...WINDOW, bytes: undefined }));
  t.notOk(isWindow({ ...WINDOW, until: undefined }));
  t.notOk(isWindow({ ...WINDOW, action: 'deny' }));
  const key = windowKey(WINDOW, NOON);
  t.equal(windowKey({ ...WINDOW, bytes: 5 }, NOON), key, 'its owner can add bytes');
  t.not(windowKey({ ...WINDOW, pattern: 'other' }, NOON), key);
  t.not(windowKey({ ...WINDOW, services: ['port:23'] }, NOON), key);
  t.not(windowKey({ ...WINDOW, until: '2026-02-01T18:00:00Z' }, NOON), key);
  const tomorrow = { ...NOON, wallMs: wallMs(NOON.wallMs + 86_400_000) };
  t.equal(windowKey(WINDOW, tomorrow), key);
  const daily = { ...WINDOW, until: '18:00' };
  t.not(windowKey(daily, tomorrow), windowKey(daily, NOON), 'one written by hand is of a day');
  t.end();
});

t.test('claim 15: what is left, and the version that tells it', (t) => {
  const windows = new VendorWindows();
  const other: AllowEntry = { action: 'allow', pattern: '*', bytes: 7 };
  const list = listOf(WINDOW, other);
  t.equal(windows.adjusted(list, NOON), list, 'of a list whose windows are whole, nothing changes');
  t.ok(windows.begin(list, NOON, { ...ASKER, session: idOf(1), grantedBytes: 400 }));
  const during = windows.adjusted(list, NOON);
  t.strictSame(during.entries, [{ ...WINDOW, bytes: 600 }, other]);
  t.not(during.version, list.version);
  t.ok(during.version.length <= 64);
  const own = windows.adjusted(list, NOON, idOf(1));
  t.strictSame(own.entries[0], WINDOW, 'a talk that asks for more has what it has');
  windows.onEnded(idOf(1), 150);
  const after = windows.adjusted(list, NOON);
  t.match(after.entries[0], { bytes: 850 });
  t.not(after.version, during.version);
  windows.begin(list, NOON, { ...ASKER, session: idOf(2), grantedBytes: 850 });
  windows.onEnded(idOf(2), 850);
  t.strictSame(windows.adjusted(list, NOON).entries, [other], 'used up: as if it were not there');
  t.strictSame(windows.leftOf(WINDOW, NOON), {
    usedBytes: 1_000,
    heldBytes: 0,
    leftBytes: 0,
    leftSeconds: 21_600,
  });
  const more = listOf({ ...WINDOW, bytes: 3_000 });
  t.match(windows.adjusted(more, NOON).entries, [{ bytes: 2_000 }], 'its owner added bytes');
  const stranger = { ...ASKER, callerName: 'x' as Name, session: idOf(3), grantedBytes: 7 };
  t.notOk(windows.begin(list, NOON, stranger), 'let in by another entry');
  t.strictSame(VendorWindows.closed(list).entries, [other]);
  t.not(VendorWindows.closed(list).version, list.version);
  t.end();
});

t.test('claim 15: whatever talks do, and whenever it crashes, a window is never exceeded', (t) => {
  const deed = fc.oneof(
    fc.record({ does: fc.constant('begin' as const), want: fc.integer({ min: 1, max: 700 }) }),
    fc.record({ does: fc.constant('extend' as const), want: fc.integer({ min: 1, max: 700 }) }),
    fc.record({
      does: fc.constant('end' as const),
      moves: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.record({ does: fc.constant('crash' as const) }),
  );
  const property = fc.property(fc.array(deed, { maxLength: 60 }), (deeds) => {
    let windows = new VendorWindows();
    const list = listOf({ ...WINDOW, extend: true });
    const live: { session: SessionId; granted: number }[] = [];
    let moved = 0;
    for (const [at, each] of deeds.entries()) {
      if (each.does === 'begin') {
        const [entry] = windows.adjusted(list, NOON).entries;
        if (entry === undefined) continue;
        const granted = Math.min(each.want, entry.bytes ?? Infinity);
        windows.begin(list, NOON, { ...ASKER, session: idOf(at), grantedBytes: granted });
        live.push({ session: idOf(at), granted });
      } else if (each.does === 'extend' && live.length > 0) {
        const talk = live[each.want % live.length];
        const [entry] = windows.adjusted(list, NOON, talk.session).entries;
        const granted = Math.min(talk.granted + each.want, entry?.bytes ?? 0);
        if (granted <= talk.granted) continue;
        talk.granted = granted;
        windows.onExtended(talk.session, granted);
      } else if (each.does === 'end' && live.length > 0) {
        const [talk] = live.splice(0, 1);
        const bytes = Math.floor(talk.granted * each.moves);
        moved += bytes;
        windows.onEnded(talk.session, bytes);
      } else if (each.does === 'crash') {
        const { used, talks } = windows.records();
        windows = new VendorWindows(used);
        for (const talk of talks) windows.spend(talk, talk.grantedBytes);
        // What they have moved is anything up to that.
        for (const { granted } of live.splice(0)) moved += granted;
      }
      const under = live.reduce((sum, { granted }) => sum + granted, 0);
      if (moved + under > WINDOW.bytes) return false;
    }
    return true;
  });
  fc.assert(property, { numRuns: 500 });
  t.pass();
  t.end();
});

t.test('windows are counted up to a bound: past ones make room, open ones do not', (t) => {
  const used = Array.from({ length: LIMITS.windowsMax }, (_, at) => ({
    key: `${at}`.padStart(26, 'a'),
    usedBytes: 1,
    untilMs: NOON.wallMs + 1 + at,
  }));
  const windows = new VendorWindows(used);
  t.strictSame(windows.adjusted(listOf(WINDOW), NOON).entries, [], 'nobody could count it');
  const later = { ...NOON, wallMs: wallMs(NOON.wallMs + LIMITS.windowsMax) };
  t.strictSame(windows.adjusted(listOf(WINDOW), later).entries, [WINDOW]);
  t.equal(windows.records().used.length, LIMITS.windowsMax / 2);
  t.end();
});

const SOON = new Date(Date.now() + 3_600_000).toISOString();
const SUPPORT = `[[allow]]\nname = "TERM1"\nservices = ["pipe"]\nuntil = "${SOON}"\n`;

/** Moves so many bytes to the callee, and ends the talk. */
async function move(caller: Agent, bytes: number): Promise<void> {
  const session = await caller.call({ to: 'TERM3', service: 'pipe' });
  const stream = session.openStream();
  stream.end(randomBytes(bytes));
  await once(stream, 'finish');
  await session.close('done');
}

const outcome = (call: Promise<unknown>): Promise<string> => call.then(() => 'talked', errorCode);

t.test('claim 15: a window is used up over two talks, the third is refused', async (t) => {
  const { caller, callee } = await registeredPair(t, `${SUPPORT}bytes = "300kB"\n`);
  callee.onIncoming((session) => {
    session.onStream = (stream) => stream.resume().end();
  });
  await move(caller, 100_000);
  const second = await caller.call({ to: 'TERM3', service: 'pipe' });
  t.ok((second.info.bytes ?? 0) < 200_000, 'what the first has left');
  const meanwhile = caller.call({ to: 'TERM3', service: 'pipe', waitMs: 300 });
  t.equal(await outcome(meanwhile), 'refused', 'a talk under way counts with its whole grant');
  second.openStream().resume().end(randomBytes(300_000));
  t.equal((await second.ended).reason, 'quota');
  await until(() => callee.status().talks.length === 0);
  const third = caller.call({ to: 'TERM3', service: 'pipe', waitMs: 300 });
  t.equal(await outcome(third), 'refused');
  await callee.stop();
  t.equal(statSync(callee.home.windows).mode & 0o777, 0o600);
  const { used, talks } = JSON.parse(readFileSync(callee.home.windows, 'utf8')) as {
    used: { usedBytes: number }[];
    talks: unknown[];
  };
  t.strictSame([used.length, used[0].usedBytes, talks], [1, 300_000, []]);
});

t.test('claim 8: a yes that is remembered counts for the whole window', async (t) => {
  const entry = `${SUPPORT}bytes = "300kB"\nask = true\nremember = "1h"\n`;
  const { caller, callee } = await registeredPair(t, entry);
  callee.onIncoming((session) => {
    session.onStream = (stream) => stream.resume().end();
  });
  const first = move(caller, 100_000);
  await until(() => callee.status().questions.length === 1);
  callee.owner.decide({ name: 'TERM1' as Name, approved: true });
  await first;
  await move(caller, 100_000);
  t.strictSame(callee.status().questions, [], 'nobody was asked again');
});

t.test('S6002: an extension is within what is left of the window', async (t) => {
  const entry = `${SUPPORT}bytes = "300kB"\nextend = true\n`;
  const { caller, callee } = await registeredPair(t, entry);
  callee.onIncoming((session) => {
    session.onStream = (stream) => stream.resume().end();
  });
  await move(caller, 50_000);
  const want = { bytes: 100_000 };
  const session = await caller.call({ to: 'TERM3', service: 'pipe', want, extend: true });
  const totals: (number | undefined)[] = [];
  session.on('extended', ({ bytes }) => totals.push(bytes));
  const stream = session.openStream();
  stream.resume().write(randomBytes(80_000));
  await until(() => totals.length === 1);
  stream.write(randomBytes(80_000));
  await until(() => totals.length === 2);
  stream.end(randomBytes(200_000));
  const { reason, counts } = await session.ended;
  t.equal(reason, 'quota');
  const [first, second = 0] = totals;
  t.equal(first, 200_000);
  t.ok(second > 200_000 && second < 250_000, 'the window is the end');
  t.equal(counts.sentBytes + counts.receivedBytes, second);
});

t.test(
  'S5007: a crash in mid-talk counts the whole grant; a damaged file closes all',
  async (t) => {
    const { world, caller, callee } = await registeredPair(t, `${SUPPORT}bytes = "300kB"\n`);
    const want = { bytes: 100_000 };
    const session = await caller.call({ to: 'TERM3', service: 'pipe', want });
    const { windows } = callee.home;
    await until(() => {
      try {
        return readFileSync(windows, 'utf8').includes('"grantedBytes":100000');
      } catch {
        return false;
      }
    }, 'the talk is on disk');
    const crashed = readFileSync(windows);
    session.finish('local');
    await session.ended;
    await callee.stop();
    writeFileSync(windows, crashed);
    const again = await world.agent('TERM3', { udpBind: '127.0.3.1' });
    await again.registered;
    const next = await caller.call({ to: 'TERM3', service: 'pipe' });
    t.equal(next.info.bytes, 200_000);
    await next.close('local');
    await again.stop();
    writeFileSync(windows, 'not what it was');
    const third = await world.agent('TERM3', { udpBind: '127.0.3.1' });
    await third.registered;
    t.equal(await outcome(caller.call({ to: 'TERM3', service: 'pipe', waitMs: 300 })), 'refused');
    t.match(third.status().troubles.list, /windows\.json cannot be used/);
    t.equal(readFileSync(windows, 'utf8'), 'not what it was', 'and is left for its owner');
  },
);

t.test('claim 8: a talk that its callee no longer allows is ended', async (t) => {
  const open = '[[allow]]\nname = "TERM1"\n';
  const { world, caller, callee } = await registeredPair(t, open);
  const session = await caller.call({ to: 'TERM3', service: 'pipe' });
  const other = await caller.call({ to: 'TERM3', service: 'file' });
  await world.setList('TERM3', `${open}[[deny]]\nname = "TERM1"\nservices = ["pipe"]\n`);
  t.equal((await session.ended).reason, 'local');
  t.equal(other.end, undefined, 'another service goes on');
  await world.setList('TERM3', 'this is no list');
  await until(() => callee.status().troubles.list !== undefined);
  await world.setList('TERM3', open);
  t.equal(other.end, undefined, 'a slip of the pen ends nobody');
  await world.setList('TERM3', '');
  t.equal((await other.ended).reason, 'local');
});
