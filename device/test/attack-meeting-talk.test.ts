// Attacks on the meeting of two whole terminals: who copies, forges or floods packets between them,
// a manager that changes the key shares or knocks itself. They talk with one another or with
// nobody.

import t from 'tap';
import { PROBE_BYTES, Probes } from '../../protocol/data/probe.ts';
import { sameBytes } from '../../protocol/bytes.ts';
import type { Path } from '../../protocol/core.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { heldBytes } from '../../protocol/test/memory.ts';
import { ms } from '../../protocol/time.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { Reachability } from '../meeting/reachability.ts';
import { eventsOf, exchange, sentOf, talkEvents, two } from './talking.ts';
import type { Node } from './world-types.ts';
import { World } from './world.ts';

/** Packets that somebody on the way can copy before it is noticed, or has to pause. */
const COPIES = 12;
const MALLORY: Path = { host: '203.0.113.66', port: 666 };

/** Twice: the buffers of one collection are given back with the next. */
const held = (): number => Math.min(heldBytes(), heldBytes());
const keyed = (): World => Object.assign(new World(), { sharesKeys: true });
const isOpen = (node: Node): boolean => talkEvents(node, 'established').length > 0;
const probeTypes = new Set([0x08, 0x09, 0x0a]);
const isProbeLike = ([type]: Uint8Array): boolean => probeTypes.has(type);

t.test('S1005, S4005: with shares no handshake is on the way, and bytes pass', (t) => {
  const { world, caller, callee } = two(keyed());
  world.call(caller, 'TERM3');
  t.ok(world.run(1, () => isOpen(caller) && isOpen(callee)));
  t.notOk(world.wireBytes.some(([type]) => type === 1 || type === 2));
  const [{ session }] = eventsOf(caller, 'introduced');
  const bytes = randomBytes(world.rng, 30_000);
  t.ok(sameBytes(exchange(world, caller, callee, session, bytes), bytes));
  t.ok(sameBytes(exchange(world, callee, caller, session, bytes), bytes));
  t.end();
});

t.test('claim 7: a manager that changes, swaps or strips a share gets no talk', (t) => {
  const mallory = nodeSuite.dhKey(randomBytes(seededRng(8), 32));
  const lies: readonly (readonly [
    string,
    (to: 'caller' | 'callee') => Uint8Array | undefined | 'true',
  ])[] = [
    ['its own to both', () => mallory.publicKey],
    ['its own to the caller', (to) => (to === 'caller' ? mallory.publicKey : 'true')],
    ['its own to the callee', (to) => (to === 'callee' ? mallory.publicKey : 'true')],
    ['none to the caller', (to) => (to === 'caller' ? undefined : 'true')],
    ['none to the callee', (to) => (to === 'callee' ? undefined : 'true')],
    ['zeros', () => new Uint8Array(32)],
  ];
  for (const [what, lie] of lies) {
    const { world, caller, callee } = two(keyed());
    world.alter = (to, notice) => {
      const share = lie(to === caller ? 'caller' : 'callee');
      return share === 'true' ? notice : { ...notice, peerShare: share };
    };
    world.call(caller, 'TERM3');
    world.run(10);
    t.notOk(isOpen(caller) || isOpen(callee), what);
    for (const node of [caller, callee]) {
      t.match(eventsOf(node, 'ended'), [{ reason: 'path-lost' }], `${what}: it gives up`);
      t.equal(node.pins.size, 0, `${what}: nobody is pinned`);
      t.equal(node.sockets.size, 0, `${what}: no socket is left`);
    }
  }
  t.end();
});

