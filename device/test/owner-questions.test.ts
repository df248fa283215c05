// Entries with `ask`: the owner decides at every call and at every extension; nothing goes on
// without a word, and a word that comes too late changes nothing.

import t from 'tap';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import type { Name } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { OwnerQuestion, TerminalOutput } from '../terminal-types.ts';
import { eventsOf, introduced, question, sentOf, talkEvents, two } from './talking.ts';
import type { Node } from './world-types.ts';
import { AT, World } from './world.ts';

const ASKS = { ask: true } as const;

/** What the owner of a terminal was asked. */
function questions(node: Node): OwnerQuestion[] {
  return node.outputs.flatMap((output) => (output.kind === 'askOwner' ? [output.question] : []));
}

function outputsOf<K extends TerminalOutput['kind']>(
  node: Node,
  kind: K,
): Extract<TerminalOutput, { kind: K }>[] {
  return node.outputs.filter(
    (output): output is Extract<TerminalOutput, { kind: K }> => output.kind === kind,
  );
}

function say(world: World, node: Node, approved: boolean, at = -1): void {
  const asked = questions(node).at(at);
  if (asked === undefined) throw new Error('nobody was asked');
  node.terminal.handle(world.now, { kind: 'ownerAnswer', ask: asked.ask, approved });
  world.settle();
}

t.test('S4003: the owner is asked, and a yes lets the caller in', async (t) => {
  const { world, caller, callee } = two(new World(), { ...ASKS, remember: 60 });
  const began = world.now;
  world.call(caller, 'TERM3', { want: { seconds: 60, bytes: 5 } });
  t.match(questions(callee), [
    {
      caller: { name: 'TERM1', id: caller.id },
      service: 'pipe',
      want: { seconds: 60, bytes: 5 },
      entry: { pattern: 'TERM1', ask: true, remember: 60 },
      isExtension: false,
      until: began + 5_000_000,
    },
  ]);
  t.equal(sentOf(callee, 'allowList').length, 0, 'nothing is said before');
  t.equal(callee.sockets.size, 0);
  world.run(3);
  say(world, callee, true);
  t.match(sentOf(callee, 'allowList'), [{ approved: true, entries: [{ ask: true }] }]);
  t.ok(world.run(1, () => talkEvents(caller, 'established').length === 1));
  t.equal(questions(callee).length, 1, 'the second check does not ask again');
  t.equal(outputsOf(callee, 'forgetOwner').length, 0);
});

t.test('S2005: the owner says no', async (t) => {
  const { world, caller, callee } = two(new World(), ASKS);
  world.call(caller, 'TERM3');
  say(world, callee, false);
  t.match(sentOf(callee, 'allowList'), [{ approved: false, entries: [], record: undefined }]);
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
  t.match(eventsOf(callee, 'turnedAway'), [{ caller: 'TERM1' }]);
  t.equal(callee.sockets.size, 0);
});

t.test('an owner who says nothing in time is forgotten, and nothing is answered', async (t) => {
  const { world, callee } = two(new World(), ASKS);
  world.hand(callee, question(world, world.nodes[0]), 3_000);
  world.settle();
  world.run(2.9);
  t.equal(outputsOf(callee, 'forgetOwner').length, 0);
  world.run(0.2);
  const [{ ask }] = questions(callee);
  t.strictSame(outputsOf(callee, 'forgetOwner'), [{ kind: 'forgetOwner', ask }]);
  say(world, callee, true);
  t.equal(sentOf(callee, 'allowList').length, 0);
  t.equal(callee.terminal.status(world.now).counters.unexpected, 1, 'too late');
  t.equal(callee.sockets.size, 0);
});

t.test('the same question asked again does not ask the owner again', async (t) => {
  const { world, caller, callee } = two(new World(), ASKS);
  const ask = question(world, caller);
  for (let i = 0; i < 3; i++) world.hand(callee, ask);
  world.settle();
  t.equal(questions(callee).length, 1);
  say(world, callee, true);
  world.hand(callee, ask);
  world.settle();
  t.equal(questions(callee).length, 1);
  const [first, second] = sentOf(callee, 'allowList');
  t.strictSame(second, first);
});

t.test('an owner is not asked about what the list refuses anyhow', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const callee = world.add('TERM3', {
    list: [
      { action: 'allow', pattern: '*', ask: true },
      { action: 'deny', pattern: 'TERM1' },
    ],
  });
  world.call(caller, 'TERM3');
  t.equal(questions(callee).length, 0);
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
});

t.test('S4004: after a yes the list is read anew, and the entry must still allow', async (t) => {
  for (const entries of [[], [{ action: 'deny', pattern: 'TERM1' } as const]]) {
    const { world, caller, callee } = two(new World(), ASKS);
    world.call(caller, 'TERM3');
    callee.list = { version: 'v2', mode: 'verdict', entries };
    say(world, callee, true);
    t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
    t.match(sentOf(callee, 'allowList'), [{ approved: false }]);
    t.equal(callee.sockets.size, 0);
  }
});

t.test('claim 14: while the owner thinks, until comes nearer', async (t) => {
  const until = new Date(AT.wallMs + 10_000).toISOString();
  const { world, caller, callee } = two(new World(), { ...ASKS, until });
  world.call(caller, 'TERM3');
  const list = callee.list;
  const handle = callee.terminal.handle.bind(callee.terminal);
  // Four seconds later by the wall as well.
  const later = { ...AT, wallMs: (AT.wallMs + 4_000) as typeof AT.wallMs };
  callee.terminal.handle = (now, input) =>
    handle(now, input.kind === 'list' ? { ...input, list, at: later } : input);
  world.run(4);
  say(world, callee, true);
  t.match(sentOf(callee, 'allowList'), [{ entries: [{ untilSeconds: 6 }] }]);
  t.match(eventsOf(caller, 'introduced'), [{ terms: { seconds: 6 } }]);
});

