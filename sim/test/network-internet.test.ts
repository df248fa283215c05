// The modelled Internet: every datagram that was sent is delivered, dropped by something that has a
// name, astray, or under way; and what decides about it is where it should be on its way.

import t from 'tap';
import type { Path } from '../../protocol/core.ts';
import { NEVER, after, micros, ms, seconds } from '../../protocol/time.ts';
import type { Host } from '../network/host.ts';
import { NAT_KINDS } from '../network/nat.ts';
import { BOX_KINDS, NetworkAgenda } from './network-agenda.ts';

const ONE = new Uint8Array([1]);

t.test('a datagram goes up, across, and down, as a copy, to the socket it is for', async (t) => {
  const world = new NetworkAgenda();
  const up = world.channel('up', { delayMs: 20 });
  const down = world.channel('down', { delayMs: 3 });
  const a = world.host('a', { address: '192.0.2.1', up });
  const b = world.host('b', { address: '192.0.2.2', down });
  const [from, to, other] = [a.bind(), b.bind(), b.bind()];
  t.not(to.port, other.port);
  const bytes = new Uint8Array([1, 2, 3]);
  const start = world.now;
  // The path that a core made itself is as good as the interned one.
  a.send(from, { ...to }, bytes);
  bytes.fill(0);
  world.run(micros(start + ms(23) - 1));
  t.equal(world.heard.length, 0);
  t.equal(world.internet.tally.underWay, 1);
  world.run();
  const [heard] = world.heard;
  t.strictSame([heard.at, heard.host.name], [start + ms(23), 'b']);
  t.equal(heard.to, to, 'the same path is the same object');
  t.equal(heard.from, from);
  t.strictSame(heard.bytes, new Uint8Array([1, 2, 3]));
  t.equal(world.internet.tally.underWay, 0);
});

t.test('nothing is delivered within the call that sent it', async (t) => {
  const world = new NetworkAgenda();
  const [a, b] = ['192.0.2.1', '192.0.2.2'].map((address) => world.host(address, { address }));
  const to = b.bind();
  const bytes = new Uint8Array([7]);
  a.send(a.bind(), to, bytes);
  bytes[0] = 8;
  t.equal(world.heard.length, 0);
  world.pass(0);
  t.equal(world.heard.length, 1);
  t.equal(world.heard[0].bytes[0], 7, 'a copy');
  b.send(to, to, ONE);
  world.pass(0);
  t.equal(world.heard[1].from, to, 'to itself, too');
});

t.test('ports are distinct, and one that was closed does not come back soon', async (t) => {
  const world = new NetworkAgenda();
  const host = world.host('a', { address: '192.0.2.1' });
  const held = host.bind();
  const seen = new Set<Path>([held]);
  for (let round = 0; round < 16_000; round++) {
    const socket = host.bind();
    if (seen.has(socket)) throw new Error(`${socket.port} came back after ${round}`);
    seen.add(socket);
    host.unbind(socket);
  }
  const open = new Set([held, ...Array.from({ length: 2_000 }, () => host.bind())]);
  t.equal(open.size, 2_001);
  t.throws(() => host.bind(held.port), /open already/);
  t.equal(world.host('b', { address: '192.0.2.2' }).bind(443).port, 443);
});

t.test('what comes to no socket goes astray, and is shown', async (t) => {
  const world = new NetworkAgenda();
  const a = world.host('a', { address: '192.0.2.1' });
  const b = world.host('b', { address: '192.0.2.2', down: world.channel('down', { delayMs: 10 }) });
  const from = a.bind();
  const [closed, open] = [b.bind(), b.bind()];
  a.send(from, closed, ONE);
  b.unbind(closed);
  b.unbind(closed);
  a.send(from, world.internet.paths.of('198.51.100.9', 53), ONE);
  world.run();
  t.strictSame(
    world.strayed.map(({ to }) => to.host),
    ['198.51.100.9', '192.0.2.2'],
  );
  t.equal(world.probe(a, from, open), from);
  b.send(closed, from, ONE);
  a.send(from, world.internet.paths.of('2001:db8::1', 53), ONE);
  world.run();
  t.strictSame(world.dropped, ['closedSender', 'family']);
});

