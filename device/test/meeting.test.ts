// How two terminals find one another [S1005, S4005], packet by packet in virtual time: from when,
// how often, how much to whom, and which way wins. Two real ends behind all kinds of boxes are the
// simulator's (sim/test/network-reach.test.ts).

import fc from 'fast-check';
import t from 'tap';
import type { Candidate } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import { PROBE_BYTES } from '../../protocol/data/probe.ts';
import { addressBytes } from '../../protocol/address.ts';
import { seededRng } from '../../protocol/random.ts';
import { candidatePaths } from '../candidates.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { MeetingBench, peerPath, reflexive } from './meeting-bench.ts';

const PEER = peerPath('203.0.113.5', 5_000);
const LAN = peerPath('192.168.1.5', 5_000, 'lan');
const RELAYED = peerPath('203.0.113.200', 50_000, 'relay');
const { movedPackets, movedPauseMs, remotePacketPauseMs, remotePacketsMax } = MEETING_LIMITS;
const atMs = (left: readonly { readonly atMs: number }[]): number[] =>
  left.map((one) => Math.round(one.atMs));

const candidate = (host: string, port = 7, type: Candidate['type'] = 'host'): Candidate => {
  const address = addressBytes(host);
  if (address === undefined) throw new Error(`${host} is no address`);
  return { address, port, type };
};

t.test('S1004: of 300 hostile candidates only what may be sent to is left, each once', (t) => {
  const good = [
    candidate('2001:db8::5'),
    candidate('192.168.1.5'),
    candidate('203.0.113.5', 9, 'reflexive'),
  ];
  const bad = [
    '127.0.0.1',
    '127.9.9.9',
    '0.0.0.0',
    '0.1.2.3',
    '169.254.169.254',
    '224.0.0.1',
    '239.255.255.250',
    '255.255.255.255',
    '240.0.0.1',
    '::',
    '::1',
    '::7f00:1',
    'fe80::1',
    'ff02::1',
    'ff0e::1',
  ].flatMap((host) =>
    (['host', 'reflexive', 'relayed'] as const).map((type) => candidate(host, 7, type)),
  );
  const mapped = ['127.0.0.1', '224.0.0.1', '169.254.1.1', '0.0.0.0'].map((host) => ({
    address: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...candidate(host).address),
    port: 7,
    type: 'host' as const,
  }));
  const odd = [
    { ...good[0], port: 0 },
    ...[0, 3, 5, 17].map((length) => ({ ...good[0], address: new Uint8Array(length) })),
  ];
  const all = [...bad, ...mapped, ...odd, ...good];
  const rng = seededRng(3);
  const hostile = Array.from({ length: 300 }, () => all[rng.next() % all.length]);
  const paths = candidatePaths([...hostile, ...good]);
  t.strictSame(paths.map(({ path, class: of }) => `${of} ${path.host} ${path.port}`).toSorted(), [
    'direct 2001:db8::5 7',
    'direct 203.0.113.5 9',
    'lan 192.168.1.5 7',
  ]);
  const mappedPeer = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 5);
  t.equal(candidatePaths([good[2], { ...good[2], address: mappedPeer }]).length, 1, 'folded');
  t.strictSame(
    candidatePaths([...bad, ...good], true).map(({ path }) => path.host),
    ['::1', '127.0.0.1', '127.9.9.9'],
    'who is on loopback sends to loopback alone',
  );
  t.end();
});

t.test('RFC 8305 §4: IPv6 and IPv4 by turns, IPv6 first, each in its order', (t) => {
  const hosts = ['192.0.2.1', '192.0.2.2', '2001:db8::1', '192.0.2.3', '2001:db8::2'];
  t.strictSame(
    candidatePaths(hosts.map((host) => candidate(host))).map(({ path }) => path.host),
    ['2001:db8::1', '192.0.2.1', '2001:db8::2', '192.0.2.2', '192.0.2.3'],
  );
  t.strictSame(candidatePaths([]), []);
  t.end();
});

