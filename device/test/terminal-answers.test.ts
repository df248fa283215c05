// The callee's side: a communication request comes, the owner's list decides, and decides again
// when the address notice is there.

import t from 'tap';
import type { MessageOf } from '../../protocol/control/messages.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { eventsOf, question, sentOf, talkEvents, two } from './talking.ts';
import type { Node } from './world-types.ts';
import { AT, World } from './world.ts';

const ALLOW_TERM1 = [{ action: 'allow', pattern: 'TERM1' }] as const;

t.test(
  'S4002: a communication request has the list read once, and the same answer given again',
  async (t) => {
    const { world, callee } = two();
    const caller = world.nodes[0];
    const ask = question(world, caller);
    world.hand(callee, ask);
    world.settle();
    world.hand(callee, ask);
    world.settle();
    t.equal(callee.outputs.filter(({ kind }) => kind === 'readList').length, 1);
    const [first, second] = sentOf(callee, 'allowList');
    t.strictSame(second, first);
    t.equal(callee.sockets.size, 1);
  },
);

t.test(
  'S4003: in mode list everything is sent, in mode verdict what concerns the caller',
  async (t) => {
    const list = [
      ...ALLOW_TERM1,
      { action: 'allow', pattern: 'ABC' },
      { action: 'deny', pattern: 'DEF' },
    ] as const;
    for (const [mode, names] of [
      ['list', ['TERM1', 'ABC', 'DEF']],
      ['verdict', ['TERM1']],
    ] as const) {
      const world = new World();
      const caller = world.add('TERM1');
      const callee = world.add('TERM3', { list, mode });
      world.hand(callee, question(world, caller));
      world.settle();
      const [answer] = sentOf(callee, 'allowList');
      t.equal(answer.mode, mode);
      t.equal(answer.reduced, mode === 'verdict');
      t.strictSame(
        answer.entries.map(({ pattern }) => pattern),
        names,
      );
      t.equal(answer.record, sentOf(callee, 'address')[1].record);
      t.equal(sentOf(callee, 'address')[1].candidates.length, 1);
    }
  },
);

t.test(
  'S4002: a yes waits for its notice as long as its caller does, whatever the broker says',
  async (t) => {
    const { world, callee } = two();
    const DAY_MS = 86_400_000;
    world.hand(callee, { ...question(world, world.nodes[0]), waitMs: 3_000 }, DAY_MS);
    world.settle();
    t.equal(callee.sockets.size, 1, 'the callee agrees');
    world.run(4);
    t.equal(callee.sockets.size, 1, 'a notice may be on its way');
    world.run(2);
    t.equal(callee.sockets.size, 0, 'nobody calls any more');
    world.hand(callee, { ...question(world, world.nodes[0]), waitMs: DAY_MS }, 3_000);
    world.run(6);
    t.equal(callee.sockets.size, 0, 'what waited at the broker has less time left');
  },
);

t.test('claim 8: a denied name is refused, without a socket or an address', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  const callee = world.add('TERM3', {
    list: [
      { action: 'allow', pattern: '*' },
      { action: 'deny', pattern: 'TERM1' },
    ],
  });
  world.call(caller, 'TERM3');
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
  t.strictSame(eventsOf(callee, 'turnedAway'), [
    { kind: 'turnedAway', caller: 'TERM1', service: 'pipe' },
  ]);
  t.equal(sentOf(callee, 'address').length, 1);
  t.equal(sentOf(callee, 'allowList')[0].record, undefined);
  t.notOk(callee.outputs.some(({ kind }) => kind === 'openSocket'));
});

t.test('a list that cannot be read says no to everybody', async (t) => {
  const { world, caller, callee } = two();
  callee.list = undefined;
  world.call(caller, 'TERM3');
  t.match(eventsOf(caller, 'callFailed'), [{ why: 'refused' }]);
  t.match(sentOf(callee, 'allowList'), [{ entries: [], record: undefined }]);
  t.match(eventsOf(callee, 'listUnreadable'), [{ caller: 'TERM1' }]);
});

t.test('strangers get half of the open questions; whom we know gets the rest', async (t) => {
  const { world, caller, callee } = two();
  const stranger = world.add('STRANGER');
  world.readsLists = false;
  const flood = (from: Node, count: number): void => {
    for (let i = 0; i < count; i++) world.hand(callee, question(world, from));
    world.settle();
  };
  const readings = (): number => callee.outputs.filter(({ kind }) => kind === 'readList').length;
  callee.terminal.trust(caller.name, caller.id);
  flood(stranger, LIMITS.callsMax + 5);
  t.equal(readings(), LIMITS.callsMax / 2, 'the flood is answered without reading the list');
  t.equal(sentOf(callee, 'allowList').length, LIMITS.callsMax / 2 + 5);
  flood(caller, LIMITS.callsMax / 2 + 5);
  t.equal(readings(), LIMITS.callsMax);
  t.equal(sentOf(callee, 'allowList').length, LIMITS.callsMax / 2 + 10);
  t.ok(sentOf(callee, 'allowList').every(({ entries }) => entries.length === 0));
  t.equal(callee.terminal.status(world.now).counters.askFlood, LIMITS.callsMax / 2 + 10);
});

