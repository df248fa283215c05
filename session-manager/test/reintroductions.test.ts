// Candidates in mid-session [42]: who may tell them, who is told, how often, what of it is logged;
// and that a grant knows nothing of it.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { Candidate, MessageOf } from '../../protocol/control/messages.ts';
import { type SessionId, randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import { at, meet, v4 } from './meet.ts';
import { pair } from './pair.ts';
import { type Terminal, World, down } from './virtual-manager.ts';

const LTE = v4('198.51.100.7');
const TURN = { address: v4('192.0.2.80'), port: 3_480 };
const MOVED = [at(LTE, 'reflexive')];

function tell(
  world: World,
  from: Terminal,
  session: SessionId,
  more: Partial<MessageOf<'candidates'>> = {},
): MessageOf<'candidates'> {
  const request = randomRequestId(world.rng);
  const facts = { request, session, generation: 1, candidates: MOVED, ...more };
  const message = { kind: 'candidates', ...facts } as const;
  world.up(from, message);
  return message;
}
/** What a terminal was told of its peer, oldest first. */
const heard = (world: World, by: Terminal): MessageOf<'peerCandidates'>[] =>
  world
    .of('peerCandidates')
    .filter(({ topic }) => topic === down(by))
    .map(({ message }) => message);
const answers = (world: World, to: Terminal): MessageOf<'candidatesTold'>[] =>
  world
    .of('candidatesTold')
    .filter(({ topic }) => topic === down(to))
    .map(({ message }) => message);

t.test(
  'S2008: where one end is now, the other is told; nothing of the grant changes',
  async (t) => {
    const { world, one, three } = pair();
    const { session } = meet(world, [one, three], { want: { seconds: 60 } });
    const [before] = world.manager.sessions('open');
    world.advance(10_000);
    world.sent.length = 0;
    const { request } = tell(world, one, session, { varies: true });
    t.strictSame(
      world.sent.map(({ topic, message }) => [topic, message.kind]),
      [
        [down(three), 'peerCandidates'],
        [down(one), 'candidatesTold'],
      ],
    );
    t.match(heard(world, three), [{ session, generation: 1, candidates: MOVED, varies: true }]);
    t.strictSame(
      answers(world, one).map((told) => told.request),
      [request],
    );
    t.strictSame(world.manager.sessions('open'), [before]);
    tell(world, three, session, { candidates: [at(v4('192.0.2.3'))] });
    t.match(
      heard(world, one),
      [{ generation: 1, candidates: [at(v4('192.0.2.3'))] }],
      'the other way',
    );
    t.equal(world.of('addressQuery').length, 0);
    world.advance(60_000 + LIMITS.unreportedSeconds * 1_000 - 10_000);
    t.equal(world.manager.sessions('open').length, 0, 'the expiry came when it was granted for');
  },
);

t.test('whoever is no end of a session under way is refused alike, and nobody hears', async (t) => {
  const { world, one, three } = pair();
  const two = world.terminal('TERM2');
  const { session } = meet(world, [one, three]);
  const over = meet(world, [one, three]).session;
  world.end(one, over, 'done');
  const closed = meet(world, [one, three]).session;
  world.end(one, closed, 'done');
  world.end(three, closed, 'done');
  world.sent.length = 0;
  const cases: readonly (readonly [Terminal, SessionId])[] = [
    [two, session],
    [two, over],
    [two, closed],
    [two, randomSessionId(world.rng)],
    [one, over],
    [three, over],
    [one, closed],
  ];
  const asked = cases.map(([from, id]) => tell(world, from, id).request);
  t.strictSame(
    world.sent.map(({ message, bytes, topic }) => ({ ...message, length: bytes.length, topic })),
    cases.map(([from], at_) => ({
      kind: 'refusal',
      request: asked[at_],
      code: 'no-session',
      why: undefined,
      length: world.sent[0].bytes.length,
      topic: down(from),
    })),
  );
  tell(world, one, session);
  t.equal(heard(world, three).length, 1, 'positive control');
});

t.test('a generation is told once, a repetition answered, an older one not told', async (t) => {
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three]);
  const message = tell(world, one, session, { generation: 5 });
  world.up(one, message);
  tell(world, one, session, { generation: 4 });
  t.equal(answers(world, one).length, 3);
  t.strictSame(
    heard(world, three).map(({ generation }) => generation),
    [5],
  );
  tell(world, one, session, { generation: 6 });
  tell(world, three, session, { generation: 1 });
  t.equal(heard(world, three).length, 2);
  t.equal(heard(world, one).length, 1, 'each end has its own');
});

