// Which relay a talk gets, and when: UDP before TCP, one server after another while the former is
// silent, all decided in time; what a lost relay says, and that nothing is left open or asked
// without end. In virtual time, with servers that a test makes lie.

import t from 'tap';
import { addressBytes } from '../../protocol/address.ts';
import type { Candidate } from '../../protocol/control/messages.ts';
import { METHOD } from '../../protocol/stun/message.ts';
import { MEETING_LIMITS } from '../meeting/limits.ts';
import { reachedFirst, relaySteps } from '../meeting/relay-plan.ts';
import { RELAYED, RELAYED_6, RelayBench, SERVERS } from './relay-bench.ts';

const PEER = { host: '203.0.113.7', port: 4_000 };
/** Milliseconds from `check` to the end of a relay that is gone: five seconds, and a round trip. */
const NOTICE_MS_MAX = 5_000;

/** One that is ready, and how long that took. */
function ready(bench: RelayBench): RelayBench {
  bench.relay.begin(bench.now, false);
  bench.run(10_000, () => bench.relay.state === 'ready');
  return bench;
}

t.test('RFC 8656 §2.1: UDP first, TCP and the next server while there is silence', async (t) => {
  const [one, two] = SERVERS;
  const said = (isUdpSilent: boolean): readonly (readonly string[])[] =>
    relaySteps([one, two], isUdpSilent).map((step) =>
      step.map(({ server, transport }) => `${transport} ${SERVERS.indexOf(server) + 1}`),
    );
  t.strictSame(said(false), [['udp 1'], ['tcp 1', 'udp 2'], ['tcp 2']]);
  t.strictSame(said(true), [
    ['udp 1', 'tcp 1'],
    ['udp 2', 'tcp 2'],
  ]);
  t.strictSame(relaySteps([], false), []);
});

t.test('servers of an IP version that this machine has come first', async (t) => {
  const six = { host: '2001:db8::1', port: 3478 };
  const all = [SERVERS[0], six, SERVERS[1]];
  const candidate = (host: string, port: number, type: Candidate['type']): Candidate => {
    return { address: addressBytes(host) ?? new Uint8Array(), port, type };
  };
  const ipv6Host = candidate('2001:db8::7', 1, 'host');
  const ipv4Host = candidate('192.168.1.7', 1, 'host');
  t.strictSame(reachedFirst(all, []), all, 'nothing is known: as they were told');
  t.strictSame(reachedFirst(all, [ipv4Host, ipv6Host]), all);
  t.strictSame(reachedFirst(all, [ipv6Host]), [six, SERVERS[0], SERVERS[1]]);
  t.strictSame(reachedFirst(all, [ipv4Host]), [SERVERS[0], SERVERS[1], six]);
  const seen = candidate('2001:db8::7', 1, 'reflexive');
  t.strictSame(reachedFirst(all, [ipv4Host, seen])[0], six, 'a STUN server answered by it');
});

t.test('a peer with IPv6 is told an address of that version as well', async (t) => {
  const bench = new RelayBench();
  bench.relay.permit(bench.now, ['2001:db8::7', PEER.host]);
  t.notOk(bench.relay.reaches(PEER.host), 'none is ready');
  ready(bench);
  t.strictSame(bench.relay.relayed, [RELAYED, RELAYED_6]);
  t.ok(bench.relay.reaches('2001:db8::9') && bench.relay.reaches(PEER.host));
  const plain = ready(new RelayBench());
  t.strictSame(plain.relay.relayed, [RELAYED]);
  t.notOk(plain.relay.reaches('2001:db8::7'));
});

t.test('a relay that has not the version asked for first is ready in time', async (t) => {
  const bench = new RelayBench();
  bench.make(1, 'udp', { gives: ['ipv6'] });
  bench.relay.permit(bench.now, ['2001:db8::7']);
  ready(bench);
  t.equal(bench.ms, 200, 'two refusals, a round trip each');
  t.strictSame(bench.relay.relayed, [RELAYED_6]);
  const none = new RelayBench();
  none.make(1, 'udp', { gives: [] });
  none.relay.begin(none.now, false);
  none.run(MEETING_LIMITS.relayDecideMs, () => none.relay.state === 'failed');
  t.match(none.relay.says, /no address of this IP version/);
  t.ok(none.ms < 500, `${none.ms} ms: refused over UDP, it is not asked over TCP`);
});

