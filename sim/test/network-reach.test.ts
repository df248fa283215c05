// Who can be reached in the modelled Internet: what isPassable says beforehand is what happens,
// whatever boxes there are on both sides.

import fc from 'fast-check';
import t from 'tap';
import { NAT_KINDS, type NatKind } from '../network/nat.ts';
import { BOX_KINDS, NetworkAgenda } from './network-agenda.ts';

const chain = fc.array(fc.constantFrom<NatKind>(...BOX_KINDS, 'none'), { maxLength: 2 });

t.test('isPassable says what the first datagram and its answer will do', async (t) => {
  let passable = 0;
  let not = 0;
  fc.assert(
    fc.property(
      chain,
      chain,
      fc.boolean(),
      fc.constantFrom('apart', 'one-home', 'one-carrier'),
      fc.boolean(),
      (callerKinds, calleeKinds, isForwarded, place, hairpins) => {
        const world = new NetworkAgenda();
        const boxes = (kinds: readonly NatKind[], side: string) =>
          kinds.map((kind, at) =>
            world.nat({ ...NAT_KINDS[kind], hairpins }, `10.${at}.0.${side}`),
          );
        const calleeNats = boxes(calleeKinds, '1');
        const own = boxes(callerKinds, '2');
        const shared = calleeNats.slice(place === 'one-carrier' ? 1 : 0);
        const callerNats =
          place === 'apart' ? own : [...own.slice(0, place === 'one-home' ? 0 : 1), ...shared];
        const callee = world.host('callee', { address: '172.16.0.1', nats: calleeNats });
        const caller = world.host('caller', { address: '172.16.0.2', nats: callerNats });
        const socket = callee.bind();
        if (isForwarded) world.internet.forward(callee, socket);
        const target = world.internet.announce(callee, socket);
        const said = world.internet.isPassable(caller, callee, socket);
        const from = caller.bind();
        const seen = world.probe(caller, from, target);
        const answer = seen && world.probe(callee, socket, seen);
        if (said) passable += 1;
        else not += 1;
        return said === (seen !== undefined) && said === (answer === target);
      },
    ),
    { numRuns: 800 },
  );
  t.ok(passable > 80 && not > 80, `${passable} passable, ${not} not`);
});

t.test(
  'isPassable: families, closed sockets, somebody else at the same private address',
  async (t) => {
    const world = new NetworkAgenda();
    const [home, other] = ['203.0.113.1', '203.0.113.2'].map((address) =>
      world.nat(NAT_KINDS['full-cone'], address),
    );
    const a = world.host('a', { address: '192.168.1.2', nats: [home] });
    const b = world.host('b', { address: '192.168.1.3', nats: [other] });
    const c = world.host('c', { address: '192.168.1.3', nats: [home] });
    const six = world.host('six', { address: '2001:db8::6' });
    const { internet } = world;
    const socket = b.bind(5_000);
    c.bind(5_000);
    t.equal(internet.isPassable(a, b, socket), false, 'c has the address here');
    t.equal(internet.isPassable(a, c, c.bind()), true);
    internet.forward(b, socket);
    t.equal(internet.isPassable(a, b, socket), true);
    t.equal(internet.isPassable(six, b, socket), false);
    b.unbind(socket);
    t.equal(internet.isPassable(a, b, socket), false);
    const open = six.bind();
    t.equal(internet.isPassable(six, six, open), true);
  },
);
