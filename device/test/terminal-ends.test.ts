// How talks go on and end: extensions, end requests, end notices and restarts; and the terminals
// that poll, which sleep in between.

import t from 'tap';
import { NO_COUNTS } from '../../protocol/ends.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { StoredEnd } from '../terminal-types.ts';
import { eventsOf, exchange, introduced, question, sentOf, talkEvents, two } from './talking.ts';
import { World } from './world.ts';

t.test('claim 3: a talk stops when all is delivered', async (t) => {
  const { world, caller, callee, session } = introduced();
  exchange(world, caller, callee, session, Buffer.from('all of it'));
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'done' });
  t.ok(world.run(5, () => world.notices.length === 2));
  for (const node of [caller, callee]) {
    const [end] = eventsOf(node, 'ended');
    t.equal(end.reason, 'done');
    t.equal(end.counts.sentBytes + end.counts.receivedBytes, 9);
    t.ok(end.path, 'it says where the peer was');
  }
  t.ok(world.run(10, () => caller.sockets.size + callee.sockets.size === 0));
});

t.test('S1006: the caller stops at the granted time, by itself', async (t) => {
  const { world, caller } = introduced({ want: { seconds: 10 } });
  world.run(9);
  t.equal(eventsOf(caller, 'ended').length, 0);
  world.run(2);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'time' }]);
});

t.test('S4006: the callee stops at the granted time, by itself', async (t) => {
  const { world, callee } = introduced({ want: { seconds: 10 } });
  world.run(12);
  t.match(eventsOf(callee, 'ended'), [{ reason: 'time' }]);
});

t.test('S5000: the talk goes on while the control plane is away', async (t) => {
  const { world, caller, callee, session } = introduced();
  world.link(caller, false);
  world.link(callee, false);
  world.run(20);
  const bytes = Buffer.from('still here');
  t.ok(bytes.equals(exchange(world, caller, callee, session, bytes)));
});

t.test('S5001: an end request closes the talk at once', async (t) => {
  const { world, caller, callee, session } = introduced();
  const request = randomRequestId(world.rng);
  world.hand(callee, { kind: 'endRequest', request, session, reason: 'operator' });
  world.settle();
  t.match(eventsOf(callee, 'ended'), [{ reason: 'operator' }]);
  t.ok(
    world.run(2, () => eventsOf(caller, 'ended').length === 1),
    'the peer hears it in the tunnel',
  );
  t.equal(eventsOf(caller, 'ended')[0].reason, 'operator');
});

t.test('claim 6: the end notice that follows an end request says whose wish it was', async (t) => {
  const { world, callee, session } = introduced();
  const request = randomRequestId(world.rng);
  world.hand(callee, { kind: 'endRequest', request, session, reason: 'revoked' });
  world.hand(callee, { kind: 'endRequest', request, session, reason: 'revoked' });
  world.settle();
  t.match(sentOf(callee, 'endNotice'), [{ session, reason: 'revoked' }]);
});

t.test('an end request for a talk that there is not is counted', async (t) => {
  const { world, callee } = introduced();
  const request = randomRequestId(world.rng);
  const session = randomSessionId(world.rng);
  world.hand(callee, { kind: 'endRequest', request, session, reason: 'operator' });
  world.settle();
  t.equal(callee.terminal.status(world.now).counters.unexpected, 1);
  t.equal(callee.terminal.status(world.now).talks.length, 1);
});

t.test('S5002: a talk that is done asks for no extension', async (t) => {
  const { world, caller, callee, session } = introduced({ want: { seconds: 10 }, extend: true });
  exchange(world, caller, callee, session, Buffer.from('done'));
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'done' });
  world.run(12);
  t.equal(sentOf(caller, 'extend').length, 0);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'done' }]);
});

t.test(
  'S5003: at 70 % both are told that the expiry is near; only who wants more asks',
  async (t) => {
    const { world, caller, callee } = introduced({ want: { seconds: 10 } });
    world.run(6.9);
    t.equal(talkEvents(caller, 'expiryNear').length, 0);
    world.run(0.3);
    t.match(talkEvents(caller, 'expiryNear'), [{ by: 'time' }]);
    t.equal(talkEvents(callee, 'expiryNear').length, 1);
    t.equal(sentOf(caller, 'extend').length + sentOf(callee, 'extend').length, 0);
  },
);

