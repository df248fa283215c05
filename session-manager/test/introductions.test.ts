// The introduction in virtual time: who is asked,
// who learns what, and when [42, 43].

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { topic } from '../../protocol/control/topics.ts';
import { decodeGrant } from '../../protocol/grant.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { verifySigned } from '../../protocol/identity/signed.ts';
import { randomRecordId, randomRequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { pair } from './pair.ts';
import {
  CALLEE_ADDRESS,
  CALLER_ADDRESS,
  POLICY,
  QUERY_TOPIC,
  type Terminal,
  World,
  allow,
  deny,
  down,
  holds,
} from './virtual-manager.ts';

function register(world: World, from: Terminal, name = from.name): void {
  world.up(from, world.registerMessage(from, { name }));
}

t.test('S2000: a name is bound to the device that enrolled it, and to no other', async (t) => {
  const { world, one, three } = pair();
  register(world, one);
  const registered = world.last('registered');
  t.equal(registered.name, 'TERM1');
  const membership = openMembership(nodeSuite, world.key.publicKey, registered.membership);
  t.equal(membership?.device, one.id);
  t.equal((membership?.expiresAt ?? 0) - (membership?.issuedAt ?? 0), LIMITS.membershipSeconds);
  register(world, three, one.name);
  t.equal(world.last('refusal').code, 'name-taken');
  const stranger = world.stranger('TERM9');
  world.raw(stranger, world.hello(stranger));
  t.equal(world.last('refusal').code, 'not-enrolled');
});

t.test('S2001: only an enrolled terminal may call, and only under its own name', async (t) => {
  const { world, one, three } = pair();
  world.connect(one, three.name, { as: 'TERM2' });
  const { message } = world.connect(one, one.name);
  const stranger = world.stranger('TERM1');
  world.raw(stranger, world.hello(stranger));
  world.raw(stranger, encodeMessage({ ...message, calleeName: three.name }));
  t.equal(world.of('trigger').length, 0);
  world.advance(5_000);
  t.strictSame(
    world.of('refusal').map((refusal) => refusal.message.code),
    ['not-enrolled', 'refused', 'refused'],
  );
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 1, 'positive control: under its own name it may');
});

t.test('S2001: a repeated request never triggers twice and gets the answer it had', async (t) => {
  const { world, one, three } = pair();
  const { message } = world.connect(one, three.name);
  world.up(one, message);
  t.equal(world.of('trigger').length, 1);
  world.answerList(three, world.asked(three, 'ask').request, [allow('TERM1')]);
  world.answerBoth(one, three);
  world.up(one, message);
  const notices = world.sent.filter((sent) => sent.topic === down(one));
  t.equal(world.of('trigger').length, 1);
  t.equal(world.manager.sessions('open').length, 1);
  t.strictSame(notices.at(-1)?.bytes, notices.at(-2)?.bytes);
});

t.test('S2001: requests over the bound of one caller are counted and dropped', async (t) => {
  const { world, one, three } = pair();
  for (let i = 0; i < LIMITS.introductionsPerCallerMax + 3; i++) {
    world.connect(one, i % 2 === 0 ? three.name : 'NOBODY');
  }
  t.equal(world.manager.counts.overBound, 3);
  world.advance(5_000);
  t.equal(world.of('refusal').length, LIMITS.introductionsPerCallerMax);
  const before = world.of('trigger').length;
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, before + 1);
});

t.test(
  'S2002: the callee is asked through the broker, with the caller’s own deadline',
  async (t) => {
    const { world, one, three } = pair();
    const want = { seconds: 60, bytes: 5_000 };
    world.connect(one, three.name, { waitMs: 3_000, want });
    const [trigger] = world.of('trigger');
    t.equal(trigger.topic, topic('trigger', three.id));
    t.equal(trigger.message.deadlineMs, 3_000);
    const ask = world.asked(three, 'ask');
    t.match(ask, { callerName: 'TERM1', callerId: one.id, service: 'file', want });
  },
);

