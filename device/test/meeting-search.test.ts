// The many-socket search [S1005, S4005]: only with two witnesses' word, only where it can help,
// within its packets, its rate and its time, once; and nothing of it stays open.

import t from 'tap';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import type { MeetingOptions } from '../meeting/meeting-types.ts';
import { MeetingBench, peerPath } from './meeting-bench.ts';

const PEER = peerPath('203.0.113.5', 5_000);
const RELAYED = peerPath('203.0.113.200', 50_000, 'relay');
const {
  searchAfterMs,
  searchMs,
  searchPerSecond,
  searchPorts,
  searchSockets,
  searchLingerMs,
  searchBurst,
  searchOpeningMax,
} = MEETING_LIMITS;

/** Searching: `many` ports of the peer, or from many sockets of ours. */
const searching = (many: 'ports' | 'sockets', more: Partial<MeetingOptions> = {}): MeetingBench =>
  new MeetingBench({
    paths: [PEER],
    searchAt: PEER.path.host,
    peerVaries: many === 'ports',
    gathered: { candidates: [], varies: many === 'sockets', isMapped: true },
    ...more,
  });

/** What the search itself sent. */
const sentBy = (bench: MeetingBench): MeetingBench['left'] =>
  bench.left.filter(
    ({ path: { host, port, via } }) =>
      host === PEER.path.host && (port !== PEER.path.port || (via !== undefined && via > 2)),
  );

t.test('no search without the address that two witnesses saw, or where it cannot help', (t) => {
  const both = { candidates: [], varies: true, isMapped: true };
  const cases: readonly (readonly [string, Partial<MeetingOptions>])[] = [
    ['no address', { searchAt: undefined }],
    ['both vary', { gathered: both, peerVaries: true }],
    ['neither varies', { peerVaries: false }],
    ['nothing but a relay is wanted', { isRelayOnly: true }],
  ];
  for (const [what, options] of cases) {
    const bench = searching('ports', options).pass(20_000);
    t.equal(bench.searches.length, 0, what);
    t.equal(sentBy(bench).length, 0, what);
  }
  const found = searching('ports').pass(1_000);
  found.hear(PEER.path).answer(PEER.path).way(PEER.path).pass(20_000);
  t.equal(found.searches.length, 0, 'there is a way');
  t.strictSame(searching('ports').pass(20_000).searches, [PEER.path.host], 'positive control');
  t.end();
});

for (const lateMs of [0, 700]) {
  t.test(`many ports: at most 500 a second for 5 s, each once (timers ${lateMs} ms late)`, (t) => {
    const bench = searching('ports').pass(30_000, lateMs);
    const sent = sentBy(bench);
    t.ok(sent.length <= searchPorts && sent.length > 100, `${sent.length}`);
    t.equal(new Set(sent.map(({ path }) => path.port)).size, sent.length, 'no port twice');
    t.ok(sent.every(({ path }) => path.port >= 1_024 && path.host === PEER.path.host));
    const [first] = sent;
    const last = sent.at(-1)?.atMs ?? 0;
    t.ok(first.atMs >= searchAfterMs && last <= first.atMs + searchMs, `${first.atMs} to ${last}`);
    let worst = 0;
    for (const [at, { atMs }] of sent.entries()) {
      const end = sent.findLastIndex((one) => one.atMs < atMs + 1_000);
      worst = Math.max(worst, end - at + 1);
    }
    t.ok(worst <= searchPerSecond + searchBurst, `${worst} in a second`);
    t.end();
  });
}

t.test('many sockets: 256 at most, each says two packets, and all are closed afterwards', (t) => {
  const bench = searching('sockets').pass(searchAfterMs + 4_900);
  const sockets = bench.endpoints.filter(({ to }) => to !== undefined);
  t.equal(sockets.length, searchSockets);
  t.ok(
    sockets.every(({ to }) => to === PEER.path.host),
    'they only ever send there',
  );
  const perSocket = new Map<number | undefined, number>();
  for (const { path } of sentBy(bench)) {
    perSocket.set(path.via, (perSocket.get(path.via) ?? 0) + 1);
  }
  t.equal(perSocket.size, searchSockets);
  t.ok([...perSocket.values()].every((count) => count <= 2));
  bench.pass(100 + searchLingerMs + 20);
  const left = sockets.filter(({ socket }) => !bench.closed.includes(socket));
  t.equal(left.length, 0, 'when the search is over');
  t.end();
});

t.test('a search whose talk is relayed meanwhile closes its sockets as well', (t) => {
  const bench = searching('sockets', { paths: [RELAYED, PEER] });
  bench.pass(500).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path).pass(60_000);
  t.strictSame(bench.searches, [PEER.path.host], 'a relay does not stop it');
  t.equal(bench.open.length, 0);
  t.end();
});

