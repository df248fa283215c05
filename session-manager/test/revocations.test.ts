// Revocation at the manager's core: who is shut out,
// which talks end, and what the operator is told.

import t from 'tap';
import { topic } from '../../protocol/control/topics.ts';
import {
  MEMBERSHIP_NONCE_BYTES,
  makeMembershipRequest,
} from '../../protocol/identity/enrolment.ts';
import { openRevocationList } from '../../protocol/identity/revocation.ts';
import type { Name } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import {
  CALLEE_ADDRESS,
  CALLER_ADDRESS,
  ENROL_URL,
  START_WALL,
  type Terminal,
  World,
  allow,
  down,
} from './virtual-manager.ts';

interface Town {
  readonly world: World;
  readonly one: Terminal;
  readonly two: Terminal;
  readonly three: Terminal;
}

function town(): Town {
  const world = new World();
  const [one, two, three] = ['TERM1', 'TERM2', 'TERM3'].map((name) => world.terminal(name));
  return { world, one, two, three };
}

const revoke = (world: World, name: string): number =>
  world.command({ kind: 'revoke', name: name as Name });

const outcome = (world: World, to: number) => world.reply(to, 'revoked').outcome;

t.test('who is revoked is gone: its name is free, its ID is not', async (t) => {
  const { world, one, three } = town();
  world.introduce(one, three);
  const to = revoke(world, 'TERM1');
  world.advance(LIMITS.endAnswerMs);
  t.match(outcome(world, to), { name: 'TERM1', id: one.id });
  t.strictSame(
    world.manager.devices().map(({ name }) => name),
    ['TERM2', 'TERM3'],
  );
  t.match(world.logged('revoked'), [{ device: one.id, name: 'TERM1', sessions: 1 }]);
  for (const restart of [false, true]) {
    if (restart) world.restart(1_000);
    t.strictSame([...world.table('revoked').keys()], [one.id]);
    t.notOk(world.table('devices').has(one.id));
    const again = world.enrol(one, world.ticket());
    t.equal(world.reply(again, 'failed').code, 'revoked');
    const nonce = new Uint8Array(MEMBERSHIP_NONCE_BYTES);
    const renewal = makeMembershipRequest(one.key, { url: ENROL_URL, keys: one.keys, nonce });
    t.equal(world.reply(world.enrolBody(renewal), 'failed').code, 'revoked');
  }
  const heir = world.terminal('TERM1');
  t.not(heir.id, one.id);
  t.ok(world.introduce(heir, three).session, 'another terminal may have the name');
});

t.test('who is revoked is not heard any more, from that moment on', async (t) => {
  const { world, one, three } = town();
  world.connect(three, one.name, { waitMs: 1_000 });
  const ask = world.asked(one, 'ask').request;
  const { session } = world.introduce(one, three);
  const channel = world.line(one).channel;
  world.answersReseal = false;
  world.disk = 'hold';
  revoke(world, 'TERM1');
  const from = world.sent.length;
  const before = world.manager.counts.unopened;
  world.answerList(one, ask, [allow('*')]);
  world.connect(one, three.name);
  world.end(one, session, 'done');
  t.equal(world.manager.counts.unopened, before + 3, 'nor when the disk has not answered');
  t.ok(channel);
  t.equal(world.sent.length, from);
  world.raw(one, world.hello(one));
  t.match(world.sent.slice(from), [
    { topic: down(one), message: { kind: 'refusal', code: 'not-enrolled' } },
  ]);
});

t.test('S6005: revocation ends its talks at both ends, with that reason', async (t) => {
  const { world, one, two, three } = town();
  const first = world.introduce(one, three).session;
  const second = world.introduce(two, one).session;
  const other = world.introduce(two, three).session;
  const to = revoke(world, 'TERM1');
  for (const [terminal, session] of [
    [three, first],
    [two, second],
  ] as const) {
    t.match(world.asked(terminal, 'endRequest'), { session, reason: 'revoked' });
  }
  t.match(world.asked(one, 'endRequest'), { reason: 'revoked' }, 'it is told, too');
  t.match(
    world.logged('ended').map(({ session, reason, by }) => ({ session, reason, by })),
    [
      { session: first, reason: 'revoked', by: 'operator' },
      { session: second, reason: 'revoked', by: 'operator' },
    ],
  );
  t.notOk(world.replies.has(to));
  world.end(three, first, 'revoked');
  t.notOk(world.replies.has(to), 'one is still missing');
  world.end(two, second, 'peer-gone');
  t.strictSame(outcome(world, to), {
    name: 'TERM1',
    id: one.id,
    ended: [first, second],
    running: [],
  });
  t.strictSame(
    world.manager.sessions('open').map(({ session }) => session),
    [other],
    'nothing more is expected of a terminal that is shut out',
  );
  t.match(world.manager.sessions('closed'), [{ reason: 'revoked' }, { reason: 'revoked' }]);
  t.strictSame(
    world.changes.filter(({ event }) => event === 'ended').map(({ session }) => session.session),
    [first, second],
  );
});