t.test('S1005: packets begin at the common start, 50 ms apart, then twice that up to 400', (t) => {
  for (const role of ['caller', 'callee'] as const) {
    for (const isKeyed of [true, false]) {
      const bench = new MeetingBench({ role, isKeyed, startMs: 120, paths: [PEER, LAN] });
      t.equal(bench.left.length, 0, 'nothing before');
      bench.pass(900);
      for (const { path } of [PEER, LAN]) {
        t.strictSame(atMs(bench.sentTo(path)), [120, 170, 270, 470, 870]);
      }
      const kind = role === 'caller' && !isKeyed ? 'knock' : 'probe';
      t.ok(
        bench.left.every((one) => one.kind === kind),
        `${role} sends ${kind}s`,
      );
    }
  }
  t.end();
});

t.test('at most 10 small packets go to who does not answer', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(60_000);
  t.equal(bench.sentTo(PEER.path).length, MEETING_LIMITS.unprovenPacketsMax);
  t.equal(MEETING_LIMITS.unprovenPacketsMax, 10);
  t.ok(bench.left.every(({ size }) => size === PROBE_BYTES));
  t.end();
});

t.test('40 go to one address, then 4 a minute, however often the way is looked for', (t) => {
  const bench = new MeetingBench({ paths: [PEER, LAN] });
  bench.pass(100).hear(LAN.path).answer(LAN.path).way(LAN.path);
  for (let turn = 0; turn < 50; turn++) bench.lost().pass(20_000);
  const unasked = bench.sentTo(PEER.path).length;
  t.ok(unasked <= remotePacketsMax + bench.ms / remotePacketPauseMs, `${unasked}`);
  t.ok(unasked > remotePacketsMax + 50, `${unasked}: it is never given up`);
  t.end();
});

t.test('whoever was not asked for long may be asked as often as at first', (t) => {
  const bench = new MeetingBench({ paths: [RELAYED, PEER] });
  bench.pass(100).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path);
  bench.pass(300_000);
  t.ok(bench.sentTo(PEER.path).length > remotePacketsMax, 'positive control');
  bench.hear(LAN.path).answer(LAN.path).way(LAN.path);
  bench.pass(remotePacketsMax * remotePacketPauseMs);
  const before = bench.sentTo(PEER.path).length;
  for (let turn = 0; turn < 4; turn++) bench.lost().pass(16_000);
  t.equal(bench.sentTo(PEER.path).length - before, remotePacketsMax);
  t.end();
});

t.test('a relayed talk whose own end moves tries a direct way again, once a minute', (t) => {
  const bench = new MeetingBench({ paths: [RELAYED, PEER] });
  bench.pass(400).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path);
  bench.pass(599_000);
  const before = bench.sentTo(PEER.path).length;
  bench.lost(true).pass(8_000);
  const again = bench.sentTo(PEER.path).length - before;
  t.ok(again >= movedPackets && again <= movedPackets + 2, `${again} packets to the peer`);
  for (let turn = 0; turn < 50; turn++) bench.lost(true).pass(1_000);
  const most = again + (bench.ms - 607_400) / remotePacketPauseMs + 1;
  t.ok(bench.sentTo(PEER.path).length - before <= most, 'and no more for moves within a minute');
  t.end();
});

t.test('an authentic packet from elsewhere is answered there, and asked in turn', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  const elsewhere = { host: '203.0.113.5', port: 6_001 };
  bench.pass(20).hear(elsewhere);
  const sent = bench.sentTo(elsewhere);
  t.strictSame(
    sent.map(({ kind }) => kind),
    ['answer', 'probe'],
    'at once',
  );
  t.strictSame(atMs(sent), [20, 20]);
  t.equal(bench.meeting.report().hasHeard, true);
  bench.answer(elsewhere);
  t.equal(bench.preferred.length, 0, 'there is no talk yet that could move');
  t.end();
});