t.test(
  'claim 7: a manager that probes with the session key is no peer, with or without shares',
  (t) => {
    for (const sharesKeys of [true, false]) {
      const { world, caller, callee } = two(Object.assign(new World(), { sharesKeys }));
      // Nothing of the true peers' gets through.
      world.onWire = () => false;
      world.call(caller, 'TERM3');
      world.run(0.1);
      const [{ session }] = eventsOf(caller, 'introduced');
      for (const [node, role] of [
        [caller, 'callee'],
        [callee, 'caller'],
      ] as const) {
        const sessionKey = world.lastNotice.get(node)?.key ?? new Uint8Array(32);
        const secrets = undefined;
        const forged = new Probes({
          suite: nodeSuite,
          session,
          sessionKey,
          secrets,
          role,
          rng: world.rng,
        });
        const [to] = node.sockets.values();
        const into = new Uint8Array(100);
        for (const kind of ['probe', 'answer', 'choice', 'probe'] as const) {
          const size = forged.write(into, { kind, token: new Uint8Array(8) });
          world.fly(to, MALLORY, into.slice(0, size));
          world.run(0.2);
        }
      }
      t.notOk(isOpen(caller) || isOpen(callee));
      t.equal(caller.pins.size + callee.pins.size, 0);
      if (sharesKeys) t.equal(caller.terminal.status(world.now).counters.badProbes, 4);
      world.run(20);
      t.match(eventsOf(caller, 'ended'), [{ reason: 'path-lost' }]);
    }
    t.end();
  },
);

for (const sharesKeys of [true, false]) {
  t.test(
    `who copies packets and is faster does not keep the two apart (shares: ${sharesKeys})`,
    (t) => {
      const { world, caller, callee } = two(Object.assign(new World(), { sharesKeys }));
      let copies = 0;
      world.onWire = (to, _, bytes) => {
        if (to.host === MALLORY.host) return false;
        // The copy comes first, from elsewhere; what is sent there is swallowed.
        if (copies++ < COPIES) world.fly(to, { ...MALLORY, port: 600 + (copies % 7) }, bytes, 10);
        return true;
      };
      world.call(caller, 'TERM3');
      t.ok(
        world.run(3, () => isOpen(caller) && isOpen(callee)),
        'both are open',
      );
      const [{ session }] = eventsOf(caller, 'introduced');
      const bytes = randomBytes(world.rng, 20_000);
      t.ok(sameBytes(exchange(world, caller, callee, session, bytes), bytes));
      t.ok(sameBytes(exchange(world, callee, caller, session, bytes), bytes));
      t.end();
    },
  );
}

t.test('a callee that forges its source, or is heard and does not hear, is given up', (t) => {
  const { world, caller } = two(keyed());
  let toVictim = 0;
  world.onWire = (to, from, bytes) => {
    if (to.host === MALLORY.host) {
      toVictim += bytes.length;
      return false;
    }
    // The callee says it is where the victim is, in its first probe, and nothing more after it.
    const [own] = caller.sockets.values();
    if (to.port !== own?.port || !isProbeLike(bytes) || from.host === MALLORY.host) return false;
    world.fly(to, MALLORY, bytes, 10);
    return false;
  };
  world.call(caller, 'TERM3');
  world.run(1, () => isOpen(caller));
  const [{ session }] = eventsOf(caller, 'introduced');
  const talk = caller.terminal.talk(session);
  const stream = talk?.openStream();
  if (talk !== undefined && stream !== undefined) talk.write(stream, new Uint8Array(200_000));
  world.run(60);
  t.ok(toVictim < 32_000, `${toVictim} bytes to the victim: a first window, and a few probes`);
  t.match(eventsOf(caller, 'ended'), [{ reason: 'path-lost' }], 'it is no talk');
  t.end();
});

