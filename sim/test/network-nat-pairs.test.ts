// Pairs of modelled boxes that try to reach one another, against what real boxes did in a
// laboratory of network namespaces; neighbours in one LAN and behind one carrier.

import t from 'tap';
import { ms } from '../../protocol/time.ts';
import { COLUMNS, MEASURED, PLACES, type PlaceName } from '../lab/pair-table.ts';
import type { Host } from '../network/host.ts';
import { NAT_KINDS, type Nat } from '../network/nat.ts';
import { NetworkAgenda } from './network-agenda.ts';

/** Both ask a server how they are seen and send there, the second one by a skew later, for 3 s. */
function punch(
  a: PlaceName,
  b: PlaceName,
  { answersSeen = false, skewMs = 0, earlyTakesPort = false } = {},
): boolean {
  const world = new NetworkAgenda(1, ms(25));
  const server = world.host('server', { address: '192.0.2.1' });
  const ask = server.bind(3_478);
  const hosts = [a, b].map((place, side) => {
    const nats = PLACES[place].map((kind, at) =>
      world.nat(
        { ...NAT_KINDS[kind], earlyTakesPort },
        at === PLACES[place].length - 1 ? `203.0.113.${side}` : `100.64.0.${side}`,
      ),
    );
    const isOpen = place === 'none' || place === 'firewall';
    const host = world.host(`h${side}`, {
      address: isOpen ? `203.0.113.1${side}` : '192.168.1.2',
      nats,
    });
    const socket = host.bind();
    return { host, socket, seen: world.probe(host, socket, ask) };
  });
  const targets = [hosts[1].seen, hosts[0].seen];
  const hasHeard = [false, false];
  hosts.forEach(({ host }, side) => {
    host.onDatagram = (_to, from) => {
      hasHeard[side] = true;
      if (answersSeen) targets[side] = from;
    };
  });
  for (let round = 0; round < 60; round++) {
    hosts.forEach(({ host, socket }, side) => {
      const to = targets[side];
      const begins = side * skewMs;
      if (to !== undefined && round * 50 >= begins) host.send(socket, to, new Uint8Array(1));
    });
    world.pass(ms(50));
  }
  return hasHeard[0] && hasHeard[1];
}

t.test('pairs of boxes let through what real ones did', async (t) => {
  for (const [row, cells] of MEASURED) {
    const found = COLUMNS.map((column) => {
      if (punch(row, column)) return 'ok';
      return punch(row, column, { answersSeen: true }) ? 'seen' : '-';
    });
    t.strictSame(found, cells, row);
  }
});

t.test(
  'a port that an early datagram takes: measured with a skew of 150 ms and without',
  async (t) => {
    for (const [skewMs, earlyTakesPort, isExpected] of [
      [0, true, true],
      [150, true, false],
      [150, false, true],
      [300, false, true],
    ] as const) {
      const options = { answersSeen: true, skewMs, earlyTakesPort };
      t.equal(punch('port', 'port', options), isExpected, JSON.stringify(options));
    }
  },
);

t.test('one LAN, and homes behind one carrier: direct inside, by hairpin outside', async (t) => {
  for (const hairpins of [true, false]) {
    const world = new NetworkAgenda();
    const server = world.host('server', { address: '192.0.2.1' });
    const ask = server.bind(3_478);
    const carrier = world.nat({ ...NAT_KINDS['full-cone'], hairpins }, '203.0.113.1');
    const homes = [1, 2].map((n) => world.nat(NAT_KINDS['full-cone'], `100.64.0.${n}`));
    const [a, b, c] = [
      ['a', '192.168.1.2', homes[0]],
      ['b', '192.168.1.3', homes[0]],
      ['c', '192.168.1.2', homes[1]],
    ].map(([name, address, home]) =>
      world.host(name as string, { address: address as string, nats: [home as Nat, carrier] }),
    ) as [Host, Host, Host];
    const [sa, sb, sc] = [a.bind(), b.bind(), c.bind()];
    t.equal(world.probe(a, sa, sb), sa, 'neighbours see one another as they are');
    const seenC = world.probe(c, sc, ask);
    if (seenC === undefined) throw new Error('the server heard nothing');
    t.equal(seenC.host, '203.0.113.1');
    const seenByC = world.probe(a, sa, seenC);
    t.equal(
      seenByC?.host,
      hairpins ? '203.0.113.1' : undefined,
      'RFC 4787 REQ-9a: external source',
    );
    t.equal(world.internet.tally.dropped.hairpin, hairpins ? 0 : 1);
    // c's own home is not asked: the carrier's network knows 100.64.0.2.
    const inCarrier = homes[1].outbound(world.now, sc, ask);
    if (inCarrier === undefined) throw new Error('refused');
    t.equal(world.probe(a, sa, inCarrier)?.host, '100.64.0.1');
  }
});
