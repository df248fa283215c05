// Sealed channels at the manager's core: who is
// obeyed, what a broker can do with what it saw, and
// one identity that lives twice.

import t from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Message } from '../../protocol/control/messages.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { type RequestId, randomRecordId, randomRequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MANAGER_LIMITS } from '../limits.ts';
import { pair, told } from './pair.ts';
import {
  CALLEE_ADDRESS,
  CALLER_ADDRESS,
  START_WALL,
  type Terminal,
  World,
  allow,
  down,
  holds,
} from './virtual-manager.ts';

function bytesOf(sealed: Uint8Array): Extract<Message, { kind: 'sealed' }> {
  const message = decodeMessage(sealed);
  if (message?.kind !== 'sealed') throw new Error('not sealed');
  return message;
}

/** A yes to everybody. */
function answerOf(world: World, callee: Terminal, request: RequestId): Message {
  const record = randomRecordId(world.rng);
  return world.signedAnswer(callee, { request, entries: [allow('*')], mode: 'verdict', record });
}

t.test('S2000: a terminal that has sealed a channel says its name and is registered', async (t) => {
  const { world, one } = pair();
  t.match(world.manager.devices()[0], { name: 'TERM1', registered: START_WALL });
  world.wallShiftMs = 5_000;
  world.up(one, world.registerMessage(one, { pollSeconds: 300 }));
  const registered = world.last('registered');
  t.match(registered, { name: 'TERM1', time: START_WALL + 5_000, serverKeys: undefined });
  const membership = openMembership(nodeSuite, world.key.publicKey, registered.membership);
  t.equal(membership?.device, one.id);
  t.equal((membership?.expiresAt ?? 0) - (membership?.issuedAt ?? 0), LIMITS.membershipSeconds);
  t.match(world.manager.devices()[0], { pollSeconds: 300, registered: START_WALL + 5_000 });
});

t.test('S2000: a name that is another’s is refused, and gives no channel', async (t) => {
  const { world, three } = pair();
  world.reboot(three);
  world.join(three, { name: 'TERM1' as Terminal['name'] });
  t.match(world.sent.at(-1), { topic: down(three), message: { code: 'name-taken' } });
  const before = world.manager.counts.unexpected;
  world.connect(three, 'TERM1');
  t.equal(world.manager.counts.unexpected, before + 1);
  t.equal(world.of('trigger').length, 0);
});

t.test('a broker that reads along sees no name, no address, no key', async (t) => {
  const { world, one, three } = pair();
  world.introduce(one, three);
  const [notice] = world.of('addressNotice');
  const secrets = [notice.message.key, CALLER_ADDRESS, CALLEE_ADDRESS, Buffer.from('TERM3')];
  const down = world.sent.filter(({ topic }) => topic.includes('/down/'));
  for (const secret of secrets) {
    t.ok(
      world.sent.some(({ bytes }) => holds(bytes, secret)),
      'the terminal reads it',
    );
    t.notOk(down.some(({ wire }) => holds(wire, secret)));
  }
  const triggers = world.sent.filter(({ message }) => message.kind === 'trigger');
  t.ok(triggers.length > 0);
  t.notOk(triggers.some(({ wire }) => holds(wire, Buffer.from('TERM1'))));
});

t.test('nothing that comes plain is obeyed but a hello', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three);
  const { message: connect } = world.connect(one, three.name);
  const { request } = world.asked(three, 'ask');
  const answer = answerOf(world, three, request);
  const end = { sentBytes: 0, receivedBytes: 0, lostBytes: 0, wireBytes: 0, durationMs: 0 };
  const plain: readonly Message[] = [
    { ...connect, request: randomRequestId(world.rng) },
    answer,
    world.registerMessage(one, { name: 'TERM3' as Terminal['name'] }),
    { kind: 'endNotice', request: randomRequestId(world.rng), session, reason: 'done', ...end },
    { kind: 'reseal', request: randomRequestId(world.rng) },
    { kind: 'ended', request: randomRequestId(world.rng), session },
  ];
  const [before, counted] = [world.sent.length, world.manager.counts.unexpected];
  for (const message of plain) {
    for (const via of ['up', 'allow-list'] as const) {
      world.raw(one, encodeMessage(message), via);
      world.raw(three, encodeMessage(message), via);
    }
  }
  world.raw(one, world.hello(one), 'allow-list');
  t.equal(world.sent.length, before, 'nobody is answered');
  t.equal(world.manager.counts.unexpected, counted + 4 * plain.length + 1);
  t.equal(world.manager.sessions('open')[0].reason, undefined);
  world.raw(three, world.seal(three, encodeMessage(answer)), 'allow-list');
  t.equal(world.of('addressQuery').length, 2, 'positive control: sealed, it is obeyed');
});