t.test('forged probes and STUN answers: counted, not answered, and cheap', (t) => {
  const { world, caller, callee } = two(keyed());
  let index = new Uint8Array();
  world.onWire = ({ port }, _, bytes) => {
    const isToCallee = [...callee.sockets.values()].some((own) => own.port === port);
    if (isToCallee && isProbeLike(bytes)) index = bytes.slice(0, 5);
    return true;
  };
  world.call(caller, 'TERM3');
  world.run(1, () => isOpen(caller) && isOpen(callee));
  world.run(1);
  t.equal(index.length, 5, 'somebody on the way has seen a probe');
  const [[socket, own]] = callee.sockets;
  const forgeries = (['probe', 'index', 'stun', 'noise'] as const).map((kind) => {
    const bytes = randomBytes(world.rng, PROBE_BYTES);
    bytes[0] = kind === 'noise' ? bytes[0] | 0x80 : kind === 'stun' ? 1 : 8;
    if (kind === 'stun') bytes.set([1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
    if (kind === 'index') bytes.set(index);
    return { kind, bytes };
  });
  const before = { held: held(), wire: world.wireBytes.length };
  const due = callee.terminal.nextTimeout();
  let drains = 0;
  const into = new Uint8Array(65_536);
  const micros: Record<string, number> = {};
  for (const { kind, bytes } of forgeries) {
    const begun = process.hrtime.bigint();
    for (let turn = 0; turn < 20_000; turn++) {
      if (callee.terminal.handleDatagram(world.now, socket, MALLORY, bytes)) drains += 1;
      if (callee.terminal.pollTransmit(world.now, into) !== undefined) {
        t.fail('a forgery is answered');
        break;
      }
    }
    micros[kind] = Number(process.hrtime.bigint() - begun) / 20_000_000;
  }
  t.comment(`microseconds for each: ${JSON.stringify(micros)}`);
  t.equal(drains, 0, 'none of them makes work');
  t.equal(callee.terminal.nextTimeout(), due, 'nor touches the timer');
  world.run(5);
  const { badProbes } = callee.terminal.status(world.now).counters;
  t.equal(badProbes, 40_000);
  t.ok(held() - before.held < 2_000_000, 'nothing is kept');
  t.ok(own !== undefined && isOpen(callee));
  const [{ session }] = eventsOf(caller, 'introduced');
  const bytes = randomBytes(world.rng, 20_000);
  t.ok(sameBytes(exchange(world, caller, callee, session, bytes), bytes), 'the talk goes on');
  t.end();
});

t.test('candidates for another session, or after the end, are nobody’s', (t) => {
  const { world, caller, callee } = two(keyed());
  world.call(caller, 'TERM3');
  world.run(1, () => isOpen(caller) && isOpen(callee));
  const [{ session }] = eventsOf(caller, 'introduced');
  const candidates = [
    { address: Uint8Array.of(203, 0, 113, 66), port: 666, type: 'host' as const },
  ];
  const other = `${session.slice(0, -1)}${session.endsWith('a') ? 'b' : 'a'}` as typeof session;
  const said = { kind: 'peerCandidates', generation: 5, candidates, varies: false } as const;
  const victims: Path[] = [];
  world.onWire = (to) => {
    if (to.host === MALLORY.host) victims.push(to);
    return true;
  };
  const unexpected = (): number => caller.terminal.status(world.now).counters.unexpected;
  const before = unexpected();
  world.tell(caller, 'down', { ...said, session: other });
  world.run(1);
  t.equal(unexpected(), before + 1);
  t.equal(victims.length, 0);
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'done' });
  world.run(5);
  world.tell(caller, 'down', { ...said, session });
  world.run(5);
  t.equal(unexpected(), before + 2);
  t.equal(victims.length, 0);
  t.end();
});

t.test('1,500 generations, and what a talk keeps of them', (t) => {
  const { world, caller, callee } = two(keyed());
  world.call(caller, 'TERM3');
  world.run(1, () => isOpen(caller) && isOpen(callee));
  const [{ session }] = eventsOf(caller, 'introduced');
  const tell = (generation: number): void => {
    const candidates = Array.from({ length: 16 }, (_, at) => ({
      address: Uint8Array.of(198, 51, (generation >> 4) & 255, ((generation & 15) << 4) | at),
      port: 1_000 + (generation >> 12),
      type: 'reflexive' as const,
    }));
    world.tell(caller, 'down', {
      kind: 'peerCandidates',
      session,
      generation,
      candidates,
      varies: false,
    });
    world.run(0.2);
    world.wireBytes.length = 0;
    for (const { events, outputs, sent, wire } of [caller, callee])
      for (const list of [events, outputs, sent, wire]) list.length = 0;
  };
  for (let generation = 1; generation <= 500; generation++) tell(generation);
  const before = held();
  for (let generation = 501; generation <= 1_500; generation++) tell(generation);
  const grown = held() - before;
  t.ok(grown < 500_000, `${grown} bytes`);
  t.end();
});

