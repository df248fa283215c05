// The terminal's story, step by step, from the caller's side: it registers, asks by name, is
// introduced and talks. Two terminals in virtual time; the servers' messages come from a double.

import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { eventsOf, exchange, introduced, question, sentOf, talkEvents, two } from './talking.ts';
import { World } from './world.ts';

t.test('S1000: the address record has no candidates while no session is wanted', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  t.match(sentOf(node, 'address'), [{ candidates: [] }]);
  t.equal(node.outputs.filter(({ kind }) => kind === 'openSocket').length, 0);
  t.strictSame(eventsOf(node, 'registered'), [{ kind: 'registered', name: 'TERM1' }]);
});

t.test(
  'S1001: the name is registered with a boot that a new link keeps and a restart does not',
  async (t) => {
    const world = new World();
    const node = world.add('TERM1');
    world.link(node, false);
    world.link(node, true);
    world.settle();
    world.restart(node);
    world.link(node, true);
    world.settle();
    const boots = sentOf(node, 'register').map(({ boot }) => boot);
    t.equal(boots.length, 3);
    t.equal(boots[0], boots[1]);
    t.not(boots[0], boots[2]);
    t.equal(node.outputs.filter(({ kind }) => kind === 'membership').length, 3);
  },
);

t.test(
  'S4001: without an answer the registration is sent again, doubling and jittered',
  async (t) => {
    const world = new World();
    world.answers.register = false;
    const node = world.add('TERM3');
    world.run(100);
    const count = sentOf(node, 'register').length;
    t.ok(count >= 5 && count <= 9, `${count} tries in 100 s`);
    t.equal(new Set(sentOf(node, 'register').map(({ request }) => request)).size, 1);
    t.equal(eventsOf(node, 'registered').length, 0);
    world.answers.register = true;
    t.ok(world.run(60, () => eventsOf(node, 'registered').length === 1));
    t.equal(node.terminal.status(world.now).counters.retries, sentOf(node, 'register').length - 1);
  },
);

t.test(
  'S4000: an address record that nobody acknowledges keeps the terminal unregistered',
  async (t) => {
    const world = new World();
    world.answers.address = false;
    const node = world.add('TERM3');
    world.run(10);
    t.equal(node.terminal.status(world.now).registered, false);
    t.ok(sentOf(node, 'address').length > 2);
  },
);

t.test('a name that is taken is said, and asked for again later', async (t) => {
  const world = new World();
  world.answers.register = false;
  const node = world.add('TERM1');
  const [{ request }] = sentOf(node, 'register');
  world.tell(node, 'down', { kind: 'refusal', request, code: 'name-taken' });
  world.settle();
  t.strictSame(eventsOf(node, 'registerRefused'), [
    { kind: 'registerRefused', code: 'name-taken' },
  ]);
  const before = sentOf(node, 'register').length;
  world.run(20);
  t.equal(sentOf(node, 'register').length, before);
  world.run(20);
  t.equal(sentOf(node, 'register').length, before + 1);
});

t.test('S1002: the user names a peer, and only then is there a socket', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.connect = false;
  world.call(node, 'TERM3');
  t.equal(node.sockets.size, 1);
  t.match(node.terminal.status(world.now).calls, [{ callee: 'TERM3', state: 'waiting' }]);
});

t.test(
  'S1003: the connect request carries own name and destination, and the record it relies on',
  async (t) => {
    const world = new World();
    const node = world.add('TERM1');
    world.answers.connect = false;
    world.call(node, 'TERM3', { want: { bytes: 5_000 }, waitMs: 3_000 });
    const [, address] = sentOf(node, 'address');
    const [connect] = sentOf(node, 'connect');
    t.equal(address.candidates.length, 1);
    t.match(connect, {
      callerName: 'TERM1',
      calleeName: 'TERM3',
      want: { bytes: 5_000 },
      waitMs: 3_000,
      record: address.record,
    });
    t.notSame(address.record, sentOf(node, 'address')[0].record, 'a record of its own');
  },
);