t.test('over the rate it is answered and counted, and nobody is told', async (t) => {
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three]);
  const burst = MANAGER_LIMITS.candidatesBurst;
  for (let n = 1; n <= burst + 5; n++) tell(world, one, session, { generation: n });
  t.equal(heard(world, three).length, burst);
  t.equal(answers(world, one).length, burst + 5);
  t.equal(world.manager.counts.candidatesHeld, 5);
  tell(world, three, session);
  t.equal(heard(world, one).length, 1, 'the other end has its own rate');
  world.advance(MANAGER_LIMITS.candidatesEveryMs);
  tell(world, one, session, { generation: burst + 1 });
  tell(world, one, session, { generation: burst + 2 });
  t.equal(heard(world, three).length, burst + 1, 'one more, for what was held was not told');
});

t.test('S2008: filtered as at the introduction, by where both were seen then', async (t) => {
  const host = at(v4('192.168.1.5'));
  const bad = [at(v4('127.0.0.1')), at(v4('169.254.0.1')), at(v4('255.255.255.255'))];
  const list = [host, at(v4('192.0.2.1')), ...bad];
  const told = (
    seenAt: Uint8Array,
    candidates: readonly Candidate[],
    isRestarted = false,
  ): readonly Candidate[] => {
    const { world, one, three } = pair();
    const { session } = meet(world, [one, three], { caller: { seenAt } });
    if (isRestarted) world.restart(10);
    tell(world, one, session, { candidates });
    return heard(world, three)[0].candidates;
  };
  const site = v4('203.0.113.9');
  t.strictSame(told(site, list), [host, at(v4('192.0.2.1'))], 'one site');
  t.strictSame(told(LTE, list), [at(v4('192.0.2.1'))], 'two');
  t.strictSame(told(site, list, true), [at(v4('192.0.2.1'))], 'a restart has forgotten it');
  t.strictSame(told(site, [host, ...MOVED]), MOVED, 'it has left the site');
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three], { caller: { relay: 'only' } });
  const relayed = at(TURN.address, 'relayed');
  tell(world, one, session, { candidates: [...MOVED, relayed] });
  t.strictSame(heard(world, three)[0].candidates, [relayed]);
});

t.test('300 candidates, or 17, are no message', async (t) => {
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three]);
  const many = Array.from({ length: 300 }, (_, port) => at(LTE, 'host', port + 1));
  const before = world.manager.counts.malformed;
  // Written by another hand: our own encoder makes no such message.
  const request = randomRequestId(world.rng);
  const facts = { request, session, generation: 1, candidates: [at(LTE)] };
  const whole = Buffer.from(encodeMessage({ kind: 'candidates', ...facts }));
  const list = whole.indexOf(Buffer.of(0x05, 0x81)) + 1;
  const of = (head: readonly number[], count: number): Uint8Array => {
    const entries = Array.from({ length: count }, () => whole.subarray(list + 1));
    return Buffer.concat([whole.subarray(0, list), Buffer.from(head), ...entries]);
  };
  t.strictSame(of([0x81], 1), whole, 'positive control: a list of one is that message');
  world.raw(one, world.seal(one, of([0x99, 0x01, 0x2c], 300)));
  world.raw(one, world.seal(one, of([0x91], 17)));
  t.equal(world.manager.counts.malformed, before + 2);
  t.equal(heard(world, three).length, 0);
  tell(world, one, session, { candidates: many.slice(0, LIMITS.candidatesMax) });
  t.equal(heard(world, three)[0].candidates.length, LIMITS.candidatesMax, 'positive control');
});

t.test('both moved at once: who was away is told what it missed when it is back', async (t) => {
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three]);
  const other = meet(world, [one, three]).session;
  tell(world, one, session);
  world.sent.length = 0;
  world.up(three, world.registerMessage(three));
  t.match(heard(world, three), [{ session, generation: 1, candidates: MOVED }]);
  world.reboot(three);
  world.join(three);
  t.equal(heard(world, three).length, 2, 'in a new channel too');
  world.up(one, world.registerMessage(one));
  t.equal(heard(world, one).length, 0, 'nobody has told it anything');
  tell(world, three, session);
  world.end(one, session, 'done');
  world.end(three, session, 'done');
  world.sent.length = 0;
  world.up(three, world.registerMessage(three));
  world.up(one, world.registerMessage(one));
  t.equal(world.of('peerCandidates').length, 0, 'not of a session that is over');
  tell(world, one, other);
  t.equal(heard(world, three).length, 1, 'positive control: of another one');
});