t.test('calls that come to nothing leave nothing behind, and their sockets are silent', (t) => {
  const { world, caller } = two(keyed());
  // No server hears of them, so that none can keep anything.
  world.link(caller, false);
  const stun = [{ host: '192.0.2.200', port: 3_478 }];
  const address = { address: Uint8Array.of(192, 0, 2, 1), port: 5, type: 'host' as const };
  const into = new Uint8Array(1_500);
  const round = (call: number): number => {
    world.call(caller, 'TERM3', { call });
    const [socket] = caller.sockets.keys();
    caller.terminal.handle(world.now, {
      kind: 'gathered',
      socket,
      candidates: Array.from({ length: 16 }, () => address),
      stun,
    });
    caller.terminal.handle(world.now, { kind: 'cancel', call });
    world.settle();
    let sent = 0;
    for (let turn = 0; turn < 3; turn++) {
      world.now = (world.now + ms(60)) as typeof world.now;
      caller.terminal.handleTimeout(world.now);
      while (caller.terminal.pollTransmit(world.now, into) !== undefined) sent += 1;
    }
    world.settle();
    for (const list of [caller.events, caller.outputs, caller.sent, caller.wire]) list.length = 0;
    return sent;
  };
  let sent = 0;
  for (let call = 0; call < 20; call++) sent += round(call);
  t.equal(sent, 0, 'a closed socket asks nobody');
  const reachability = new Reachability(world.rng, () => {});
  const own = { candidates: [address], isOnLoopback: true };
  t.notOk(reachability.begin(world.now, 7, own, undefined), 'nobody is there to be asked');
  t.ok(reachability.of(7) !== undefined && reachability.isOnLoopback(7), 'positive control');
  reachability.forget(7);
  t.notOk(reachability.of(7) !== undefined || reachability.isOnLoopback(7), 'and forgotten');
  t.end();
});

t.test('S1006: when a talk is over every socket is closed, also of its second round', (t) => {
  const { world, caller, callee } = two(keyed());
  world.onWire = () => false;
  world.call(caller, 'TERM3');
  world.run(2);
  t.ok(caller.sockets.size >= 2, 'positive control: a second round');
  world.run(60);
  t.equal(caller.sockets.size + callee.sockets.size, 0);
  t.match(sentOf(caller, 'endNotice'), [{ reason: 'path-lost' }]);
  const wire = world.wireBytes.length;
  world.run(600);
  t.equal(world.wireBytes.length, wire, 'and nothing is sent');
  t.ok(wire <= 2 * 2 * MEETING_LIMITS.remotePacketsMax, `${wire} datagrams`);
  t.end();
});

t.test('S1006: an endpoint that opens when its talk is over asks nobody where it is', (t) => {
  const { world, caller } = two(keyed());
  world.onWire = () => false;
  world.call(caller, 'TERM3');
  world.run(1.2);
  const [{ session }] = eventsOf(caller, 'introduced');
  const further = [...caller.sockets.keys()].at(-1) ?? 0;
  t.ok(caller.sockets.size >= 2, 'positive control: a second round');
  const open = (): readonly Path[] => {
    const asked: Path[] = [];
    world.onWire = (to) => {
      if (to.port === 3_478) asked.push(to);
      return false;
    };
    const candidates = [{ address: Uint8Array.of(192, 0, 2, 1), port: 5, type: 'host' as const }];
    const stun = [{ host: '192.0.2.200', port: 3_478 }];
    const input = { kind: 'socketOpen', socket: further, candidates, stun } as const;
    caller.terminal.handle(world.now, input);
    world.settle();
    world.run(0.01);
    return asked;
  };
  t.equal(open().length, 1, 'positive control: in a talk it asks');
  caller.terminal.handle(world.now, { kind: 'end', session, reason: 'local' });
  world.settle();
  t.ok(eventsOf(caller, 'ended').length === 1 && caller.sockets.has(further), 'over, and closing');
  t.equal(open().length, 0);
  t.end();
});
