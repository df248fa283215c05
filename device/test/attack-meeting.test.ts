// Attacks on a meeting: a callee that names a victim, a peer that never stays, whoever copies or
// replays packets on the way, a manager that lies. What counts is what reaches others, how much is
// kept, and that the two still meet.

import t from 'tap';
import type { Path } from '../../protocol/core.ts';
import { PROBE_BYTES } from '../../protocol/data/probe.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { after, micros, ms } from '../../protocol/time.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { type Pair, Pairs } from '../meeting/pairs.ts';
import { MeetingBench, peerPath } from './meeting-bench.ts';

const PEER = peerPath('203.0.113.5', 5_000);
const VICTIM = '198.51.100.99';
const bytesTo = (bench: MeetingBench, host: string): number =>
  bench.sentToHost(host).reduce((sum, { size }) => sum + size, 0);
const { remotePacketsMax, remotePacketPauseMs, remotesMax, remotePauseMs } = MEETING_LIMITS;
/** The most that one address may get in a talk whose own end stays where it is. */
const mostIn = (ms: number): number => remotePacketsMax + ms / remotePacketPauseMs;

t.test('a callee that lists a victim: 10 packets of 41 bytes, 40, then 4 a minute', (t) => {
  for (const role of ['caller', 'callee'] as const) {
    const victim = peerPath(VICTIM, 53);
    const bench = new MeetingBench({ role, paths: [PEER, victim] });
    bench.pass(8_000);
    t.equal(bench.sentToHost(VICTIM).length, 10, 'a talk that comes to nothing');
    t.equal(bytesTo(bench, VICTIM), 410);
    bench.hear(PEER.path).answer(PEER.path).way(PEER.path);
    for (let turn = 0; turn < 200; turn++) {
      // The peer falls silent, and says again and again that it is where the victim is.
      bench.lost().pass(4_000);
      bench.tells([victim]);
      bench.quiet = 1_000_000;
      bench.pass(16_000).hear(PEER.path);
    }
    const count = bench.sentToHost(VICTIM).length;
    t.ok(count <= mostIn(bench.ms), `${count} packets in ${bench.ms / 60_000} minutes`);
  }
  t.end();
});

t.test(
  'a callee that lists all ports of a victim: 16 at once, and what is kept is bounded',
  (t) => {
    const all = Array.from({ length: LIMITS.candidatesMax }, (_, at) => peerPath(VICTIM, 1 + at));
    const bench = new MeetingBench({ paths: all });
    bench.pass(8_000);
    t.equal(bench.sentToHost(VICTIM).length, 160);
    t.equal(bytesTo(bench, VICTIM), 160 * PROBE_BYTES);
    t.end();
  },
);

t.test('a peer that names other victims 5 times a second for an hour', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(20).hear(PEER.path).answer(PEER.path).way(PEER.path);
  bench.quiet = 1_000_000;
  const begin = bench.left.length;
  const hour = 3_600 * 5;
  for (let turn = 0; turn < hour; turn++) {
    const victims = Array.from({ length: LIMITS.candidatesMax }, (_, at) => {
      const number = turn * LIMITS.candidatesMax + at;
      return peerPath(`198.51.${(number >> 8) & 255}.${number & 255}`, 1_000 + (number >> 16));
    });
    bench.tells(victims);
    bench.pass(200);
  }
  const sent = bench.left.length - begin;
  const addresses = remotesMax + 3_600_000 / remotePauseMs;
  t.ok(sent <= addresses * remotePacketsMax, `${sent} packets in an hour`);
  t.ok(sent / 3_600 < 5, `${sent / 3_600} a second`);
  const perAddress = new Map<string, number>();
  for (const { path } of bench.left.slice(begin)) {
    if (path.host === PEER.path.host) continue;
    const key = `${path.host} ${path.port}`;
    perAddress.set(key, (perAddress.get(key) ?? 0) + 1);
  }
  const most = Math.max(...perAddress.values());
  t.ok(most <= remotePacketsMax, `${most} to one address`);
  t.ok(perAddress.size <= addresses, `${perAddress.size} addresses`);
  t.end();
});

