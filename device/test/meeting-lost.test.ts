// A way that is lost, a way that never is found, and the end [S1006, S4006]: what is done, how
// often a timer is needed for it, and that nothing is left afterwards.

import t from 'tap';
import type { RelayTerms } from '../../protocol/control/messages.ts';
import { NEVER } from '../../protocol/time.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { FIRST_SOCKET, MeetingBench, peerPath, reflexive } from './meeting-bench.ts';

const PEER = peerPath('203.0.113.5', 5_000);
const OTHER = peerPath('203.0.113.6', 5_000);
const RELAY: RelayTerms = {
  servers: [{ address: Uint8Array.of(203, 0, 113, 250), port: 3_478 }],
  username: 'a',
  password: 'b',
};
const talking = (bench: MeetingBench): MeetingBench =>
  bench.pass(20).hear(PEER.path).answer(PEER.path).way(PEER.path);

t.test('a lost way: addresses are asked for anew, the peer is told, every pair is tried', (t) => {
  const bench = talking(new MeetingBench({ paths: [PEER, OTHER] })).pass(5_000);
  bench.lost();
  t.match(bench.gathers, [{ socket: FIRST_SOCKET }]);
  for (const { path } of [PEER, OTHER]) {
    t.equal(bench.sentTo(path).at(-1)?.atMs, bench.ms, `${path.host} at once`);
  }
  t.equal(bench.told.length, 0, 'nothing is known yet');
  bench
    .pass(30)
    .gathered(FIRST_SOCKET, { candidates: [reflexive(2, 7_000)] })
    .pass(1);
  t.match(bench.told, [{ candidates: [reflexive(2, 7_000)], moved: true }]);
  bench.gathered(FIRST_SOCKET).pass(1_000);
  t.equal(bench.told.length, 1, 'an answer that comes twice is told once');
  t.end();
});

t.test('S3000: who is seen at another address doubts its other connections too', (t) => {
  const bench = talking(new MeetingBench({ paths: [PEER] }));
  const seen = (last: number, port: number): Parameters<MeetingBench['gathered']>[1] => ({
    candidates: [reflexive(last, port)],
  });
  bench.gathered(FIRST_SOCKET, seen(1, 6_000));
  bench.lost().gathered(FIRST_SOCKET, seen(1, 6_001));
  t.equal(bench.elsewhere, 0, 'another port: a NAT that forgot, and forgets by itself');
  bench.pass(5_000).lost().gathered(FIRST_SOCKET, { candidates: [] });
  t.equal(bench.elsewhere, 0, 'nobody has answered: nothing is known');
  bench.pass(5_000).lost().gathered(FIRST_SOCKET, seen(1, 6_001));
  bench.pass(9_000).lost().gathered(FIRST_SOCKET, seen(2, 6_001));
  t.equal(bench.elsewhere, 1);
  t.end();
});

t.test('where a NAT varies a relay is looked for as soon as the way is lost', (t) => {
  const opened = (varies: boolean): number => {
    const bench = talking(new MeetingBench({ paths: [PEER], relay: RELAY }));
    bench.pass(10_000);
    const before = bench.endpoints.length;
    bench
      .lost()
      .gathered(FIRST_SOCKET, { candidates: [reflexive(2, 7_000)], varies })
      .pass(1);
    return bench.endpoints.length - before;
  };
  t.equal(opened(true), 1);
  t.equal(opened(false), 0, 'else a direct way is likely, and takes about 100 ms');
  t.end();
});

t.test('where the peer is now is taken when it answers, if the present way is silent', (t) => {
  const bench = talking(new MeetingBench({ paths: [PEER] })).pass(5_000);
  const moved = peerPath('203.0.113.77', 6_000);
  bench.tells([moved]).valueOf();
  bench.answer(moved.path);
  t.equal(bench.preferred.length, 0, 'the present one is heard');
  bench.quiet = 400_000;
  bench.lost().answer(moved.path);
  t.strictSame(bench.preferred, [{ path: moved.path, isBetter: false }]);
  t.end();
});

t.test(
  'searches for a lost way are 1, 2, 4, 8, 15 s apart; a new network is not waited for',
  (t) => {
    const bench = talking(new MeetingBench({ paths: [PEER] }));
    const from = bench.ms;
    while (bench.ms < from + 60_000) bench.lost().pass(100);
    const at = bench.gathers.map(({ atMs }) => Math.round((atMs - from) / 100) / 10);
    t.strictSame(at, [0, 1, 3, 7, 15, 30, 45]);
    bench.lost(true);
    t.equal(bench.gathers.length, 8, 'the shell knows that this machine is elsewhere');
    bench.way(PEER.path).pass(16_000);
    const again = bench.ms;
    while (bench.ms < again + 1_500) bench.lost().pass(100);
    t.equal(bench.gathers.length, 10, 'after a way was found it begins anew');
    t.end();
  },
);

t.test('before there is a way none can be lost', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(100).lost(true).lost();
  t.equal(bench.gathers.length, 0);
  t.end();
});

