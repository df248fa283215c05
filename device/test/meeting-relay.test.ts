// A talk whose way is the relay, when that is lost: noticed, said, and another way looked for,
// direct and by another relay; without haste where no relay answers. In virtual time.

import t from 'tap';
import type { Path } from '../../protocol/core.ts';
import { ATTRIBUTE } from '../../protocol/stun/attributes.ts';
import { METHOD, decodeMessage } from '../../protocol/stun/message.ts';
import { type Versions, answerOf } from '../../protocol/test/turn-server.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { FIRST_SOCKET, MeetingBench, peerPath } from './meeting-bench.ts';

const PEER = peerPath('203.0.113.7', 4_000);
const server = (last: number) => ({ address: Uint8Array.of(192, 0, 2, last), port: 3_478 });
const TERMS = { servers: [server(1), server(2)], username: 'someone', password: 'secret' };
/** Time for a question to the relay to be given up. */
const GIVEN_UP_MS = 5_000;

/** A talk that goes through its relay; `lives`: which relays answer, by their last number. */
function relayed(lives: Set<number>): { bench: MeetingBench; main: Path } {
  const bench = new MeetingBench({ paths: [PEER], relay: TERMS });
  bench.relayAnswer = ({ host }, bytes) =>
    lives.has(Number(host.split('.')[3])) ? answerOf(bytes) : undefined;
  bench.pass(MEETING_LIMITS.relayAfterMs + 100);
  const via = bench.meeting.relay?.socket;
  const main: Path = { ...PEER.path, via };
  bench.way(main);
  return { bench, main };
}

t.test('S1005: a relay that is gone is said, and the next one is told to the peer', async (t) => {
  const lives = new Set([1, 2]);
  const { bench, main } = relayed(lives);
  t.equal(bench.meeting.class, 'relay');
  t.match(bench.meeting.report(), { relay: 'ready', relayAt: { transport: 'udp' } });
  bench.pass(5_000);
  lives.delete(1);
  bench.quiet = 1_000_000;
  const direct = bench.sentTo(PEER.path).length;
  const toldBefore = bench.told.length;
  bench.lost();
  t.strictSame(bench.lostRelays, [], 'it is asked first');
  t.strictSame(bench.gathers.at(-1)?.socket, FIRST_SOCKET);
  bench.pass(GIVEN_UP_MS);
  t.match(bench.lostRelays, [/stopped answering/]);
  t.ok(bench.sentTo(PEER.path).length > direct, 'the direct pair is tried again');
  t.match(bench.meeting.report(), { relay: 'failed', relaySays: /stopped answering/ });
  bench.pass(2_500);
  t.match(bench.meeting.report(), { relay: 'ready', relaySays: undefined });
  t.equal(bench.meeting.report().relayAt?.server.host, '192.0.2.2');
  t.ok(bench.told.length > toldBefore, 'the peer is told');
  t.ok(bench.told.at(-1)?.candidates.some(({ type }) => type === 'relayed'));
  const via = bench.meeting.relay?.socket;
  t.not(via, main.via);
  t.ok(bench.sentTo({ ...PEER.path, via }).length > 0, 'and tried through the new relay');
  bench.way({ ...PEER.path, via });
  t.equal(bench.meeting.class, 'relay');
  bench.pass(60_000);
  t.equal(bench.lostRelays.length, 1);
});

t.test('RFC 8656 §7: of a relay the peer is told what its IP versions can send to', async (t) => {
  const six = peerPath('2001:db8::7', 4_000);
  const meet = (gives: readonly Versions[]): MeetingBench => {
    const bench = new MeetingBench({ paths: [six, PEER], relay: TERMS });
    bench.relayAnswer = (_, bytes) => answerOf(bytes, { gives });
    bench.pass(MEETING_LIMITS.relayAfterMs + 200);
    return bench;
  };
  const told = (bench: MeetingBench): readonly number[] =>
    (bench.told.at(-1)?.candidates ?? [])
      .filter(({ type }) => type === 'relayed')
      .map(({ address }) => address.length);
  const both = meet(['both']);
  t.strictSame(told(both), [4, 16]);
  const via = both.meeting.relay?.socket;
  for (const { path } of [six, PEER])
    t.ok(both.sentTo({ ...path, via }).length > 0, `${path.host} through the relay`);
  const one = meet(['ipv4']);
  t.strictSame(told(one), [4]);
  const only = one.meeting.relay?.socket;
  t.ok(one.sentTo({ ...PEER.path, via: only }).length > 0);
  t.strictSame(one.sentTo({ ...six.path, via: only }), [], 'it would send nothing there');
});