t.test('a server that answers over UDP is the relay, and nobody else is asked', async (t) => {
  const bench = ready(new RelayBench(4));
  t.strictSame(bench.story, ['0 udp 1']);
  // Allocate without and with credentials.
  t.equal(bench.ms, 100);
  const said = { transport: 'udp', server: SERVERS[0], relayed: [RELAYED], says: undefined };
  t.match(bench.relay, said);
  bench.run(60_000);
  t.equal(bench.opened.length, 1);
});

t.test('where UDP is blocked the same server is asked over TCP after a second', async (t) => {
  const bench = new RelayBench();
  bench.make(1, 'udp', { isBlocked: true });
  ready(bench);
  t.strictSame(bench.story, ['0 udp 1', '1000 tcp 1']);
  // Connecting, and the two questions, one round trip each.
  t.equal(bench.ms, 1_150);
  t.match(bench.relay, { transport: 'tcp', server: SERVERS[0], relayed: [RELAYED] });
  t.equal(bench.relay.socket, 2);
  bench.run(5_000);
  t.strictSame(bench.open, ['tcp 1'], 'the other attempt is closed');
  const [, { sent }] = bench.opened;
  t.equal(sent, 2, 'over TCP nothing is said twice');
});

t.test('whom nothing answers over UDP asks both at once', async (t) => {
  const bench = new RelayBench();
  bench.make(1, 'udp', { isBlocked: true });
  bench.relay.begin(bench.now, true);
  bench.run(10_000, () => bench.relay.state === 'ready');
  t.equal(bench.ms, 150);
  t.equal(bench.relay.transport, 'tcp');
});

t.test('the first that is ready wins, and the allocation of the other is given back', async (t) => {
  const bench = new RelayBench();
  bench.make(1, 'udp', { isBlocked: true });
  bench.relay.begin(bench.now, false);
  bench.run(1_120);
  // UDP passes again, and its next try comes too late by one answer.
  bench.make(1, 'udp', {});
  bench.run(10_000, () => bench.relay.state === 'ready');
  t.equal(bench.relay.transport, 'tcp');
  bench.run(9_000);
  t.strictSame(bench.open, ['tcp 1']);
});

t.test('four servers: one after another, all decided in time', async (t) => {
  const bench = new RelayBench(4);
  for (const server of [1, 2, 3, 4]) {
    bench.make(server, 'udp', { isBlocked: true });
    bench.make(server, 'tcp', { isBlocked: true });
  }
  bench.relay.begin(bench.now, false);
  bench.run(60_000);
  t.strictSame(bench.story, [
    '0 udp 1',
    '1000 tcp 1',
    '1000 udp 2',
    '2000 tcp 2',
    '2000 udp 3',
    '3000 tcp 3',
    '3000 udp 4',
    '4000 tcp 4',
  ]);
  t.ok(bench.opened.length <= MEETING_LIMITS.relayEndpointsMax);
  t.equal(bench.relay.state, 'failed');
  t.match(bench.relay.says, /neither over UDP nor over TCP/);
  t.strictSame(bench.open, []);
  const last = Math.max(...bench.opened.map(({ closedAtMs = NaN }) => closedAtMs));
  t.equal(last, MEETING_LIMITS.relayDecideMs);
  t.ok(bench.opened.every(({ sent }) => sent <= 8));
});

t.test('the last of four servers is found, over TCP alone', async (t) => {
  const bench = new RelayBench(4);
  for (const server of [1, 2, 3, 4]) bench.make(server, 'udp', { isBlocked: true });
  for (const server of [1, 2, 3]) bench.make(server, 'tcp', { isBlocked: true });
  ready(bench);
  t.equal(bench.ms, 4_150);
  t.match(bench.relay, { transport: 'tcp', server: SERVERS[3] });
});

t.test(
  'a server that refuses is followed by the next at once, and not asked over TCP',
  async (t) => {
    const bench = new RelayBench(2);
    bench.make(1, 'udp', { refuse: new Map([[METHOD.allocate, 486]]) });
    ready(bench);
    t.strictSame(bench.story, ['0 udp 1', '100 udp 2']);
    t.equal(bench.ms, 200);
    t.equal(bench.relay.says, undefined);
  },
);

t.test('what a server said is told, rather than that another one was silent', async (t) => {
  const bench = new RelayBench(2);
  bench.make(1, 'udp', { refuse: new Map([[METHOD.allocate, 486]]) });
  bench.make(2, 'udp', { isBlocked: true });
  bench.make(2, 'tcp', { isShut: true });
  bench.relay.begin(bench.now, false);
  bench.run(20_000);
  t.equal(bench.relay.state, 'failed');
  t.match(bench.relay.says, /reached what it gives to one user/);
  t.strictSame(bench.open, []);
});

