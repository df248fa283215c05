// End processing in virtual time: notices,
// extensions, forced ends, restarts [45].

import t from 'tap';
import type { MessageOf } from '../../protocol/control/messages.ts';
import { decodeExpiry } from '../../protocol/grant.ts';
import { verifySigned } from '../../protocol/identity/signed.ts';
import { topic } from '../../protocol/control/topics.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import { POLICY, type Terminal, World, allow, deny, down } from './virtual-manager.ts';
import { type SessionId, randomRequestId } from '../../protocol/ids.ts';

interface Talk {
  readonly world: World;
  readonly one: Terminal;
  readonly three: Terminal;
  readonly session: SessionId;
}

function talk(want = { seconds: 600, bytes: 1_000 }): Talk {
  const world = new World();
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  const { session } = world.introduce(one, three, { want });
  return { world, one, three, session };
}

t.test(
  'S6000: an end notice is acknowledged, also when repeated, late or about nothing',
  async (t) => {
    const { world, one, three, session } = talk();
    const first = world.end(one, session, 'done');
    t.match(world.last('ended'), { request: first, session });
    const again = world.end(one, session, 'done');
    t.match(world.last('ended'), { request: again, session });
    const stranger = world.terminal('TERM2');
    world.end(stranger, session, 'local');
    world.end(three, 'a'.repeat(26) as SessionId, 'local');
    t.equal(world.of('ended').length, 4);
    t.strictSame(
      world.of('ended').map(({ message }) => message.receipt !== undefined),
      [true, true, false, false],
      'how long the log is, is told only to who takes part',
    );
    t.equal(world.manager.counts.unknownSession, 2);
    t.equal(world.logged('report').length, 1);
  },
);

t.test('S6001: both reports and their difference are logged, and exactly one reason', async (t) => {
  const { world, one, three, session } = talk();
  world.end(one, session, 'done', { sentBytes: 900, lostBytes: 30 });
  t.equal(world.manager.sessions('open')[0].reason, 'done');
  world.end(three, session, 'peer-gone', { receivedBytes: 800 });
  const [caller, callee] = world.logged('report');
  t.match(caller, { by: 'caller', said: 'done', sentBytes: 900 });
  t.match(callee, { by: 'callee', said: 'peer-gone', differenceBytes: 70 });
  t.match(world.logged('ended'), [{ session, reason: 'done', by: 'caller' }]);
  t.equal(world.manager.sessions('open').length, 0);
  t.match(world.manager.sessions('closed'), [{ session, reason: 'done', closed: true }]);
  t.strictSame(
    [...world.table('sessions').keys()].map((key) => key.slice(0, 5)),
    ['past/'],
  );
  t.strictSame(
    world.changes.map(({ event }) => event),
    ['begun', 'ending', 'ended'],
  );
});

t.test('claim 12: end notices are received and acknowledged only when on disk', async (t) => {
  const { world, one, session } = talk();
  world.disk = 'hold';
  world.end(one, session, 'done');
  t.equal(world.of('ended').length, 0);
  world.flush();
  t.equal(world.of('ended').length, 1);
});

t.test('S6001: a session that nobody reports is closed by the manager', async (t) => {
  const { world, session } = talk({ seconds: 600, bytes: 1_000 });
  world.advance((600 + LIMITS.unreportedSeconds) * 1_000 - 1);
  t.equal(world.manager.sessions('open').length, 1);
  world.advance(1);
  t.equal(world.manager.sessions('open').length, 0);
  t.match(world.logged('ended'), [{ session, reason: 'unreported', by: 'manager' }]);
});

t.test('S6001: with one report the session closes at the other end’s expiry', async (t) => {
  const { world, one, three, session } = talk();
  world.end(one, session, 'peer-gone');
  world.advance(700_000);
  t.equal(world.manager.sessions('open').length, 0);
  t.match(world.logged('ended'), [{ reason: 'peer-gone', by: 'caller' }]);
  world.end(three, session, 'restarted', { sentBytes: 5 });
  t.match(world.manager.sessions('closed'), [{ calleeReport: { reason: 'restarted' } }]);
  t.equal(world.logged('ended').length, 1, 'a late report does not end it twice');
});