t.test(
  'S6001: a re-introduction is logged: the first, then one a minute, a bounded number',
  async (t) => {
    const { world, one, three } = pair();
    const { session } = meet(world, [one, three], { want: { seconds: 7_200 } });
    tell(world, one, session, { generation: 1 });
    t.equal(world.logged('reintroduced').length, 0, 'the rest of a first meeting is none');
    tell(world, one, session, { generation: 2, moved: true });
    tell(world, three, session, { generation: 1, moved: true });
    const [entry, ...more] = world.logged('reintroduced');
    t.match(entry, { session, by: 'caller', generation: 2 });
    t.equal(more.length, 0, 'one a minute, whichever end');
    for (let n = 3; n < 3 + 2 * MANAGER_LIMITS.reintroducedEntriesMax; n++) {
      world.advance(MANAGER_LIMITS.reintroducedPauseMs / 2);
      tell(world, one, session, { generation: n, moved: true });
    }
    world.advance(MANAGER_LIMITS.reintroducedPauseMs);
    tell(world, one, session, { generation: 1_000, moved: true });
    t.equal(world.logged('reintroduced').length, MANAGER_LIMITS.reintroducedEntriesMax);
    t.equal(heard(world, three).at(-1)?.generation, 1_000, 'and told all the same');
  },
);

t.test('a full disk costs the entry of a re-introduction, and nothing else', async (t) => {
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three]);
  world.disk = 'full';
  tell(world, one, session, { moved: true });
  t.equal(heard(world, three).length, 1);
  world.disk = 'works';
  world.advance(2_000);
  t.equal(world.logged('reintroduced').length, 0);
  world.end(one, session, 'done');
  t.equal(world.logged('report').length, 1, 'positive control: the log goes on');
});

t.test('credentials that end before the grant are made anew with the answer', async (t) => {
  const relay = { servers: () => [TURN], credentials: (name: string) => `of-${name.slice(0, 40)}` };
  const world = new World({ relay });
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  const introduce = (policy: 'never' | 'if-needed'): SessionId =>
    meet(world, [one, three], { want: { seconds: 600 }, callee: { relay: policy } }).session;
  const answer = (session: SessionId, generation: number): MessageOf<'candidatesTold'> => {
    tell(world, one, session, { generation });
    return answers(world, one).at(-1) as MessageOf<'candidatesTold'>;
  };
  const grantMore = (session: SessionId): void => {
    world.extend(one, session, 1, { seconds: 1_200 });
    const { request } = world.asked(three, 'askExtend');
    world.answerList(three, request, [{ action: 'allow', pattern: 'TERM1', extend: true }]);
  };
  const session = introduce('if-needed');
  t.equal(answer(session, 1).relay, undefined, 'those of the notice will do');
  grantMore(session);
  t.equal(world.manager.sessions('open')[0].seconds, 1_200, 'positive control');
  const until = Math.floor(world.manager.sessions('open')[0].begun / 1_000) + 1_200;
  const relayed = answer(session, 2).relay;
  t.equal(Number(relayed?.username.split(':')[0]), until + LIMITS.clockSkewSeconds);
  const repeated = tell(world, one, session, { generation: 2 });
  t.ok(answers(world, one).at(-1)?.relay, `${repeated.request}: the answer may have been lost`);
  const without = introduce('never');
  grantMore(without);
  t.equal(answer(without, 1).relay, undefined, 'the other end wants none');
  world.restart(10);
  t.equal(answer(session, 3).relay, undefined, 'what each of them wants is forgotten');
});

t.test('S6000: a report says which way its talk took, and what its search sent', async (t) => {
  const { world, one, three } = pair();
  const { session } = meet(world, [one, three]);
  const counts = { sentBytes: 1, receivedBytes: 2, lostBytes: 0, wireBytes: 9, durationMs: 5 };
  const request = randomRequestId(world.rng);
  const notice = { kind: 'endNotice', request, session, reason: 'done', ...counts } as const;
  world.up(one, { ...notice, path: 'relay', probes: 2_048 });
  world.end(three, session, 'done');
  const [first, second] = world.logged('report');
  t.match(first, { by: 'caller', path: 'relay', probes: 2_048 });
  t.strictSame(
    [second.path, second.probes],
    [undefined, undefined],
    'a terminal that says nothing',
  );
  world.restart(10);
  const [row] = world.manager.sessions('closed');
  t.match(row.callerReport, { path: 'relay', probes: 2_048 }, 'it is on disk');
  t.ok(encodeMessage({ ...notice, path: 'lan' }).length > 0);
});
