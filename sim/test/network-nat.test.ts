// The modelled boxes, cell by cell against the definitions of RFC 4787: mapping, filtering, ports,
// timeouts, bounds, forwards, rebinding.

import fc from 'fast-check';
import t from 'tap';
import type { Path } from '../../protocol/core.ts';
import { seededRng } from '../../protocol/random.ts';
import { type Micros, after, micros, seconds } from '../../protocol/time.ts';
import { type Dependence, NAT_KINDS, Nat, type NatBehaviour } from '../network/nat.ts';
import { Paths } from '../network/paths.ts';

const NOW = micros(seconds(1));
const DEPENDENCES: readonly Dependence[] = [
  'endpoint-independent',
  'address-dependent',
  'address-and-port-dependent',
];

function boxOf(behaviour: Partial<NatBehaviour>, seed = 1): { nat: Nat; paths: Paths } {
  const rng = seededRng(seed);
  const paths = new Paths();
  const nat = new Nat({
    behaviour: { ...NAT_KINDS['port-restricted'], ...behaviour },
    addresses: ['203.0.113.1', '203.0.113.2'],
    random: () => rng.next() / 2 ** 32,
    paths,
  });
  return { nat, paths };
}

/** An inner socket, and three remote ones: x, x's other port, another address with x's port. */
function ends(paths: Paths): readonly [Path, Path, Path, Path] {
  return [
    paths.of('192.168.1.2', 5_000),
    paths.of('198.51.100.1', 1_000),
    paths.of('198.51.100.1', 2_000),
    paths.of('198.51.100.2', 1_000),
  ];
}

for (const mapping of DEPENDENCES)
  for (const filtering of DEPENDENCES)
    for (const ports of ['preserving', 'random'] as const)
      t.test(`RFC 4787 §4.1, §5: maps ${mapping}, filters ${filtering}, ${ports}`, async (t) => {
        const { nat, paths } = boxOf({ mapping, filtering, ports });
        const [inside, x, xOther, y] = ends(paths);
        const outside = nat.outbound(NOW, inside, x);
        if (outside === undefined) throw new Error('refused');
        t.equal(outside.host, '203.0.113.1');
        t.equal(outside.port === inside.port, ports === 'preserving');
        // Who may answer, before anything else was sent:
        t.equal(nat.inbound(NOW, outside, x), inside);
        const heard = [xOther, y].map((from) => nat.inbound(NOW, outside, from) === inside);
        t.strictSame(
          heard,
          {
            'endpoint-independent': [true, true],
            'address-dependent': [true, false],
            'address-and-port-dependent': [false, false],
          }[filtering],
        );
        // What it is seen as by others:
        const isSame = [xOther, y].map((to) => nat.outbound(NOW, inside, to) === outside);
        t.strictSame(
          isSame,
          {
            'endpoint-independent': [true, true],
            'address-dependent': [true, false],
            'address-and-port-dependent': [false, false],
          }[mapping],
        );
        t.equal(nat.outbound(NOW, inside, x), outside, 'the first mapping is still there');
        const other = nat.outbound(NOW, paths.of('192.168.1.3', 5_000), x);
        t.not(other, outside, 'another socket with the same port has another mapping');
        t.equal(nat.inbound(NOW, paths.of('203.0.113.1', 1_025), x), undefined, 'unmapped');
      });

t.test('RFC 4787 REQ-5: a mapping lives its timeout to the microsecond', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), fc.nat(10 ** 9), (timeoutSeconds, wait) => {
      const filtering = DEPENDENCES[wait % 3];
      const random = { refreshesInbound: false, ports: 'random' } as const;
      const { nat, paths } = boxOf({ ...random, timeoutSeconds, filtering });
      const [inside, x] = ends(paths);
      const outside = nat.outbound(NOW, inside, x);
      if (outside === undefined) return false;
      const last = after(NOW, seconds(timeoutSeconds) - 1);
      if (nat.inbound(last, outside, x) !== inside) return false;
      if (nat.inbound(after(last, 1), outside, x) !== undefined) return false;
      // Refreshed outbound, it begins again; after its end, the socket gets another.
      const begun = after(NOW, Math.min(wait, seconds(timeoutSeconds) - 1));
      if (nat.outbound(begun, inside, x) !== outside) return false;
      const end = after(begun, seconds(timeoutSeconds));
      return (
        nat.inbound(micros(end - 1), outside, x) === inside &&
        nat.inbound(end, outside, x) === undefined &&
        nat.outbound(end, inside, x) !== outside
      );
    }),
    { numRuns: 200 },
  );
});