t.test('S1005: a caller with keys begins the talk where it first hears the peer', (t) => {
  const caller = new MeetingBench({ role: 'caller', paths: [PEER] });
  caller.pass(10).hear(PEER.path);
  t.strictSame(caller.opened, [PEER.path]);
  const unkeyed = new MeetingBench({ role: 'caller', isKeyed: false, paths: [PEER] });
  unkeyed.pass(10).hear(PEER.path);
  t.equal(unkeyed.opened.length, 0, 'without keys a probe proves no static key');
  t.strictSame(unkeyed.left.map(({ kind }) => kind).slice(0, 2), ['knock', 'answer']);
  const callee = new MeetingBench({ paths: [PEER] });
  callee.pass(10).hear(PEER.path);
  t.equal(callee.opened.length, 0, 'nor does the callee begin');
  t.end();
});

t.test('LAN before direct before relay, as soon as the better one answers', (t) => {
  for (const role of ['caller', 'callee'] as const) {
    const bench = new MeetingBench({ role, paths: [RELAYED, PEER, LAN] });
    bench.pass(60).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path);
    t.equal(bench.meeting.class, 'relay');
    bench.hear(PEER.path);
    t.equal(bench.preferred.length, 0, 'heard is not proven');
    bench.answer(PEER.path);
    t.strictSame(bench.preferred, [{ path: PEER.path, isBetter: true }]);
    bench.way(PEER.path).hear(LAN.path).answer(LAN.path);
    t.strictSame(bench.preferred[1], { path: LAN.path, isBetter: true });
    bench.way(LAN.path);
    t.strictSame(
      bench.ways.map((way) => way.class),
      ['relay', 'direct', 'lan'],
    );
    const before = bench.left.length;
    bench.pass(20_000);
    const late = bench.left.slice(before).filter(({ path }) => path.host !== LAN.path.host);
    t.equal(late.length, 0, 'nothing better is left to be looked for');
    bench.hear(PEER.path);
    const after = bench.sentTo(PEER.path).at(-1);
    t.equal(after?.kind, 'answer', 'a worse one is answered');
    t.equal(bench.preferred.length, 2, 'and not taken');
  }
  t.end();
});

t.test('the answer has to come from where the question went', (t) => {
  const bench = new MeetingBench({ paths: [RELAYED, PEER] });
  bench.pass(10).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path);
  bench.hear(PEER.path).answer(PEER.path, { host: '203.0.113.66', port: 666 });
  t.equal(bench.preferred.length, 0);
  const token = new Uint8Array(8);
  bench.hear(PEER.path, 'answer', token);
  t.equal(bench.preferred.length, 0, 'nor does an answer to nothing count');
  bench.answer(PEER.path);
  t.equal(bench.preferred.length, 1, 'positive control');
  bench.answer(PEER.path).hear(PEER.path, 'answer', token);
  t.equal(bench.preferred.length, 1, 'one question has one answer');
  t.end();
});

t.test('S1005: after a second without a way both ends try from a new socket', (t) => {
  const bench = new MeetingBench({ paths: [PEER, LAN], startMs: 30 });
  bench.pass(1_029);
  t.equal(bench.endpoints.length, 0);
  bench.pass(2);
  t.match(bench.endpoints, [{ to: undefined, tcp: undefined }]);
  const [{ socket: via }] = bench.endpoints;
  t.equal(bench.told.length, 0, 'its address is not known yet');
  bench
    .pass(40)
    .gathered(via, { candidates: [reflexive(1, 6_000)] })
    .pass(1);
  t.match(bench.told, [{ candidates: [reflexive(1, 6_000)], varies: false, moved: false }]);
  for (const { path } of [PEER, LAN]) {
    t.ok(bench.sentTo({ ...path, via }).length > 0, 'to all that is known');
  }
  const moved = peerPath('203.0.113.5', 5_001);
  bench.tells([moved]);
  t.ok(bench.sentTo({ ...moved.path, via }).length > 0, 'and to where the peer is now');
  t.ok(bench.sentTo(moved.path).length > 0, 'from the first socket as well');
  bench
    .hear({ ...moved.path, via })
    .answer({ ...moved.path, via })
    .way({ ...moved.path, via });
  t.strictSame(bench.closed, [], 'the socket of the way stays');
  bench.pass(60_000);
  t.equal(bench.endpoints.length, 1, 'once');
  t.end();
});