t.test('a peer that names the same 80 victims for an hour: 4 a minute to each at most', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(20).hear(PEER.path).answer(PEER.path).way(PEER.path);
  bench.quiet = 1_000_000;
  const begin = bench.left.length;
  for (let turn = 0; turn < 3_600; turn++) {
    const from = (turn % 5) * LIMITS.candidatesMax;
    const victims = Array.from({ length: LIMITS.candidatesMax }, (_, at) =>
      peerPath(`198.51.100.${from + at + 1}`, 53),
    );
    bench.tells(victims);
    bench.lost().pass(1_000);
  }
  const perHost = new Map<string, number>();
  for (const { path } of bench.left.slice(begin)) {
    if (path.host === PEER.path.host) continue;
    perHost.set(path.host, (perHost.get(path.host) ?? 0) + 1);
  }
  const most = Math.max(...perHost.values());
  t.ok(most <= mostIn(3_600_000) && most > remotePacketsMax, `${most} to one address`);
  t.ok((bench.left.length - begin) / 3_600 < 5, 'all of them together 5 a second');
  t.end();
});

t.test('a peer that proves its own addresses has no victim’s count forgotten by it', (t) => {
  const pairs = new Pairs();
  const begun = micros(1_000_000_000);
  let now = begun;
  const pass = (milliseconds: number): void => {
    now = after(now, ms(milliseconds));
    pairs.again(now);
  };
  const list = (host: string): Pair => pairs.list(now, { host, port: 1 }, 'direct', now);
  const send = (pair: Pair): number => {
    let sent = 0;
    for (; pairs.mayCarry(pair, PROBE_BYTES); sent++) pairs.onSent(now, pair, PROBE_BYTES);
    return sent;
  };
  // Others are kept at their bound, so that the victim has the fewest when an own one comes.
  const others = Array.from({ length: remotesMax }, (_, at) => list(`203.0.113.${at}`));
  const fill = (): void => {
    for (const other of others) send(other);
  };
  for (let turn = 0; turn < 5; turn++, pass(1_000)) fill();
  pass(remotePauseMs);
  const victim = list(VICTIM);
  let count = 0;
  let proven = 0;
  for (let turn = 0; turn < 200; turn++) {
    pass(remotePauseMs);
    fill();
    count += send(victim);
    pass(remotePauseMs);
    const own = list(`198.18.0.${turn}`);
    if (send(own) === 0) continue;
    pairs.onHeard(now, own, PROBE_BYTES);
    pairs.onProven(own);
    proven += 1;
  }
  t.ok(count <= mostIn((now - begun) / 1_000), `${count} packets for ${proven} addresses`);
  t.ok(count > 0, 'positive control');
  t.end();
});

t.test('who replays from 200 places displaces neither the way nor what a caller says', (t) => {
  const bench = new MeetingBench({ role: 'caller', paths: [] });
  // Heard, and open: the way is an address that the peer did not list, and has not answered yet.
  const way: Path = { host: '203.0.113.9', port: 7_000 };
  bench.hear(way).way(way);
  const choices = (): number => bench.sentTo(way).filter(({ kind }) => kind === 'choice').length;
  const first = choices();
  t.ok(first > 0, 'positive control');
  for (let turn = 0; turn < 200; turn++) bench.hear({ host: '198.51.100.7', port: 1_000 + turn });
  bench.pass(500).hear(way).pass(500);
  t.ok(choices() > first, 'the choice is said again until it is answered');
  bench.answer(way).pass(5_000);
  for (let turn = 0; turn < 200; turn++) bench.hear({ host: '198.51.100.8', port: 1_000 + turn });
  const before = bench.sentTo(way).length;
  bench.lost();
  t.equal(bench.sentTo(way).length, before + 1, 'and the way is tried when it is lost');
  t.end();
});