t.test('S6002: an extension is asked of the callee again, once for both ends', async (t) => {
  const { world, one, three, session } = talk();
  const want = { seconds: 1_200, bytes: 2_000 };
  world.extend(one, session, 1, want);
  world.extend(three, session, 1, want);
  world.extend(one, session, 1, want);
  t.equal(world.of('trigger').length, 2, 'the introduction, and one extension');
  t.match(world.asked(three, 'askExtend'), { session, callerId: one.id, want });
  world.extend(world.terminal('TERM2'), session, 1, want);
  t.equal(world.last('refusal').code, 'no-session', 'not by somebody else');
});

t.test('S6003: the new expiry is signed, cumulative, and told to both ends', async (t) => {
  const { world, one, three, session } = talk();
  const request = world.extend(one, session, 1, { seconds: 1_200, bytes: 2_000 });
  world.disk = 'hold';
  world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
  t.equal(world.of('newExpiry').length, 0, 'not before it is on disk');
  world.flush();
  const told = world.of('newExpiry');
  t.strictSame(new Set(told.map((sent) => sent.topic)), new Set([down(one), down(three)]));
  t.strictSame(told[0].message.expiry, told[1].message.expiry);
  t.equal(told.find((sent) => sent.topic === down(one))?.message.request, request);
  const { expiry, signature } = told[0].message;
  t.match(decodeExpiry(expiry), { session, revision: 1, seconds: 1_200, bytes: 2_000 });
  t.ok(verifySigned(nodeSuite, world.key.publicKey, 'expiry', expiry, signature));
  t.match(world.logged('extended'), [{ session, revision: 1, seconds: 1_200, bytes: 2_000 }]);
});

t.test(
  'claim 11: an extension is granted with a new expiry, and the session lasts so long',
  async (t) => {
    const { world, one, three, session } = talk();
    world.extend(one, session, 1, { seconds: 1_200 });
    world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
    world.advance(1_200_000);
    t.equal(world.manager.sessions('open').length, 1);
    world.extend(one, session, 1, { seconds: 1_200 });
    t.equal(world.of('newExpiry').length, 3, 'asked for again, it is told again');
    t.equal(world.logged('extended').length, 1);
    world.advance(LIMITS.unreportedSeconds * 1_000);
    t.equal(world.manager.sessions('open').length, 0);
  },
);

t.test('S6002: never beyond the operator’s limit, never without the callee’s yes', async (t) => {
  const { world, one, three, session } = talk();
  world.extend(one, session, 1, { seconds: 1_000_000, bytes: 1e12 });
  world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
  const most = { seconds: POLICY.secondsMax, bytes: POLICY.bytesMax };
  t.match(decodeExpiry(world.last('newExpiry').expiry), most);
  world.extend(one, session, 2, { seconds: 1_000_001 });
  world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
  t.equal(world.last('refusal').code, 'refused', 'nothing more to give');
  const other = talk();
  const tries = [
    [deny('TERM1')],
    [allow('TERM1', { seconds: 9_000 })],
    [allow('TERM1', { seconds: 600, extend: true })],
  ];
  for (const entries of tries) {
    other.world.advance(LIMITS.extendPauseMs);
    other.world.extend(other.one, other.session, 1, { seconds: 1_200 });
    const { request } = other.world.asked(other.three, 'askExtend');
    other.world.answerList(other.three, request, entries);
  }
  t.equal(other.world.of('refusal').length, tries.length);
  t.equal(other.world.of('newExpiry').length, 0);
});

t.test('S6002: a refused extension is not asked of the callee again at once', async (t) => {
  const { world, one, three, session } = talk();
  world.extend(one, session, 1, { seconds: 1_200 });
  world.answerList(three, world.asked(three, 'askExtend').request, [deny('TERM1')]);
  const triggers = world.of('trigger').length;
  const flood = 100;
  for (let at = 0; at < flood; at++) world.extend(one, session, 1, { seconds: 1_200 });
  t.equal(world.of('trigger').length, triggers, 'the callee is left alone');
  t.equal(world.of('refusal').length, 1 + flood, 'the asker is told each time');
  world.advance(LIMITS.extendPauseMs);
  world.extend(one, session, 1, { seconds: 1_200 });
  t.equal(world.of('trigger').length, triggers + 1, 'later it may ask again');
});

