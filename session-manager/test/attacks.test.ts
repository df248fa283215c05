// What somebody tries who wants an address without consent, a grant not agreed, a doubled or lost
// entry in the log: on the manager's core, in virtual time, with terminals that lie.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { type SessionId, randomRequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { HEAD_KEY } from '../log-head.ts';
import { verify } from './written-log.ts';
import {
  CALLEE_ADDRESS,
  CALLER_ADDRESS,
  type Terminal,
  World,
  allow,
  down,
  holds,
} from './virtual-manager.ts';

const CALLERS = 100;

interface Town {
  readonly world: World;
  readonly one: Terminal;
  readonly three: Terminal;
  readonly mallory: Terminal;
}

function town(): Town {
  const world = new World();
  const [one, three, mallory] = ['TERM1', 'TERM3', 'MALLORY'].map((name) => world.terminal(name));
  return { world, one, three, mallory };
}

/** The log is whole, and no session ended twice. */
function logIsWhole(world: World): boolean {
  const ended = world.logged('ended').map(({ session }) => session);
  const head = world.table('meta').get(HEAD_KEY) ?? new Uint8Array();
  const { ok } = verify(world.key.publicKey, [{ head, entries: world.logBytes() }]);
  return ok && new Set(ended).size === ended.length;
}

t.test('S2003: an answer for a question to somebody else is worth nothing', async (t) => {
  const { world, one, three, mallory } = town();
  world.connect(one, three.name);
  const { request } = world.asked(three, 'ask');
  world.answerList(mallory, request, [allow('*')]);
  world.answerList(one, request, [allow('*')]);
  world.answerList(mallory, randomRequestId(world.rng), [allow('*')]);
  t.equal(world.of('addressQuery').length, 0);
  t.equal(world.manager.counts.unexpected, 3);
  world.answerList(three, request, [allow(one.name)]);
  t.equal(world.of('addressQuery').length, 1, 'the one who was asked is still heard');
});

t.test('S2003: the first answer counts: a second can neither allow nor take back', async (t) => {
  const { world, one, three } = town();
  world.connect(one, three.name);
  const first = world.asked(three, 'ask').request;
  world.answerList(three, first, []);
  world.answerList(three, first, [allow('*')]);
  t.equal(world.of('addressQuery').length, 0, 'a no stays a no');
  world.connect(one, three.name);
  const second = world.asked(three, 'ask').request;
  world.answerList(three, second, [allow(one.name)]);
  world.answerList(three, second, [allow(one.name)]);
  world.answerBoth(one, three);
  world.answerBoth(one, three);
  world.answerList(three, second, [allow(one.name)]);
  t.equal(world.of('addressQuery').length, 1);
  t.equal(world.of('addressNotice').length, 2, 'one introduction, not two');
  t.equal(world.logged('introduced').length, 1);
});

t.test('S2006: answers after the deadline begin nothing', async (t) => {
  const { world, one, three } = town();
  world.connect(one, three.name, { waitMs: 1_000 });
  const late = world.asked(three, 'ask').request;
  world.advance(1_000);
  world.answerList(three, late, [allow('*')]);
  t.equal(world.of('addressQuery').length, 0);
  world.connect(one, three.name, { waitMs: 1_000 });
  world.answerList(three, world.asked(three, 'ask').request, [allow('*')]);
  world.advance(1_000);
  world.answerBoth(one, three);
  t.equal(world.of('addressNotice').length, 0, 'an address answer that is late is dropped');
  t.equal(world.of('refusal').length, 2);
  t.equal(world.manager.sessions('open').length, 0);
});

t.test('S2006: an address answer must hold the records of these two, and both', async (t) => {
  const { world, one, three, mallory } = town();
  const candidates = [{ address: CALLEE_ADDRESS, port: 1, type: 'host' as const }];
  const { record } = world.connect(one, three.name);
  const theirs = world.answerList(three, world.asked(three, 'ask').request, [allow('*')]);
  const { request, wanted } = world.last('addressQuery');
  t.strictSame(wanted, [
    { device: one.id, record },
    { device: three.id, record: theirs },
  ]);
  const swapped = [
    { device: one.id, record: theirs, candidates },
    { device: three.id, record, candidates },
    { device: mallory.id, record, candidates },
  ];
  for (const found of [swapped.slice(0, 2), swapped.slice(1), []]) {
    const message = { kind: 'addressAnswer', request, found } as const;
    world.input({ kind: 'addressAnswer', bytes: encodeMessage(message) });
  }
  world.advance(5_000);
  t.equal(world.of('addressNotice').length, 0);
  t.equal(world.of('refusal').length, 1);
});