t.test(
  'claim 2: a call that nobody answers is given up after the wait, and nothing is kept',
  async (t) => {
    const world = new World();
    const node = world.add('TERM1');
    const began = world.now;
    world.call(node, 'NOBODY', { waitMs: 3_000 });
    t.ok(world.run(10, () => eventsOf(node, 'callFailed').length === 1));
    t.match(eventsOf(node, 'callFailed'), [{ call: 1, why: 'no-answer' }]);
    t.equal(Math.round((world.now - began) / 1e6), 5);
    t.equal(node.sockets.size, 0);
    t.strictSame(node.terminal.status(world.now).calls, []);
  },
);

t.test('a call that never reached the manager failed for want of a link', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.link(node, false);
  world.call(node, 'TERM3', { waitMs: 1_000 });
  world.run(4);
  t.match(eventsOf(node, 'callFailed'), [{ why: 'no-link' }]);
  t.equal(sentOf(node, 'connect').length, 0);
});

t.test('a call that had to wait for the link has the rest of its wait, and no more', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.connect = false;
  world.link(node, false);
  const began = world.now;
  world.call(node, 'TERM3', { waitMs: 3_000 });
  world.run(2);
  world.link(node, true);
  world.settle();
  const [connect] = sentOf(node, 'connect');
  t.equal(connect.waitMs, 1_000, 'the manager answers when the wait is over');
  t.ok(world.run(10, () => eventsOf(node, 'callFailed').length === 1));
  t.equal(Math.round((world.now - began) / 1e6), 5, 'wait and grace, from the call on');
  t.match(eventsOf(node, 'callFailed'), [{ why: 'no-answer' }]);

  world.link(node, false);
  world.call(node, 'TERM3', { call: 2, waitMs: 1_000 });
  world.run(2);
  const asked = sentOf(node, 'connect').length;
  world.link(node, true);
  world.settle();
  t.match(eventsOf(node, 'callFailed'), [{ call: 1 }, { call: 2, why: 'no-link' }]);
  t.equal(sentOf(node, 'connect').length, asked, 'what nobody waits for is not asked');
});

t.test(
  'claim 1: a terminal registers, is asked, sends its list, resolves, and talks',
  async (t) => {
    const { world, caller, callee } = introduced();
    t.match(eventsOf(caller, 'introduced'), [{ call: 1, peer: { name: 'TERM3', id: callee.id } }]);
    t.match(eventsOf(callee, 'introduced'), [{ call: undefined, peer: { name: 'TERM1' } }]);
    t.equal(talkEvents(caller, 'established').length, 1);
    t.equal(talkEvents(callee, 'established').length, 1);
    t.match(caller.terminal.status(world.now).talks, [{ role: 'caller', talk: { state: 'open' } }]);
  },
);

t.test('at the bound of calls a new one is busy at once', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.connect = false;
  for (let call = 0; call <= LIMITS.callsMax; call++) world.call(node, 'TERM3', { call });
  t.strictSame(eventsOf(node, 'callFailed'), [
    { kind: 'callFailed', call: LIMITS.callsMax, why: 'busy' },
  ]);
});

t.test('S1004: a notice for something never asked is dropped', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  world.alter = (to, notice) =>
    to === caller ? { ...notice, request: randomRequestId(world.rng) } : notice;
  world.call(caller, 'TERM3');
  t.equal(eventsOf(caller, 'introduced').length, 0);
  t.equal(caller.terminal.status(world.now).counters.unexpected, 1);
  world.run(8);
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'no-answer' }]);
  t.equal(eventsOf(callee, 'introduced').length, 1, 'the other notice was good');
});

t.test('S1004: a swapped peer key is refused, and the session announced as ended', async (t) => {
  const world = new World();
  const { caller } = two(world);
  const stranger = world.add('STRANGER');
  world.alter = (to, notice) => (to === caller ? { ...notice, peerKeys: stranger.keys } : notice);
  world.call(caller, 'TERM3');
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'bad-notice' }]);
  t.equal(caller.sockets.size, 0);
  t.match(sentOf(caller, 'endNotice'), [{ reason: 'protocol-error', sentBytes: 0 }]);
});