t.test('S6002: without an answer the asker is refused and the old expiry stands', async (t) => {
  const { world, one, session } = talk();
  const request = world.extend(one, session, 1, { seconds: 1_200 });
  world.advance(LIMITS.waitMsDefault);
  t.match(world.last('refusal'), { request, code: 'refused' });
  t.match(world.manager.sessions('open'), [{ seconds: 600, revision: 0 }]);
  world.advance((600 + LIMITS.unreportedSeconds) * 1_000 - LIMITS.waitMsDefault);
  t.equal(world.manager.sessions('open').length, 0);
});

t.test('S6002: a full disk refuses an extension and keeps the old expiry', async (t) => {
  const { world, one, three, session } = talk();
  world.disk = 'full';
  world.extend(one, session, 1, { seconds: 1_200 });
  world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
  t.equal(world.last('refusal').code, 'disk');
  t.match(world.manager.sessions('open'), [{ seconds: 600, revision: 0 }]);
});

t.test(
  'S6002: an extension that fails on the disk after the end leaves the end alone',
  async (t) => {
    const { world, one, three, session } = talk();
    world.disk = 'hold';
    world.extend(one, session, 1, { seconds: 1_200 });
    world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
    world.end(one, session, 'done');
    world.end(three, session, 'done');
    world.disk = 'full';
    world.flush();
    world.disk = 'works';
    world.advance(2_000_000);
    t.match(world.manager.sessions('closed'), [{ seconds: 600, revision: 0, reason: 'done' }]);
    t.equal(world.logged('ended').length, 1);
    t.equal(world.logged('extended').length, 0);
    t.equal(world.changes.filter(({ event }) => event === 'ended').length, 1);
  },
);

t.test('S6003: an extension that comes after the end is logged as unused', async (t) => {
  const { world, one, three, session } = talk();
  world.extend(one, session, 1, { seconds: 1_200 });
  world.end(three, session, 'local');
  world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
  t.equal(world.of('newExpiry').length, 0);
  t.match(world.logged('unused'), [{ session, revision: 1, seconds: 1_200 }]);
  t.equal(world.logged('extended').length, 0);
});

t.test('S6004: the operator’s end is the one reason, whatever follows', async (t) => {
  const { world, one, three, session } = talk();
  const to = world.command({ kind: 'end', session });
  world.end(one, session, 'operator');
  t.notOk(world.replies.has(to));
  world.end(three, session, 'done');
  t.strictSame(world.reply(to, 'ended').outcome, {
    session,
    reason: 'operator',
    confirmed: ['TERM1', 'TERM3'],
    unconfirmed: [],
  });
  t.equal(world.logged('operatorEnd').length, 1);
  t.match(world.logged('ended'), [{ reason: 'operator', by: 'operator' }]);
  const none = world.command({ kind: 'end', session });
  t.equal(world.reply(none, 'failed').code, 'no-session');
});

t.test('S6005: the end request goes to both terminals, through the broker', async (t) => {
  const { world, one, three, session } = talk();
  world.command({ kind: 'end', session });
  for (const terminal of [one, three]) {
    t.match(world.asked(terminal, 'endRequest'), { session, reason: 'operator' });
  }
  const triggers = world.of('trigger').slice(-2);
  t.strictSame(
    triggers.map((sent) => sent.topic),
    [topic('trigger', one.id), topic('trigger', three.id)],
  );
});

t.test('claim 13: a terminal that does not answer an end request is named', async (t) => {
  const { world, one, session } = talk();
  const to = world.command({ kind: 'end', session });
  world.end(one, session, 'operator');
  world.advance(LIMITS.endAnswerMs);
  t.match(world.reply(to, 'ended').outcome, { confirmed: ['TERM1'], unconfirmed: ['TERM3'] });
  const before = world.of('trigger').length;
  world.input({ kind: 'linkDown' });
  world.input({ kind: 'linkUp' });
  t.equal(world.of('trigger').length, before + 1, 'and asked again when the broker is back');
  world.advance(700_000);
  t.equal(world.manager.sessions('open').length, 0);
  t.equal(world.logged('ended').length, 1);
});