t.test('RFC 4787 REQ-6: what comes in refreshes only where the box says so', async (t) => {
  for (const refreshesInbound of [true, false]) {
    const { nat, paths } = boxOf({ refreshesInbound, timeoutSeconds: 30 });
    const [inside, x, , y] = ends(paths);
    const outside = nat.outbound(NOW, inside, x);
    if (outside === undefined) throw new Error('refused');
    t.equal(nat.inbound(after(NOW, seconds(29)), outside, x), inside);
    nat.inbound(after(NOW, seconds(29)), outside, y);
    const later = nat.inbound(after(NOW, seconds(31)), outside, x);
    t.equal(later, refreshesInbound ? inside : undefined);
    t.equal(
      nat.inbound(after(NOW, seconds(60)), outside, y),
      undefined,
      'a stranger refreshes not',
    );
  }
});

t.test('a filter forgets each remote end by itself', async (t) => {
  const { nat, paths } = boxOf({ timeoutSeconds: 30, refreshesInbound: false });
  const [inside, x, , y] = ends(paths);
  const outside = nat.outbound(NOW, inside, x);
  if (outside === undefined) throw new Error('refused');
  t.equal(nat.outbound(after(NOW, seconds(20)), inside, y), outside);
  t.equal(nat.inbound(after(NOW, seconds(30)), outside, x), undefined);
  t.equal(nat.inbound(after(NOW, seconds(30)), outside, y), inside);
  t.strictSame([nat.refusals.filtered, nat.refusals.unmapped], [1, 0]);
});

t.test('mappings are bounded; what has expired makes room, and its port free', async (t) => {
  const { nat, paths } = boxOf({ mappingsMax: 3, timeoutSeconds: 30 });
  const [, x] = ends(paths);
  const inner = [1, 2, 3, 4].map((last) => paths.of(`192.168.1.${last}`, 5_000));
  const outer = inner.map((inside, at) => nat.outbound(after(NOW, at), inside, x));
  t.equal(new Set(outer.slice(0, 3)).size, 3);
  t.equal(outer[0]?.port, 5_000);
  t.equal(outer[3], undefined);
  t.equal(nat.refusals.full, 1);
  t.equal(nat.size, 3);
  const end = after(NOW, seconds(30));
  t.equal(nat.outbound(micros(end - 1), inner[3], x), undefined);
  t.equal(nat.outbound(end, inner[3], x)?.port, 5_000, 'the first one has expired');
  t.equal(nat.outbound(end, inner[0], x), undefined);
});

t.test('a rebind: other ports or the next address for all mappings, forwards stay', async (t) => {
  for (const ports of ['preserving', 'random'] as const) {
    const { nat, paths } = boxOf({ ports });
    const [inside, x] = ends(paths);
    const server = paths.of('192.168.1.9', 443);
    const forward = nat.forward(server);
    const old = nat.outbound(NOW, inside, x);
    if (old === undefined) throw new Error('refused');
    nat.rebind(NOW, 'port');
    t.equal(nat.inbound(NOW, old, x), undefined);
    const other = nat.outbound(NOW, inside, x);
    t.equal(other?.host, old.host);
    t.not(other?.port, old.port);
    t.equal(nat.inbound(NOW, forward, x), server);
    nat.rebind(NOW, 'address');
    t.equal(nat.address, '203.0.113.2');
    t.equal(nat.outbound(NOW, inside, x)?.host, '203.0.113.2');
    t.equal(nat.inbound(NOW, forward, x), undefined, 'the old address hears nothing');
    const moved = nat.forwardOf(server);
    t.strictSame(moved, { host: '203.0.113.2', port: forward.port });
    t.equal(moved === undefined ? undefined : nat.inbound(NOW, moved, x), server);
    t.equal(nat.outbound(NOW, server, x), moved, 'and is what it sends from');
    nat.rebind(NOW, 'address');
    t.equal(nat.address, '203.0.113.1', 'round');
  }
});