t.test('what is sealed for one topic is not obeyed on the other', async (t) => {
  const { world, one, three } = pair();
  const { message } = world.connect(one, three.name);
  const { request } = world.asked(three, 'ask');
  const answer = answerOf(world, three, request);
  world.raw(three, world.seal(three, encodeMessage(answer)), 'up');
  const again = { ...message, request: randomRequestId(world.rng) };
  world.raw(one, world.seal(one, encodeMessage(again)), 'allow-list');
  const register = encodeMessage(world.registerMessage(one));
  world.raw(one, world.seal(one, register), 'allow-list');
  t.equal(world.of('addressQuery').length, 0);
  t.equal(world.of('trigger').length, 1);
  t.equal(world.of('registered').length, 0);
  t.equal(world.manager.counts.unexpected, 3);
  world.raw(three, world.seal(three, encodeMessage(answer)), 'allow-list');
  t.equal(world.of('addressQuery').length, 1, 'positive control');
});

t.test('who has not registered in a channel is not heard in it', async (t) => {
  const { world, one, three } = pair();
  world.raw(one, world.hello(one));
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 0);
  t.equal(world.manager.counts.unexpected, 1);
  world.up(one, world.registerMessage(one));
  t.equal(world.of('registered').length, 1);
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 1);
});

t.test('a replayed hello displaces nothing, whenever it comes', async (t) => {
  const { world, one, three } = pair();
  const hellos: Uint8Array[] = [];
  for (let change = 0; change < 3; change++) {
    const hello = world.hello(one);
    hellos.push(hello);
    world.raw(one, hello);
    world.up(one, world.registerMessage(one));
    world.advance(1_000);
    for (const replayed of hellos) world.raw(one, replayed);
    world.connect(one, three.name, { waitMs: 1_000 });
    t.equal(world.of('trigger').length, change + 1, 'the channel in use stays in use');
    world.advance(1_000);
    t.equal(told({ world, one, three }, one).at(-1), 'refusal', 'both ways');
  }
  // The last three replays made a channel that nobody has the other half of.
  world.raw(one, hellos[0]);
  const after = world.sent.length;
  world.up(one, world.registerMessage(one));
  t.strictSame(told({ world, one, three }, one, after), ['registered']);
});

t.test('the same hello, sent again, has the same welcome', async (t) => {
  const { world, one } = pair();
  const hello = world.hello(one);
  world.raw(one, hello);
  world.raw(one, hello);
  const [first, second] = world.of('welcome');
  t.strictSame(first, second, 'whichever arrives, the channel is the same one');
  world.up(one, world.registerMessage(one));
  t.equal(world.of('registered').length, 1);
});

t.test('a second hello replaces the pending channel only', async (t) => {
  const { world, one, three } = pair();
  const { channel: current } = world.line(one);
  world.raw(one, world.hello(one));
  world.raw(one, world.hello(one));
  world.line(one).former = current;
  const register = encodeMessage(world.registerMessage(one));
  world.raw(one, current?.seal(register) ?? register);
  t.equal(world.of('registered').length, 1, 'the one in use is still there');
  world.up(one, world.registerMessage(one));
  t.equal(world.of('registered').length, 2);
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 1);
});

t.test('the channel before is still opened, and never used for sending', async (t) => {
  const { world, one, three } = pair();
  const { channel: before } = world.line(one);
  world.join(one);
  const { message } = world.connect(one, three.name, { waitMs: 1_000 });
  const again = encodeMessage({ ...message, request: randomRequestId(world.rng) });
  const signed = world.signedConnect(one, {
    ...message,
    request: randomRequestId(world.rng),
  });
  t.not(encodeMessage(signed), again);
  world.raw(one, before?.seal(encodeMessage(signed)) ?? again);
  t.equal(world.of('trigger').length, 2, 'what was on its way arrives');
  world.line(one).former = undefined;
  world.advance(1_000);
  t.equal(world.of('refusal').length, 2, 'both answers come in the new channel');
});