t.test('S4004: an entry that asks since the answer refuses a notice', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  world.alter = (to, notice) => {
    const entries = [{ action: 'allow', pattern: 'TERM1', ask: true } as const];
    if (to === callee) callee.list = { version: 'v2', mode: 'verdict', entries };
    return notice;
  };
  world.call(caller, 'TERM3');
  t.equal(eventsOf(callee, 'introduced').length, 0);
  t.equal(questions(callee).length, 0, 'nobody is asked at the notice');
  t.match(eventsOf(callee, 'turnedAway'), [{ caller: 'TERM1' }]);
});

t.test('S6002: at an extension the owner is asked again, once, and a yes counts', async (t) => {
  const world = new World();
  const asked = new Set<number>();
  world.approves = ({ ask, isExtension }) => {
    asked.add(ask);
    return isExtension ? undefined : true;
  };
  const { caller, callee } = two(world, ASKS);
  world.call(caller, 'TERM3', { want: { seconds: 10 }, extend: true });
  t.ok(world.run(8, () => asked.size === 2));
  t.match(questions(callee).at(-1), { isExtension: true, want: { seconds: 20 } });
  world.run(1);
  t.equal(eventsOf(callee, 'extended').length, 0);
  say(world, callee, true);
  t.match(sentOf(callee, 'allowList').at(-1), { approved: true });
  t.equal(eventsOf(callee, 'extended').length, 1);
  t.equal(eventsOf(caller, 'extended').length, 1);
});

t.test(
  'S6002: an owner who says no to an extension, or nothing, leaves the old expiry',
  async (t) => {
    for (const word of [false, undefined]) {
      const world = new World();
      world.approves = ({ isExtension }) => (isExtension ? word : true);
      const { caller, callee } = two(world, ASKS);
      world.call(caller, 'TERM3', { want: { seconds: 10 }, extend: true });
      world.run(12);
      t.equal(eventsOf(callee, 'extended').length, 0);
      t.match(eventsOf(caller, 'ended'), [{ reason: 'time' }]);
      const forgotten = outputsOf(callee, 'forgetOwner').length;
      t.equal(forgotten, word === undefined ? 1 : 0, 'a talk that is over asks nobody any more');
    }
  },
);

t.test('an extension that is asked again in another channel asks the owner once', async (t) => {
  const world = new World();
  world.approves = ({ isExtension }) => (isExtension ? undefined : true);
  const { caller, callee } = two(world, ASKS);
  world.call(caller, 'TERM3', { want: { seconds: 100 } });
  world.run(2, () => talkEvents(callee, 'established').length === 1);
  const [{ session }] = eventsOf(callee, 'introduced');
  const { request, callerId, callerName, service } = question(world, caller);
  const who = { callerId, callerName, service, want: { seconds: 200 } };
  const again = { kind: 'askExtend', request, session, ...who } as const;
  const before = sentOf(callee, 'allowList').length;
  for (let i = 0; i < 3; i++) world.hand(callee, again);
  world.settle();
  t.equal(questions(callee).length, 2);
  say(world, callee, true);
  world.hand(callee, again);
  world.settle();
  t.equal(questions(callee).length, 2);
  const [first, second] = sentOf(callee, 'allowList').slice(before);
  t.match(first, { approved: true });
  t.strictSame(second, first);
});

t.test('questions are bounded, and strangers get half of them', async (t) => {
  const entry: AllowEntry = { action: 'allow', pattern: '*', ask: true };
  const world = new World();
  const friend = world.add('FRIEND');
  const stranger = world.add('STRANGER');
  const callee = world.add('TERM3', { list: [entry] });
  callee.terminal.trust('FRIEND' as Name, friend.id);
  for (let i = 0; i < LIMITS.ownerAsksMax; i++) world.hand(callee, question(world, stranger));
  world.settle();
  t.equal(questions(callee).length, LIMITS.ownerAsksMax / 2);
  for (let i = 0; i < LIMITS.ownerAsksMax; i++) world.hand(callee, question(world, friend));
  world.settle();
  t.equal(questions(callee).length, LIMITS.ownerAsksMax);
  const { askFlood } = callee.terminal.status(world.now).counters;
  t.equal(askFlood, LIMITS.ownerAsksMax);
  t.equal(sentOf(callee, 'allowList').length, LIMITS.ownerAsksMax);
  world.run(10);
  t.equal(outputsOf(callee, 'forgetOwner').length, LIMITS.ownerAsksMax);
});

t.test('claim 1: a terminal that polls stays while its owner thinks', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const list = [{ action: 'allow', pattern: 'TERM1', ask: true }] as const;
  const callee = world.add('TERM3', { pollSeconds: 60, list });
  world.call(caller, 'TERM3', { waitMs: 120_000 });
  t.ok(world.run(70, () => questions(callee).length === 1));
  world.run(3);
  t.equal(callee.isLinkUp, true);
  say(world, callee, true);
  t.ok(world.run(2, () => talkEvents(caller, 'established').length === 1));
});

t.test('an answer to nothing is counted', async (t) => {
  const { world, callee } = introduced();
  callee.terminal.handle(world.now, { kind: 'ownerAnswer', ask: 99, approved: true });
  t.equal(callee.terminal.status(world.now).counters.unexpected, 1);
});
