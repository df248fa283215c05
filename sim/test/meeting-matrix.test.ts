// Every pair of seven kinds of places, with the real cores of two terminals, broker and manager, in
// virtual time, 25 ms each way: who meets directly, how fast, and who by the relay; neighbours and
// carriers, early packets, loss. Every invariant of the simulator is on.

import t from 'tap';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { MICROS_PER_MS, after, seconds } from '../../protocol/time.ts';
import { MEASURED, COLUMNS, type PlaceName } from '../lab/pair-table.ts';
import type { NatBehaviour, NatKind } from '../network/nat.ts';
import { MeetingStage, type PlaceMaker, behind } from './meeting-stage.ts';

const KINDS = ['none', 'firewall', 'full', 'address', 'port', 'symmetric', 'port2'] as const;
const DIRECT_MS_MAX = 2_000;
const RELAY_MS_MAX = 3_000;
const END_MS_MAX = 10_000;
const RTT_MS = 50;
const RELAY = { 'relay.there': 1 };

/** Whether real boxes let such a pair through. */
function isMeasured(row: PlaceName, column: (typeof COLUMNS)[number]): boolean {
  return MEASURED.get(row)?.[COLUMNS.indexOf(column)] !== '-';
}

t.test('S1005, S4005: pairs of places meet as real boxes let them, cell by cell', async (t) => {
  let direct = 0;
  for (const caller of KINDS) {
    const took: string[] = [];
    for (const callee of KINDS) {
      const places = [behind(caller), behind(callee)] as const;
      const stage = new MeetingStage({ places, set: RELAY }).call(END_MS_MAX);
      const isDirect = isMeasured(caller, callee);
      if (isDirect) direct += 1;
      const label = `${caller} × ${callee}`;
      t.equal(stage.way, isDirect ? 'direct' : 'relay', label);
      const most = isDirect ? DIRECT_MS_MAX : RELAY_MS_MAX;
      t.ok(stage.tookMs <= most, `${label}: ${stage.tookMs} ms`);
      took.push(`${stage.way} ${Math.round(stage.tookMs)}`);
    }
    t.comment(`${caller}: ${took.join(', ')}`);
  }
  t.equal(direct, 42, 'of 49');
});

t.test('the same with the real cryptography, a cell of each sort', async (t) => {
  for (const [caller, callee, way] of [
    ['port', 'port2', 'direct'],
    ['symmetric', 'none', 'direct'],
    ['symmetric', 'symmetric', 'relay'],
  ] as const) {
    const places = [behind(caller), behind(callee)] as const;
    const stage = new MeetingStage({ places, set: RELAY, suite: nodeSuite }).call(END_MS_MAX);
    t.equal(stage.way, way, `${caller} × ${callee}`);
  }
});

t.test('the many-socket search: a home router and a symmetric NAT, both ways', async (t) => {
  for (const [caller, callee] of [
    ['port', 'symmetric'],
    ['symmetric', 'port'],
    ['port2', 'symmetric'],
  ] as const) {
    let found = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const places = [behind(caller), behind(callee)] as const;
      const stage = new MeetingStage({ places, seed }).call(END_MS_MAX);
      if (stage.way === 'direct') found += 1;
      for (const { searchedAt } of [stage.ends.caller, stage.ends.callee])
        t.ok(searchedAt.length <= 1, 'once a session');
    }
    t.ok(found >= 18, `${caller} × ${callee}: ${found} of 20`);
  }
});

t.test('who cannot be reached is given up in time, with what is known of why', async (t) => {
  for (const [caller, callee] of [
    ['symmetric', 'symmetric'],
    ['blocked', 'none'],
    ['none', 'blocked'],
    ['blocked', 'blocked'],
  ] as const) {
    const stage = new MeetingStage({ places: [behind(caller), behind(callee)] });
    stage.call(END_MS_MAX, () => stage.isOver && stage.ends.callee.ended !== undefined);
    const label = `${caller} × ${callee}`;
    for (const { ended, meeting, way } of [stage.ends.caller, stage.ends.callee]) {
      t.equal(ended, 'path-lost', label);
      t.equal(way, undefined, label);
      t.ok(meeting !== undefined, label);
    }
    t.equal(stage.ends.caller.meeting?.isMapped, caller !== 'blocked', `${label}: UDP comes back`);
  }
});