t.test('S1004: a grant that the manager did not sign is refused', async (t) => {
  const world = new World();
  const { caller } = two(world);
  world.alter = (_, notice) => ({ ...notice, signature: new Uint8Array(64) });
  world.call(caller, 'TERM3');
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'bad-notice' }]);
  t.equal(sentOf(caller, 'endNotice').length, 0);
  t.ok(world.nodes.every((node) => node.sockets.size === 0));
});

t.test('an old grant shown again in answer to a new call begins nothing', async (t) => {
  const { world, caller } = introduced();
  const [{ session }] = eventsOf(caller, 'introduced');
  const old = world.lastNotice.get(caller);
  if (old === undefined) throw new Error('there was a notice');
  world.alter = (to, notice) => (to === caller ? { ...old, request: notice.request } : notice);
  world.call(caller, 'TERM3', { call: 2 });
  t.match(eventsOf(caller, 'callFailed'), [{ call: 2, why: 'bad-notice' }]);
  t.equal(eventsOf(caller, 'introduced').length, 1);
  t.equal(caller.terminal.status(world.now).talks[0].session, session);
});

t.test(
  'claim 7: the talk is encrypted with the key received; another key opens nothing',
  async (t) => {
    const world = new World();
    const { caller } = two(world);
    world.alter = (to, notice) => (to === caller ? { ...notice, key: new Uint8Array(32) } : notice);
    world.call(caller, 'TERM3');
    t.ok(world.run(120, () => eventsOf(caller, 'ended').length === 1));
    t.match(eventsOf(caller, 'ended'), [{ reason: 'path-lost' }]);
    t.equal(talkEvents(caller, 'established').length, 0);
    const good = introduced();
    t.equal(talkEvents(good.caller, 'established').length, 1, 'with the same key it opens');
  },
);

t.test('S1005: what the caller writes arrives, and never in the clear', async (t) => {
  const { world, caller, callee, session } = introduced();
  const secret = Buffer.from('the quick brown fox');
  t.ok(secret.equals(exchange(world, caller, callee, session, secret)));
  t.ok(world.wireBytes.length > 0);
  t.notOk(world.wireBytes.some((bytes) => Buffer.from(bytes).includes(secret)));
  t.ok(Buffer.from(secret).includes(secret), 'the search finds what is there');
});

t.test('S4005: what the callee writes arrives', async (t) => {
  const { world, caller, callee, session } = introduced();
  const answer = Buffer.from('over the lazy dog');
  t.ok(answer.equals(exchange(world, callee, caller, session, answer)));
});

t.test('claim 19: no bytes on a control topic make the terminal throw', async (t) => {
  const { world, caller, callee } = introduced();
  const told = [
    ...world.lastNotice.values(),
    question(world, callee),
    world.newExpiry(world.sessions[0], randomRequestId(world.rng)),
  ];
  const samples = [...caller.sent, ...callee.sent, ...told].map(encodeMessage);
  for (const via of ['call', 'down'] as const) {
    for (const sample of samples) {
      for (let at = 0; at < sample.length; at += 3) {
        const bytes = Uint8Array.from(sample);
        bytes[at] ^= 1 << (at % 8);
        for (const spoiled of [bytes, bytes.subarray(0, at + 1)]) {
          world.tellBytes(caller, via, spoiled);
          // The manager itself may say anything, too.
          const sealed = world.seal.seal(caller, spoiled);
          if (sealed === undefined) throw new Error('there is a channel');
          if (via === 'down') world.tellBytes(caller, via, sealed);
          else world.handBytes(caller, sealed);
        }
      }
    }
    world.settle();
  }
  const { counters, talks } = caller.terminal.status(world.now);
  t.ok(counters.malformed > 100);
  t.equal(talks.length, 1);
});

