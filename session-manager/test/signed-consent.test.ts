// Signed consent at the manager, in virtual time: what the terminals did not sign themselves brings
// nobody together, and what they did sign can be shown later with their public keys alone.

import t from 'tap';
import {
  decodeVerdict,
  encodeRequest,
  isExtensionOf,
  isRequestOf,
  isVerdictOf,
  signExtension,
  signVerdict,
} from '../../protocol/consent/statements.ts';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { MessageOf } from '../../protocol/control/messages.ts';
import { decodeGrant } from '../../protocol/grant.ts';
import { verifySigned } from '../../protocol/identity/signed.ts';
import { type Name, type RequestId, randomRecordId, randomRequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { pair } from './pair.ts';
import { type Terminal, World, allow, down } from './virtual-manager.ts';

/** A connect request that is not sent. */
function wish(world: World, from: Terminal, to: string): MessageOf<'connect'> {
  return world.signedConnect(from, {
    request: randomRequestId(world.rng),
    callerName: from.name,
    calleeName: to as Name,
    service: 'file',
    want: { seconds: 60 },
    waitMs: 5_000,
    record: randomRecordId(world.rng),
  });
}

/** An answer that says yes to `to`, not sent. */
function yes(world: World, callee: Terminal, request: RequestId, to: Terminal) {
  const entries = [allow(to.name)];
  const record = randomRecordId(world.rng);
  return world.signedAnswer(callee, { request, entries, mode: 'verdict', record });
}

function send(world: World, from: Terminal, answer: MessageOf<'allowList'>): void {
  world.raw(from, world.seal(from, encodeMessage(answer)), 'allow-list');
}

const flipped = (bytes: Uint8Array, at = 7): Uint8Array =>
  bytes.map((byte, index) => (index === at ? byte ^ 1 : byte));

t.test('S2001: a request that its caller did not sign so asks nobody', async (t) => {
  const { world, one, three } = pair();
  const mallory = world.terminal('MALLORY');
  const fresh = () => wish(world, one, three.name);
  const forged: readonly MessageOf<'connect'>[] = [
    { ...fresh(), signature: flipped(fresh().signature) },
    { ...fresh(), signature: fresh().signature },
    { ...fresh(), signature: new Uint8Array(64) },
    { ...fresh(), service: 'port:22' },
    { ...fresh(), want: { seconds: 61 } },
    { ...fresh(), want: {} },
    { ...wish(world, one, 'NOBODY'), calleeName: three.name },
    { ...wish(world, mallory, three.name), callerName: one.name },
  ];
  for (const message of forged) world.up(one, message);
  t.equal(world.of('trigger').length, 0);
  t.equal(world.manager.counts.badSignature, forged.length);
  world.advance(4_999);
  t.equal(world.of('refusal').length, 0);
  world.advance(1);
  t.equal(world.of('refusal').length, forged.length, 'refused at their time like anybody');
  world.up(one, fresh());
  t.equal(world.of('trigger').length, 1, 'positive control');
});

t.test('S2002: the callee is shown the caller’s own signed request', async (t) => {
  const { world, one, three } = pair();
  const message = wish(world, one, three.name);
  world.up(one, message);
  const ask = world.asked(three, 'ask');
  const { callerId, callerName, service, want } = ask;
  const shown = { nonce: ask.nonce, callerId, callerName, calleeName: three.name, service, want };
  t.ok(isRequestOf(nodeSuite, ask.callerKeys, shown, ask.signature));
  t.equal(ask.nonce, message.request);
  t.not(ask.request, message.request, 'under an ID of our own');
  const other = { ...shown, calleeName: 'TERM4' as Name };
  t.notOk(isRequestOf(nodeSuite, ask.callerKeys, other, ask.signature), 'and about nobody else');
});

t.test('S2003: a verdict that the callee did not sign so introduces nobody', async (t) => {
  const { world, one, three } = pair();
  const mallory = world.terminal('MALLORY');
  const asked = (): RequestId => {
    world.connect(one, three.name);
    return world.asked(three, 'ask').request;
  };
  const former = yes(world, three, asked(), one);
  const forge: readonly ((answer: MessageOf<'allowList'>) => MessageOf<'allowList'>)[] = [
    (answer) => ({ ...answer, signature: flipped(answer.signature) }),
    (answer) => ({ ...answer, signature: former.signature }),
    (answer) => ({ ...former, request: answer.request }),
    (answer) => ({ ...answer, entries: [allow('*')] }),
    (answer) => ({ ...answer, approved: true }),
    (answer) => ({ ...answer, record: randomRecordId(world.rng) }),
    (answer) => ({ ...answer, nonce: randomRequestId(world.rng) }),
    (answer) => ({ ...answer, signature: yes(world, mallory, answer.request, one).signature }),
    (answer) => ({ ...answer, signature: signVerdict(three.key, answer.signature) }),
  ];
  for (const [at, change] of forge.entries()) {
    const answer = yes(world, three, asked(), one);
    send(world, three, change(answer));
    t.equal(world.manager.counts.badSignature, at + 1);
    send(world, three, answer);
  }
  t.equal(world.of('addressQuery').length, 0, 'and the first answer decides');
  world.advance(5_000);
  t.equal(world.of('refusal').length, forge.length + 1);
  t.equal(world.manager.sessions('open').length, 0);
  world.introduce(one, three);
  t.equal(world.manager.sessions('open').length, 1, 'positive control');
});

t.test('S2008: the caller is shown what the callee signed, the callee its nonce', async (t) => {
  const { world, one, three } = pair();
  const message = wish(world, one, three.name);
  world.up(one, message);
  const ask = world.asked(three, 'ask').request;
  const answer = yes(world, three, ask, one);
  send(world, three, answer);
  world.answerBoth(one, three);
  const noticeOf = (terminal: Terminal) =>
    world.of('addressNotice').find(({ topic }) => topic === down(terminal))?.message;
  const told = noticeOf(one);
  const verdict = told?.verdict ?? new Uint8Array();
  const signature = told?.verdictSignature ?? new Uint8Array();
  t.ok(isVerdictOf(nodeSuite, three.keys.ed25519, verdict, signature));
  t.match(decodeVerdict(verdict), {
    ask,
    nonce: answer.nonce,
    calleeId: three.id,
    callerId: one.id,
    request: nodeSuite.blake2s(
      encodeRequest({ ...message, nonce: message.request, callerId: one.id }),
    ),
  });
  const grant = decodeGrant(told?.grant ?? new Uint8Array());
  t.strictSame(grant?.verdict, nodeSuite.blake2s(verdict));
  t.equal(told?.request, message.request);
  t.match(noticeOf(three), {
    request: answer.nonce,
    verdict: undefined,
    verdictSignature: undefined,
  });
});

t.test('S6001: the log shows who asked and who agreed, by public keys alone', async (t) => {
  const world = new World();
  const one = world.terminal(`1${'n'.repeat(63)}`);
  const three = world.terminal(`3${'n'.repeat(63)}`);
  const want = { seconds: LIMITS.grantSecondsMax, bytes: LIMITS.grantBytesMax };
  const { session } = world.introduce(one, three, { want });
  const [entry] = world.logged('introduced');
  const { ed25519 } = one.keys;
  t.ok(verifySigned(nodeSuite, ed25519, 'request', entry.request, entry.requestSignature));
  t.ok(isVerdictOf(nodeSuite, three.keys.ed25519, entry.verdict, entry.verdictSignature));
  const verdict = decodeVerdict(entry.verdict);
  t.strictSame(verdict?.request, nodeSuite.blake2s(entry.request), 'a yes to this very request');
  t.match(verdict, { calleeId: entry.calleeId, callerId: entry.callerId });
  t.match(entry, { session, callerId: one.id, calleeId: three.id });
  const longest = Math.max(...world.logBytes().map((bytes) => bytes.length));
  t.ok(longest < LIMITS.messageBytesMax / 8, `${longest} bytes are far from what CBOR takes`);
});

t.test('S2005: an entry that asks its owner counts once the owner has approved', async (t) => {
  const { world, one, three } = pair();
  const entries = [allow(one.name, { ask: true })];
  for (const approved of [false, true]) {
    world.connect(one, three.name);
    const { request } = world.asked(three, 'ask');
    const record = randomRecordId(world.rng);
    const mode = 'verdict';
    const answer = { request, entries, mode, record, approved } as const;
    send(world, three, world.signedAnswer(three, answer));
    t.equal(world.of('addressQuery').length, approved ? 1 : 0);
  }
});

t.test('S5004: a wish for more time that its end did not sign asks nobody', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three, { want: { seconds: 60 } });
  const triggers = world.of('trigger').length;
  const fields = () => ({
    request: randomRequestId(world.rng),
    session,
    revision: 1,
    want: { seconds: 120 },
  });
  const byCaller = (of: ReturnType<typeof fields>) =>
    signExtension(one.key, { ...of, askerId: one.id });
  const [first, second, third, fourth] = [fields(), fields(), fields(), fields()];
  const forged = [
    { ...first, signature: flipped(byCaller(first)) },
    { ...second, want: { seconds: 7_200 }, signature: byCaller(second) },
    { ...third, signature: byCaller(second) },
    { ...fourth, signature: signExtension(three.key, { ...fourth, askerId: three.id }) },
  ];
  for (const message of forged) {
    world.up(one, { kind: 'extend', ...message });
    t.match(world.last('refusal'), { request: message.request, code: 'refused' });
  }
  t.equal(world.of('trigger').length, triggers);
  t.equal(world.manager.counts.badSignature, forged.length);
  world.extend(one, session, 1, { seconds: 120 });
  t.equal(world.of('trigger').length, triggers + 1, 'positive control');
  const fifth = fields();
  world.up(three, { kind: 'extend', ...fifth, signature: byCaller(fifth) });
  t.match(world.last('refusal'), { request: fifth.request, code: 'refused' });
  t.equal(world.manager.counts.badSignature, forged.length + 1, 'nor joins one that asks');
});