t.test('S2003: a list counts only from the callee, only once, only in time', async (t) => {
  const { world, one, three } = pair();
  const two = world.terminal('TERM2');
  world.connect(one, three.name);
  const { request } = world.asked(three, 'ask');
  world.answerList(two, request, [allow('*')]);
  t.equal(world.of('addressQuery').length, 0, 'not from somebody else');
  world.answerList(three, request, [deny('TERM1')]);
  world.answerList(three, request, [allow('TERM1')]);
  t.equal(world.of('addressQuery').length, 0, 'the first answer holds');
  world.connect(one, three.name);
  const later = world.asked(three, 'ask').request;
  world.advance(5_000);
  world.answerList(three, later, [allow('TERM1')]);
  t.equal(world.of('addressQuery').length, 0, 'not when the wait is over');
  t.equal(world.manager.counts.unexpected, 3);
});

for (const mode of ['list', 'verdict'] as const)
  t.test(`S2004: the list is searched for the caller, mode ${mode}`, async (t) => {
    const { world, one, three } = pair();
    world.connect(one, three.name);
    const others = [allow('TERM2'), allow('ABC'), allow('DEF')];
    world.answerList(three, world.asked(three, 'ask').request, others, mode);
    t.equal(world.of('addressQuery').length, 0);
    world.connect(one, three.name);
    const listed = [allow('TERM1'), ...others];
    world.answerList(three, world.asked(three, 'ask').request, listed, mode);
    t.equal(world.of('addressQuery').length, 1);
  });

t.test('S2005: who is not on the list, or denied by it, is not introduced', async (t) => {
  const { world, one, three } = pair();
  const lists = [[], [allow('TERM1'), deny('TERM*')], [allow('TERM1', { services: ['port:22'] })]];
  for (const entries of lists) {
    world.connect(one, three.name);
    world.answerList(three, world.asked(three, 'ask').request, entries);
  }
  world.advance(5_000);
  t.equal(world.of('addressQuery').length, 0);
  t.equal(world.of('refusal').length, 3);
  t.equal(world.manager.sessions('open').length, 0);
});

t.test('S2006: addresses are asked for after a yes alone, by the records both named', async (t) => {
  const { world, one, three } = pair();
  const { record } = world.connect(one, three.name);
  t.equal(world.of('addressQuery').length, 0);
  const own = world.answerList(three, world.asked(three, 'ask').request, [allow('TERM1')]);
  const [query] = world.of('addressQuery');
  t.equal(query.topic, QUERY_TOPIC);
  t.strictSame(query.message.wanted, [
    { device: one.id, record },
    { device: three.id, record: own },
  ]);
  world.answerQuery([{ device: one.id, address: CALLER_ADDRESS }]);
  t.equal(world.of('addressNotice').length, 0, 'one address alone is told to nobody');
  world.advance(5_000);
  t.equal(world.last('refusal').code, 'refused');
});

t.test('S2007: session ID, key and expiry are made once and signed', async (t) => {
  const { world, one, three } = pair();
  world.introduce(one, three);
  const [first, second] = world.of('addressNotice');
  const grant = decodeGrant(first.message.grant);
  t.match(grant, { callerId: one.id, calleeId: three.id, seconds: POLICY.secondsDefault });
  t.ok(
    verifySigned(
      nodeSuite,
      world.key.publicKey,
      'grant',
      first.message.grant,
      first.message.signature,
    ),
  );
  t.strictSame(first.message.grant, second.message.grant);
});

t.test('S2008: notice 1 tells the caller the callee’s address and keys', async (t) => {
  const { world, one, three } = pair();
  const { request } = world.introduce(one, three);
  const notice = world.of('addressNotice').find((one_) => one_.topic === down(one))?.message;
  t.equal(notice?.request, request);
  t.strictSame(notice?.peerCandidates[0].address, CALLEE_ADDRESS);
  t.strictSame(notice?.peerKeys, three.keys);
});

