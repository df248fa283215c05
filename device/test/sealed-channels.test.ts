// What a terminal says and obeys when the broker is not trusted: a hello first, then everything
// sealed; what comes without a seal does nothing but make it shake hands, and not too often.
// Long because each way in which a channel begins, is lost or is attacked is a story of its own.

import t from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Message, MessageOf } from '../../protocol/control/messages.ts';
import { NO_COUNTS } from '../../protocol/ends.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { TerminalStatus } from '../terminal-types.ts';
import { Terminal } from '../terminal.ts';
import { eventsOf, introduced, question, sentOf, two } from './talking.ts';
import type { Node } from './world-types.ts';
import { World } from './world.ts';

/** The messages as the broker sees them. */
const onWire = (node: Node): Message[] =>
  node.wire.flatMap((bytes) => {
    const message = decodeMessage(bytes);
    return message === undefined ? [] : [message];
  });

const hellos = (node: Node): number => sentOf(node, 'hello').length;

const counters = (world: World, node: Node): TerminalStatus['counters'] =>
  node.terminal.status(world.now).counters;

/** The channels that sealed messages left in, oldest first, each named once. */
const channelsUsed = (node: Node): string[] => [
  ...new Set(
    onWire(node).flatMap((message) =>
      message.kind === 'sealed' ? [Buffer.from(message.channel).toString('hex')] : [],
    ),
  ),
];

t.test('S4001: before the channel nothing leaves but the address and a hello', async (t) => {
  const world = new World();
  world.answers.hello = false;
  const node = world.add('TERM1');
  world.add('TERM3', { list: [{ action: 'allow', pattern: 'TERM1' }] });
  world.call(node, 'TERM3', { waitMs: 60_000 });
  world.run(10);
  t.strictSame([...new Set(onWire(node).map(({ kind }) => kind))], ['address', 'hello']);
  t.equal(node.terminal.status(world.now).registered, false);
  world.answers.hello = true;
  t.ok(world.run(30, () => eventsOf(node, 'registered').length === 1));
  world.settle();
  t.equal(sentOf(node, 'connect').length, 1, 'and then it does');
  t.strictSame(
    [...new Set(onWire(node).map(({ kind }) => kind))],
    ['address', 'hello', 'sealed'],
    'all of it sealed',
  );
});

t.test('S4001: a hello without an answer is said again, each a handshake of its own', async (t) => {
  const world = new World();
  world.answers.hello = false;
  const node = world.add('TERM1');
  world.run(100);
  const said = sentOf(node, 'hello');
  t.ok(said.length >= 5 && said.length <= 9, `${said.length} tries in 100 s`);
  t.equal(
    new Set(said.map(({ channel }) => Buffer.from(channel).toString('hex'))).size,
    said.length,
  );
  t.equal(new Set(said.map(({ request }) => request)).size, said.length);
  // The manager keeps what the newest hello made: a late welcome to an earlier one is no channel.
  const late = world.seal.welcome(node, said[said.length - 2]);
  world.tellBytes(node, 'down', encodeMessage(late));
  t.match(counters(world, node), { unexpected: 1, retries: said.length - 1 });
  t.equal(sentOf(node, 'register').length, 0);
  const forged = { ...late, request: said[said.length - 1].request };
  world.tellBytes(node, 'down', encodeMessage(forged));
  t.equal(counters(world, node).unopened, 1);
  const welcome = world.seal.welcome(node, said[said.length - 1]);
  world.tellBytes(node, 'down', encodeMessage(welcome));
  world.settle();
  t.equal(sentOf(node, 'register').length, 1, 'the newest one is answered');
});

t.test('a link that is lost keeps the channel, and ends a handshake', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.link(node, false);
  world.link(node, true);
  world.settle();
  t.equal(hellos(node), 1);
  t.equal(sentOf(node, 'register').length, 2);
  t.equal(channelsUsed(node).length, 1);
  world.answers.hello = false;
  world.run(LIMITS.resealPauseMs / 1_000);
  world.reseal(node);
  world.settle();
  world.link(node, false);
  world.run(60);
  t.equal(hellos(node), 2, 'without a link nothing is said');
  world.answers.hello = true;
  world.link(node, true);
  world.settle();
  t.equal(hellos(node), 3);
  t.equal(channelsUsed(node).length, 2);
});