t.test('where UDP is blocked, TCP leads to the relay', async (t) => {
  for (const [caller, callee] of [
    ['blocked', 'none'],
    ['symmetric', 'blocked'],
    ['blocked', 'blocked'],
  ] as const) {
    const stage = new MeetingStage({ places: [behind(caller), behind(callee)], set: RELAY });
    stage.call(END_MS_MAX, () => stage.isOpen && stage.ends.callee.readBytes > 0);
    const label = `${caller} × ${callee}`;
    t.equal(stage.way, 'relay', label);
    t.ok(stage.tookMs <= RELAY_MS_MAX, `${label}: ${stage.tookMs} ms`);
    t.equal(stage.ends.callee.readBytes, 10, label);
  }
});

/** Both in one network behind one box. */
const inHome =
  (kind: NatKind, more: Partial<NatBehaviour> = {}): PlaceMaker =>
  ({ side, shared, box }) => ({
    address: `192.168.1.${2 + side}`,
    nats: [shared('home', () => box(kind, more))],
  });

t.test('neighbours meet in their own network, whatever is between it and the world', async (t) => {
  for (const kind of ['full-cone', 'port-restricted', 'symmetric', 'udp-blocked'] as const) {
    const stage = new MeetingStage({ places: [inHome(kind), inHome(kind)], set: RELAY });
    stage.call(END_MS_MAX);
    t.equal(stage.way, 'lan', kind);
    t.ok(stage.tookMs < DIRECT_MS_MAX, kind);
  }
});

t.test(
  'behind one carrier: by hairpin or by the relay; its own customers as neighbours',
  async (t) => {
    for (const hairpins of [true, false]) {
      const carried =
        (...homes: readonly NatKind[]): PlaceMaker =>
        ({ side, shared, box }) => ({
          address: homes.length === 0 ? `100.64.0.${2 + side}` : `192.168.${side}.2`,
          nats: [
            ...homes.map((kind) => box(kind)),
            shared('carrier', () => box('port-restricted', { hairpins })),
          ],
        });
      const home = carried('port-restricted');
      const between = new MeetingStage({ places: [home, home], set: RELAY }).call(END_MS_MAX);
      t.equal(between.way, hairpins ? 'direct' : 'relay', `two homes, hairpin ${hairpins}`);
      const customers = new MeetingStage({ places: [carried(), carried()], set: RELAY });
      t.equal(customers.call(END_MS_MAX).way, 'lan', `two customers, hairpin ${hairpins}`);
      const alone = new MeetingStage({ places: [home, home] }).call(END_MS_MAX);
      t.equal(alone.ends.caller.ended, hairpins ? undefined : 'path-lost', `hairpin ${hairpins}`);
    }
  },
);

t.test('early packets that take the port: the common start, and the second round', async (t) => {
  for (const skewMs of [0, 50, 150, 300]) {
    const home = behind('port', { earlyTakesPort: true });
    const stage = new MeetingStage({ places: [home, home] });
    // One of them is further away than its connection to the broker says.
    for (const channel of [stage.caller.host.up, stage.caller.host.down])
      if (channel !== undefined)
        channel.faults = { ...channel.faults, delayMs: channel.faults.delayMs + skewMs };
    stage.call(END_MS_MAX);
    t.equal(stage.way, 'direct', `${skewMs} ms`);
    t.ok(stage.tookMs <= (skewMs === 0 ? 2 * RTT_MS : RELAY_MS_MAX), `${stage.tookMs} ms`);
  }
});

t.test('IPv6: where IPv4 has no way, and before it', async (t) => {
  const dual =
    (kind: NatKind): PlaceMaker =>
    ({ side, box }) => ({
      address: `192.168.${side}.2`,
      nats: [box(kind)],
      also: { address: `2001:db8:0:${side + 1}::1`, nats: [box('firewall')] },
    });
  for (const kind of ['symmetric', 'udp-blocked', 'port-restricted'] as const) {
    const stage = new MeetingStage({ places: [dual(kind), dual(kind)] }).call(END_MS_MAX);
    t.equal(stage.way, 'direct', kind);
    const path = stage.caller.status()?.talks[0]?.talk.path;
    t.match(path?.host, /^2001:db8:0:/, kind);
  }
});

/** With IPv6 alone. */
const ipv6Only =
  (kind: NatKind): PlaceMaker =>
  ({ side, box }) => ({ address: `2001:db8:0:${side + 1}::1`, nats: [box(kind)] });