t.test('everything blocked for 60 s: few wake-ups, and no timer in the past', (t) => {
  for (const relay of [undefined, RELAY]) {
    for (const searchAt of [undefined, PEER.path.host]) {
      for (const peerVaries of [true, false]) {
        const gathered = { candidates: [], varies: !peerVaries, isMapped: false };
        const bench = new MeetingBench({
          paths: [PEER, OTHER],
          relay,
          searchAt,
          peerVaries,
          gathered,
        });
        for (let turn = 0; turn < 600; turn++) {
          bench.pass(100);
          if (bench.meeting.nextTimeout() <= bench.now) t.fail('a timer that is over');
        }
        // 20 for the pairs, 8 and a few for the relay; of a search 500, one every 10 ms for 5 s.
        const most = searchAt === undefined ? 80 : 680;
        t.ok(bench.wakeUps <= most, `${bench.wakeUps} wake-ups`);
        t.ok(bench.meeting.nextTimeout() === NEVER, 'then it sleeps');
      }
    }
  }
  t.end();
});

t.test('a talk whose way is up costs no wake-up', (t) => {
  const bench = talking(new MeetingBench({ paths: [PEER, OTHER] })).pass(100);
  const before = bench.wakeUps;
  bench.pass(3_600_000);
  t.equal(bench.wakeUps - before, 0);
  t.end();
});

t.test('a talk that is lost for an hour: wake-ups and packets are bounded', (t) => {
  const bench = talking(new MeetingBench({ paths: [PEER, OTHER] }));
  const before = { wakeUps: bench.wakeUps, left: bench.left.length };
  for (let second = 0; second < 3_600; second++) bench.lost().pass(1_000);
  const sent = bench.left.length - before.left;
  const { remotePacketsMax, remotePacketPauseMs } = MEETING_LIMITS;
  const most = 2 * (remotePacketsMax + 3_600_000 / remotePacketPauseMs) + 10;
  t.ok(sent <= most, `${sent} packets`);
  t.ok(bench.wakeUps - before.wakeUps < 4_000, `${bench.wakeUps - before.wakeUps} wake-ups`);
  t.end();
});

t.test('with a relay only: no own address is asked for, told, tried or listened to', (t) => {
  const bench = new MeetingBench({
    paths: [PEER, OTHER],
    isRelayOnly: true,
    relay: RELAY,
    searchAt: PEER.path.host,
    peerVaries: true,
  });
  t.notOk(bench.meeting.accepts(PEER.path));
  t.notOk(bench.meeting.accepts({ ...PEER.path, via: 99 }));
  bench.pass(60_000).tells([PEER]).valueOf();
  bench.lost(true).gathered(FIRST_SOCKET).pass(20_000);
  t.equal(bench.left.length, 0, 'no probe');
  t.equal(bench.gathers.length, 0, 'no question');
  t.ok(
    bench.endpoints.every(({ to }) => to === '203.0.113.250'),
    'no endpoint but to the relay',
  );
  t.ok(bench.endpoints.length > 0, 'positive control');
  t.equal(
    bench.told.flatMap(({ candidates }) => candidates).filter(({ type }) => type !== 'relayed')
      .length,
    0,
    'no address of ours',
  );
  t.end();
});

t.test('S1006: after the end nothing is sent, and every endpoint is the owner’s to close', (t) => {
  const bench = new MeetingBench({ paths: [PEER, OTHER], relay: RELAY });
  bench.pass(1_200);
  t.ok(bench.open.length >= 2, 'a second socket and one to the relay');
  bench.meeting.end(bench.now);
  bench.drain();
  const before = bench.left.length;
  bench.hear(PEER.path).hear(OTHER.path).lost(true).pass(60_000);
  t.notOk(bench.tells([PEER]), 'no news');
  t.equal(bench.left.length, before);
  t.equal(bench.told.length, 0);
  t.strictSame(new Set(bench.meeting.endpoints), new Set(bench.open));
  t.end();
});

t.test('the end while probes wait to be answered', (t) => {
  const bench = talking(new MeetingBench({ paths: [PEER] }));
  const into = new Uint8Array(100);
  const size = bench.peer.write(into, { kind: 'probe', token: new Uint8Array(8) });
  bench.meeting.onProbe(bench.now, PEER.path, into.slice(0, size));
  t.ok(bench.meeting.nextTimeout() <= bench.now, 'positive control');
  bench.meeting.end(bench.now);
  const before = bench.left.length;
  bench.pass(1_000);
  t.equal(bench.meeting.pollTransmit(bench.now, into), undefined);
  t.equal(bench.left.length, before);
  t.end();
});

t.test('who wants nothing but a relay, and is offered none, has nothing to wait for', async (t) => {
  for (const relay of [undefined, { servers: [], username: 'u', password: 'p' }]) {
    t.equal(new MeetingBench({ isRelayOnly: true, relay }).meeting.isHopeless, true);
    t.equal(new MeetingBench({ isRelayOnly: false, relay }).meeting.isHopeless, false);
  }
  const server = { address: Uint8Array.of(192, 0, 2, 5), port: 3_480 };
  const relay = { servers: [server], username: 'u', password: 'p' };
  t.equal(new MeetingBench({ isRelayOnly: true, relay }).meeting.isHopeless, false);
});