t.test('S6002: an extension needs the callee’s signed yes, to these very totals', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three, { want: { seconds: 60 } });
  for (const [revision, isForged] of [
    [1, true],
    [1, false],
    [2, true],
  ] as const) {
    world.extend(one, session, revision, { seconds: 60 + 60 * revision });
    const answer = yes(world, three, world.asked(three, 'askExtend').request, one);
    const { signature } = answer;
    send(world, three, { ...answer, signature: isForged ? flipped(signature) : signature });
    world.advance(LIMITS.extendPauseMs);
  }
  t.equal(world.manager.counts.badSignature, 2);
  t.equal(world.of('newExpiry').length, 2, 'one, to both');
  t.match(world.logged('extended'), [{ revision: 1, seconds: 120 }]);
});

t.test('S6003: the log shows who wished for more and who agreed', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three, { want: { seconds: 60 } });
  world.extend(three, session, 1, { seconds: 120 });
  world.answerList(three, world.asked(three, 'askExtend').request, [allow(one.name)]);
  const wished = world.extend(one, session, 2, { seconds: 180 });
  world.end(one, session, 'done');
  world.answerList(three, world.asked(three, 'askExtend').request, [allow(one.name)]);
  const [extended] = world.logged('extended');
  const [unused] = world.logged('unused');
  const want = (seconds: number, revision: number) => ({ session, revision, want: { seconds } });
  for (const { entry, by } of [
    { entry: extended, by: three },
    { entry: unused, by: one },
  ]) {
    const { ed25519 } = by.keys;
    t.ok(verifySigned(nodeSuite, ed25519, 'extension', entry.request, entry.requestSignature));
    t.ok(isVerdictOf(nodeSuite, three.keys.ed25519, entry.verdict, entry.verdictSignature));
  }
  const asked = { request: wished, askerId: one.id, ...want(180, 2) };
  t.ok(isExtensionOf(nodeSuite, one.keys.ed25519, asked, unused.requestSignature));
  t.notOk(
    isExtensionOf(
      nodeSuite,
      one.keys.ed25519,
      { ...asked, ...want(181, 2) },
      unused.requestSignature,
    ),
  );
});