t.test('S2001: nothing can be replayed, in its channel, another, or by another', async (t) => {
  const { world, one, three } = pair();
  const mallory = world.terminal('MALLORY');
  world.answersReseal = false;
  const { message } = world.connect(one, three.name);
  const fresh = { ...message, request: randomRequestId(world.rng) };
  const wire = world.seal(one, encodeMessage(fresh));
  world.raw(one, wire);
  const triggers = world.of('trigger').length;
  const { counts } = world.manager;
  const before = counts.unopened;
  world.raw(one, wire);
  t.equal(counts.unopened, before + 1, 'in its own channel');
  world.raw(mallory, wire);
  t.equal(counts.unopened, before + 2, 'by another terminal');
  const next = world.seal(one, encodeMessage(fresh));
  const { channel } = bytesOf(world.seal(mallory, encodeMessage(fresh)));
  world.raw(mallory, encodeMessage({ ...bytesOf(next), channel }));
  t.equal(counts.unopened, before + 3, 'under the channel of another');
  world.raw(mallory, world.hello(one));
  t.equal(counts.unopened, before + 4, 'a hello of another terminal');
  const old = world.seal(one, encodeMessage(fresh));
  world.join(one);
  const { channel: current } = bytesOf(world.seal(one, encodeMessage(fresh)));
  world.raw(one, encodeMessage({ ...bytesOf(old), channel: current }));
  t.equal(counts.unopened, before + 5, 'under the next channel of its own');
  world.join(one);
  world.raw(one, old);
  t.equal(counts.unopened, before + 6, 'of a channel that is closed');
  t.equal(world.of('trigger').length, triggers);
});

t.test('a sealed message with any byte changed is not obeyed', async (t) => {
  const { world, one, three } = pair();
  world.answersReseal = false;
  const { message } = world.connect(one, three.name);
  const fresh = { ...message, request: randomRequestId(world.rng) };
  const wire = world.seal(one, encodeMessage(world.signedConnect(one, fresh)));
  for (let at = 0; at < wire.length; at++) {
    const forged = Uint8Array.from(wire);
    forged[at] ^= 1 << (at % 8);
    world.raw(one, forged);
  }
  t.equal(world.of('trigger').length, 1);
  const { malformed, unopened, unexpected } = world.manager.counts;
  t.equal(malformed + unopened + unexpected, wire.length, 'each one is counted');
  world.raw(one, wire);
  t.equal(world.of('trigger').length, 2, 'positive control: unchanged, it is');
});

t.test('an unknown channel is told to shake hands, at most once a second', async (t) => {
  const { world, one, three } = pair();
  world.answersReseal = false;
  world.restart(1_000, { unaware: true });
  const from = world.sent.length;
  for (let at = 0; at < 10; at++) world.connect(one, three.name);
  t.strictSame(told({ world, one, three }, one, from), ['reseal']);
  world.advance(LIMITS.resealPauseMs);
  world.connect(one, three.name);
  t.strictSame(told({ world, one, three }, one, from), ['reseal', 'reseal']);
  t.equal(world.of('trigger').length, 0);
  t.equal(world.manager.counts.unopened, 11);
});

t.test('an old hello said again to a manager that was restarted shuts nobody out', async (t) => {
  const { world, one, three } = pair();
  world.answersReseal = false;
  const hello = world.hello(one);
  world.raw(one, hello);
  world.raw(one, world.seal(one, encodeMessage(world.registerMessage(one))));
  world.restart(1_000, { unaware: true });
  world.raw(one, hello);
  const from = world.sent.length;
  for (let at = 0; at < 3; at++) world.connect(one, three.name);
  const said = told({ world, one, three }, one, from);
  t.strictSame(said, ['reseal'], 'its channel has the same name and another key');
  world.join(one);
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, 1, 'with a hello of its own it is heard');
});

t.test('who is not enrolled is told so, and nothing else', async (t) => {
  const { world, one } = pair();
  const stranger = world.stranger('TERM9');
  const hello = world.hello(stranger);
  const from = world.sent.length;
  world.raw(stranger, hello);
  const asked = decodeMessage(hello);
  t.match(world.sent.slice(from), [
    {
      topic: down(stranger),
      message: {
        kind: 'refusal',
        code: 'not-enrolled',
        request: asked?.kind === 'hello' && asked.request,
      },
    },
  ]);
  world.raw(stranger, world.seal(one, encodeMessage(world.registerMessage(one))));
  t.equal(world.sent.length, from + 1);
  t.equal(world.manager.counts.unopened, 1);
});

t.test('a flood of hellos is bounded', async (t) => {
  const { world, one, three } = pair();
  world.advance(1_000);
  for (let at = 0; at < 100; at++) world.raw(one, world.hello(one));
  t.equal(world.of('welcome').length, MANAGER_LIMITS.hellosPerSecondMax);
  t.equal(world.manager.counts.overBound, 100 - MANAGER_LIMITS.hellosPerSecondMax);
  world.join(three);
  world.connect(three, one.name);
  t.equal(world.of('trigger').length, 1, 'nobody else notices');
  world.advance(1_000);
  world.join(one);
  const before = world.of('trigger').length;
  world.connect(one, three.name);
  t.equal(world.of('trigger').length, before + 1, 'nor does it, a second later');
});