t.test('claim 13: a talk whose other end does not answer is named, and until when', async (t) => {
  const { world, one, two, three } = town();
  const seconds = 600;
  const first = world.introduce(one, three, { want: { seconds } }).session;
  const second = world.introduce(one, two, { want: { seconds } }).session;
  world.advance(100_000);
  const to = revoke(world, 'TERM1');
  world.end(two, second, 'revoked');
  world.advance(LIMITS.endAnswerMs - 1);
  t.notOk(world.replies.has(to));
  world.advance(1);
  const until = START_WALL + (seconds + LIMITS.unreportedSeconds) * 1_000;
  t.strictSame(outcome(world, to), {
    name: 'TERM1',
    id: one.id,
    ended: [second],
    running: [{ session: first, unconfirmed: ['TERM1', 'TERM3'], until }],
  });
  world.advance(until - START_WALL - world.nowMs - 1);
  t.equal(world.manager.sessions('open').length, 1);
  world.advance(1);
  t.equal(world.manager.sessions('open').length, 0, 'by its own expiry at the latest');
  t.equal(world.logged('ended').length, 2, 'each has one reason');
});

t.test('a revocation is repeated wherever it may not have arrived, over a restart', async (t) => {
  const { world, one, three } = town();
  const { session } = world.introduce(one, three);
  revoke(world, 'TERM1');
  const requests = (): number =>
    world.of('trigger').filter(({ topic: name }) => name === topic('trigger', three.id)).length;
  const before = requests();
  world.input({ kind: 'linkUp' });
  t.equal(requests(), before + 1, 'a broker that was started anew');
  world.reboot(three);
  world.join(three);
  t.equal(requests(), before + 2, 'a terminal that was started anew');
  world.restart(1_000, { unaware: true });
  world.input({ kind: 'linkUp' });
  t.match(world.asked(three, 'endRequest'), { session, reason: 'revoked' }, 'the manager itself');
  const shutOut = world
    .of('trigger')
    .filter(({ topic: name }) => name === topic('trigger', one.id));
  t.equal(shutOut.length, 1, 'who is shut out is told once, in the channel that it had');
  world.end(three, session, 'revoked');
  t.match(world.manager.sessions('closed'), [{ session, reason: 'revoked' }]);
  const after = requests();
  world.input({ kind: 'linkUp' });
  t.equal(requests(), after);
});

t.test('a talk that had ended otherwise keeps its reason, and closes', async (t) => {
  const { world, one, two, three } = town();
  const first = world.introduce(one, three).session;
  const second = world.introduce(one, two).session;
  world.end(three, first, 'local');
  world.command({ kind: 'end', session: second });
  const to = revoke(world, 'TERM1');
  world.end(two, second, 'operator');
  t.match(outcome(world, to), { ended: [first, second], running: [] });
  t.strictSame(
    world.manager.sessions('closed').map(({ reason }) => reason),
    ['local', 'operator'],
  );
  t.equal(world.manager.sessions('open').length, 0);
  t.equal(world.logged('ended').length, 2);
});

t.test('what a revoked terminal asked, and was asked, comes to nothing', async (t) => {
  const { world, one, two, three } = town();
  world.connect(one, three.name, { waitMs: 5_000 });
  const ask = world.asked(three, 'ask').request;
  world.connect(two, one.name, { waitMs: 5_000 });
  const asked = world.nowMs;
  world.advance(1_000);
  revoke(world, 'TERM1');
  world.answerList(three, ask, [allow('*')]);
  t.equal(world.of('addressQuery').length, 0);
  world.advance(10_000);
  t.match(world.of('refusal'), [{ at: asked + 5_000, topic: down(two) }], 'at its time, as any');
});

t.test('a grant that is being written when a terminal is revoked reaches nobody', async (t) => {
  const { world, one, three } = town();
  world.connect(one, three.name, { waitMs: 5_000 });
  world.disk = 'hold';
  world.answerList(three, world.asked(three, 'ask').request, [allow(one.name)]);
  world.answerQuery([
    { device: one.id, address: CALLER_ADDRESS },
    { device: three.id, address: CALLEE_ADDRESS },
  ]);
  const to = revoke(world, 'TERM3');
  world.disk = 'works';
  while (world.batches.length > 0) world.flush();
  t.equal(world.of('addressNotice').length, 0);
  t.match(outcome(world, to), { ended: [], running: [] });
  t.equal(world.manager.sessions('open').length, 0);
  t.match(world.logged('ended'), [{ reason: 'revoked', by: 'operator' }]);
  world.advance(5_000);
  t.match(world.of('refusal'), [{ topic: down(one), message: { code: 'refused' } }]);
});

t.test('S6005: a revocation and the end of each talk that was being written are one', async (t) => {
  const { world, one, two, three } = town();
  for (const caller of [one, two]) world.connect(caller, three.name);
  const questions = world.questions(three);
  world.disk = 'hold';
  // So that both grants wait for one batch.
  world.command({ kind: 'ticket', name: undefined, uses: 1, seconds: 600 });
  for (const [index, caller] of [one, two].entries()) {
    world.answerList(three, questions[index].request, [allow('*')]);
    world.answerBoth(caller, three);
  }
  world.flush();
  revoke(world, three.name);
  world.flush();
  t.equal(world.logged('introduced').length, 2);
  t.strictSame([world.logged('revoked').length, world.logged('ended').length], [0, 0]);
  world.flush();
  t.strictSame([world.logged('revoked').length, world.logged('ended').length], [1, 2]);
});