t.test('S2001: one request ID in the hands of two callers is two requests', async (t) => {
  const { world, one, three, mallory } = town();
  const { message } = world.connect(one, three.name);
  const asked = world.asked(three, 'ask').request;
  world.up(mallory, { ...message, callerName: mallory.name });
  world.up(mallory, message);
  world.answerList(three, asked, [allow(one.name)]);
  world.answerBoth(one, three);
  world.advance(5_000);
  const toMallory = world.sent.filter((sent) => sent.topic === down(mallory));
  t.notOk(toMallory.some(({ bytes }) => holds(bytes, CALLEE_ADDRESS)));
  t.match(toMallory.at(-1)?.message, { kind: 'refusal' });
  const toOne = world.sent.filter((sent) => sent.topic === down(one));
  world.up(mallory, message);
  t.equal(world.sent.filter((sent) => sent.topic === down(one)).length, toOne.length);
});

t.test('S2001: a copy that was held back leads nowhere when its request is over', async (t) => {
  const { world, one, three } = town();
  const asked = world.connect(one, three.name, { waitMs: 1_000 }).message;
  const refused = world.connect(one, 'NOBODY', { waitMs: 1_000 }).message;
  // As the terminal sends them again, sealed anew; somebody in between keeps them.
  const copies = [asked, refused].map((message) => world.seal(one, encodeMessage(message)));
  world.answerList(three, world.asked(three, 'ask').request, [allow(one.name)]);
  world.answerBoth(one, three);
  world.advance(60_000);
  world.connect(one, three.name, { waitMs: 1_000 });
  world.advance(60_000);
  const before = { asks: world.questions(three).length, refusals: world.of('refusal').length };
  for (const copy of copies) world.raw(one, copy);
  world.advance(10_000);
  t.equal(world.manager.counts.unexpected, 2);
  t.equal(world.questions(three).length, before.asks, 'nobody is asked');
  t.equal(world.of('refusal').length, before.refusals, 'nobody is told');
  t.equal(world.logged('introduced').length, 1, 'one session of one request');
});

t.test('S2002: 100 callers at once, one callee: each gets its own answer', async (t) => {
  const world = new World();
  const callee = world.terminal('CALLEE');
  const callers = Array.from({ length: CALLERS }, (_, at) => world.terminal(`C${at}`));
  const calls = callers.map((caller) => ({ caller, ...world.connect(caller, callee.name) }));
  const odd = (at: number): boolean => at % 2 === 1;
  const answered = new Set<string>();
  // The callee has so many questions at once, and the others in their turn.
  for (let turn = 0; answered.size < CALLERS && turn < CALLERS; turn++) {
    const open = world.questions(callee).filter(({ request }) => !answered.has(request));
    t.ok(open.length > 0 && open.length <= LIMITS.asksPerCalleeMax);
    for (const { request, callerId } of open.toReversed()) {
      answered.add(request);
      const at = callers.findIndex(({ id }) => id === callerId);
      const { name } = callers[at];
      world.answerList(callee, request, [allow(odd(at) ? name : 'nobody')]);
      if (odd(at)) world.answerBoth(callers[at], callee);
    }
  }
  world.advance(5_000);
  for (const [at, { caller, request }] of calls.entries()) {
    const got = world.sent.filter(({ topic }) => topic === down(caller));
    t.match(got, [{ message: { kind: odd(at) ? 'addressNotice' : 'refusal', request } }]);
  }
  t.equal(world.logged('introduced').length, CALLERS / 2);
  t.ok(logIsWhole(world));
});

t.test('S6002: strangers extend nothing; a revision is the next or it is refused', async (t) => {
  const { world, one, three, mallory } = town();
  const { session } = world.introduce(one, three, { want: { seconds: 60 } });
  const triggers = (): number => world.of('trigger').length;
  const before = triggers();
  world.extend(mallory, session, 1, { seconds: 7_200 });
  t.match(world.last('refusal'), { code: 'no-session' }, 'as if there were none');
  for (const revision of [0, 2, 17, LIMITS.revisionsMax]) {
    world.extend(one, session, revision, { seconds: 7_200 });
    t.match(world.last('refusal'), { code: 'refused' }, `revision ${revision}`);
  }
  t.equal(triggers(), before, 'nobody was asked');
  for (let at = 0; at < 1_000; at++) world.extend(one, session, 1, { seconds: 7_200 });
  t.equal(triggers(), before + 1, 'a flood is one question');
  const { request } = world.asked(three, 'askExtend');
  world.answerList(mallory, request, [allow('*')]);
  world.answerList(one, request, [allow('*')]);
  t.equal(world.of('newExpiry').length, 0, 'only the callee says yes');
  world.answerList(three, request, [allow(one.name)]);
  world.answerList(three, request, [allow(one.name)]);
  t.equal(world.of('newExpiry').length, 2);
  t.equal(world.logged('extended').length, 1);
});

