// What one terminal is told of the other's addresses: no address that nobody has, none of a site
// outside that site, no more than it may be probed at.

import fc from 'fast-check';
import t from 'tap';
import { addressBytes, addressScope, addressText } from '../../protocol/address.ts';
import type { Candidate } from '../../protocol/control/messages.ts';
import { LIMITS } from '../../protocol/limits.ts';
import {
  type Place,
  UNKNOWN_PLACE,
  placeAfter,
  placeOf,
  searchAddress,
  toldCandidates,
} from '../told-candidates.ts';

const HERE = '203.0.113.9';
const THERE = '198.51.100.7';

const bytesOf = (text: string): Uint8Array => {
  const bytes = addressBytes(text);
  if (bytes === undefined) throw new Error(`no address: ${text}`);
  return bytes;
};
const candidate = (text: string, type: Candidate['type'] = 'host', port = 4_000): Candidate => ({
  address: bytesOf(text),
  port,
  type,
});
/** A terminal that the broker sees at an address, with what STUN servers have shown it. */
function place(
  seenAt: string | undefined,
  more: { reflexive?: readonly string[]; proven?: boolean; varies?: boolean } & Partial<
    Pick<Place, 'relay'>
  > = {},
): Place {
  const { reflexive = [], relay, ...facts } = more;
  const found = {
    candidates: reflexive.map((text) => candidate(text, 'reflexive')),
    seenAt: seenAt === undefined ? undefined : bytesOf(seenAt),
    ...facts,
  };
  return placeOf({ device: 'd' as never, record: 'r' as never, ...found }, relay);
}
const told = (list: readonly Candidate[], of: Place, to: Place): readonly string[] =>
  toldCandidates(list, { of, to }).map(({ address }) => addressText(address) ?? 'none');

/** One of each scope. */
const SCOPES: Readonly<Record<string, string>> = {
  'global IPv4': '192.0.2.5',
  'global IPv6': '2001:db8::5',
  private: '192.168.1.5',
  'another private': '10.0.0.5',
  'unique local': 'fd00::5',
  shared: '100.64.0.5',
  'link-local': '169.254.1.5',
  'IPv6 link-local': 'fe80::5',
  loopback: '127.0.0.1',
  'IPv6 loopback': '::1',
  multicast: '224.0.0.5',
  'IPv6 multicast': 'ff02::1',
  unspecified: '0.0.0.0',
  'IPv6 unspecified': '::',
  broadcast: '255.255.255.255',
  reserved: '240.0.0.5',
  'of this network': '0.1.2.3',
  'IPv4-compatible': '::192.168.1.5',
};
const GLOBAL = ['192.0.2.5', '2001:db8::5'];
const OF_A_SITE = ['192.168.1.5', '10.0.0.5', 'fd00::5', '100.64.0.5'];
const LOOPBACK = ['127.0.0.1', '::1'];

t.test(
  'S2008: addresses of a site are told where both seem to be of it, and nowhere else',
  async (t) => {
    const cases: readonly (readonly [string, Place, Place, readonly string[]])[] = [
      ['two sites', place(HERE), place(THERE), GLOBAL],
      ['one public address', place(HERE), place(HERE), [...GLOBAL, ...OF_A_SITE]],
      ['one of them mapped', place(HERE), place(`::ffff:${HERE}`), [...GLOBAL, ...OF_A_SITE]],
      [
        'a common reflexive address, seen by IPv6',
        place('2001:db8:1::1', { reflexive: [HERE] }),
        place('2001:db8:2::2', { reflexive: [HERE] }),
        [...GLOBAL, ...OF_A_SITE],
      ],
      [
        'one seen by IPv6, the other by IPv4',
        place('2001:db8:1::1', { reflexive: [HERE] }),
        place(HERE),
        [...GLOBAL, ...OF_A_SITE],
      ],
      ['the server is inside', place('192.168.1.5'), place('10.0.0.7'), [...GLOBAL, ...OF_A_SITE]],
      ['the server is inside with one of them', place('192.168.1.5'), place(THERE), GLOBAL],
      [
        'two sites whose own STUN servers show the same private address',
        place(HERE, { reflexive: ['192.168.1.1'] }),
        place(THERE, { reflexive: ['192.168.1.1'] }),
        GLOBAL,
      ],
      ['one machine', place('127.0.0.1'), place('::1'), [...GLOBAL, ...OF_A_SITE, ...LOOPBACK]],
      [
        'one IPv6 link, each with an address of its own',
        place('2001:db8:1:7::a'),
        place('2001:db8:1:7:ffff::b'),
        [...GLOBAL, ...OF_A_SITE],
      ],
      ['two links of one prefix', place('2001:db8:1:7::a'), place('2001:db8:1:8::a'), GLOBAL],
      [
        'one proxy in front of the server, two sites',
        place('127.0.0.1', { reflexive: [HERE] }),
        place('127.0.0.1', { reflexive: [THERE] }),
        GLOBAL,
      ],
      [
        'the same in a container',
        place('172.17.0.1', { reflexive: [HERE] }),
        place('172.17.0.1', { reflexive: ['2001:db8:1::1'] }),
        GLOBAL,
      ],
      [
        'one proxy in front of the server, one site',
        place('127.0.0.1', { reflexive: [HERE] }),
        place('127.0.0.1', { reflexive: [HERE] }),
        [...GLOBAL, ...OF_A_SITE],
      ],
      [
        'the server is inside, and a foreign STUN server shows one of them from outside',
        place('192.168.1.5', { reflexive: [HERE] }),
        place('192.168.1.6'),
        [...GLOBAL, ...OF_A_SITE],
      ],
      [
        'one on the server’s machine',
        place('127.0.0.1'),
        place('10.0.0.7'),
        [...GLOBAL, ...OF_A_SITE],
      ],
      ['a broker that does not say', place(undefined), place(undefined), [...GLOBAL, ...LOOPBACK]],
      ['a broker that says it of one', place(undefined), place(HERE), GLOBAL],
      ['nothing is known', UNKNOWN_PLACE, UNKNOWN_PLACE, GLOBAL],
    ];
    const list = Object.values(SCOPES);
    for (const [what, of, to, expected] of cases) {
      for (const type of ['host', 'reflexive', 'relayed'] as const) {
        const all = list.map((text) => candidate(text, type));
        t.strictSame([...told(all, of, to)].sort(), [...expected].sort(), `${what}: ${type}`);
      }
    }
  },
);