t.test('S5004: the request names totals: what is granted and the same again', async (t) => {
  const call = { want: { seconds: 10, bytes: 1_000 }, extend: true };
  const { world, caller, session } = introduced(call);
  world.run(7.5);
  t.match(sentOf(caller, 'extend'), [
    { session, revision: 1, want: { seconds: 20, bytes: 2_000 } },
  ]);
});

t.test('claim 4: with extensions a talk goes on past its first expiry, and the next', async (t) => {
  const { world, caller, callee, session } = introduced({ want: { seconds: 10 }, extend: true });
  world.run(27.5);
  t.equal(eventsOf(caller, 'ended').length, 0);
  t.strictSame(
    sentOf(caller, 'extend').map(({ revision, want }) => [revision, want.seconds, want.bytes]),
    [
      [1, 20, undefined],
      [2, 30, undefined],
      [3, 40, undefined],
    ],
  );
  t.match(callee.terminal.status(world.now).talks, [
    { session, revision: 3, terms: { seconds: 40 } },
  ]);
});

t.test('S5005: both ends are told; one expiry counts once, however often it comes', async (t) => {
  const { world, caller, callee } = introduced({ want: { seconds: 10 }, extend: true });
  world.run(8);
  for (const node of [caller, callee]) {
    t.match(eventsOf(node, 'extended'), [{ seconds: 20, bytes: undefined }]);
  }
  const [session] = world.sessions;
  world.tell(caller, 'down', world.newExpiry(session, randomRequestId(world.rng)));
  world.settle();
  t.equal(eventsOf(caller, 'extended').length, 1);
});

t.test(
  'S5005: an end that the manager cannot reach learns the new expiry inside the tunnel',
  async (t) => {
    const { world, caller, callee } = introduced({ want: { seconds: 10 }, extend: true });
    const tell = world.tell.bind(world);
    world.tell = (node, via, message) => {
      if (node === callee && message.kind === 'newExpiry') return;
      tell(node, via, message);
    };
    world.run(12);
    t.match(eventsOf(callee, 'extended'), [{ seconds: 20 }]);
    t.equal(eventsOf(caller, 'ended').length, 0);
  },
);

t.test('S5006: the adopted expiry is the one that ends the talk', async (t) => {
  const { world, caller } = introduced({ want: { seconds: 10 }, extend: true });
  world.run(8);
  world.answers.extend = false;
  world.run(11.5);
  t.equal(eventsOf(caller, 'ended').length, 0);
  world.run(1);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'time' }]);
  t.equal(caller.terminal.status(world.now).endNotices, 0);
});

t.test(
  'S5006: an expiry that is forged, smaller, for another, or never agreed to is not adopted',
  async (t) => {
    const { world, caller, callee } = introduced({ want: { seconds: 10 } });
    const [session] = world.sessions;
    const request = randomRequestId(world.rng);
    const good = world.newExpiry(session, request, { revision: 1, seconds: 20 });
    world.tell(caller, 'down', { ...good, signature: new Uint8Array(64) });
    world.tell(caller, 'down', world.newExpiry(session, request, { revision: 1, seconds: 5 }));
    world.tell(caller, 'down', world.newExpiry(session, request, { revision: 1, bytes: 5 }));
    world.tell(callee, 'down', good);
    world.settle();
    t.equal(caller.terminal.status(world.now).counters.badNotice, 3);
    t.equal(callee.terminal.status(world.now).counters.badNotice, 1, 'the owner was never asked');
    t.equal(eventsOf(caller, 'extended').length + eventsOf(callee, 'extended').length, 0);
    world.tell(caller, 'down', good);
    world.settle();
    t.equal(eventsOf(caller, 'extended').length, 1, 'the good one is');
  },
);

t.test(
  'an owner whose entry states a limit refuses extension; the old expiry stands',
  async (t) => {
    const { world, caller, callee } = introduced({ extend: true }, { seconds: 10 });
    world.run(8);
    t.equal(eventsOf(caller, 'extensionRefused').length, 1);
    t.match(eventsOf(callee, 'turnedAway'), [{ caller: 'TERM1' }]);
    world.run(3);
    t.match(eventsOf(caller, 'ended'), [{ reason: 'time' }]);
  },
);