t.test('who replays old packets does not displace an address from which the peer speaks', (t) => {
  const relayed = peerPath('203.0.113.200', 50_000, 'relay');
  const bench = new MeetingBench({ paths: [relayed, PEER] });
  bench.pass(20).hear(relayed.path).answer(relayed.path).way(relayed.path);
  const isAt: Path = { host: PEER.path.host, port: 6_001 };
  bench.hear(isAt);
  const [first] = bench.sentTo(isAt).filter(({ kind }) => kind === 'probe');
  for (let turn = 0; turn < 400; turn++) {
    if (turn % 40 === 0) bench.pass(50).hear(isAt);
    bench.hear({ host: '198.51.100.7', port: 1_000 + turn });
  }
  bench.hear(isAt, 'answer', bench.peer.read(first.bytes.slice())?.token);
  t.strictSame(bench.preferred, [{ path: isAt, isBetter: true }], 'its answer still counts');
  t.end();
});

t.test('a peer that moves every minute for a day is still looked for', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  bench.pass(20).hear(PEER.path).answer(PEER.path).way(PEER.path);
  for (let turn = 0; turn < 1_440; turn++) {
    bench.pass(59_000);
    bench.quiet = 1_000_000;
    // Where nobody is: the peer's other networks, and one address at which it is.
    const host = `203.0.${turn >> 8}.${turn & 255}`;
    const places = [6_000, 6_001, 6_002].map((port) => peerPath(host, port));
    bench.tells(places).valueOf();
    bench.pass(500);
    const [{ path }] = places;
    if (bench.sentTo(path).length === 0) {
      t.fail(`nothing is sent to where the peer is after ${turn} minutes`);
      break;
    }
    bench.hear(path).answer(path).way(path);
    bench.quiet = 0;
    bench.pass(500);
  }
  t.equal(bench.ways.length, 1_441);
  t.end();
});

t.test(
  'who replays a probe from 10,000 places makes at most 3 × of it, and nothing is kept',
  (t) => {
    for (const isTalking of [false, true]) {
      const bench = new MeetingBench({ paths: [PEER] });
      bench.pass(20);
      if (isTalking) bench.hear(PEER.path).answer(PEER.path).way(PEER.path);
      const into = new Uint8Array(100);
      const size = bench.peer.write(into, { kind: 'probe', token: new Uint8Array(8) });
      const tried = bench.meeting.report().tried;
      for (let turn = 0; turn < 10_000; turn++) {
        const host = `198.51.${turn >> 8}.${turn & 255}`;
        bench.hearBytes({ host, port: 9 }, into.slice(0, size));
        if (turn % 100 === 0) bench.pass(50);
      }
      bench.pass(10_000);
      const most = new Map<string, number>();
      for (const { path, size: bytes } of bench.left) {
        if (!path.host.startsWith('198.51.')) continue;
        most.set(path.host, (most.get(path.host) ?? 0) + bytes);
      }
      t.equal(most.size, 10_000, 'each is answered');
      t.ok(Math.max(...most.values()) <= 3 * size, `${Math.max(...most.values())} bytes to one`);
      t.ok(bench.meeting.report().tried <= tried + remotesMax, 'what is kept is bounded');
      t.ok(bench.sentTo(PEER.path).length > 0);
    }
    t.end();
  },
);

t.test('who replays 200 copies in the set-up does not displace where the peer is', (t) => {
  const listed = Array.from({ length: 8 }, (_, at) => peerPath('203.0.113.5', 5_000 + at));
  const bench = new MeetingBench({ paths: listed });
  bench.pass(60);
  for (let turn = 0; turn < 200; turn++) bench.hear({ host: '198.51.100.7', port: 1_000 + turn });
  bench.pass(2_000);
  for (const { path } of listed) {
    t.equal(bench.sentTo(path).length, 8, 'at 0, 50, 150, 350, 750, 1150, 1550, 1950 ms');
  }
  t.end();
});

