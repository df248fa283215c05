// What the two notices of an introduction say about meeting: the other's addresses as far as they
// are told, the common start, the relay. And that a refused caller learns none of it.

import { createHmac } from 'node:crypto';
import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { RelayTerms } from '../../protocol/control/messages.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import type { RelayService } from '../manager-types.ts';
import { relayUntil } from '../relay-terms.ts';
import { at, meet, v4 } from './meet.ts';
import { START_WALL, World, allow, deny, down, holds } from './virtual-manager.ts';

const NEAR = v4('192.168.1.5');
const FAR = v4('198.51.100.7');
const TURN = { address: v4('192.0.2.80'), port: 3_480 };
const START_SECONDS = START_WALL / 1_000;

/** A relay whose passwords are made as coturn's are; `servers` may change. */
function relayOf(servers: readonly (typeof TURN)[] = [TURN]): RelayService {
  return {
    servers: () => servers,
    credentials: (username) => createHmac('sha1', 'secret').update(username).digest('base64'),
  };
}

function pairOf(settings: ConstructorParameters<typeof World>[0] = {}) {
  const world = new World(settings);
  const one = world.terminal('TERM1');
  const three = world.terminal('TERM3');
  return { world, one, three, both: [one, three] as const };
}

t.test(
  'S2008, S2009: each is told what the other lists, but what only its own site knows',
  async (t) => {
    const { world, both } = pairOf();
    const hosts = [at(NEAR), at(v4('192.0.2.1'))];
    const victims = [at(v4('127.0.0.1')), at(v4('255.255.255.255')), at(v4('224.0.0.1'))];
    const callee = { candidates: [...victims, ...hosts] };
    const caller = { candidates: [at(v4('192.168.1.6'))] };
    const near = meet(world, both, { caller, callee });
    t.strictSame(near.toCaller.peerCandidates, hosts);
    t.strictSame(near.toCallee.peerCandidates, caller.candidates);
    const far = meet(world, both, { caller, callee: { ...callee, seenAt: FAR } });
    t.strictSame(far.toCaller.peerCandidates, [hosts[1]]);
    t.strictSame(
      far.toCallee.peerCandidates,
      [],
      'nothing is left, and it is introduced all the same',
    );
  },
);

t.test('S2006: of where somebody is nothing is asked or told before the yes', async (t) => {
  const { world, one, three, both } = pairOf({ relay: relayOf() });
  world.connect(one, three.name, { meeting: { delayMs: 30, relay: 'if-needed' } });
  const { request } = world.asked(three, 'ask');
  world.answerList(three, request, [deny('TERM1')], 'verdict', { delayMs: 400, relay: 'only' });
  world.advance(5_000);
  const refusal = world.last('refusal');
  const { message } = world.connect(one, 'NOBODY', { meeting: { delayMs: 30 } });
  world.advance(5_000);
  const other = world.last('refusal');
  t.equal(other.request, message.request);
  t.equal(encodeMessage(other).length, encodeMessage(refusal).length);
  t.strictSame({ ...other, request: 0 }, { ...refusal, request: 0 }, 'known and unknown alike');
  t.equal(world.of('addressQuery').length, 0);
  const told = world.sent.filter(({ topic }) => topic === down(one));
  t.notOk(told.some(({ bytes }) => holds(bytes, TURN.address)));
  meet(world, both);
  t.equal(world.of('addressQuery').length, 1, 'positive control');
  t.ok(world.sent.some(({ topic, bytes }) => topic === down(one) && holds(bytes, TURN.address)));
});

t.test(
  'the go: who has the shorter way waits for the difference, at most for a while',
  async (t) => {
    const { world, both } = pairOf();
    const starts = (caller: number | undefined, callee: number | undefined) => {
      const met = meet(world, both, { caller: { delayMs: caller }, callee: { delayMs: callee } });
      return [met.toCaller.startMs, met.toCallee.startMs];
    };
    t.strictSame(starts(20, 120), [100, 0]);
    t.strictSame(starts(120, 20), [0, 100]);
    t.strictSame(starts(50, 50), [0, 0]);
    t.strictSame(starts(undefined, undefined), [0, 0]);
    t.strictSame(starts(undefined, 70), [70, 0]);
    t.strictSame(starts(0, LIMITS.delayMsMax), [LIMITS.startMsMax, 0], 'a lie costs half a second');
  },
);

t.test('S2008: how the other’s NAT maps, and where a search may go', async (t) => {
  const { world, both } = pairOf();
  const caller = { seenAt: v4('203.0.113.9'), proven: true };
  const callee = { seenAt: FAR, proven: true, varies: true };
  const met = meet(world, both, { caller, callee });
  t.match(met.toCaller, { peerVaries: true, searchAt: FAR });
  t.match(met.toCallee, { peerVaries: false, searchAt: caller.seenAt });
  const listed = { ...callee, proven: false, candidates: [at(v4('192.0.2.66'), 'reflexive')] };
  const unproven = meet(world, both, { caller, callee: listed });
  t.equal(
    unproven.toCaller.searchAt,
    undefined,
    'an address that the callee only lists: a victim’s',
  );
  t.match(unproven.toCallee.searchAt, caller.seenAt, 'its own peer is proven');
});