t.test('a hit is answered, asked, proven and taken; the others close at once', (t) => {
  const bench = searching('sockets', { paths: [RELAYED, PEER] });
  bench.pass(500).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path).pass(2_000);
  const hit = { ...PEER.path, via: bench.open[40] };
  bench.hear(hit);
  t.ok(bench.sentTo(hit).some(({ kind }) => kind === 'answer'));
  bench.answer(hit);
  t.strictSame(bench.preferred, [{ path: hit, isBetter: true }]);
  bench.way(hit);
  t.strictSame(bench.open, [hit.via], 'its own socket alone stays');
  const before = bench.left.length;
  bench.pass(20_000);
  t.equal(bench.left.length, before, 'and nothing more is tried');
  t.end();
});

t.test('whoever knows a packet of the search is proven only by an answer to one’s own', (t) => {
  const bench = searching('ports', { paths: [RELAYED, PEER] });
  bench.pass(500).hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path).pass(2_000);
  const searched = sentBy(bench)[0];
  const token = bench.peer.read(searched.bytes.slice())?.token;
  const elsewhere = { host: '198.51.100.99', port: 443 };
  bench.hear(elsewhere, 'answer', token);
  t.equal(bench.preferred.length, 0, 'the source may be forged');
  bench.hear(elsewhere).answer(elsewhere);
  t.equal(bench.preferred.length, 0, 'nobody has told us of that host: perhaps it sends on');
  const found = { host: PEER.path.host, port: 443 };
  bench.hear(found).answer(found);
  t.strictSame(bench.preferred, [{ path: found, isBetter: true }]);
  t.end();
});

t.test('once a session, also when the way is lost again and again', (t) => {
  const bench = searching('ports', { paths: [RELAYED, PEER] });
  bench.pass(8_000);
  bench.hear(RELAYED.path).answer(RELAYED.path).way(RELAYED.path);
  for (let turn = 0; turn < 10; turn++) bench.lost(true).pass(20_000);
  t.equal(bench.searches.length, 1);
  t.end();
});

t.test('a machine that has no more sockets searches with those there are, and keeps none', (t) => {
  const bench = searching('sockets');
  bench.endpointsMax = 20;
  bench.pass(searchAfterMs + 500);
  const sockets = bench.endpoints.filter(({ to }) => to !== undefined);
  t.equal(sockets.length, 19, 'beside the second round’s');
  for (const { socket } of sockets)
    t.equal(sentBy(bench).filter(({ path }) => path.via === socket).length, 2);
  bench.pass(20_000);
  t.ok(bench.wakeUps < 1_000, `${bench.wakeUps} wake-ups`);
  t.equal(bench.open.length <= 1, true, 'the second round’s');
  t.end();
});

t.test('a socket that fails is replaced, and the others send twice', (t) => {
  const bench = searching('sockets');
  bench.opensEndpoints = false;
  const failed: number[] = [];
  for (let turn = 0; turn < 100; turn++) {
    bench.pass(50);
    // One that never opens, and one that breaks when it has sent.
    const asked = bench.open.filter((socket) => bench.endpoints[socket - 2].to !== undefined);
    if (failed.length === 0 && asked.length > 0) failed.push(asked[0]);
    else if (failed.length === 1 && asked.length > 40) failed.push(asked[1]);
    for (const socket of failed) bench.meeting.onEndpointFailed(bench.now, socket);
    bench.openAll();
  }
  t.equal(failed.length, 2);
  const perSocket = new Map<number | undefined, number>();
  for (const { path } of sentBy(bench)) perSocket.set(path.via, (perSocket.get(path.via) ?? 0) + 1);
  for (const socket of failed) perSocket.delete(socket);
  t.equal(perSocket.size, searchSockets, 'as many as if none had failed');
  t.ok([...perSocket.values()].every((count) => count === 2));
  t.end();
});

t.test('where sockets fail again and again no more are asked for', (t) => {
  const bench = searching('sockets');
  bench.opensEndpoints = false;
  for (let turn = 0; turn < 600; turn++) {
    bench.pass(10);
    for (const socket of bench.open) bench.meeting.onEndpointFailed(bench.now, socket);
  }
  const asked = bench.endpoints.filter(({ to }) => to !== undefined).length;
  t.ok(asked >= searchOpeningMax && asked <= 2 * searchOpeningMax, `${asked} sockets`);
  t.equal(bench.open.length, 0);
  t.end();
});

t.test('sockets that fail are closed for the owner as well, and not sent from', (t) => {
  const bench = searching('sockets');
  bench.opensEndpoints = false;
  bench.pass(2_000);
  const failed = bench.open;
  t.ok(failed.length > 10);
  for (const socket of failed) bench.meeting.onEndpointFailed(bench.now, socket);
  bench.pass(60_000);
  t.equal(bench.open.length, 0);
  t.equal(sentBy(bench).length, 0);
  t.end();
});

t.test('the end stops it, and closes what it had', (t) => {
  for (const many of ['ports', 'sockets'] as const) {
    const bench = searching(many).pass(2_000);
    const before = bench.left.length;
    bench.meeting.end(bench.now);
    bench.pass(20_000);
    t.equal(bench.left.length, before, 'nothing more is sent');
    const { endpoints } = bench.meeting;
    t.strictSame(new Set(endpoints), new Set(bench.open), 'the owner closes these');
  }
  t.end();
});