t.test('S2009: notice 2 tells the callee the same session, key and expiry', async (t) => {
  const { world, one, three } = pair();
  world.connect(one, three.name);
  const answer = world.signedAnswer(three, {
    request: world.asked(three, 'ask').request,
    entries: [allow(one.name)],
    mode: 'verdict',
    record: randomRecordId(world.rng),
  });
  world.raw(three, world.seal(three, encodeMessage(answer)), 'allow-list');
  world.answerBoth(one, three);
  const [caller, callee] = [one, three].map(
    (terminal) => world.of('addressNotice').find((sent) => sent.topic === down(terminal))?.message,
  );
  t.equal(callee?.request, answer.nonce, 'it echoes what this boot of the callee put in');
  t.strictSame(callee?.peerCandidates[0].address, CALLER_ADDRESS);
  t.strictSame(callee?.grant, caller?.grant);
  t.strictSame(callee?.signature, caller?.signature);
  t.strictSame(callee?.key, caller?.key);
});

t.test('S2010: every refusal is the same and leaves exactly when the wait is over', async (t) => {
  const { world, one, three } = pair();
  const away = world.terminal('AWAY');
  const wishes = [three.name, 'NOBODY', away.name, three.name];
  const requests = wishes.map((name) => world.connect(one, name).request);
  world.answerList(three, world.asked(three, 'ask').request, [deny('TERM1')]);
  world.advance(4_999);
  t.equal(world.of('refusal').length, 0, 'never earlier');
  world.advance(1);
  const refusals = world.of('refusal');
  t.strictSame(
    refusals.map(({ message }) => message.request),
    requests,
  );
  const shapes = refusals.map(({ at, topic: to, message }) =>
    JSON.stringify({ at, to, code: message.code, length: encodeMessage(message).length }),
  );
  t.equal(new Set(shapes).size, 1, 'known, unknown, away: nothing to tell them apart by');
  world.advance(60_000);
  t.equal(world.of('refusal').length, wishes.length, 'and only once');
});

t.test(
  'S2010: a refused call releases no address; the same search finds it in a permitted one',
  async (t) => {
    const { world, one, three } = pair();
    world.connect(one, three.name);
    world.answerList(three, world.asked(three, 'ask').request, [deny('TERM1')]);
    world.advance(5_000);
    const leaks = (to: Terminal, address: Uint8Array): boolean =>
      world.sent.some((sent) => sent.topic === down(to) && holds(sent.bytes, address));
    t.notOk(leaks(one, CALLEE_ADDRESS));
    t.notOk(leaks(three, CALLER_ADDRESS));
    t.equal(world.of('addressQuery').length, 0);
    world.introduce(one, three);
    t.ok(leaks(one, CALLEE_ADDRESS));
    t.ok(leaks(three, CALLER_ADDRESS));
    t.equal(world.of('addressQuery').length, 1);
  },
);

t.test('S2010: refusals are folded in the log by caller, name and hour', async (t) => {
  const { world, one } = pair();
  for (let i = 0; i < 20; i++) {
    world.connect(one, 'NOBODY', { waitMs: 10 });
    world.advance(10);
  }
  t.strictSame(
    world.logged('refused').map(({ times }) => times),
    [1],
  );
  for (let i = 0; i < 60; i++) {
    world.connect(one, `NAME${i}`, { waitMs: 10 });
    world.advance(10);
  }
  world.advance(3_600_000);
  const refused = world.logged('refused');
  t.ok(refused.length < 25, 'many names do not fill it');
  t.equal(
    refused.reduce((sum, { times }) => sum + times, 0),
    80,
    'and every refusal is counted',
  );
});

t.test('claim 9: name record, trigger, search, query and notices in this order', async (t) => {
  const { world, one, three } = pair();
  world.sent.length = 0;
  world.introduce(one, three);
  t.strictSame(
    world.sent.map(({ message }) => message.kind),
    ['trigger', 'addressQuery', 'addressNotice', 'addressNotice'],
  );
});