t.test(
  'S6004: the operator’s end in mid-extension: the end stands, all are answered',
  async (t) => {
    const { world, one, three } = town();
    const { session } = world.introduce(one, three, { want: { seconds: 60 } });
    world.extend(one, session, 1, { seconds: 120 });
    const to = world.command({ kind: 'end', session });
    world.answerList(three, world.asked(three, 'askExtend').request, [allow(one.name)]);
    t.equal(world.of('newExpiry').length, 0);
    t.match(world.last('refusal'), { code: 'no-session' });
    t.match(world.logged('unused'), [{ revision: 1 }]);
    world.end(one, session, 'operator');
    world.end(three, session, 'operator');
    t.match(world.reply(to, 'ended').outcome, { reason: 'operator', unconfirmed: [] });

    const second = world.introduce(one, three, { want: { seconds: 60 } }).session;
    world.extend(one, second, 1, { seconds: 120 });
    world.disk = 'hold';
    world.answerList(three, world.asked(three, 'askExtend').request, [allow(one.name)]);
    world.command({ kind: 'end', session: second });
    world.disk = 'works';
    world.flush();
    world.end(one, second, 'operator');
    world.end(three, second, 'operator');
    t.equal(world.manager.sessions('open').length, 0);
    t.ok(logIsWhole(world));
  },
);

t.test('S6000: end notices of strangers, twice, and of nothing, change nothing', async (t) => {
  const { world, one, three, mallory } = town();
  const { session } = world.introduce(one, three);
  const entries = world.entries().length;
  world.end(mallory, session, 'done');
  world.end(one, randomRequestId(world.rng) as string as SessionId, 'done');
  t.equal(world.entries().length, entries);
  t.equal(world.of('ended').length, 2, 'both are told to forget it, and learn nothing else');
  t.match(world.manager.sessions('open'), [{ session, reason: undefined }]);
  world.end(one, session, 'done', { sentBytes: 5 });
  world.end(one, session, 'protocol-error', { sentBytes: 9 });
  t.match(world.logged('report'), [{ said: 'done', sentBytes: 5 }], 'the first word stands');
  world.end(three, session, 'done', { receivedBytes: 5 });
  world.end(three, session, 'done');
  t.equal(world.logged('report').length, 2);
  world.restart(1_000);
  world.end(three, session, 'done');
  t.equal(world.logged('report').length, 2, 'nor after a restart');
  t.ok(logIsWhole(world));
});

t.test(
  'S2007: killed between grant and notice: it closes by itself, and nobody else',
  async (t) => {
    const { world, one, three } = town();
    world.disk = 'hold';
    const { message } = world.connect(one, three.name, { want: { seconds: 60 } });
    world.answerList(three, world.asked(three, 'ask').request, [allow(one.name)]);
    world.answerBoth(one, three);
    for (const { table, key, value } of world.batches[0].writes) {
      if (value !== undefined) world.table(table).set(key, value);
    }
    world.disk = 'works';
    world.restart(1_000);
    t.equal(world.of('addressNotice').length, 0, 'no terminal has heard of it');
    t.match(world.manager.sessions('open'), [{ callerName: one.name, reason: undefined }]);
    world.up(one, message);
    const again = world.asked(three, 'ask').request;
    world.answerList(three, again, [allow(one.name)]);
    world.answerBoth(one, three);
    t.equal(world.of('addressNotice').length, 2, 'the caller that asks again is introduced');
    t.equal(world.manager.sessions('open').length, 2);
    world.advance((60 + LIMITS.unreportedSeconds) * 1_000);
    t.equal(world.manager.sessions('open').length, 0);
    t.ok(logIsWhole(world));
  },
);

t.test('S3001: a broker that was started anew is asked again, for what is left', async (t) => {
  const { world, one, three } = town();
  world.connect(one, three.name, { waitMs: 60_000 });
  const asked = world.asked(three, 'ask').request;
  world.input({ kind: 'linkDown' });
  world.advance(20_000);
  const before = world.of('trigger').length;
  world.input({ kind: 'linkUp' });
  const triggers = world.of('trigger').slice(before);
  t.match(triggers, [{ message: { request: asked, deadlineMs: 40_000 } }], 'the same request');
  world.answerList(three, asked, [allow(one.name)]);
  const query = world.last('addressQuery');
  world.input({ kind: 'linkUp' });
  t.equal(world.of('addressQuery').length, 2);
  t.strictSame(world.last('addressQuery'), query);
  t.equal(world.of('trigger').length, before + 1, 'who has answered is not asked again');
  world.answerBoth(one, three);
  world.input({ kind: 'linkUp' });
  t.equal(world.of('addressNotice').length, 2);
  t.equal(world.of('addressQuery').length, 2);
});