t.test('a connection to the relay that breaks needs no question', async (t) => {
  const { bench, main } = relayed(new Set([1, 2]));
  bench.pass(1_000);
  const before = bench.told.length;
  bench.meeting.onEndpointFailed(bench.now, main.via ?? 0);
  bench.drain();
  t.equal(bench.lostRelays.length, 1);
  bench.pass(1_500);
  t.match(bench.meeting.report(), { relay: 'ready' });
  t.ok(bench.told.length > before);
});

t.test('where no relay answers any more they are asked ever less often', async (t) => {
  const lives = new Set([1]);
  const { bench } = relayed(lives);
  lives.clear();
  bench.quiet = 1_000_000;
  bench.lost();
  const { length: before } = bench.endpoints;
  const { toRelay, wakeUps } = bench;
  bench.pass(60_000);
  const tried = bench.endpoints.slice(before).filter(({ to }) => to !== undefined);
  t.ok(tried.length >= 8 && tried.length <= 40, `${tried.length} endpoints in a minute`);
  t.ok(tried.some(({ tcp }) => tcp !== undefined));
  t.ok(bench.toRelay - toRelay < 200, `${bench.toRelay - toRelay} messages in a minute`);
  t.ok(bench.wakeUps - wakeUps < 600, `${bench.wakeUps - wakeUps} times awake in a minute`);
  t.ok(bench.open.length <= 1 + MEETING_LIMITS.relayEndpointsMax);
  // And one that comes back is found.
  lives.add(1);
  bench.pass(MEETING_LIMITS.restartMsMax + 1_000);
  t.match(bench.meeting.report(), { relay: 'ready' });
});

t.test('a relay that nobody needs any more may go without a word', async (t) => {
  const { bench, main } = relayed(new Set([1, 2]));
  bench.answer(PEER.path);
  bench.way(PEER.path);
  t.equal(bench.meeting.class, 'direct');
  const { length: before } = bench.endpoints;
  bench.meeting.onEndpointFailed(bench.now, main.via ?? 0);
  bench.pass(60_000);
  t.equal(bench.endpoints.length, before, 'no other is looked for');
  // When that way is lost as well there is one again.
  bench.quiet = 1_000_000;
  bench.lost();
  bench.pass(2_000);
  t.match(bench.meeting.report(), { relay: 'ready' });
});

t.test('a relay that was given back is looked for again when the direct way is lost', async (t) => {
  const { bench } = relayed(new Set([1]));
  bench.way(PEER.path);
  bench.pass(MEETING_LIMITS.relayLingerMs + 1_000);
  t.match(bench.meeting.report(), { relay: 'unused' });
  t.strictSame(
    bench.open.filter((socket) => bench.meeting.relay?.owns(socket)),
    [],
  );
  bench.quiet = 1_000_000;
  bench.lost();
  bench.pass(MEETING_LIMITS.relayAfterMs + 100);
  t.match(bench.meeting.report(), { relay: 'ready' });
  bench.meeting.end(bench.now);
  bench.meeting.leave(bench.now);
  bench.drain();
  t.ok(bench.meeting.hasLeft);
});

t.test('a probe waits for the permission of the relay, and is not counted meanwhile', async (t) => {
  const bench = new MeetingBench({ paths: [PEER], relay: TERMS });
  let isGranting = false;
  bench.relayAnswer = (_, bytes) => {
    const isPermission = decodeMessage(bytes)?.method === METHOD.createPermission;
    return isPermission && !isGranting ? undefined : answerOf(bytes);
  };
  bench.pass(MEETING_LIMITS.relayAfterMs + 350);
  const via = bench.meeting.relay?.socket;
  const through = { ...PEER.path, via };
  t.match(bench.meeting.report(), { relay: 'ready' });
  t.strictSame(bench.sentTo(through), [], 'none is granted');
  const { wakeUps } = bench;
  isGranting = true;
  bench.pass(800);
  const sent = bench.sentTo(through).map(({ atMs }) => atMs);
  t.ok(sent.length >= 3, `${sent.length} since`);
  t.strictSame(
    sent.slice(0, 3).map((atMs) => atMs - sent[0]),
    [0, 50, 150],
    'the pauses begin with the first that leaves',
  );
  t.ok(bench.wakeUps - wakeUps < 20, `${bench.wakeUps - wakeUps} times awake`);
  bench.pass(8_000);
  t.equal(bench.sentTo(through).length, MEETING_LIMITS.unprovenPacketsMax);
});