t.test("S1004: what comes in the manager's name without a seal is dropped", async (t) => {
  const { world, caller, callee, session } = introduced();
  world.answers.connect = false;
  world.call(caller, 'TERM3', { call: 2 });
  const [{ request: register }] = sentOf(caller, 'register');
  const [, { request: connect }] = sentOf(caller, 'connect');
  const notice = world.lastNotice.get(caller);
  if (notice === undefined) throw new Error('there was a notice');
  const before = caller.terminal.status(world.now);
  const plain: readonly Message[] = [
    {
      kind: 'registered',
      request: register,
      name: caller.name,
      membership: Uint8Array.of(9),
      time: 1,
    },
    { kind: 'refusal', request: connect, code: 'refused' },
    { kind: 'refusal', request: register, code: 'cloned' },
    { ...notice, request: connect },
    world.newExpiry(world.sessions[0], connect, { revision: 1, seconds: 4_000 }),
    { kind: 'ended', request: connect, session },
  ];
  for (const message of plain) world.tellBytes(caller, 'down', encodeMessage(message));
  const end = { kind: 'endRequest', request: connect, session, reason: 'operator' } as const;
  world.handBytes(caller, encodeMessage(end));
  world.handBytes(callee, encodeMessage(question(world, caller)));
  world.settle();
  const after = caller.terminal.status(world.now);
  t.equal(after.counters.misplaced, before.counters.misplaced + plain.length + 1);
  t.strictSame(after.talks[0].terms, before.talks[0].terms);
  t.strictSame(after.calls, before.calls);
  t.equal(eventsOf(caller, 'registerRefused').length, 0);
  t.equal(sentOf(callee, 'allowList').length, 1, 'that of the talk');
  // The same words, sealed, do what they say.
  world.tell(caller, 'down', { kind: 'refusal', request: connect, code: 'refused' });
  world.hand(caller, end);
  world.hand(callee, question(world, caller));
  world.settle();
  t.match(eventsOf(caller, 'callFailed'), [{ call: 2, why: 'refused' }]);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'operator' }]);
  t.equal(sentOf(callee, 'allowList').length, 2);
});

t.test('a sealed message that is replayed does nothing', async (t) => {
  const { world, caller, callee } = two();
  const heard: Uint8Array[] = [];
  const tellBytes = world.tellBytes.bind(world);
  world.tellBytes = (to, via, bytes) => {
    if (to === caller && via === 'down') heard.push(bytes);
    tellBytes(to, via, bytes);
  };
  const asks: Uint8Array[] = [];
  const handBytes = world.handBytes.bind(world);
  world.handBytes = (to, payload, deadlineMs) => {
    asks.push(payload);
    handBytes(to, payload, deadlineMs);
  };
  world.call(caller, 'TERM3');
  t.equal(eventsOf(caller, 'introduced').length, 1);
  t.equal(asks.length, 1);
  const before = [...caller.events];
  world.tellBytes = tellBytes;
  for (const bytes of heard) world.tellBytes(caller, 'down', bytes);
  for (const bytes of asks) handBytes(callee, bytes);
  // Nor does it in another terminal's name, or on the other topic.
  for (const bytes of heard) world.tellBytes(callee, 'down', bytes);
  for (const bytes of heard) world.handBytes(caller, bytes);
  world.settle();
  t.ok(heard.length > 0);
  t.equal(counters(world, caller).unopened, 2 * heard.length);
  t.equal(counters(world, callee).unopened, heard.length + 1);
  t.strictSame(caller.events, before);
  t.equal(sentOf(callee, 'allowList').length, 1);
});

t.test('what is sealed for a channel that it has not makes a terminal shake hands', async (t) => {
  const { world, caller, callee } = two();
  const heard: Uint8Array[] = [];
  const tellBytes = world.tellBytes.bind(world);
  world.tellBytes = (to, via, bytes) => {
    if (to === caller && via === 'down') heard.push(bytes);
    tellBytes(to, via, bytes);
  };
  world.call(caller, 'TERM3');
  t.ok(heard.length > 0);
  world.run(5);
  const before = [hellos(caller), hellos(callee)];
  for (const bytes of heard) tellBytes(caller, 'down', bytes);
  for (let at = 0; at < 10; at++) for (const bytes of heard) tellBytes(callee, 'down', bytes);
  world.settle();
  t.strictSame([hellos(caller), hellos(callee)], [before[0], before[1] + 1]);
  world.run(5);
  t.equal(callee.terminal.status(world.now).registered, true);
});