t.test('a way within the second, and no second socket', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(900).hear(PEER.path).answer(PEER.path).way(PEER.path).pass(60_000);
  t.equal(bench.endpoints.length, 0);
  t.end();
});

t.test('a direct way closes what the second round opened', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(1_050);
  const [{ socket }] = bench.endpoints;
  bench.gathered(socket).hear(PEER.path).answer(PEER.path).way(PEER.path);
  t.strictSame(bench.closed, [socket]);
  t.end();
});

t.test('while the talk is relayed a direct way is tried anew, within its bounds', (t) => {
  const bench = new MeetingBench({ paths: [RELAYED, PEER] });
  bench.pass(400).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path).pass(29_000);
  const first = bench.sentTo(PEER.path).length;
  t.equal(first, MEETING_LIMITS.unprovenPacketsMax);
  bench.pass(6_000);
  t.equal(bench.sentTo(PEER.path).length, 2 * first, 'after 30 s');
  bench.pass(300_000);
  const early = bench.sentTo(PEER.path).length;
  t.ok(early <= remotePacketsMax + bench.ms / remotePacketPauseMs, `${early}`);
  bench.pass(300_000);
  t.equal(bench.sentTo(PEER.path).length - early, 20, 'then 2 every 30 s, for as long as it lasts');
  t.end();
});

t.test('never more than 10 packets and 3 × what came, whatever comes', (t) => {
  const hosts = fc.constantFrom('203.0.113.5', '203.0.113.6', '192.168.1.5', '198.51.100.1');
  const step = fc.record({
    what: fc.constantFrom('hear', 'hear', 'answer', 'pass', 'tells', 'lost', 'way'),
    host: hosts,
    port: fc.integer({ min: 5_000, max: 5_003 }),
    ms: fc.integer({ min: 0, max: 3_000 }),
  });
  let steps = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.boolean(), (all, isCaller) => {
      const bench = new MeetingBench({ role: isCaller ? 'caller' : 'callee', paths: [PEER] });
      const received = new Map<string, number>();
      const proven = new Set<string>();
      const keyOf = ({ host, port }: Path): string => `${host} ${port}`;
      const hear = (path: Path): void => {
        received.set(keyOf(path), (received.get(keyOf(path)) ?? 0) + PROBE_BYTES);
      };
      for (const { what, host, port, ms } of all) {
        steps += 1;
        const path = { host, port };
        if (what === 'hear') hear(path);
        if (what === 'hear') bench.hear(path);
        else if (what === 'pass') bench.pass(ms);
        else if (what === 'tells') bench.tells([peerPath(host, port)]);
        else if (what === 'lost') bench.lost(ms > 1_500);
        else if (what === 'way' && proven.has(keyOf(path))) bench.way(path);
        else if (what === 'answer' && bench.sentTo(path).some(({ kind }) => kind === 'probe')) {
          hear(path);
          proven.add(keyOf(path));
          bench.answer(path);
        }
      }
      bench.pass(10_000);
      for (const path of new Set(bench.left.map((one) => keyOf(one.path)))) {
        if (proven.has(path)) continue;
        const bytes = bench.left
          .filter((one) => keyOf(one.path) === path)
          .reduce((sum, { size }) => sum + size, 0);
        const aged = bench.ms / remotePacketPauseMs;
        const moved = movedPackets * Math.ceil(bench.ms / movedPauseMs);
        const unasked = (remotePacketsMax + aged + moved) * PROBE_BYTES;
        if (bytes > unasked + 3 * (received.get(path) ?? 0)) return false;
      }
      return true;
    }),
    { numRuns: 200 },
  );
  t.ok(steps > 500);
  t.end();
});