t.test('S4002: a callee with a new channel is asked again, for what is left', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three, { want: { seconds: 60 } });
  world.connect(one, three.name, { waitMs: 4_000 });
  const ask = world.asked(three, 'ask').request;
  world.extend(one, session, 1, { seconds: 120 });
  const askExtend = world.asked(three, 'askExtend').request;
  const before = world.of('trigger').length;
  world.advance(1_500);
  world.reboot(three);
  world.join(three);
  const again = world.of('trigger').slice(before);
  t.match(again, [{ message: { deadlineMs: 2_500 } }, { message: { deadlineMs: 3_500 } }]);
  t.equal(world.asked(three, 'ask').request, ask, 'the same questions');
  t.equal(world.asked(three, 'askExtend').request, askExtend);
  const triggers = world.of('trigger').map(({ message }) => message.request);
  t.equal(
    new Set(triggers).size,
    triggers.length,
    'each in a trigger that no broker has handed over',
  );
  world.answerList(three, ask, [allow(one.name)]);
  world.answerBoth(one, three);
  world.answerList(three, askExtend, [allow(one.name)]);
  t.equal(world.logged('introduced').length, 2);
  t.equal(world.logged('extended').length, 1);
  world.reboot(three);
  world.join(three);
  t.equal(world.of('trigger').length, before + 2, 'what is answered is not asked again');
});