t.test('a refused connection is tried again, as long as anybody is waited for', async (t) => {
  const bench = new RelayBench();
  bench.make(1, 'udp', { isBlocked: true });
  bench.make(1, 'tcp', { isShut: true });
  bench.relay.begin(bench.now, true);
  bench.run(2_500);
  t.strictSame(bench.story.slice(1), ['0 tcp 1', '1050 tcp 1', '2100 tcp 1']);
  bench.make(1, 'tcp', {});
  bench.run(10_000, () => bench.relay.state === 'ready');
  t.equal(bench.ms, 3_300, 'a relay that was being started');
});

t.test('without any socket it fails at once, and says so', async (t) => {
  const bench = new RelayBench(4);
  bench.isBroke = true;
  bench.relay.begin(bench.now, false);
  t.equal(bench.relay.state, 'failed');
  t.match(bench.relay.says, /no socket for the relay/);
  t.equal(bench.relay.nextTimeout(), Infinity);
});

t.test('what is permitted and bound before it is ready holds then', async (t) => {
  const bench = new RelayBench();
  bench.relay.permit(bench.now, [PEER.host]);
  bench.relay.begin(bench.now, false);
  bench.relay.bind(bench.now, PEER);
  bench.run(500);
  const { socket: via } = bench.relay;
  const buffer = new Uint8Array(100);
  const wrapped = bench.relay.wrap(bench.now, { ...PEER, via }, buffer, 20);
  t.match(wrapped, { socket: via, path: SERVERS[0], size: 24 }, 'ChannelData');
  const another = { ...PEER, port: 4_001, via };
  t.equal(bench.relay.wrap(bench.now, another, buffer, 20)?.size, 56, 'a Send indication');
  const stranger = { host: '203.0.113.8', port: 1, via };
  t.equal(bench.relay.wrap(bench.now, stranger, buffer, 20), undefined);
  t.equal(bench.relay.wrap(bench.now, PEER, buffer, 20), undefined, 'not by this endpoint');
});

for (const transport of ['udp', 'tcp'] as const)
  t.test(`a relay over ${transport} that is gone is noticed, once it is asked about`, async (t) => {
    const bench = new RelayBench();
    if (transport === 'tcp') bench.make(1, 'udp', { isBlocked: true });
    ready(bench);
    t.equal(bench.relay.transport, transport);
    bench.make(1, transport, { isGone: true });
    const asked = bench.ms;
    bench.run(asked + 60_000);
    t.equal(bench.relay.state, 'ready', 'nobody asks');
    const since = bench.ms;
    // As often as a connection says that it hears nothing.
    for (const wait of [0, 100, 300, 900]) {
      bench.run(since + wait);
      bench.relay.check(bench.now);
    }
    bench.run(since + 20_000, () => bench.relay.state !== 'ready');
    t.ok(bench.ms - since <= NOTICE_MS_MAX, `${bench.ms - since} ms`);
    t.equal(bench.relay.state, 'failed');
    t.match(bench.relay.says, /stopped answering/);
    t.strictSame(bench.open, []);
    t.equal(bench.relay.relayed.length, 0);
    // And again.
    const [{ sent: before }] = bench.opened;
    bench.make(1, transport, {});
    bench.relay.begin(bench.now, transport === 'tcp');
    t.match(bench.relay.says, /stopped answering/, 'until there is one again');
    bench.run(bench.ms + 500);
    t.equal(bench.relay.state, 'ready');
    t.equal(bench.relay.says, undefined);
    t.equal(bench.opened[0].sent, before, 'by another endpoint');
    const [first] = bench.opened.filter((one) => one.transport === transport);
    t.ok(bench.relay.carries({ ...PEER, via: first.socket }), 'the former one is known still');
    t.notOk(bench.relay.carries(PEER));
  });

t.test('a relay that was restarted is lost at the first question', async (t) => {
  const bench = ready(new RelayBench());
  bench.make(1, 'udp', { nonce: 'another', refuse: new Map([[METHOD.refresh, 437]]) });
  bench.relay.check(bench.now);
  const since = bench.ms;
  bench.run(since + 10_000, () => bench.relay.state === 'failed');
  t.equal(bench.ms - since, 100);
  t.match(bench.relay.says, /it was restarted/);
});