t.test(
  'a partition is one-way, ends at its microsecond, and is asked when it matters',
  async (t) => {
    const world = new NetworkAgenda();
    const home = world.nat(NAT_KINDS['full-cone'], '203.0.113.1');
    const a = world.host('a', { address: '192.0.2.1', up: world.channel('up', { delayMs: 10 }) });
    const b = world.host('b', { address: '192.168.1.2', nats: [home] });
    const c = world.host('c', { address: '192.168.1.3', nats: [home] });
    const [sa, sb, sc] = [a.bind(), b.bind(), c.bind()];
    const [pb, pc] = [world.internet.forward(b, sb), world.internet.forward(c, sc)];
    const start = world.now;
    world.internet.partition(a, b, after(start, seconds(5)));
    world.run(micros(start + seconds(5) - ms(10) - 1));
    a.send(sa, pb, ONE);
    a.send(sa, pc, ONE);
    b.send(sb, sa, ONE);
    world.pass(1);
    a.send(sa, pb, ONE);
    world.run();
    t.strictSame(world.dropped, ['partition']);
    t.strictSame(
      world.heard.map(({ host }) => host.name),
      ['a', 'c', 'b'],
    );
    world.internet.partition(a, b, NEVER);
    t.equal(world.probe(a, sa, pb), undefined);
    world.internet.partition(a, b, world.now);
    t.equal(world.probe(a, sa, pb), sa);
    world.internet.partition(b, a, NEVER);
    t.equal(world.probe(b, sb, sa), undefined);
    world.internet.heal();
    t.equal(world.probe(b, sb, sa), pb);
  },
);

t.test('who moves is heard from elsewhere, and hears nothing at the old address', async (t) => {
  const world = new NetworkAgenda();
  const home = world.nat(NAT_KINDS['port-restricted'], '203.0.113.1');
  const cafe = world.nat(NAT_KINDS['port-restricted'], '203.0.113.2');
  const server = world.host('server', { address: '192.0.2.1' });
  const ask = server.bind(3_478);
  const down = world.channel('down', { delayMs: 10 });
  const a = world.host('a', { address: '192.168.1.2', nats: [home], down });
  const socket = a.bind();
  const forward = world.internet.forward(a, socket);
  t.equal(world.probe(a, socket, ask), forward);
  server.send(ask, forward, ONE);
  a.move({ address: '10.0.0.7', nats: [cafe] });
  world.run();
  t.equal(world.strayed.length, 1, 'what was on its way down the old line');
  const seen = world.probe(a, socket, ask);
  t.equal(seen?.host, '203.0.113.2');
  t.strictSame([a.address, a.localPath(socket).host], ['10.0.0.7', '10.0.0.7']);
  if (seen === undefined) throw new Error('the server heard nothing');
  t.equal(world.probe(server, ask, seen), ask);
  t.equal(world.heard.at(-1)?.to, socket, 'a socket keeps its name');
  t.equal(world.probe(server, ask, forward), undefined, 'the forward has ended');
  // The address is free for others, and the host can come back.
  const b = world.host('b', { address: '192.168.1.2', nats: [home] });
  t.throws(() => a.move({ address: '192.168.1.2', nats: [home] }), /two have the address/);
  t.equal(home.forwardOf(world.internet.paths.of('192.168.1.2', socket.port)), undefined);
  b.move('192.168.1.3');
  a.move({ address: '192.168.1.2', nats: [home] });
  t.equal(world.probe(a, socket, ask)?.host, '203.0.113.1');
  t.equal(world.probe(b, b.bind(), socket)?.host, '192.168.1.3');
});

t.test('a path that a core made itself is the interned one, to boxes too', async (t) => {
  const world = new NetworkAgenda();
  const home = world.nat(NAT_KINDS.symmetric, '203.0.113.1');
  const a = world.host('a', { address: '192.168.1.2', nats: [home] });
  const [from, to] = [a.bind(), world.host('b', { address: '192.0.2.1' }).bind()];
  t.equal(world.probe(a, from, { ...to }), world.probe(a, from, { ...to }));
  t.equal(home.size, 1);
});