t.test('S2010: unknown, refused, away: the same instants, over many calls', async (t) => {
  const { world, one, three } = town();
  world.terminal('AWAY');
  const tookMs = (calleeName: string, answer: boolean): number[] =>
    Array.from({ length: 21 }, (_, at) => {
      world.advance(17 * at);
      const began = world.nowMs;
      const waitMs = 200 + at;
      const { request } = world.connect(one, calleeName, { waitMs });
      world.advance(3 * at);
      if (answer) world.answerList(three, world.asked(three, 'ask').request, [allow('x')]);
      world.advance(1_000);
      const told = world.of('refusal').filter(({ message }) => message.request === request);
      t.equal(told.length, 1);
      return told[0].at - began - waitMs;
    });
  const zeros = Array.from({ length: 21 }, () => 0);
  t.strictSame(tookMs('NOBODY', false), zeros, 'unknown');
  t.strictSame(tookMs(three.name, true), zeros, 'refused');
  t.strictSame(tookMs('AWAY', false), zeros, 'away');
  t.strictSame(tookMs(one.name, false), zeros, 'itself');
  const toCaller = world.sent.filter(({ topic }) => topic === down(one));
  t.equal(new Set(toCaller.map(({ bytes }) => bytes.length)).size, 1, 'of one length');
  t.notOk(world.sent.some(({ bytes }) => holds(bytes, CALLER_ADDRESS)));
});

t.test('claim 20: wall clocks that jump, forward or back, move no running talk', async (t) => {
  for (const jumpMs of [-30 * 365 * 86_400_000, -3_600_000, 3_600_000, 30 * 365 * 86_400_000]) {
    const { world, one, three } = town();
    const { session } = world.introduce(one, three, { want: { seconds: 100 } });
    world.advance(50_000);
    world.wallShiftMs = jumpMs;
    world.extend(one, session, 1, { seconds: 200 });
    world.answerList(three, world.asked(three, 'askExtend').request, [allow(one.name)]);
    t.equal(world.of('newExpiry').length, 2);
    world.introduce(one, three, { want: { seconds: 100 } });
    world.advance((150 + LIMITS.unreportedSeconds) * 1_000 - 1);
    t.ok(world.manager.sessions('open').some((row) => row.session === session));
    world.advance(1);
    t.equal(world.manager.sessions('open').length, 0, 'each at its own expiry and a minute');
    world.restart(1_000);
    t.ok(logIsWhole(world), `jump of ${jumpMs} ms`);
  }
});

t.test('names at their limits are names; one character more is none', async (t) => {
  const world = new World();
  const longest = world.terminal('N'.repeat(64));
  const shortest = world.terminal('1');
  world.introduce(longest, shortest);
  t.match(world.logged('introduced'), [{ callerName: longest.name, calleeName: '1' }]);
  t.throws(() => world.connect(longest, 'N'.repeat(65)), /fits its declared type/);
});

t.test('S2010: refusals that are still being counted are in the log when it stops', async (t) => {
  const { world, one } = town();
  for (let at = 0; at < 5; at++) world.connect(one, 'NOBODY', { waitMs: 10 });
  world.advance(10);
  t.match(world.logged('refused'), [{ times: 1 }]);
  world.command({ kind: 'stop' });
  t.match(world.logged('refused'), [{ times: 1 }, { calleeName: 'NOBODY', times: 4 }]);
  world.command({ kind: 'stop' });
  t.equal(world.logged('refused').length, 2, 'once');
  t.ok(logIsWhole(world));
});

t.test('S2000: a ticket for seven, raced by fifty: seven are enrolled, also on disk', async (t) => {
  const world = new World();
  const secret = world.ticket(7);
  world.disk = 'hold';
  const racers = Array.from({ length: 50 }, (_, at) => world.stranger(`R${at}`));
  const replies = racers.map((racer) => world.enrol(racer, secret));
  world.disk = 'works';
  while (world.batches.length > 0) world.flush();
  const kinds = replies.map((to) => world.replies.get(to));
  t.equal(kinds.filter((reply) => reply?.kind === 'enrolled').length, 7);
  t.match(
    kinds.filter((reply) => reply?.kind !== 'enrolled'),
    Array.from({ length: 43 }, () => ({ kind: 'failed', code: 'ticket-invalid' })),
  );
  world.restart(1_000);
  t.equal(world.manager.devices().length, 7);
  t.match(world.replies.get(world.enrol(world.stranger('LATE'), secret)), {
    code: 'ticket-invalid',
  });
});