t.test('S6002: a flood of wishes costs some signatures a second, and delays nobody', async (t) => {
  const { world, one, three, session } = talk();
  const { extendsPerSecondMax } = MANAGER_LIMITS;
  const forged: MessageOf<'extend'> = {
    kind: 'extend',
    request: randomRequestId(world.rng),
    session,
    revision: 1,
    want: { seconds: 1_200 },
    signature: new Uint8Array(64),
  };
  for (let at = 0; at < 2 * extendsPerSecondMax; at++) world.up(one, forged);
  t.equal(world.manager.counts.badSignature, extendsPerSecondMax);
  world.extend(three, session, 1, { seconds: 1_200 });
  t.ok(world.asked(three, 'askExtend'), 'the other end is heard');
  world.advance(1_000);
  world.up(one, forged);
  t.equal(world.manager.counts.badSignature, extendsPerSecondMax + 1);
});

t.test('S2007: two that begin talks and report no end keep room for the others', async (t) => {
  const { world, one, three, session } = talk();
  const most = MANAGER_LIMITS.unreportedPerDeviceMax;
  const again = (caller: Terminal, callee: Terminal): void => {
    world.sent.length = 0;
    world.introduce(caller, callee, { want: { seconds: 7_200 } });
  };
  for (let at = 1; at < most; at++) again(one, three);
  const begun = (): number => world.manager.counts.introduced;
  t.equal(begun(), most);
  again(one, three);
  t.equal(begun(), most, 'one more waits out its time');
  world.end(one, session, 'done');
  again(one, three);
  t.equal(begun(), most, 'each has to report');
  const other = world.terminal('TERM2');
  again(one, other);
  t.equal(begun(), most + 1, 'the one that did begins others');
  world.end(three, session, 'done');
  world.end(three, session, 'done');
  world.restart(1_000);
  again(other, three);
  again(other, three);
  t.equal(begun(), 1, 'one report, one place, also after a restart');
  world.advance((7_200 + LIMITS.unreportedSeconds) * 1_000);
  again(one, three);
  t.equal(begun(), 2, 'what is over is over');
});

t.test('claim 13: a forced end does not wait for a full disk', async (t) => {
  const { world, one, three, session } = talk();
  world.disk = 'full';
  const to = world.command({ kind: 'end', session });
  t.ok(world.asked(one, 'endRequest'));
  t.ok(world.asked(three, 'endRequest'));
  world.advance(LIMITS.endAnswerMs);
  t.match(world.reply(to, 'ended').outcome, { unconfirmed: ['TERM1', 'TERM3'] });
  world.disk = 'works';
  world.advance(2_000);
  t.match(world.logged('ended'), [{ reason: 'operator' }]);
});

t.test(
  'claim 20: a restarted manager knows names, talks and the log, and prolongs nothing',
  async (t) => {
    const { world, one, three, session } = talk();
    world.advance(100_000);
    const sent = world.sent.length;
    world.restart(200_000);
    t.equal(world.sent.length, sent, 'live talks are not disturbed');
    t.match(world.manager.sessions('open'), [{ session, seconds: 600 }]);
    t.strictSame(
      world.manager
        .devices()
        .map(({ name }) => name)
        .sort(),
      ['TERM1', 'TERM3'],
    );
    world.extend(one, session, 1, { seconds: 1_200 });
    world.answerList(three, world.asked(three, 'askExtend').request, [allow('TERM1')]);
    t.equal(world.last('newExpiry') !== undefined, true);
    world.introduce(one, three);
    t.equal(world.of('addressNotice').length, 4);
    world.advance((1_200 - 300 + LIMITS.unreportedSeconds) * 1_000 - 1);
    t.ok(world.manager.sessions('open').some((row) => row.session === session));
    world.advance(1);
    t.notOk(world.manager.sessions('open').some((row) => row.session === session));
    const sequences = world.entries().map(({ sequence }) => sequence);
    t.strictSame(
      sequences,
      sequences.map((_, at) => at + 1),
      'the chain goes on where it was',
    );
  },
);

t.test(
  'claim 20: a clock set back while the manager was down does not prolong a talk',
  async (t) => {
    const { world } = talk();
    world.wallShiftMs = -86_400_000;
    world.restart(1_000);
    world.advance((600 + LIMITS.unreportedSeconds) * 1_000);
    t.equal(world.manager.sessions('open').length, 0);
  },
);