t.test('an extension for a talk that is not ours to extend is answered with nobody', async (t) => {
  const { world, caller, callee, session } = introduced();
  const ask = question(world, caller);
  world.hand(callee, { ...ask, kind: 'askExtend', session: randomSessionId(world.rng) });
  world.hand(callee, { ...ask, kind: 'askExtend', session, callerId: callee.id });
  world.hand(caller, { ...ask, kind: 'askExtend', session });
  world.settle();
  t.match(sentOf(callee, 'allowList').slice(1), [{ entries: [] }, { entries: [] }]);
  t.match(sentOf(caller, 'allowList'), [{ entries: [] }]);
});

t.test('S5007: an end notice is sent until it is acknowledged, then forgotten', async (t) => {
  const { world, caller, session } = introduced();
  t.match(
    [...caller.stored.values()],
    [{ session, reason: undefined }],
    'from the introduction on',
  );
  world.answers.ended = false;
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'local' });
  world.run(10);
  t.ok(sentOf(caller, 'endNotice').length > 2);
  t.equal(new Set(sentOf(caller, 'endNotice').map(({ request }) => request)).size, 1);
  t.match([...caller.stored.values()], [{ session, reason: 'local' }]);
  t.equal(caller.terminal.status(world.now).endNotices, 1);
  world.answers.ended = true;
  t.ok(world.run(40, () => caller.stored.size === 0));
  t.equal(caller.terminal.status(world.now).endNotices, 0);
});

t.test('claim 5: an end notice survives a link that is down', async (t) => {
  const { world, caller, session } = introduced();
  world.link(caller, false);
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'local' });
  world.run(60);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'local' }]);
  t.equal(sentOf(caller, 'endNotice').length, 0);
  world.link(caller, true);
  world.settle();
  t.match(sentOf(caller, 'endNotice'), [{ session, reason: 'local' }]);
  t.equal(caller.stored.size, 0);
});

t.test(
  'S5007: an end that was not acknowledged survives a restart, and a talk ends as restarted',
  async (t) => {
    const { world, caller, callee, session } = introduced();
    world.restart(caller);
    t.match(eventsOf(caller, 'ended'), [{ session, reason: 'restarted' }]);
    t.match([...caller.stored.values()], [{ session, reason: 'restarted' }]);
    world.restart(caller);
    t.equal(eventsOf(caller, 'ended').length, 1, 'the second start has nothing new to say');
    world.link(caller, true);
    world.settle();
    t.match(sentOf(caller, 'endNotice'), [{ session, reason: 'restarted' }]);
    t.equal(caller.stored.size, 0);
    t.ok(world.run(200, () => eventsOf(callee, 'ended').length === 1));
    t.match(eventsOf(callee, 'ended'), [{ reason: 'peer-gone' }]);
  },
);

t.test('a manager that does not know the session has nothing to log', async (t) => {
  const { world, caller, session } = introduced();
  world.answers.ended = false;
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'local' });
  world.settle();
  const [{ request }] = sentOf(caller, 'endNotice');
  world.tell(caller, 'down', { kind: 'refusal', request, code: 'disk' });
  world.settle();
  t.equal(caller.stored.size, 1, 'a full disk passes');
  world.tell(caller, 'down', { kind: 'refusal', request, code: 'no-session' });
  world.settle();
  t.equal(caller.stored.size, 0);
});

t.test('end notices are bounded, kept and on their way', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.ended = false;
  const records: StoredEnd[] = Array.from({ length: LIMITS.endNoticesMax + 3 }, () => ({
    session: randomSessionId(world.rng),
    reason: 'done',
    counts: NO_COUNTS,
  }));
  node.terminal.handle(world.now, { kind: 'restore', records, pins: [] });
  world.settle();
  const { endNotices, counters } = node.terminal.status(world.now);
  t.equal(endNotices, LIMITS.endNoticesMax);
  t.equal(counters.endNoticesDropped, 3);
  const onTheirWay = new Set(sentOf(node, 'endNotice').map(({ session }) => session));
  t.ok(onTheirWay.size <= LIMITS.endNoticesInFlight + 3);
  world.answers.ended = true;
  t.ok(world.run(60, () => node.terminal.status(world.now).endNotices === 0));
});