t.test(
  'a forward lets everybody in, at any time, until it ends; it has a port of its own',
  async (t) => {
    for (const kind of ['firewall', 'full-cone', 'port-restricted', 'symmetric'] as const) {
      const { nat, paths } = boxOf(NAT_KINDS[kind]);
      const [inside, x, , y] = ends(paths);
      nat.outbound(NOW, inside, x);
      const forward = nat.forward(inside);
      t.equal(nat.size, 0, 'it takes over from the mapping that there was');
      if (kind !== 'symmetric') t.equal(forward.port, inside.port);
      t.equal(nat.forward(inside), forward);
      const muchLater = after(NOW, seconds(86_400));
      t.equal(nat.inbound(muchLater, forward, y), inside, kind);
      t.strictSame([nat.isOpen(forward), nat.insideOf(forward)], [true, inside]);
      for (const to of [x, y]) t.equal(nat.outbound(NOW, inside, to), forward, 'both directions');
      const neighbour = paths.of('192.168.1.3', forward.port);
      t.not(nat.outbound(NOW, neighbour, x), forward, 'nobody else gets the port');
      nat.unforward(inside);
      nat.unforward(inside);
      t.equal(nat.inbound(muchLater, forward, y), undefined);
      t.equal(nat.isOpen(forward), false);
    }
    const { nat, paths } = boxOf(NAT_KINDS['udp-blocked']);
    const [inside, x] = ends(paths);
    t.equal(nat.inbound(NOW, nat.forward(inside), x), undefined, 'blocked is blocked');
    t.equal(nat.outbound(NOW, inside, x), undefined);
  },
);

t.test('no two sockets ever share an external port, whatever happens', async () => {
  const action = fc.record({
    wait: fc.nat(40),
    socket: fc.nat(7),
    to: fc.nat(3),
    deed: fc.constantFrom('send', 'send', 'send', 'send', 'forward', 'unforward', 'rebind'),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...DEPENDENCES),
      fc.constantFrom('preserving' as const, 'random' as const),
      fc.array(action, { maxLength: 60 }),
      (mapping, ports, actions) => {
        const { nat, paths } = boxOf({ mapping, ports, timeoutSeconds: 60, mappingsMax: 12 });
        let now: Micros = NOW;
        for (const { wait, socket, to, deed } of actions) {
          now = after(now, seconds(wait));
          const inside = paths.of(`192.168.1.${socket >> 1}`, 5_000 + (socket & 1));
          const remote = paths.of(`198.51.100.${to >> 1}`, 80 + (to & 1));
          if (deed === 'forward') nat.forward(inside);
          else if (deed === 'unforward') nat.unforward(inside);
          else if (deed === 'rebind') nat.rebind(now, to > 1 ? 'port' : 'address');
          else {
            const outside = nat.outbound(now, inside, remote);
            if (outside === undefined) {
              if (nat.size < 12) return false;
              continue;
            }
            // The remote end's answer comes to the socket that asked, and to no other.
            if (nat.inbound(now, outside, remote) !== inside) return false;
          }
          if (nat.size > 12) return false;
        }
        return true;
      },
    ),
    { numRuns: 400 },
  );
});

t.test('a firewall changes no address, and lets in who was asked', async (t) => {
  const { nat, paths } = boxOf(NAT_KINDS.firewall);
  const [inside, x, xOther] = ends(paths);
  t.equal(nat.inbound(NOW, inside, x), undefined);
  t.equal(nat.outbound(NOW, inside, x), inside);
  t.equal(nat.inbound(NOW, inside, x), inside);
  t.equal(nat.inbound(NOW, inside, xOther), undefined);
  const open = boxOf(NAT_KINDS.none).nat;
  t.equal(open.inbound(NOW, inside, x), inside, 'no box at all lets everybody in');
});

t.test('a port that an early datagram took is back after a timeout, or a rebind', async (t) => {
  const { nat, paths } = boxOf({ earlyTakesPort: true, timeoutSeconds: 30 });
  const [inside, x, , y] = ends(paths);
  const outside = nat.outbound(NOW, inside, y);
  if (outside === undefined) throw new Error('refused');
  t.equal(nat.inbound(NOW, outside, x), undefined);
  const own = nat.outbound(NOW, inside, x);
  t.not(own, outside);
  t.equal(nat.outbound(NOW, inside, y), outside, 'everybody else sees the usual port');
  t.equal(nat.outbound(after(NOW, seconds(29)), inside, x), own, 'as long as it is used');
  const later = after(NOW, seconds(59));
  t.equal(nat.outbound(later, inside, x), nat.outbound(later, inside, y), 'then no longer');
  const fresh = boxOf({ earlyTakesPort: true, timeoutSeconds: 30 });
  const [first, z] = ends(fresh.paths);
  fresh.nat.inbound(NOW, fresh.paths.of('203.0.113.1', first.port), z);
  t.not(fresh.nat.outbound(NOW, first, z)?.port, first.port, 'not even preserved');
  fresh.nat.rebind(NOW, 'address');
  t.equal(fresh.nat.outbound(NOW, first, z)?.port, first.port, 'a box that forgot forgot that');
});