t.test('claim 10: the expiry is on disk before either terminal hears of it', async (t) => {
  const { world, one, three } = pair();
  world.connect(one, three.name);
  world.answerList(three, world.asked(three, 'ask').request, [allow('TERM1')]);
  world.disk = 'hold';
  world.answerBoth(one, three);
  t.equal(world.batches.length, 1);
  t.equal(world.of('addressNotice').length, 0);
  t.equal(world.table('sessions').size, 0);
  world.flush();
  t.equal(world.table('sessions').size, 1);
  t.equal(world.logged('introduced').length, 1);
  t.equal(world.of('addressNotice').length, 2);
});

t.test('claim 14: the expiry in time is the least of caller, callee and operator', async (t) => {
  const { world, one, three } = pair();
  const granted = (want: number | undefined, entry: number | undefined): number | undefined => {
    world.introduce(one, three, { want: { seconds: want }, entry: { seconds: entry } });
    return decodeGrant(world.last('addressNotice').grant)?.seconds;
  };
  t.equal(granted(60, undefined), 60);
  t.equal(granted(60, 30), 30);
  t.equal(granted(1_000_000, undefined), POLICY.secondsMax);
  t.equal(granted(undefined, undefined), POLICY.secondsDefault);
});

t.test('claim 15: the expiry in bytes is the least of caller, callee and operator', async (t) => {
  const { world, one, three } = pair();
  const granted = (want: number | undefined, entry: number | undefined): number | undefined => {
    world.introduce(one, three, { want: { bytes: want }, entry: { bytes: entry } });
    return decodeGrant(world.last('addressNotice').grant)?.bytes;
  };
  t.equal(granted(5_000, undefined), 5_000);
  t.equal(granted(5_000, 400), 400);
  t.equal(granted(undefined, undefined), POLICY.bytesMax);
});

t.test(
  'claim 16: a new key of 32 bytes for each session, in both notices and nowhere else',
  async (t) => {
    const { world, one, three } = pair();
    world.introduce(one, three);
    const first = world.last('addressNotice').key;
    world.introduce(one, three);
    const second = world.last('addressNotice').key;
    t.equal(first.length, 32);
    t.notSame(first, second);
    const rows = [...world.tables.values()].flatMap((table) => [...table.values()]);
    t.notOk(rows.some((row) => holds(row, first) || holds(row, second)));
    const carrying = world.sent.filter((sent) => holds(sent.bytes, first));
    t.strictSame(
      carrying.map(({ message }) => message.kind),
      ['addressNotice', 'addressNotice'],
      'positive control: the search finds it where it belongs',
    );
  },
);

t.test('a full disk refuses introductions at their time and touches no running talk', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three);
  world.disk = 'full';
  world.connect(one, three.name);
  world.answerList(three, world.asked(three, 'ask').request, [allow('TERM1')]);
  world.answerBoth(one, three);
  world.advance(4_999);
  t.equal(world.of('addressNotice').length, 2);
  t.equal(world.of('refusal').length, 0);
  world.advance(1);
  t.equal(world.last('refusal').code, 'refused');
  t.equal(world.of('endRequest').length, 0);
  t.strictSame(
    world.manager.sessions('open').map((row) => row.session),
    [session],
  );
  world.end(one, session, 'done');
  t.equal(world.of('ended').length, 0, 'an end notice is not acknowledged before it is on disk');
  world.disk = 'works';
  world.advance(2_000);
  t.equal(world.of('ended').length, 1, 'and is as soon as there is room');
  world.introduce(one, three);
  t.equal(world.of('addressNotice').length, 4);
});

t.test('bytes that are no message, or not for here, are counted and change nothing', async (t) => {
  const { world, one } = pair();
  const before = world.sent.length;
  for (const bytes of [new Uint8Array(0), new Uint8Array(20_000), Uint8Array.of(0xff, 1, 2)]) {
    world.input({ kind: 'message', from: one.id, via: 'up', bytes });
    world.input({ kind: 'message', from: one.id, via: 'allow-list', bytes });
    world.input({ kind: 'addressAnswer', bytes });
    world.input({ kind: 'triggerState', bytes });
  }
  t.equal(world.manager.counts.malformed >= 9, true);
  world.up(one, { kind: 'polled', handed: 0, request: randomRequestId(world.rng) } as never);
  t.equal(world.sent.length, before);
});