t.test('S2009: each address once, folded, with a port, at most LIMITS.candidatesMax', async (t) => {
  const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 5);
  const list = [
    candidate('192.0.2.5', 'host', 0),
    { address: mapped, port: 4_000, type: 'host' as const },
    candidate('192.0.2.5'),
    candidate('192.0.2.5', 'reflexive'),
    candidate('192.0.2.5', 'host', 4_001),
    { address: new Uint8Array(7), port: 4_000, type: 'host' as const },
  ];
  const of = place(HERE);
  t.strictSame(toldCandidates(list, { of, to: place(THERE) }), [
    { address: bytesOf('192.0.2.5'), port: 4_000, type: 'host' },
    { address: bytesOf('192.0.2.5'), port: 4_001, type: 'host' },
  ]);
  const loop = { ...candidate('192.0.2.5'), address: mapped.with(12, 127) };
  t.strictSame(told([loop], of, place(THERE)), [], 'a mapped loopback address is one');
  const many = Array.from({ length: 300 }, (_, port) => candidate('192.0.2.5', 'host', port + 1));
  t.equal(told(many, of, place(THERE)).length, LIMITS.candidatesMax);
});

t.test('a terminal that is reached through a relay only has no other candidate told', async (t) => {
  const list = [
    candidate('192.0.2.5'),
    candidate('192.0.2.6', 'reflexive'),
    candidate('192.0.2.7', 'relayed'),
  ];
  const policies = ['never', 'if-needed', 'only'] as const;
  const results = policies.map((of) =>
    policies.map((to) => told(list, place(HERE, { relay: of }), place(HERE, { relay: to })).length),
  );
  t.strictSame(results, [
    [2, 2, 2],
    [2, 3, 3],
    [0, 1, 1],
  ]);
});

t.test(
  'the many-socket search goes to a proven address, from one side of a varying NAT',
  async (t) => {
    const search = (of: Place, to: Place): string | undefined => {
      const address = searchAddress({ of, to });
      return address && addressText(address);
    };
    const home = place(HERE, { proven: true });
    const symmetric = place(THERE, { proven: true, varies: true });
    t.equal(search(symmetric, home), THERE, 'the home router’s side sprays');
    t.equal(search(home, symmetric), HERE, 'the other one opens many sockets');
    t.equal(search(home, home), undefined, 'nobody needs it');
    t.equal(search(symmetric, symmetric), undefined, 'it would not help');
    t.equal(search(place(THERE, { varies: true }), home), undefined, 'not proven');
    t.equal(search(place(undefined, { proven: true, varies: true }), home), undefined);
    t.equal(search({ ...symmetric, relay: 'only' }, home), undefined);
    t.equal(search(symmetric, { ...home, relay: 'only' }), undefined);
    const inside = place('192.168.1.5', { proven: true, varies: true });
    t.equal(search(inside, home), undefined, 'an address of another site');
    const lying = placeAfter(symmetric, { candidates: [candidate('192.0.2.66', 'reflexive')] });
    t.equal(search(lying, home), undefined, 'who has moved is proven nowhere');
  },
);