t.test('a peer that says it is where a victim is, in a forged source, gets 3 × at most', (t) => {
  const bench = new MeetingBench({ role: 'callee', paths: [PEER] });
  bench.pass(20).hear(PEER.path).answer(PEER.path).way(PEER.path);
  const victim: Path = { host: VICTIM, port: 443 };
  let received = 0;
  for (let turn = 0; turn < 300; turn++) {
    bench.quiet = 1_000_000;
    bench.hear(victim).pass(1_000);
    received += PROBE_BYTES;
    bench.lost();
  }
  bench.pass(20_000);
  t.ok(bytesTo(bench, VICTIM) <= 3 * received, `${bytesTo(bench, VICTIM)} for ${received}`);
  t.equal(bench.preferred.length, 0, 'and the talk never goes there');
  t.end();
});

t.test('a flood of probes is answered in part, and no queue grows', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  const into = new Uint8Array(100);
  for (let turn = 0; turn < 1_000; turn++) {
    const size = bench.peer.write(into, { kind: 'probe', token: new Uint8Array(8) });
    // Nobody drains meanwhile.
    bench.meeting.onProbe(bench.now, { host: VICTIM, port: 1 + turn }, into.slice(0, size));
  }
  bench.drain();
  const answers = bench.left.filter(({ kind }) => kind === 'answer').length;
  t.equal(answers, MEETING_LIMITS.answersMax);
  bench.pass(1);
  t.equal(bench.meeting.nextTimeout() > bench.now, true);
  t.end();
});

t.test('generations: an old word, the same word, and none after the highest', (t) => {
  const bench = new MeetingBench({ paths: [PEER] });
  const { meeting } = bench;
  const words = (generation: number): boolean =>
    meeting.onPeerCandidates(bench.now, generation, [peerPath(VICTIM, 1)], false);
  t.ok(words(3));
  t.notOk(words(3));
  t.notOk(words(2));
  t.ok(words(LIMITS.generationsMax));
  t.notOk(words(LIMITS.generationsMax));
  t.notOk(words(0));
  meeting.end(bench.now);
  t.notOk(words(LIMITS.generationsMax + 1), 'nor after the end');
  t.end();
});

t.test('a manager that sends the search to a victim: nothing that the peer did not list', (t) => {
  for (const searchAt of [VICTIM, '239.1.2.3', '255.255.255.255', '127.0.0.1', '169.254.169.254']) {
    for (const peerVaries of [true, false]) {
      const gathered = { candidates: [], varies: !peerVaries, isMapped: true };
      const bench = new MeetingBench({ paths: [PEER], searchAt, peerVaries, gathered });
      bench.pass(20_000);
      t.equal(bench.sentToHost(searchAt).length, 0, searchAt);
      t.equal(bench.searches.length, 0);
    }
  }
  t.end();
});

t.test('a manager that sends the search to a victim that it lists as well: the budget', (t) => {
  const gathered = { candidates: [], varies: false, isMapped: true };
  const paths = [PEER, peerPath(VICTIM, 53)];
  const bench = new MeetingBench({ paths, searchAt: VICTIM, peerVaries: true, gathered });
  bench.pass(60_000);
  const sent = bench.sentToHost(VICTIM);
  const { searchPorts, searchPerSecond, searchMs } = MEETING_LIMITS;
  t.ok(sent.length <= searchPorts + 2 * remotePacketsMax, `${sent.length}`);
  t.ok(sent.every(({ size }) => size === PROBE_BYTES));
  for (const [at, { atMs }] of sent.entries()) {
    const later = sent[at + searchPerSecond + 20]?.atMs ?? Infinity;
    if (later - atMs < 1_000) t.fail(`more than ${searchPerSecond} a second`);
  }
  t.ok((sent.at(-1)?.atMs ?? 0) <= MEETING_LIMITS.searchAfterMs + searchMs);
  t.end();
});