t.test('who closes a socket or moves away takes nothing along but what is its own', async (t) => {
  const world = new NetworkAgenda();
  const carrier = world.nat(NAT_KINDS['full-cone'], '203.0.113.1');
  const home = world.nat(NAT_KINDS['full-cone'], '100.64.0.1');
  const a = world.host('a', { address: '192.168.1.2', nats: [home, carrier] });
  const same = world.host('same', { address: '192.168.1.2', nats: [carrier] });
  const other = world.host('other', { address: '192.168.1.2' });
  const [sa, ss, so] = [a.bind(), same.bind(), other.bind()];
  world.internet.forward(a, sa);
  t.strictSame(
    [home, carrier].map((nat) => nat.forwardOf(home.forwardOf(sa) ?? sa)?.host),
    [undefined, '203.0.113.1'],
  );
  a.unbind(sa);
  t.equal(home.forwardOf(sa), undefined);
  a.move({ address: '203.0.113.9', nats: [] });
  const third = world.host('third', { address: '100.64.0.9', nats: [carrier] });
  t.ok(world.probe(third, third.bind(), ss));
  t.ok(world.probe(a, a.bind(), so));
});

t.test('what is in the old line when its host moves still leaves by the old boxes', async (t) => {
  const world = new NetworkAgenda();
  const home = world.nat(NAT_KINDS['full-cone'], '203.0.113.1');
  const server = world.host('server', { address: '192.0.2.1' });
  const up = world.channel('up', { delayMs: 10 });
  const a = world.host('a', { address: '192.168.1.2', nats: [home], up });
  const [socket, ask] = [a.bind(), server.bind()];
  a.send(socket, ask, ONE);
  a.move({ address: '192.0.2.9', nats: [] });
  a.send(socket, ask, ONE);
  world.run();
  t.strictSame(
    world.heard.map(({ from }) => from.host),
    ['203.0.113.1', '192.0.2.9'],
  );
});

t.test('a spoofed datagram passes only where its claim passes', async (t) => {
  const world = new NetworkAgenda();
  const home = world.nat(NAT_KINDS['port-restricted'], '203.0.113.1');
  const peer = world.host('peer', { address: '192.0.2.1' });
  const a = world.host('a', { address: '192.168.1.2', nats: [home] });
  const [sp, sa] = [peer.bind(), a.bind()];
  const seen = world.probe(a, sa, sp);
  if (seen === undefined) throw new Error('nothing came');
  const stranger = world.internet.paths.of('198.51.100.66', 666);
  const at = after(world.now, 17);
  world.internet.inject(at, stranger, seen, new Uint8Array([6]));
  world.internet.inject(at, { ...sp }, seen, new Uint8Array([7]));
  world.run();
  const [, { bytes, from }] = world.heard;
  t.strictSame([bytes[0], world.heard.length, world.heard[1].at], [7, 2, at]);
  t.equal(from, sp);
  t.strictSame(world.dropped, ['natInward']);
  world.internet.inject(micros(0), sp, seen, ONE);
  t.doesNotThrow(() => world.run(), 'an instant in the past is now');
});

t.test('an address stands for one, a box in one place', async (t) => {
  const world = new NetworkAgenda();
  const home = world.nat(NAT_KINDS['full-cone'], '203.0.113.1');
  const carrier = world.nat(NAT_KINDS['full-cone'], '203.0.113.2');
  world.host('a', { address: '192.168.1.2', nats: [home] });
  t.throws(() => world.host('a', { address: '192.168.1.3', nats: [home] }), /named a/);
  t.throws(() => world.host('b', { address: '192.168.1.2', nats: [home] }), /two have/);
  t.throws(() => world.host('c', { address: '203.0.113.1' }), /two have/);
  t.throws(
    () => world.host('d', { address: '192.168.1.4', nats: [home, carrier] }),
    /two networks/,
  );
  t.throws(() => world.nat(NAT_KINDS.symmetric), /needs an address/);
  t.throws(() => world.internet.paths.of('192.0.2.1', 70_000), /no UDP port/);
});

// --- conservation --------------------------------------------------------------------------------