t.test('S4002: a terminal that polls disconnects when nothing waits, and comes back', async (t) => {
  const world = new World();
  const node = world.add('TERM3', { pollSeconds: 300 });
  t.equal(node.isLinkUp, false);
  t.match(sentOf(node, 'register'), [{ pollSeconds: 300 }]);
  t.strictSame(wishes(node), ['up', 'down']);
  t.equal(Math.round(node.terminal.status(world.now).nextPollSeconds ?? 0), 300);
  world.run(299);
  t.strictSame(wishes(node), ['up', 'down']);
  world.run(2);
  t.strictSame(wishes(node), ['up', 'down', 'up', 'down']);
});

t.test(
  'claim 1: a terminal that polls is handed what waited, and stays for the talk',
  async (t) => {
    const world = new World();
    const caller = world.add('TERM1');
    const callee = world.add('TERM3', {
      pollSeconds: 60,
      list: [{ action: 'allow', pattern: 'TERM1' }],
    });
    world.call(caller, 'TERM3', { waitMs: 120_000 });
    t.equal(callee.isLinkUp, false);
    t.ok(world.run(70, () => eventsOf(caller, 'introduced').length === 1));
    world.run(100);
    t.equal(callee.isLinkUp, true);
    const [{ session }] = eventsOf(caller, 'introduced');
    caller.terminal.handle(world.now, { kind: 'end', session, reason: 'done' });
    t.ok(world.run(15, () => !callee.isLinkUp));
    t.match(sentOf(callee, 'endNotice'), [{ session }], 'the end was announced first');
    t.equal(callee.stored.size, 0);
  },
);

t.test('a terminal that polls says no and sleeps again', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const callee = world.add('TERM3', { pollSeconds: 60, list: [] });
  world.call(caller, 'TERM3', { waitMs: 120_000 });
  world.run(70);
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
  t.equal(callee.isLinkUp, false);
});

t.test('a terminal that polls does not wait for ever for what never comes', async (t) => {
  const world = new World();
  const node = world.add('TERM3', { pollSeconds: 60 });
  const isAwake = (): boolean => node.isLinkUp;
  const waits = LIMITS.handedWaitMs / 1_000;
  world.answers.polled = false;
  t.ok(world.run(61, isAwake), 'it polls');
  world.run(waits - 1);
  t.ok(isAwake(), 'the broker has not said whether something waits');
  world.run(2);
  t.notOk(isAwake(), 'and never does');
  t.ok(world.run(61, isAwake));
  world.tell(node, 'call', { kind: 'polled', handed: 3 });
  world.run(waits - 1);
  t.ok(isAwake(), 'three requests are announced');
  world.run(2);
  t.notOk(isAwake(), 'and never come');
  world.answers.polled = true;
  world.run(61);
  t.ok((node.terminal.status(world.now).nextPollSeconds ?? 0) > 0, 'it polls on');
});

t.test('a terminal that polls connects for a call of its own, and for an end notice', async (t) => {
  const world = new World();
  const callee = world.add('TERM3', { list: [{ action: 'allow', pattern: 'TERM1' }] });
  const caller = world.add('TERM1', { pollSeconds: 3_600 });
  t.equal(caller.isLinkUp, false);
  world.call(caller, 'TERM3');
  world.run(1);
  t.equal(eventsOf(callee, 'introduced').length, 1);
  t.equal(caller.isLinkUp, true);
  const session = randomSessionId(world.rng);
  const sleeper = world.add('TERM2', { pollSeconds: 3_600 });
  const record: StoredEnd = { session, reason: 'done', counts: NO_COUNTS };
  sleeper.terminal.handle(world.now, { kind: 'restore', records: [record], pins: [] });
  world.settle();
  t.match(sentOf(sleeper, 'endNotice'), [{ session }]);
  t.equal(sleeper.isLinkUp, false);
});

t.test('a call that waits longer than the broker remembers keeps its record alive', async (t) => {
  const world = new World();
  const { caller } = two(world);
  world.answers.connect = false;
  world.call(caller, 'TERM3', { waitMs: 600_000 });
  world.run(LIMITS.recordSecondsMax * 2);
  const [, { record }] = sentOf(caller, 'address');
  t.ok(sentOf(caller, 'address').filter((message) => message.record === record).length >= 4);
});

function wishes(node: { outputs: World['nodes'][0]['outputs'] }): string[] {
  return node.outputs.flatMap((output) => (output.kind === 'link' ? [output.want] : []));
}