t.test('a permission that is never granted wakes nobody', async (t) => {
  const bench = new MeetingBench({ paths: [PEER], relay: TERMS });
  const refuse = new Map([[METHOD.createPermission, 403]]);
  bench.relayAnswer = (_, bytes) => answerOf(bytes, { refuse });
  bench.pass(10_000);
  t.match(bench.meeting.report(), { relay: 'ready' });
  const { wakeUps } = bench;
  bench.pass(60_000);
  t.ok(bench.wakeUps - wakeUps < 10, `${bench.wakeUps - wakeUps} times awake`);
  t.strictSame(bench.sentTo({ ...PEER.path, via: bench.meeting.relay?.socket }), []);
});

t.test('newer credentials are for the first relay as well, however late that is', async (t) => {
  const bench = new MeetingBench({ paths: [PEER], relay: TERMS });
  const users: string[] = [];
  bench.relayAnswer = (_, bytes) => {
    const name = decodeMessage(bytes)?.attributes.get(ATTRIBUTE.username);
    if (name !== undefined) users.push(new TextDecoder().decode(name));
    return answerOf(bytes);
  };
  bench.pass(20).hear(PEER.path).answer(PEER.path).way(PEER.path);
  bench.pass(60_000);
  t.equal(bench.meeting.relay, undefined, 'a direct talk');
  bench.meeting.onRelayTerms({ ...TERMS, username: 'newer' });
  bench.quiet = 1_000_000;
  bench.lost().pass(1_000);
  t.strictSame([...new Set(users)], ['newer']);
});

t.test('a spare relay stays while the talk is lost, and goes when it is heard', async (t) => {
  const { bench, main } = relayed(new Set([1]));
  bench.answer(PEER.path).way(PEER.path);
  bench.pass(MEETING_LIMITS.relayLingerMs - 100);
  const lostAt = bench.now;
  const silent = (milliseconds: number): void => {
    for (let turn = 0; turn < milliseconds / 100; turn++) {
      bench.quiet = bench.now - lostAt + 1_000_000;
      bench.pass(100);
    }
  };
  bench.quiet = 1_000_000;
  bench.lost();
  silent(20_000);
  t.match(bench.meeting.report(), { relay: 'ready' });
  t.equal(bench.meeting.relay?.socket, main.via);
  bench.quiet = 0;
  bench.pass(MEETING_LIMITS.relayLingerMs + 100);
  t.match(bench.meeting.report(), { relay: 'unused' }, 'its own way is back');
  // One that was opened in a gap of the direct way goes as well.
  bench.quiet = 1_000_000;
  bench.lost().pass(MEETING_LIMITS.relayAfterMs + 100);
  t.match(bench.meeting.report(), { relay: 'ready' });
  bench.quiet = 0;
  bench.pass(MEETING_LIMITS.relayLingerMs + 100);
  t.match(bench.meeting.report(), { relay: 'unused' });
});

t.test(
  'S1006: at the end a relay is given back that is only asked, though one was used',
  async (t) => {
    const lives = new Set([1]);
    const { bench } = relayed(lives);
    lives.clear();
    bench.quiet = 1_000_000;
    bench.lost().pass(GIVEN_UP_MS + 1_500);
    t.equal(bench.meeting.relay?.state, 'asked', 'another one is looked for');
    bench.meeting.end(bench.now);
    const { length: before } = bench.endpoints;
    bench.pass(20_000);
    t.equal(bench.endpoints.length, before, 'nothing more is opened');
    t.ok(bench.meeting.hasLeft);
  },
);