t.test('a hello that is refused is told to the owner, and said again much later', async (t) => {
  const world = new World();
  world.answers.hello = false;
  const node = world.add('TERM1');
  const refuse = (message: Partial<MessageOf<'refusal'>>): void => {
    const { request } = sentOf(node, 'hello')[hellos(node) - 1];
    const refusal = { kind: 'refusal', request, code: 'not-enrolled', ...message } as const;
    world.tellBytes(node, 'down', encodeMessage(refusal));
    world.settle();
  };
  refuse({ request: randomRequestId(world.rng) });
  refuse({ code: 'cloned' });
  t.equal(counters(world, node).misplaced, 2);
  t.equal(eventsOf(node, 'registerRefused').length, 0);
  refuse({});
  refuse({});
  t.equal(eventsOf(node, 'registerRefused').length, 1, 'once for each hello');
  t.match(eventsOf(node, 'registerRefused'), [{ code: 'not-enrolled' }]);
  const before = hellos(node);
  world.run(20);
  t.equal(hellos(node), before);
  world.answers.hello = true;
  world.run(20);
  t.equal(hellos(node), before + 1);
  t.equal(node.terminal.status(world.now).registered, true);
});

t.test('reseal makes one hello, and a flood of it one in every pause', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.run(5);
  for (let i = 0; i < 10; i++) {
    world.reseal(node);
    world.settle();
  }
  t.equal(hellos(node), 2);
  t.equal(eventsOf(node, 'registered').length, 2);
  world.run(0.9);
  t.equal(hellos(node), 2, 'the others wait');
  world.run(5);
  t.equal(hellos(node), 3, 'and come to one more');
  for (let i = 0; i < 100; i++) {
    world.reseal(node);
    world.run(0.1);
  }
  const flooded = hellos(node) - 3;
  t.ok(flooded >= 9 && flooded <= 11, `${flooded} hellos in 10 s of reseal`);
  t.equal(node.terminal.status(world.now).registered, true);
});

t.test('a hello that can still be answered is left alone; an old one is not', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.hello = false;
  world.run(5);
  world.reseal(node);
  t.ok(world.run(60, () => hellos(node) === 7));
  const waiting = hellos(node);
  world.reseal(node);
  world.settle();
  t.equal(hellos(node), waiting, 'it was said just now');
  world.run(LIMITS.helloAnswerMs / 1_000);
  world.reseal(node);
  world.settle();
  t.equal(hellos(node), waiting + 1, 'the manager is back: no waiting for the next try');
  for (let i = 0; i < 5; i++) world.reseal(node);
  world.settle();
  t.equal(hellos(node), waiting + 1);
});

t.test('claim 2: the manager was restarted: an open call gets its answer', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  world.answers.connect = false;
  world.call(caller, 'TERM3', { waitMs: 20_000 });
  world.seal.lose();
  world.answers.connect = true;
  t.ok(world.run(5, () => eventsOf(caller, 'introduced').length === 1));
  t.equal(new Set(sentOf(caller, 'connect').map(({ request }) => request)).size, 1);
  t.equal(channelsUsed(caller).length, 2, 'asked again in a new channel');
  t.equal(hellos(callee), 2, 'the callee was told so inside the call');
  t.equal(eventsOf(callee, 'introduced').length, 1);
  t.equal(eventsOf(caller, 'registered').length, 2);
});

t.test('in a new channel the name comes first, then all that has no answer', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.connect = false;
  world.answers.ended = false;
  world.call(node, 'TERM3', { waitMs: 60_000 });
  const session = randomSessionId(world.rng);
  const record = { session, reason: 'done', counts: NO_COUNTS } as const;
  node.terminal.handle(world.now, { kind: 'restore', records: [record], pins: [] });
  world.run(1.9);
  const before = node.sent.length;
  world.answers.register = false;
  world.reseal(node);
  world.settle();
  const kinds = (): string[] => node.sent.slice(before).map(({ kind }) => kind);
  t.strictSame(kinds(), ['hello', 'register']);
  const { request } = sentOf(node, 'register')[1];
  world.tell(node, 'down', {
    kind: 'registered',
    request,
    name: node.name,
    membership: Uint8Array.of(1),
    time: 1,
  });
  world.settle();
  t.strictSame(kinds(), ['hello', 'register', 'connect', 'endNotice', 'address']);
});