t.test('RFC 8656 §7: through the relay, whatever IP versions the two have', async (t) => {
  const [six, shut] = [ipv6Only('firewall'), ipv6Only('udp-blocked')];
  const four = behind('symmetric');
  const both = ['192.0.2.20', '2001:db8:ffff::20'];
  for (const [label, places, addresses, isPartitioned] of [
    ['IPv6 × IPv6', [six, six], both, true],
    ['IPv6 × IPv6, no UDP', [shut, shut], both, false],
    ['IPv6 × IPv4', [six, four], both, false],
    ['IPv4 × IPv6, no UDP', [four, shut], both, false],
    ['IPv4 × IPv6, a relay of IPv4', [four, six], both.slice(0, 1), false],
    ['IPv6 × IPv6, a relay of IPv6', [six, six], both.slice(1), true],
    ['IPv6 × IPv6, a relay of IPv6, no UDP', [shut, shut], both.slice(1), false],
  ] as const) {
    const stage = new MeetingStage({ places, set: RELAY });
    const { internet, relay, terminals, now } = stage.world;
    if (relay === undefined) throw new Error('there is a relay');
    relay.addresses = addresses;
    const [a, b] = terminals.map(({ host }) => host);
    if (isPartitioned)
      for (const [from, to] of [
        [a, b],
        [b, a],
      ])
        internet.partition(from, to, after(now, seconds(60)));
    const isHopeless = label.includes('a relay of IPv4');
    stage.call(END_MS_MAX, () => stage.isOver || stage.ends.callee.readBytes > 0);
    t.equal(stage.way, isHopeless ? undefined : 'relay', label);
    if (isHopeless) continue;
    t.ok(stage.tookMs <= RELAY_MS_MAX, `${label}: ${stage.tookMs} ms`);
    t.equal(stage.ends.callee.readBytes, 10, label);
    t.comment(`${label}: ${Math.round(stage.tookMs)} ms, ${relay.counts.passed} passed`);
  }
});

t.test('a terminal that talks through the relay only tells no address of its own', async (t) => {
  const stage = new MeetingStage({
    places: [behind('none'), behind('none')],
    set: { ...RELAY, 'relay.only': 1 },
  });
  let direct = 0;
  stage.world.watchers.push({
    onHappening(happening) {
      if (happening.kind === 'datagramSent' && happening.relay === undefined) direct += 1;
    },
  });
  stage.call(END_MS_MAX);
  t.equal(stage.way, 'relay');
  t.ok(stage.tookMs <= RELAY_MS_MAX, `${stage.tookMs} ms`);
  t.equal(direct, 0, 'nothing goes from one to the other');
});

t.test(
  'from the name to the first byte in 3.5 round trips, consent and punching included',
  async (t) => {
    for (const place of ['none', 'port', 'port2'] as const) {
      const stage = new MeetingStage({ places: [behind(place), behind(place)] });
      stage.call(END_MS_MAX, () => stage.ends.callee.firstReadAt !== undefined);
      const trips = stage.firstByteMs / RTT_MS;
      t.comment(`${place}: ${trips.toFixed(2)} round trips`);
      t.ok(trips <= 3.5, `${place}: ${trips}`);
    }
  },
);

t.test('with loss on every link, 95 % are open within 5 s', async (t) => {
  for (const [loss, caller, callee] of [
    [0.1, 'port', 'port'],
    [0.2, 'none', 'symmetric'],
    [0.3, 'port', 'port'],
    [0.3, 'address', 'full'],
  ] as const) {
    const seeds = 60;
    let open = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      const places = [behind(caller), behind(callee)] as const;
      const stage = new MeetingStage({ places, seed, set: { 'udp.loss': loss } });
      stage.call(END_MS_MAX);
      if (stage.tookMs <= 5_000) open += 1;
    }
    t.ok(open >= 0.95 * seeds, `${loss}, ${caller} × ${callee}: ${open} of ${seeds}`);
  }
});

t.test('who has nothing to say sends no datagram in ten minutes', async (t) => {
  const stage = new MeetingStage({ places: [behind('port'), behind('port')], set: RELAY });
  let sent = 0;
  stage.world.watchers.push({
    onHappening({ kind }) {
      if (kind === 'datagramSent' || kind === 'stunSent') sent += 1;
    },
  });
  stage.pass(seconds(600) / MICROS_PER_MS);
  t.equal(sent, 0);
  stage.call(END_MS_MAX);
  t.ok(sent > 2, 'a call is heard here');
});