t.test(
  'an extension that is being written when a terminal is revoked reaches nobody',
  async (t) => {
    for (const end of ['revoke', 'end'] as const) {
      const { world, one, three } = town();
      const { session } = world.introduce(one, three, { want: { seconds: 60 } });
      world.extend(one, session, 1, { seconds: 600 });
      world.disk = 'hold';
      world.answerList(three, world.asked(three, 'askExtend').request, [allow(one.name)]);
      if (end === 'revoke') revoke(world, three.name);
      else world.command({ kind: 'end', session });
      world.disk = 'works';
      while (world.batches.length > 0) world.flush();
      t.equal(world.logged('extended').length, 1, 'what was granted stands in the log');
      t.match(world.last('refusal'), { code: 'no-session' }, 'who asked is told');
      world.extend(one, session, 1, { seconds: 600 });
      t.match(world.last('refusal'), { code: 'no-session' }, 'also when it asks again');
      t.strictSame(world.of('newExpiry'), [], end);
    }
  },
);

t.test('the operator is told once it is on disk; a full disk delays nothing else', async (t) => {
  const { world, one, three } = town();
  const { session } = world.introduce(one, three);
  world.input({ kind: 'linkUp' });
  world.disk = 'full';
  const to = revoke(world, 'TERM1');
  const [list] = world.of('revoked').slice(-1);
  const known = openRevocationList(nodeSuite, world.key.publicKey, list.message);
  t.strictSame(known?.devices, [one.id], 'brokers know');
  t.match(world.asked(three, 'endRequest'), { session, reason: 'revoked' });
  t.equal(world.manager.devices().length, 2);
  world.advance(LIMITS.endAnswerMs);
  t.equal(world.reply(to, 'failed').code, 'disk');
  t.notOk(world.table('revoked').has(one.id));
  world.disk = 'works';
  world.advance(MANAGER_LIMITS.diskRetryMs);
  t.ok(world.table('revoked').has(one.id), 'it is written as soon as it can be');
  t.match(world.logged('revoked'), [{ device: one.id }]);
  world.restart(1_000);
  t.equal(world.manager.devices().length, 2);
  t.match(world.manager.sessions('open'), [{ session, reason: 'revoked', forced: true }]);
});

t.test('said again, it says how things stand, and asks again', async (t) => {
  const { world, one, three } = town();
  const { session } = world.introduce(one, three);
  const first = revoke(world, 'TERM1');
  world.advance(LIMITS.endAnswerMs);
  t.match(outcome(world, first).running, [{ session }]);
  const requests = world.of('trigger').length;
  const second = revoke(world, 'TERM1');
  t.equal(world.of('trigger').length, requests + 1);
  world.end(three, session, 'revoked');
  t.match(outcome(world, second), { id: one.id, ended: [session], running: [] });
  t.equal(world.logged('revoked').length, 1);
  t.equal(world.reply(revoke(world, 'NOBODY'), 'failed').code, 'no-device');
  const none = revoke(world, 'TERM1');
  t.match(outcome(world, none), { ended: [], running: [] });
});

t.test('a name that was given anew means its new terminal', async (t) => {
  const { world, one } = town();
  revoke(world, 'TERM1');
  const heir = world.terminal('TERM1');
  t.equal(outcome(world, revoke(world, 'TERM1')).id, heir.id);
  t.equal(outcome(world, revoke(world, 'TERM1')).id, heir.id, 'and then the last who had it');
  t.strictSame(new Set(world.table('revoked').keys()), new Set([one.id, heir.id]));
});

t.test('revoked while its enrolment is written: both rows come out right', async (t) => {
  const world = new World();
  const one = world.stranger('TERM1');
  const secret = world.ticket();
  world.disk = 'hold';
  const enrolled = world.enrol(one, secret);
  const to = revoke(world, 'TERM1');
  world.disk = 'works';
  while (world.batches.length > 0) world.flush();
  t.equal(world.reply(enrolled, 'failed').code, 'revoked');
  t.equal(outcome(world, to).id, one.id);
  t.equal(world.table('devices').size + world.table('names').size, 0);
  t.ok(world.table('revoked').has(one.id));
});

t.test('more operators than may wait are told so', async (t) => {
  const world = new World();
  const callee = world.terminal('CALLEE');
  const tos: number[] = [];
  for (let at = 0; at <= MANAGER_LIMITS.revokeWaitersMax; at++) {
    const caller = world.terminal(`C${at}`);
    world.introduce(caller, callee);
    tos.push(revoke(world, caller.name));
  }
  const last = tos.pop() ?? 0;
  t.equal(world.reply(last, 'failed').code, 'busy');
  t.equal(world.manager.devices().length, 2, 'and nothing was done');
  world.advance(LIMITS.endAnswerMs);
  t.ok(tos.every((to) => outcome(world, to).running.length === 1));
});
