// What is open for a terminal that has lost its
// channel, or talks to a manager that has: it is told
// again, and nothing is lost or said twice.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import type { Name } from '../../protocol/ids.ts';
import { pair, told } from './pair.ts';
import { type World, allow, deny } from './virtual-manager.ts';

t.test(
  'S2002: a terminal without a channel is woken plainly, and asked once it has one',
  async (t) => {
    const { world, one, three } = pair();
    world.answersReseal = false;
    world.restart(1_000);
    world.connect(one, three.name, { waitMs: 8_000 });
    const [woken] = world.of('trigger');
    const payload = decodeMessage(woken.message.payload);
    t.match(payload, { kind: 'reseal', request: woken.message.request });
    t.equal(woken.message.deadlineMs, 8_000);
    t.throws(() => world.asked(three, 'ask'));
    world.advance(3_000);
    world.join(three);
    t.equal(world.of('trigger').at(-1)?.message.deadlineMs, 5_000, 'for what is left');
    const { request } = world.asked(three, 'ask');
    t.equal(request, woken.message.request, 'the same question');
    world.answerList(three, request, [allow(one.name)]);
    world.answerBoth(one, three);
    t.equal(world.of('addressNotice').length, 2);
  },
);

t.test('S2002: what is open is told again in a new channel, once answered no more', async (t) => {
  const { world, one, three } = pair();
  world.connect(one, three.name);
  const { request } = world.asked(three, 'ask');
  world.reboot(three);
  world.join(three);
  t.equal(world.of('trigger').length, 2);
  t.equal(world.asked(three, 'ask').request, request);
  world.answerList(three, request, [deny('*')]);
  world.join(three);
  t.equal(world.of('trigger').length, 2);
  world.up(three, world.registerMessage(three));
  t.equal(world.of('trigger').length, 2, 'a reconnect in the same channel is no new one');
});

t.test(
  'claim 17: a terminal that polls is asked again at each poll until it answers',
  async (t) => {
    const { world, one, three } = pair();
    const pollSeconds = 300;
    world.join(three, { pollSeconds });
    world.connect(one, three.name, { waitMs: 8_000 });
    // Handed over while it was leaving for its sleep: nobody heard it.
    const { request } = world.asked(three, 'ask');
    const bytes = encodeMessage({ kind: 'triggerState', request, state: 'handed' });
    world.input({ kind: 'triggerState', bytes });
    world.advance(500);
    world.up(three, world.registerMessage(three, { pollSeconds }));
    t.equal(world.of('trigger').length, 1, 'what was handed over just now is on its way');
    world.advance(2_500);
    world.up(three, world.registerMessage(three, { pollSeconds }));
    t.equal(world.of('trigger').length, 2);
    const again = world.of('trigger').at(-1);
    t.equal(again?.message.deadlineMs, 5_000, 'for what is left');
    t.equal(world.asked(three, 'ask').request, request, 'the same question');
    const order = world.sent.map(({ message }) => message.kind);
    t.ok(
      order.lastIndexOf('trigger') < order.lastIndexOf('registered'),
      'before the word that lets it sleep again',
    );
    world.answerList(three, request, [allow(one.name)]);
    world.up(three, world.registerMessage(three, { pollSeconds }));
    t.equal(world.of('trigger').length, 2, 'once answered no more');
  },
);

t.test('S6005: an end request reaches a terminal that was restarted meanwhile', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three);
  world.command({ kind: 'end', session });
  world.end(one, session, 'operator');
  const before = world.of('trigger').length;
  world.join(one);
  t.equal(world.of('trigger').length, before, 'not the one that has reported');
  world.reboot(three);
  world.join(three);
  t.match(world.asked(three, 'endRequest'), { session, reason: 'operator' });
  t.equal(world.of('trigger').length, before + 1);
  world.end(three, session, 'restarted');
  world.join(three);
  t.equal(world.of('trigger').length, before + 1, 'nor one that has reported since');
});

t.test('S6005: an end request that somebody else was handed is repeated on return', async (t) => {
  const { world, one, three } = pair();
  const { session } = world.introduce(one, three);
  world.command({ kind: 'end', session });
  const before = world.of('trigger').length;
  world.up(three, world.registerMessage(three));
  t.equal(world.of('trigger').length, before + 1, 'in the channel that it had');
  t.match(world.asked(three, 'endRequest'), { session, reason: 'operator' });
  world.end(three, session, 'operator');
  world.up(three, world.registerMessage(three));
  t.equal(world.of('trigger').length, before + 1, 'no more once it has reported');
});

t.test(
  'claim 20: a manager that was started anew asks for new channels, and goes on',
  async (t) => {
    const { world, one, three } = pair();
    const { session } = world.introduce(one, three);
    world.command({ kind: 'end', session });
    world.restart(1_000, { unaware: true });
    world.input({ kind: 'linkUp' });
    for (const terminal of [one, three]) {
      t.match(world.asked(terminal, 'endRequest'), { session, reason: 'operator' });
    }
    world.end(one, session, 'operator');
    world.end(three, session, 'operator');
    t.match(world.manager.sessions('closed'), [{ session, reason: 'operator' }]);
    const from = world.sent.length;
    world.restart(1_000, { unaware: true });
    const { message } = world.connect(one, three.name);
    t.strictSame(told({ world, one, three }, one, from), ['reseal']);
    world.up(one, message);
    const { request } = world.asked(three, 'ask');
    world.answerList(three, request, [allow(one.name)]);
    world.answerBoth(one, three);
    t.equal(world.of('addressNotice').length, 4);
  },
);

t.test('an answer goes to the process that is in charge when it is due', async (t) => {
  const { world, one, three } = pair();
  world.connect(one, three.name, { waitMs: 1_000 });
  const from = world.sent.length;
  world.reboot(one);
  world.join(one);
  world.advance(1_000);
  t.strictSame(told({ world, one, three }, one, from), ['refusal']);
  t.equal(world.manager.counts.unsent, 0);
});

t.test('S6005: a request repeated after its session was ended is told nothing', async (t) => {
  const endings = {
    revoked: (world: World) => world.command({ kind: 'revoke', name: 'TERM3' as Name }),
    operator: (world: World) => {
      const [{ session }] = world.manager.sessions('open');
      return world.command({ kind: 'end', session });
    },
  };
  for (const [reason, end] of Object.entries(endings)) {
    const { world, one, three } = pair();
    const { message } = world.connect(one, three.name);
    world.answerList(three, world.asked(three, 'ask').request, [allow('TERM1')]);
    world.answerBoth(one, three);
    const notices = (): number => world.of('addressNotice').length;
    t.equal(notices(), 2);
    world.up(one, message);
    t.equal(notices(), 3, 'positive control: while it is live it is told again');
    end(world);
    world.up(one, message);
    t.equal(notices(), 3, `${reason}: nobody begins a talk that is over`);
  }
});