t.test('a yes that no notice follows gives its socket back', async (t) => {
  const { world, callee } = two();
  world.hand(callee, question(world, world.nodes[0]), 3_000);
  world.settle();
  t.equal(callee.sockets.size, 1);
  world.run(4.9);
  t.equal(callee.sockets.size, 1);
  world.run(0.2);
  t.equal(callee.sockets.size, 0);
});

t.test('S4004: an owner who said no between question and notice is obeyed', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  world.alter = (to, notice) => {
    if (to === callee && callee.list) callee.list = { ...callee.list, entries: [] };
    return notice;
  };
  world.call(caller, 'TERM3');
  t.equal(eventsOf(callee, 'introduced').length, 0);
  t.match(eventsOf(callee, 'turnedAway'), [{ caller: 'TERM1' }]);
  t.match(sentOf(callee, 'endNotice'), [{ reason: 'local', wireBytes: 0 }]);
  t.equal(callee.sockets.size, 0);
});

t.test('S4004: a smaller limit written between question and notice is obeyed', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  world.alter = (to, notice) => {
    const entries = [{ ...ALLOW_TERM1[0], seconds: 60 }];
    if (to === callee && callee.list) callee.list = { ...callee.list, entries };
    return notice;
  };
  world.call(caller, 'TERM3', { want: { seconds: 600 } });
  t.equal(eventsOf(callee, 'introduced').length, 0);
  t.match(sentOf(callee, 'endNotice'), [{ reason: 'local' }]);
});

t.test('S4004: the notice says the same session, service and limits to both', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  world.call(caller, 'TERM3', { want: { seconds: 600, bytes: 1_000 } });
  const [a] = eventsOf(caller, 'introduced');
  const [b] = eventsOf(callee, 'introduced');
  t.equal(a.session, b.session);
  t.strictSame(a.terms, { seconds: 600, bytes: 1_000 });
  t.strictSame(b.terms, a.terms);
  t.equal(b.service, 'pipe');
});

t.test('a caller that knocks before the callee has its notice is let in at once', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  let late: (() => void) | undefined;
  world.alter = (to, notice) => {
    if (to !== callee) return notice;
    late = () => world.tell(callee, 'down', notice);
    return undefined;
  };
  world.call(caller, 'TERM3');
  world.run(0.005);
  t.ok(world.wireBytes.length > 0, 'it has knocked');
  const knocks = world.wireBytes.length;
  late?.();
  world.run(0.005);
  t.equal(talkEvents(caller, 'established').length, 1);
  t.equal(world.wireBytes.filter((bytes) => bytes.length === 53).length, knocks + 1);
});

t.test(
  'what strangers send to an agreed socket is not answered, and only a knock may wait',
  async (t) => {
    const world = new World();
    const { callee } = two(world);
    world.hand(callee, question(world, world.nodes[0]));
    world.settle();
    const [socket] = callee.sockets.keys();
    const path = { host: '192.0.2.1', port: 9 };
    const knock = new Uint8Array(53);
    knock[0] = 1;
    const from = (at: number, bytes: Uint8Array): void => {
      const hasChanged = callee.terminal.handleDatagram(world.now, at, path, bytes);
      t.notOk(hasChanged, 'nothing to drain');
    };
    for (let i = 0; i < 100; i++) from(socket, knock);
    for (let i = 0; i < 5; i++) from(socket, new Uint8Array(1_200));
    from(999, knock);
    world.settle();
    t.equal(callee.terminal.status(world.now).counters.strayDatagrams, 6);
    t.equal(world.wireBytes.length, 0);
  },
);

t.test('S4004: who holds a notice back gains no time by it', async (t) => {
  const inSeconds = (seconds: number): string =>
    new Date(AT.wallMs + seconds * 1_000).toISOString();
  for (const [lateSeconds, before, then, isLetIn] of [
    // Until then 100 s were left when the owner's list agreed, and 40 are when the notice comes.
    [60, { until: inSeconds(100) }, { until: inSeconds(40) }, false],
    [2, { until: inSeconds(100) }, { until: inSeconds(98) }, true],
    [60, { seconds: 100 }, { seconds: 50 }, false],
    [60, { seconds: 100 }, { seconds: 100 }, true],
  ] as const) {
    const { world, caller, callee } = two(new World(), before);
    let held: MessageOf<'addressNotice'> | undefined;
    world.alter = (to, notice) => {
      if (to === callee) held = notice;
      return to === callee ? undefined : notice;
    };
    world.call(caller, 'TERM3', { waitMs: 3_600_000 });
    world.run(lateSeconds);
    callee.list = {
      version: 'v2',
      mode: 'verdict',
      entries: [{ action: 'allow', pattern: 'TERM1', ...then }],
    };
    if (held !== undefined) world.tell(callee, 'down', held);
    world.settle();
    t.equal(eventsOf(callee, 'introduced').length, isLetIn ? 1 : 0, JSON.stringify([before, then]));
  }
});
