// The story of the patent, scene by scene, on a real broker, real TLS, real UDP and a real disk:
// TERM1 asks for TERM3 by name. What each terminal was told and said is read where it is opened.

import { createHash, randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import type { Session } from '../../device/shell/session.ts';
import { until } from '../../protocol/test/until.ts';
import { type Town, allowing, openTown } from '../fleet/town.ts';
import { type Overheard, overheard } from './overheard.ts';

const CALL = { to: 'TERM3', service: 'echo-hash' };
const SOON_MS = 300;

interface Scene {
  readonly town: Town;
  readonly term1: Overheard;
  readonly term3: Overheard;
}

/** TERM1 and TERM3 in a town of their own. */
async function scene(t: Test, allowList: string, apart = false): Promise<Scene> {
  const town = await openTown({ apart });
  const term1 = await overheard(t, town, { name: 'TERM1', allowList: '' });
  const term3 = await overheard(t, town, { name: 'TERM3', allowList });
  t.teardown(() => town.close());
  return { town, term1, term3 };
}

/** Sends bytes and compares the hash that comes back. */
async function arrives(session: Session, bytes: Uint8Array): Promise<boolean> {
  const stream = session.openStream();
  stream.end(bytes);
  return (await buffer(stream)).equals(createHash('sha256').update(bytes).digest());
}

/** Both ends' last word on the newest talk. */
async function bothEnds(caller: Session, { incoming }: Overheard) {
  const ends = await Promise.all([caller.ended, incoming[incoming.length - 1].ended]);
  const [ours, theirs] = ends;
  return {
    reasons: ends.map(({ reason }) => reason),
    sentBytes: ours.counts.sentBytes + theirs.counts.sentBytes,
    receivedBytes: ours.counts.receivedBytes + theirs.counts.receivedBytes,
  };
}

/** What a session says from now on. */
function eventsOf(session: Session): Said[] {
  const events: Said[] = [];
  session.on('extended', (terms) => events.push({ kind: 'extended', ...terms }));
  session.on('extensionRefused', () => events.push({ kind: 'extensionRefused' }));
  return events;
}

interface Said {
  readonly kind: 'extended' | 'extensionRefused';
  readonly bytes?: number | undefined;
}
const has = (events: readonly Said[], kind: Said['kind']): boolean =>
  events.some((event) => event.kind === kind);

for (const servers of ['one process', 'two, joined by TCP alone']) {
  t.test(`claim 22: from names to a closed log, the servers in ${servers} [¶0028]`, async (t) => {
    const { town, term1, term3 } = await scene(t, allowing('TERM1'), servers !== 'one process');
    const { told: told1, said: said1 } = term1;
    const { told: told3, said: said3 } = term3;

    await t.test('S1000, S1001, S2000, S3000, S4000, S4001: address and name', async (t) => {
      for (const [name, said] of [
        ['TERM1', said1],
        ['TERM3', said3],
      ] as const) {
        t.ok(said('address').length > 0, `${name} registers its address at the broker`);
        t.match(said('register'), [{ name }], 'and its name at the manager');
      }
      t.equal(town.broker.stats().registered, 2, 'the broker has recorded both');
      const names = town.manager.operations.devices().map(({ name }) => name);
      t.strictSame([...names].sort(), ['TERM1', 'TERM3'], 'the manager has both names');
    });

    const session = await term1.agent.call(CALL);
    const [ask] = told3('ask');
    await t.test('S1002, S1003, S2001, S2002, S3001, S3002, S4002, claim 2: by name', async (t) => {
      t.match(said1('connect'), [{ callerName: 'TERM1', calleeName: 'TERM3' }]);
      t.match(ask, { callerName: 'TERM1' }, 'TERM3 is asked who may come');
      t.equal(told3('call').length, 1, 'once, by the broker');
    });

    await t.test('S4003, S2003, S2004, S2005: TERM3 sends its list, TERM1 is on it', async (t) => {
      const [answer, ...more] = said3('allowList');
      t.equal(answer.request, ask.request);
      t.match(answer.entries, [{ action: 'allow', pattern: 'TERM1' }]);
      t.strictSame(more, []);
    });

    await t.test('S2007, S2008, S2009, S1004, S4004, claim 10, claim 16: notices', async (t) => {
      const [[first], [second]] = [told1('addressNotice'), told3('addressNotice')];
      t.strictSame(first.grant, second.grant, 'one session ID, one expiry');
      t.strictSame(first.key, second.key, 'one key');
      t.equal(first.key.length, 32);
      t.notSame(first.peerCandidates, second.peerCandidates, 'each the address of the other');
      t.equal(term3.incoming[0].info.session, session.info.session);
    });

    await t.test('S1005, S4005, S5000, S5002, S1006, S4006: they talk until done', async (t) => {
      t.ok(await arrives(session, randomBytes(100_000)), 'as it was sent');
      session.finish('done');
      t.strictSame((await bothEnds(session, term3)).reasons, ['done', 'done']);
    });

    await t.test('S5007, S6000, S6001, claim 5, claim 12: both announce the end', async (t) => {
      await until(() => told1('ended').length > 0, 'TERM1’s notice to be acknowledged');
      await until(() => told3('ended').length > 0, 'TERM3’s notice to be acknowledged');
      t.match([...said1('endNotice'), ...said3('endNotice')], [{ reason: 'done' }, {}]);
      const [row] = await town.manager.operations.sessions({ all: true });
      t.match(row, { state: 'ended', reason: 'done', differenceBytes: 0 });
      const log = await town.manager.operations.log({});
      t.ok(log.some(({ session: of }) => of === session.info.session));
      t.ok((await town.manager.operations.verify()).ok, 'the log verifies');
    });
  });
}

t.test('S2010, claim 8: unlisted, denied and unknown: one answer, no notice', async (t) => {
  const { term1, term3, town } = await scene(t, allowing('TERM2'));
  const refuses = async (to: string): Promise<void> => {
    await t.rejects(term1.agent.call({ ...CALL, to, waitMs: SOON_MS }), { code: 'refused' });
  };
  await refuses('TERM3');
  await town.allow(term3.home, `${allowing('*')}\n[[deny]]\nname = "TERM1"\n`);
  await refuses('TERM3');
  await refuses('NOBODY');
  t.equal(term3.told('ask').length, 2, 'TERM3 was asked twice');
  const refusals = term1.told('refusal');
  const bytes = refusals.map((refusal) => JSON.stringify({ ...refusal, request: '' }));
  t.equal(refusals.length, 3);
  t.equal(new Set(bytes).size, 1, 'the same but for the request that they answer');
  t.strictSame(term1.told('addressNotice'), []);
  t.strictSame(term3.told('addressNotice'), []);
  await town.allow(term3.home, allowing('*'));
  const session = await term1.agent.call(CALL);
  session.finish('done');
  await session.ended;
  t.equal(term1.told('addressNotice').length, 1, 'no restart, and a yes');
});

for (const mode of ['verdict', 'list'] as const) {
  t.test(`S4003, S2003, S2004, claim 8: consent on the wire, mode ${mode}`, async (t) => {
    const listOf = (...entries: readonly string[]): string =>
      [`mode = "${mode}"\n`, ...entries].join('\n');
    const denied = '[[deny]]\nname = "TERM1"\n';
    const { town, term1, term3 } = await scene(t, listOf(allowing('FRIEND', 'TERM1')));
    const session = await term1.agent.call(CALL);
    session.finish('done');
    await session.ended;
    await town.allow(term3.home, listOf(allowing('FRIEND', 'TERM1'), denied));
    await t.rejects(term1.agent.call({ ...CALL, waitMs: SOON_MS }), { code: 'refused' });

    const answers = term3.said('allowList');
    const shown = answers.map(({ entries }) => entries.map(({ pattern }) => pattern).sort());
    const all = mode === 'list' ? ['FRIEND'] : [];
    t.strictSame(
      answers.map((answer) => answer.mode),
      [mode, mode],
    );
    t.strictSame(shown, [
      [...all, 'TERM1'],
      [...all, 'TERM1', 'TERM1'],
    ]);
    t.ok(
      answers[1].entries.some(({ action }) => action === 'deny'),
      'the manager judged a deny',
    );
    const friend = Buffer.from('FRIEND');
    const leaks = term3.sealed.some((bytes) => bytes.includes(friend));
    t.equal(leaks, mode === 'list', 'other contacts leave the terminal in mode list only');
  });
}

t.test('claim 14, claim 15: the expiry is bytes, time, or whichever comes first', async (t) => {
  const { term1, term3 } = await scene(t, allowing('TERM1'));
  const table = [
    { want: { bytes: 60_000 }, send: 200_000, reason: 'quota' },
    { want: { seconds: 1 }, send: 1_000, reason: 'time' },
    { want: { bytes: 60_000, seconds: 600 }, send: 200_000, reason: 'quota' },
    { want: { bytes: 60_000, seconds: 1 }, send: 1_000, reason: 'time' },
  ] as const;
  for (const { want, send, reason } of table) {
    const session = await term1.agent.call({ ...CALL, want });
    t.match(session.info, want, `both were told: ${JSON.stringify(want)}`);
    t.match(term3.incoming[term3.incoming.length - 1].info, want);
    session.openStream().end(randomBytes(send));
    const { reasons, sentBytes, receivedBytes } = await bothEnds(session, term3);
    t.strictSame(reasons, [reason, reason], 'S1006, S4006: both stop, for one reason');
    if (reason === 'quota') {
      t.equal(sentBytes, 60_000, 'exactly the grant');
      t.equal(receivedBytes, 60_000);
    }
  }
});

t.test(
  'S5003, S5004, S5005, S5006, S6002, S6003, claims 4, 11: longer, at both ends',
  async (t) => {
    const entry = '[[allow]]\nname = "TERM1"\nbytes = "300kB"\nextend = true\n';
    const { term1, term3 } = await scene(t, entry);
    const session = await term1.agent.call({ ...CALL, want: { bytes: 200_000 }, extend: true });
    const theirs = term3.incoming[0];
    const events = [eventsOf(session), eventsOf(theirs)];
    const stream = session.openStream();
    stream.write(randomBytes(150_000));
    await until(() => events.every((each) => has(each, 'extended')), 'S5005: both to adopt it');
    const asked = term3.told('askExtend');
    t.match(asked[0], { session: session.info.session, want: { bytes: 400_000 } }, 'asked again');
    const yes = term3.said('allowList').filter(({ request }) => request === asked[0].request);
    t.equal(yes.length, 1, 'S4003: and TERM3 sent its list again');
    const told = [term1, term3].map((each) => each.told('newExpiry'));
    t.ok(told[0].length > 0 && told[1].length > 0, 'S6003: the manager told both');
    t.strictSame(told[0][0].expiry, told[1][0].expiry, 'claim 11: the same expiry');
    for (const each of events)
      t.match(
        each.find(({ kind }) => kind === 'extended'),
        { bytes: 300_000 },
        'S5006: as far as the entry goes, not as far as was asked',
      );
    stream.end(randomBytes(200_000));
    const { reasons, sentBytes } = await bothEnds(session, term3);
    t.strictSame(reasons, ['quota', 'quota']);
    t.equal(sentBytes, 300_000, 'claim 4: on past the first expiry, and to the byte of the second');
  },
);

t.test('S6002: an extension that TERM3 no longer allows: the old expiry stands', async (t) => {
  const entry = '[[allow]]\nname = "TERM1"\nbytes = "1MB"\nextend = true\n';
  const { town, term1, term3 } = await scene(t, entry);
  const session = await term1.agent.call({ ...CALL, want: { bytes: 200_000 }, extend: true });
  const events = eventsOf(session);
  await town.allow(term3.home, entry.replace('true', 'false'));
  const stream = session.openStream();
  stream.write(randomBytes(150_000));
  await until(() => has(events, 'extensionRefused'), 'S2010: the refusal');
  t.equal(term3.told('askExtend').length, 1, 'TERM3 was asked again');
  stream.end(randomBytes(200_000));
  const { reasons, sentBytes } = await bothEnds(session, term3);
  t.strictSame(reasons, ['quota', 'quota']);
  t.equal(sentBytes, 200_000);
  const newExpiries = [term1, term3].map(({ told }) => told('newExpiry'));
  t.strictSame(newExpiries, [[], []]);
});

t.test('S6004, S6005, S5001, claims 6, 13, 18: the operator ends a talk', async (t) => {
  const { town, term1, term3 } = await scene(t, allowing('TERM1'));
  const session = await term1.agent.call(CALL);
  const stream = session.openStream();
  stream.write(randomBytes(10_000));
  const handed = town.broker.stats().handed;
  const outcome = await town.manager.operations.end(session.info.session);
  t.match(outcome, { reason: 'operator', unconfirmed: [] }, 'S6004');
  t.strictSame([...outcome.confirmed].sort(), ['TERM1', 'TERM3']);
  t.equal(town.broker.stats().handed, handed + 2, 'S6005: the broker handed two requests on');
  for (const { told, said } of [term1, term3]) {
    const requests = told('endRequest');
    t.match(requests, [{ session: session.info.session }], 'S5001: to both, not to one');
    t.match(said('endNotice'), [{ reason: 'operator' }], 'S5007');
  }
  t.strictSame((await bothEnds(session, term3)).reasons, ['operator', 'operator']);
  t.ok(stream.destroyed, 'at once: what was open is cut off');
  const [row] = await town.manager.operations.sessions({ all: true });
  t.match(row, { state: 'ended', reason: 'operator' }, 'S6001');
});

t.test('claim 1, claim 17: no TCP connection, a trigger held, dropped in time', async (t) => {
  const { town, term1 } = await scene(t, '');
  const sleeper = await overheard(t, town, {
    name: 'TERM5',
    allowList: allowing('TERM1'),
    agent: { pollSeconds: 2 },
  });
  const { proxy } = sleeper;
  const asks = (): number => sleeper.told('ask').length;
  const polls = (): number => sleeper.told('polled').length;
  const call = { ...CALL, to: 'TERM5' };
  const isAsleep = (): boolean => sleeper.agent.status().link === 'down';
  await until(isAsleep, 'TERM5 to fall asleep');
  await until(() => proxy.connections.open === 0, 'its TCP connection to close');
  const { ever } = proxy.connections;

  const dropped = term1.agent.call({ ...call, waitMs: SOON_MS });
  dropped.catch(() => {});
  await until(() => town.broker.stats().triggersWaiting === 1, 'the trigger to be held');
  t.strictSame(proxy.connections, { open: 0, ever }, 'held while there is no TCP connection');
  await t.rejects(dropped, { code: 'refused' }, 'the caller hears what it always hears');
  await until(() => town.broker.stats().triggersWaiting === 0, 'the deadline');
  t.match(town.broker.stats(), { expired: 1, triggersWaiting: 0 }, 'dropped at its deadline');
  t.equal(proxy.connections.ever, ever, 'and still nobody had connected');
  const polled = polls();
  await until(() => polls() > polled, 'the next poll');
  await until(isAsleep, 'TERM5 to sleep again');
  t.equal(asks(), 0, 'what was dropped is never handed over late');

  const session = await term1.agent.call({ ...call, waitMs: 10_000 });
  t.equal(asks(), 1, 'what waits long enough is handed over by a poll');
  t.equal(proxy.connections.open, 1, 'TERM5 stays for the talk');
  t.ok(await arrives(session, randomBytes(1_000)));
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
  await until(() => proxy.connections.open === 0, 'TERM5 to disconnect once more');
  t.match(town.broker.stats(), { expired: 1, triggersWaiting: 0 });
});