t.test('S1001: half a membership later the channel and the membership are new', async (t) => {
  const { world, caller } = two();
  world.answers.connect = false;
  const addresses = sentOf(caller, 'address').length;
  t.notOk(sentOf(caller, 'address')[0].membership, 'the login showed one');
  world.run(LIMITS.channelSeconds * 0.89);
  t.equal(hellos(caller), 1);
  world.run(LIMITS.channelSeconds * 0.12);
  t.equal(hellos(caller), 2);
  t.equal(caller.outputs.filter(({ kind }) => kind === 'membership').length, 2);
  t.equal(sentOf(caller, 'address').length, addresses + 1);
  t.match(sentOf(caller, 'address')[addresses], { candidates: [], membership: Uint8Array.of(1) });
  t.equal(caller.terminal.status(world.now).registered, true);
  t.equal(counters(world, caller).unexpected, 0);

  const told = (call: number): number =>
    eventsOf(caller, 'callFailed').filter((event) => event.call === call).length;
  const refusalInOldChannel = (call: number): Uint8Array => {
    world.call(caller, 'TERM3', { call, waitMs: 600_000 });
    const connects = sentOf(caller, 'connect');
    const { request } = connects[connects.length - 1];
    const refusal = encodeMessage({ kind: 'refusal', request, code: 'refused' });
    const bytes = world.seal.sealOld(caller, refusal);
    if (bytes === undefined) throw new Error('there was a channel before');
    return bytes;
  };
  world.tellBytes(caller, 'down', refusalInOldChannel(2));
  world.settle();
  t.equal(told(2), 1, 'what was under way in the old channel still opens');
  const late = refusalInOldChannel(3);
  world.reseal(caller);
  world.settle();
  t.equal(hellos(caller), 3);
  world.tellBytes(caller, 'down', late);
  world.settle();
  t.equal(told(3), 0, 'in the one before that, no more');
  t.equal(counters(world, caller).unopened, 1);
});

t.test('a link of a day ago logs in with an old membership, and shows the new one', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.link(node, false);
  world.run(LIMITS.channelSeconds * 0.6);
  world.link(node, true);
  world.settle();
  t.equal(hellos(node), 1, 'the channel is not old');
  t.match(sentOf(node, 'address').slice(1), [
    { membership: undefined },
    { membership: Uint8Array.of(1) },
  ]);
  world.link(node, false);
  world.run(LIMITS.channelSeconds * 0.5);
  world.link(node, true);
  world.settle();
  t.equal(hellos(node), 2, 'now it is');
  t.equal(channelsUsed(node).length, 2);
});

t.test('a terminal whose identity lives twice says so, and keeps quiet', async (t) => {
  const world = new World();
  world.answers.register = false;
  const node = world.add('TERM1');
  const [{ request }] = sentOf(node, 'register');
  world.tell(node, 'down', { kind: 'refusal', request, code: 'cloned' });
  world.call(node, 'TERM3', { waitMs: 60_000 });
  t.match(eventsOf(node, 'registerRefused'), [{ code: 'cloned' }]);
  world.run(20);
  t.equal(sentOf(node, 'register').length, 1);
  t.equal(sentOf(node, 'connect').length, 0);
  world.run(20);
  t.equal(sentOf(node, 'register').length, 2, 'at the longest interval it asks again');
});

t.test('S4002: a terminal that polls stays for what is asked again in a new channel', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const list = [{ action: 'allow', pattern: 'TERM1' }] as const;
  const callee = world.add('TERM3', { pollSeconds: 60, list });
  t.equal(callee.isLinkUp, false);
  world.call(caller, 'TERM3', { waitMs: 120_000 });
  world.seal.lose();
  t.ok(world.run(70, () => eventsOf(callee, 'introduced').length === 1));
  t.equal(hellos(callee), 2);
  t.equal(callee.isLinkUp, true);

  const idle = world.add('TERM2', { pollSeconds: 60 });
  world.seal.lose();
  t.ok(
    world.run(70, () => hellos(idle) === 2),
    'its name is not known in the old channel',
  );
  const since = world.now;
  t.ok(world.run(5, () => !idle.isLinkUp));
  t.equal(Math.round((world.now - since) / 1_000), LIMITS.resealStayMs);
});

t.test('a terminal that polls does not fall asleep over a handshake', async (t) => {
  const world = new World();
  const node = world.add('TERM3', { pollSeconds: LIMITS.channelSeconds });
  t.equal(node.isLinkUp, false);
  world.answers.hello = false;
  world.run(LIMITS.channelSeconds);
  t.ok(hellos(node) > 1, 'the channel is old');
  world.run(20);
  t.equal(node.terminal.status(world.now).registered, true, 'it still serves');
  t.equal(node.isLinkUp, true);
  world.answers.hello = true;
  t.ok(world.run(60, () => !node.isLinkUp));
  t.equal(channelsUsed(node).length, 2);
});

t.test('a manager key that is none is the fault of who gives it', async (t) => {
  const world = new World();
  const signingKey = nodeSuite.signingKey(new Uint8Array(32).fill(1));
  const { id, name } = world.add('TERM1');
  const make = (managerAgreementKey: Uint8Array): Terminal =>
    new Terminal({
      id,
      name,
      managerKey: world.manager.publicKey,
      managerAgreementKey,
      signingKey,
      localKey: nodeSuite.dhKey(new Uint8Array(32).fill(2)),
      suite: nodeSuite,
      rng: world.rng,
    });
  t.throws(() => make(new Uint8Array(32)), { code: 'bad-manager-key' });
  t.ok(make(world.seal.key.publicKey));
});
