// What a callee takes for a new expiry that its owner agreed to, when the manager's clock and its
// own see the moment of an `until` a little apart.

import t from 'tap';
import type { AllowEntry } from '../../protocol/consent/allow-list.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { after, micros, ms } from '../../protocol/time.ts';
import { eventsOf, introduced } from './talking.ts';
import type { Node } from './world-types.ts';
import { AT } from './world.ts';

/** A talk of 5 s, as its entry says `until`, that is asked for 5 s more after 3.6 s. */
function askedAgain(entry: Partial<AllowEntry>): {
  callee: Node;
  told: (seconds: number) => number;
} {
  const until = new Date(AT.wallMs + 5_000).toISOString();
  const { world, caller, callee } = introduced({ want: {} }, { until, extend: true, ...entry });
  const [session] = world.sessions;
  world.run(3.6);
  const { id: callerId, name: callerName } = caller;
  const request = randomRequestId(world.rng);
  const ask = { request, callerName, callerId, service: 'pipe', want: { seconds: 100 } };
  world.hand(callee, { ...ask, kind: 'askExtend', session: session.grant.session });
  world.settle();
  const told = (seconds: number): number => {
    world.tell(callee, 'down', world.newExpiry(session, request, { revision: 1, seconds }));
    world.settle();
    return eventsOf(callee, 'extended').length;
  };
  return { callee, told };
}

t.test(
  'S5006: where an until binds, both clocks agree but for the way of the answer',
  async (t) => {
    // The manager's clock began before the callee's: it has counted 4 s, and adds the 5 s left.
    t.equal(askedAgain({}).told(9), 1);
    const { callee, told } = askedAgain({});
    t.equal(told(10), 0, 'not more than the answer can have taken');
    t.equal(callee.terminal.status(micros(0)).counters.badNotice, 1);
  },
);

t.test('S5006: a stated number of seconds is kept to the second', async (t) => {
  t.equal(askedAgain({ seconds: 8 }).told(8), 1);
  t.equal(askedAgain({ seconds: 8 }).told(9), 0);
});

t.test('S5006: who holds a new expiry back gains nothing by it', async (t) => {
  const until = new Date(AT.wallMs + 60_000).toISOString();
  const { world, callee } = introduced({ want: { seconds: 30 } }, { until, extend: true });
  const [session] = world.sessions;
  const { id: callerId, name: callerName } = world.nodes[0];
  const request = randomRequestId(world.rng);
  const ask = { request, callerName, callerId, service: 'pipe', want: { seconds: 1_000 } };
  world.hand(callee, { ...ask, kind: 'askExtend', session: session.grant.session });
  world.run(25);
  world.tell(callee, 'down', world.newExpiry(session, request, { revision: 1, seconds: 80 }));
  world.settle();
  t.equal(eventsOf(callee, 'extended').length, 0, '25 s late, 20 s more than was agreed to');
  world.tell(callee, 'down', world.newExpiry(session, request, { revision: 1, seconds: 60 }));
  world.settle();
  t.equal(eventsOf(callee, 'extended').length, 1);
});

t.test('S5006: a new expiry that comes when the time is up is told to nobody', async (t) => {
  for (const lateMs of [0, 200]) {
    const { world, caller } = introduced({ want: { seconds: 5 } });
    const [session] = world.sessions;
    world.run(4.9);
    // The timer of a busy machine: what came meanwhile is read before it fires.
    world.now = after(world.now, ms(lateMs));
    const message = world.newExpiry(session, randomRequestId(world.rng), {
      revision: 1,
      seconds: 10,
    });
    world.tell(caller, 'down', message);
    world.settle();
    t.equal(eventsOf(caller, 'extended').length, lateMs === 0 ? 1 : 0);
    t.equal(eventsOf(caller, 'ended').length, lateMs === 0 ? 0 : 1);
  }
});