t.test('S2003: a callee revoked in mid-call is like a name that nobody has', async (t) => {
  const { world, one, three } = pair();
  world.connect(one, 'NOBODY');
  world.connect(one, three.name);
  world.connect(one, three.name);
  world.answerList(three, world.asked(three, 'ask').request, [allow(one.name)]);
  world.disk = 'hold';
  world.connect(one, three.name);
  world.answerList(three, world.asked(three, 'ask').request, [allow(one.name)]);
  world.answerBoth(one, three);
  const revoked = world.command({ kind: 'revoke', name: three.name });
  world.disk = 'works';
  while (world.batches.length > 0) world.flush();
  t.equal(world.reply(revoked, 'revoked').outcome.name, three.name);
  t.equal(world.of('addressNotice').length, 0, 'also what was being written reaches nobody');
  world.advance(4_999);
  t.equal(world.of('refusal').length, 0);
  world.advance(1);
  t.strictSame(
    world.of('refusal').map(({ message, at, topic }) => [message.code, at, topic]),
    Array.from({ length: 4 }, () => ['refused', 5_000, down(one)]),
  );
  t.equal(world.manager.sessions('open').length, 0);
});

t.test(
  'S2001: what a revoked caller had asked is dropped, and its turn is another’s',
  async (t) => {
    const { world, one, three } = pair();
    const [own, half] = [LIMITS.asksPerStrangerMax, LIMITS.asksPerCalleeMax / 2];
    for (let i = 0; i < own + 3; i++) world.connect(one, three.name);
    const others = Array.from({ length: half - own + 1 }, (_, at) => world.terminal(`S${at}`));
    for (const other of others) world.connect(other, three.name);
    t.equal(world.of('trigger').length, half);
    world.command({ kind: 'revoke', name: one.name });
    t.equal(world.of('trigger').length, half + 1);
    t.equal(world.asked(three, 'ask').callerId, others.at(-1)?.id);
    world.advance(5_000);
    t.strictSame(
      world.of('refusal').map(({ topic }) => topic),
      others.map(down),
      'nobody speaks to the one that is gone',
    );
  },
);