/** A small Internet with all kinds of boxes and bad lines, in which everything happens. */
function turmoil(seed: number, steps: number): NetworkAgenda {
  const world = new NetworkAgenda(seed);
  const random = world.random('turmoil');
  const below = (bound: number): number => Math.floor(random() * bound);
  const carrier = world.nat({ ...NAT_KINDS.symmetric, hairpins: true }, '203.0.113.200');
  const nats = BOX_KINDS.map((kind, at) =>
    world.nat({ ...NAT_KINDS[kind], timeoutSeconds: 10 }, `203.0.113.${at}`, `203.0.114.${at}`),
  );
  const hosts = Array.from({ length: 10 }, (_, at): Host => {
    const fault = (): number => (random() < 0.5 ? 0 : random() * 0.3);
    const lines = ['up', 'down'].map((side) =>
      world.channel(`${side} ${at}`, {
        loss: fault(),
        burst: fault(),
        delayMs: below(100),
        jitterMs: below(20),
        reorder: fault(),
        reorderMs: below(50),
        duplicate: fault(),
        replay: fault(),
        replayAfterMsMax: 86_400_000,
        corrupt: fault(),
        truncate: fault(),
        grow: fault(),
        mtuBytes: 60 + below(60),
        bytesPerSecond: 2_000 + below(20_000),
        queueMs: below(200),
      }),
    );
    const boxes = at < 6 ? [nats[at]] : at < 8 ? [carrier] : [];
    return world.host(`h${at}`, {
      address: `198.51.100.${at + 1}`,
      nats: boxes,
      up: lines[0],
      down: lines[1],
    });
  });
  const sockets = hosts.map((host) => host.bind());
  const targets: Path[] = [...sockets];
  for (const host of hosts) {
    host.onDatagram = (to, from, bytes) => {
      world.heard.push({ at: world.now, host, to, from, bytes });
      targets[below(targets.length)] = from;
    };
  }
  for (let step = 0; step < steps; step++) {
    const at = below(hosts.length);
    const host = hosts[at];
    const deed = below(40);
    if (deed === 0) host.unbind(sockets[at]);
    else if (deed === 1) sockets[at] = host.bind();
    else if (deed === 2) host.move(`198.51.${100 + (step & 63)}.${at + 1}`);
    else if (deed === 3) nats[below(nats.length)].rebind(world.now, below(2) ? 'port' : 'address');
    else if (deed === 4) {
      const until = after(world.now, below(5e6));
      world.internet.partition(host, hosts[below(hosts.length)], until);
    } else if (deed === 5) host.up?.blackHole(after(world.now, below(2e6)));
    else if (deed === 6 && host.isBound(sockets[at])) {
      targets.push(world.internet.forward(host, sockets[at]));
    } else if (deed === 7) {
      const to = targets[below(targets.length)];
      world.internet.inject(after(world.now, below(1e6)), targets[0], to, new Uint8Array(9));
    } else {
      const to = targets[below(targets.length)];
      host.send(sockets[at], to, new Uint8Array(below(130)).fill(step));
    }
    world.pass(below(20_000));
    checkTally(world);
  }
  return world;
}

function checkTally({ internet: { tally } }: NetworkAgenda): void {
  const dropped = Object.values(tally.dropped).reduce((sum, count) => sum + count, 0);
  const ended = tally.delivered + tally.strayed + dropped;
  if (tally.underWay < 0) throw new Error('fewer than none are under way');
  if (tally.sent + tally.injected + tally.copied !== ended + tally.underWay)
    throw new Error(`not conserved: ${JSON.stringify(tally)}`);
}

t.test('every datagram is delivered, dropped by name, astray, or under way', async (t) => {
  const sum: Record<string, number> = {};
  for (let seed = 1; seed <= 10; seed++) {
    const world = turmoil(seed, 1_000);
    const { tally } = world.internet;
    t.ok(tally.underWay > 0, 'replays are yet to come');
    world.run();
    checkTally(world);
    t.equal(tally.underWay, 0);
    t.equal(tally.delivered, world.heard.length);
    t.equal(tally.strayed, world.strayed.length);
    for (const why of world.dropped) sum[why] = (sum[why] ?? 0) + 1;
    const { blackHole, mtu, loss, queue, duplicate, replay } = world.internet.firedFaults();
    t.equal(blackHole + mtu + loss + queue, tally.dropped.channel, 'each with its fault');
    t.equal(duplicate + replay, tally.copied);
    sum.delivered = (sum.delivered ?? 0) + tally.delivered;
  }
  for (const name of [
    'delivered',
    'channel',
    'natOutward',
    'natInward',
    'partition',
    'closedSender',
  ])
    t.ok((sum[name] ?? 0) > 10, `${name}: ${sum[name]}`);
});

t.test('the same seed gives the same story, another seed another one', async (t) => {
  const story = (seed: number): unknown => {
    const world = turmoil(seed, 500);
    world.run();
    return world.heard.map(({ at, host, from, bytes }) => [at, host.name, from, [...bytes]]);
  };
  t.strictSame(story(3), story(3));
  t.notSame(story(3), story(4));
});