t.test('a relay’s credentials are of one end of one session, and end with the grant', async (t) => {
  const { world, both } = pairOf({ relay: relayOf() });
  const { session, toCaller, toCallee } = meet(world, both, { want: { seconds: 60 } });
  const until = START_SECONDS + 60 + LIMITS.clockSkewSeconds;
  const expected = (side: string): RelayTerms => {
    const username = `${until}:${session.slice(0, 12)}.${side}`;
    return { servers: [TURN], username, password: relayOf().credentials(username) };
  };
  t.strictSame(toCaller.relay, expected('caller'));
  t.strictSame(toCallee.relay, expected('callee'));
  const { length } = expected('caller').username;
  t.ok(length <= LIMITS.relayTextMax, `${length} characters`);
  const day = START_SECONDS + MANAGER_LIMITS.relaySecondsMax;
  t.equal(relayUntil(START_WALL, START_WALL + 366 * 86_400_000), day, 'a long grant: a day');
});

t.test('a relay is offered where there is one, and where both let it be used', async (t) => {
  const offered = (
    settings: ConstructorParameters<typeof World>[0],
    caller?: 'never' | 'if-needed' | 'only',
    callee?: 'never' | 'if-needed' | 'only',
  ): readonly number[] => {
    const { world, both } = pairOf(settings);
    const met = meet(world, both, { caller: { relay: caller }, callee: { relay: callee } });
    return [met.toCaller, met.toCallee].map(({ relay }) => relay?.servers.length ?? 0);
  };
  const relay = relayOf();
  t.strictSame(offered({ relay }), [1, 1], 'positive control');
  t.strictSame(offered({}), [0, 0]);
  t.strictSame(offered({ relay: relayOf([]) }), [0, 0], 'its name was not found yet');
  t.strictSame(offered({ relay }, 'only', 'if-needed'), [1, 1]);
  t.strictSame(offered({ relay }, 'never', undefined), [0, 0]);
  t.strictSame(offered({ relay }, 'only', 'never'), [0, 0]);
  const five = [1, 2, 3, 4, 5].map((port) => ({ ...TURN, port }));
  t.strictSame(offered({ relay: relayOf(five) }), [4, 4], 'at most LIMITS.meetingServersMax');
});

t.test('S6001: no log, no row and no reply holds a relay’s password or an address', async (t) => {
  const { world, one, three, both } = pairOf({ relay: relayOf() });
  const callee = { candidates: [at(v4('192.0.2.1'))], seenAt: FAR };
  const { session, toCaller, toCallee } = meet(world, both, { callee });
  world.end(one, session, 'done');
  world.end(three, session, 'done');
  const passwords = [toCaller, toCallee].map(({ relay }) => relay?.password ?? '');
  t.notOk(passwords.includes(''));
  const secrets = [...passwords.map((text) => Buffer.from(text)), FAR, v4('192.0.2.1')];
  const rows = [...world.tables.values()].flatMap((table) => [...table.values()]);
  t.ok(
    rows.some((row) => holds(row, Buffer.from(session))),
    'positive control: a row of it',
  );
  t.notOk(rows.some((row) => secrets.some((secret) => holds(row, secret))));
  const replies = JSON.stringify([...world.replies.values(), ...world.changes]);
  t.notOk(passwords.some((password) => replies.includes(password)));
  const carriers = world.sent.filter(({ bytes }) => holds(bytes, secrets[0]));
  t.strictSame(
    carriers.map(({ topic, message }) => [topic, message.kind]),
    [[down(one), 'addressNotice']],
    'positive control: where it belongs, and nowhere else',
  );
});

t.test('S2000: a terminal that registers is told who shows it its address', async (t) => {
  const servers = [
    { port: 3_478, otherPort: 3_479 },
    { address: v4('192.0.2.9'), port: 3_478 },
  ];
  for (const stun of [undefined, [], servers, [...servers, ...servers, ...servers]]) {
    const world = new World({ stun });
    const one = world.terminal('TERM1');
    world.up(one, world.registerMessage(one));
    const told = world.last('registered').stun;
    const expected = stun === undefined || stun.length === 0 ? undefined : stun.slice(0, 4);
    t.match(told, expected);
    t.equal(told?.length, expected?.length);
  }
});

t.test(
  'S2001: a request that is repeated gets the notice that it had, credentials and all',
  async (t) => {
    const { world, one, three } = pairOf({ relay: relayOf() });
    const { message } = world.connect(one, three.name);
    world.answerList(three, world.asked(three, 'ask').request, [allow('TERM1')]);
    world.answerBoth(one, three);
    world.advance(1_000);
    world.up(one, message);
    const notices = world.sent.filter((sent) => sent.topic === down(one));
    t.equal(notices.length, 2);
    t.strictSame(notices[0].bytes, notices[1].bytes);
  },
);