t.test(
  'S2008: who has moved to where no STUN server is heard is of no site until it is seen',
  async (t) => {
    const host = candidate('10.9.9.9');
    for (const before of [place(HERE, { proven: true }), place('192.168.1.5')]) {
      const said = (more: object): Place =>
        placeAfter(before, { candidates: [host], varies: true, ...more });
      t.strictSame(told([host], said({}), before), ['10.9.9.9'], 'positive control');
      const away = said({ moved: true });
      t.strictSame(told([host], away, before), []);
      t.strictSame(told([host], before, away), [], 'nor is it told more itself');
      t.match(away, { proven: undefined, isInside: false, varies: true, relay: before.relay });
    }
    const back = placeAfter(placeAfter(place(HERE), { candidates: [host], moved: true }), {
      candidates: [host, candidate(HERE, 'reflexive')],
    });
    t.strictSame(told([host], back, place(HERE)), ['10.9.9.9'], 'seen again');
    const local = place('127.0.0.1');
    const loop = candidate('127.0.0.1');
    const still = placeAfter(local, { candidates: [loop], moved: true });
    t.strictSame(told([loop], still, local), ['127.0.0.1'], 'a loopback moves nowhere');
    const gone = placeAfter(local, { candidates: [loop, host], moved: true });
    t.strictSame(told([loop, host], gone, local), []);
  },
);

t.test(
  'S2008: another address of the same IPv6 link is the same site, and is not proven',
  async (t) => {
    const before = place('2001:db8:1:7::a', { proven: true });
    const move = (...texts: readonly string[]): Place =>
      placeAfter(before, { candidates: texts.map((text) => candidate(text, 'reflexive')) });
    t.strictSame(move('2001:db8:1:7::a').proven, bytesOf('2001:db8:1:7::a'), 'positive control');
    t.equal(move('2001:db8:1:7::b').proven, undefined);
    t.strictSame(move('2001:db8:1:7::b').sightings, before.sightings);
    t.not(move('2001:db8:1:8::a').sightings[0], before.sightings[0]);
  },
);

t.test(
  'S2008: who has moved is of another site until it is seen in the old one again',
  async (t) => {
    const host = candidate('192.168.1.5');
    const peer = place(HERE);
    const before = place(HERE);
    const said = (...candidates: readonly Candidate[]): Place => placeAfter(before, { candidates });
    t.equal(said(host), before, 'without a reflexive address nothing is known anew');
    t.match(said(host, candidate(HERE, 'reflexive')), { ...before, varies: false });
    const away = said(host, candidate(THERE, 'reflexive'));
    t.strictSame(told([host], before, peer), ['192.168.1.5'], 'positive control');
    t.strictSame(told([host], away, peer), []);
    t.strictSame(told([host], peer, away), [], 'nor is it told more itself');
    const back = placeAfter(away, { candidates: [candidate(HERE, 'reflexive')] });
    t.strictSame(told([host], back, peer), ['192.168.1.5']);
    const server = place('10.0.0.1');
    const inside = placeAfter(before, { candidates: [candidate('192.168.1.9', 'reflexive')] });
    t.strictSame(told([host], inside, server), ['192.168.1.5'], 'into the server’s own network');
    t.strictSame(told([host], inside, peer), []);
    const local = place('127.0.0.1');
    const again = placeAfter(local, { candidates: [candidate('127.0.0.1', 'reflexive')] });
    t.strictSame(told([candidate('127.0.0.1')], again, local), ['127.0.0.1']);
    t.strictSame(told([candidate('127.0.0.1')], said(candidate(THERE, 'reflexive')), local), []);
  },
);

const addresses = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.constantFrom(...Object.values(SCOPES)).map(bytesOf),
);
const lists = fc.array(
  fc.record({
    address: addresses,
    port: fc.nat(3),
    type: fc.constantFrom('host' as const, 'reflexive' as const, 'relayed' as const),
  }),
  { maxLength: 40 },
);
const places = fc
  .record({
    candidates: lists,
    seenAt: fc.option(addresses, { nil: undefined }),
    proven: fc.boolean(),
    varies: fc.boolean(),
    relay: fc.constantFrom('never' as const, 'if-needed' as const, 'only' as const),
  })
  .map(({ relay, ...found }) =>
    placeOf({ device: 'd' as never, record: 'r' as never, ...found }, relay),
  );

t.test(
  'S2008: whatever a terminal lists, its peer is sent nowhere that it may not be',
  async (t) => {
    let all = 0;
    fc.assert(
      fc.property(lists, places, places, (list, of, to) => {
        const out = toldCandidates(list, { of, to });
        all += out.length;
        const keys = out.map(({ address, port }) => `${addressText(address)} ${port}`);
        const isCommon = of.sightings.some((one) => to.sightings.includes(one));
        const isApart = of.sightings.length > 0 && to.sightings.length > 0;
        const isSite = isCommon || (of.isInside && to.isInside && !isApart);
        return (
          out.length <= LIMITS.candidatesMax &&
          new Set(keys).size === out.length &&
          out.every(({ address, port, type }) => {
            const scope = addressScope(address);
            const isNear = scope === 'private' || scope === 'shared';
            const isLocal = scope === 'loopback' && of.isOnLoopback && to.isOnLoopback;
            const isRelayed = type === 'relayed';
            return (
              port > 0 &&
              (scope === 'global' || (isNear && isSite) || isLocal) &&
              (isRelayed ? of.relay !== 'never' && to.relay !== 'never' : of.relay !== 'only')
            );
          })
        );
      }),
      { numRuns: 2_000 },
    );
    t.ok(all > 1_000, `${all} were told`);
  },
);