t.test(
  'messages that no terminal is sent, or on the wrong topic, are counted and dropped',
  async (t) => {
    const { world, caller } = two();
    const [register] = sentOf(caller, 'register');
    world.tell(caller, 'down', register);
    world.tell(caller, 'call', {
      kind: 'registered',
      request: register.request,
      name: caller.name,
      membership: Uint8Array.of(9),
      time: 1,
    });
    world.hand(caller, register);
    world.settle();
    t.equal(caller.terminal.status(world.now).counters.misplaced, 3);
  },
);

t.test('a call that cannot be meant is the fault of who makes it', async (t) => {
  const world = new World();
  const node = world.add('TERM1');
  world.answers.connect = false;
  world.call(node, 'TERM3');
  t.throws(() => world.call(node, 'TERM3'), { code: 'call-taken' });
  t.throws(() => world.call(node, 'TERM3', { call: 2, service: '' }), { code: 'bad-service' });
  t.throws(() => world.call(node, 'TERM3', { call: 3, waitMs: -1 }), { code: 'bad-wait' });
  t.equal(node.terminal.status(world.now).calls.length, 1);
});

t.test(
  'a user who gives up gets the socket closed, before and after the introduction',
  async (t) => {
    const world = new World();
    const { caller } = two(world);
    world.answers.connect = false;
    world.call(caller, 'TERM3');
    caller.terminal.handle(world.now, { kind: 'cancel', call: 1 });
    world.settle();
    t.match(eventsOf(caller, 'callFailed'), [{ why: 'cancelled' }]);
    t.equal(caller.sockets.size, 0);
    world.answers.connect = true;
    world.call(caller, 'TERM3', { call: 2 });
    world.run(1);
    caller.terminal.handle(world.now, { kind: 'cancel', call: 2 });
    t.ok(world.run(20, () => eventsOf(caller, 'ended').length === 1));
    t.match(eventsOf(caller, 'ended'), [{ reason: 'local' }]);
  },
);

t.test(
  'S1000: behind a NAT a waiting caller asks its STUN servers again, and says so first',
  async (t) => {
    const world = new World();
    const { caller } = two(world);
    world.answers.connect = false;
    world.call(caller, 'TERM3', { waitMs: 100_000 });
    const [[socket]] = caller.sockets;
    const stun = [{ host: '192.0.2.200', port: 3_478 }];
    const askedAt = (host: number): void => {
      const candidates = [
        { address: Uint8Array.of(192, 0, 2, host), port: 9, type: 'host' as const },
      ];
      caller.terminal.handle(world.now, { kind: 'gathered', socket, candidates, stun });
      world.settle();
    };
    const said = () => sentOf(caller, 'address').filter(({ candidates }) => candidates.length > 0);
    const asks = (): number => caller.outputs.filter(({ kind }) => kind === 'gather').length;
    askedAt(2);
    t.match(said().at(-1), { gathering: true, candidates: [{ address: [192, 0, 2, 2] }] });
    t.ok(
      world.run(5, () => said().at(-1)?.gathering !== true),
      'nobody answers',
    );
    t.equal(asks(), 0);
    world.run(16);
    t.equal(asks(), 1, 'a NAT forgets');
    const before = said().length;
    world.link(caller, false);
    world.link(caller, true);
    t.ok(
      world.run(5, () => asks() === 2),
      'a new link may be one of another network',
    );
    t.equal(said().length, before, 'nothing is said of the former one');
    askedAt(3);
    t.match(said().at(-1), { gathering: true, candidates: [{ address: [192, 0, 2, 3] }] });
  },
);

t.test('a shell that cannot open a socket fails the call, and its yes leads nowhere', async (t) => {
  const { world, caller, callee } = two();
  world.opensSockets = false;
  world.call(caller, 'TERM3');
  world.hand(callee, question(world, caller));
  world.settle();
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'socket' }]);
  const [{ record }] = sentOf(callee, 'allowList');
  t.ok(record !== undefined, 'the answer names a record');
  t.notOk(
    sentOf(callee, 'address').some((address) => address.record === record),
    'which never comes, so nobody is introduced',
  );
  t.equal(callee.sockets.size, 0);
});