t.test('a connection that breaks is the end of its relay', async (t) => {
  const bench = new RelayBench();
  bench.make(1, 'udp', { isBlocked: true });
  ready(bench);
  const [, tcp] = bench.opened;
  bench.fail(tcp);
  t.equal(bench.relay.state, 'failed');
  t.match(bench.relay.says, /connection to the relay is cut/);
  bench.fail(tcp);
  t.equal(bench.relay.socket, undefined);
});

t.test('a relay that is given back says so once, and closes', async (t) => {
  const bench = ready(new RelayBench());
  const [{ sent }] = bench.opened;
  t.notOk(bench.relay.hasLeft);
  bench.relay.close(bench.now);
  t.notOk(bench.relay.hasLeft, 'it is still to be said');
  bench.run(bench.ms);
  t.notOk(bench.relay.hasLeft, 'and may be answered');
  bench.run(bench.ms + 100);
  t.ok(bench.relay.hasLeft);
  bench.run(bench.ms + 10_000);
  t.equal(bench.opened[0].sent, sent + 1);
  t.strictSame(bench.open, []);
  t.equal(bench.relay.nextTimeout(), Infinity);
});

t.test('one that is given up while it is looked for leaves nothing open', async (t) => {
  for (const at of [0, 30, 70, 500, 1_020, 1_080, 1_140]) {
    const bench = new RelayBench(2);
    bench.make(1, 'udp', { isBlocked: true });
    bench.relay.begin(bench.now, false);
    bench.run(at);
    bench.relay.close(bench.now);
    bench.run(20_000);
    t.strictSame(bench.open, [], `${at} ms`);
    t.ok(bench.relay.hasLeft);
  }
});

t.test('RFC 8489 §9.2.5: who is given back with an old nonce says so again', async (t) => {
  const bench = ready(new RelayBench());
  const [{ sent }] = bench.opened;
  bench.make(1, 'udp', { nonce: 'a newer one' });
  bench.relay.close(bench.now);
  bench.run(bench.ms + 1_000, () => bench.relay.hasLeft);
  t.equal(bench.opened[0].sent, sent + 2, 'once with the nonce that is stale');
  t.strictSame(bench.open, []);
});

for (const transport of ['udp', 'tcp'] as const)
  t.test(`a relay over ${transport} that does not answer its being given back`, async (t) => {
    const bench = new RelayBench();
    if (transport === 'tcp') bench.make(1, 'udp', { isBlocked: true });
    ready(bench);
    bench.make(1, transport, { isGone: true });
    bench.relay.close(bench.now);
    const since = bench.ms;
    bench.run(since + 60_000, () => bench.relay.hasLeft);
    t.ok(bench.ms - since <= MEETING_LIMITS.relayLeaveMs, `${bench.ms - since} ms`);
    t.strictSame(bench.open, []);
    t.equal(bench.relay.nextTimeout(), Infinity);
  });

for (const code of [437, 441])
  t.test(`RFC 8656 §7.4: after ${code} it is tried once more, from another port`, async (t) => {
    const bench = new RelayBench(2);
    bench.make(1, 'udp', { refuse: new Map([[METHOD.allocate, code]]) });
    bench.relay.begin(bench.now, false);
    bench.run(120);
    t.strictSame(bench.story, ['0 udp 1', '100 udp 1']);
    bench.make(1, 'udp', {});
    bench.run(10_000, () => bench.relay.state === 'ready');
    t.equal(bench.relay.server?.host, SERVERS[0].host);
    t.equal(bench.relay.socket, 2);
    t.strictSame(bench.open, ['udp 1']);
    const never = new RelayBench(2);
    never.make(1, 'udp', { refuse: new Map([[METHOD.allocate, code]]) });
    ready(never);
    t.strictSame(never.story, ['0 udp 1', '100 udp 1', '200 udp 2'], 'then the next one');
  });

t.test('a datagram can leave once the peer’s permission is granted', async (t) => {
  const bench = new RelayBench();
  bench.relay.permit(bench.now, [PEER.host]);
  bench.relay.begin(bench.now, false);
  bench.run(10_000, () => bench.relay.state === 'ready');
  const { socket: via } = bench.relay;
  t.notOk(bench.relay.canReach(bench.now, { ...PEER, via }), 'it is asked for');
  bench.run(bench.ms + 100);
  t.ok(bench.relay.canReach(bench.now, { ...PEER, via }));
  t.notOk(bench.relay.canReach(bench.now, PEER), 'not by another endpoint');
  t.notOk(bench.relay.canReach(bench.now, { host: '203.0.113.8', port: 1, via }), 'nor a stranger');
});
