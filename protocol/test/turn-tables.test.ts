// Who may be reached through an allocation, over a long talk: hosts and peers that come after many
// others are reached, those that nobody needs are asked for no more, and nothing grows.

import t from 'tap';
import type { Path } from '../core.ts';
import { ATTRIBUTE } from '../stun/attributes.ts';
import { STUN_LIMITS } from '../stun/limits.ts';
import { METHOD, decodeMessage } from '../stun/message.ts';
import { CHANNEL_FIRST, CHANNEL_HEADER_BYTES } from '../stun/turn-frames.ts';
import { after, seconds } from '../time.ts';
import { SERVER, TurnWorld, client, indication, ready } from './turn-server.ts';

const PEER: Path = { host: '198.51.100.7', port: 5_000 };
const PAYLOAD = new Uint8Array(20);

/** Bytes that wrapping adds; undefined: it may not be sent. */
function wrapping(world: TurnWorld, peer: Path): number | undefined {
  const buffer = new Uint8Array(200);
  const size = world.client.wrap(world.now, peer, buffer, PAYLOAD.length);
  return size === 0 ? undefined : size - PAYLOAD.length;
}

const hears = (world: TurnWorld, peer: Path): Path | undefined => {
  const heard = world.client.handleDatagram(world.now, SERVER, indication(peer, PAYLOAD));
  return typeof heard === 'object' ? heard.peer : undefined;
};

/** The channel numbers that were asked for, from packet number `from` on. */
const channels = ({ sent }: TurnWorld, from = 0): readonly number[] =>
  sent.slice(from).flatMap(({ bytes }) => {
    const value = decodeMessage(bytes)?.attributes.get(ATTRIBUTE.channelNumber);
    return value === undefined ? [] : [(value[0] << 8) | value[1]];
  });

t.test('a peer whose NAT gives it 300 addresses one after another is reached at the last', (t) => {
  const world = ready();
  world.client.permit(world.now, [PEER.host]);
  world.drain();
  for (let port = 1_000; port < 1_300; port++) {
    const peer = hears(world, { ...PEER, port });
    t.equal(peer?.port, port);
    if (peer === undefined) break;
    world.client.bind(world.now, peer);
    world.run(after(world.now, seconds(1)));
    t.equal(wrapping(world, peer), CHANNEL_HEADER_BYTES);
  }
  const asked = channels(world).filter((number) => number >= CHANNEL_FIRST + 299);
  t.strictSame(asked, [CHANNEL_FIRST + 299], 'RFC 8656 §12: no number is another peer’s soon');
  world.run(after(world.now, seconds(1_000)));
  const before = world.sent.length;
  world.run(after(world.now, seconds(1_000)));
  t.strictSame([...new Set(channels(world, before))], [CHANNEL_FIRST + 299], 'one is renewed');
  t.end();
});

t.test('300 hosts and peers are more than are kept; the last ones are reached', (t) => {
  const world = ready();
  const peers = Array.from({ length: 300 }, (_, at) => ({
    host: `198.51.${100 + (at >> 7)}.${at & 127}`,
    port: 1_000 + at,
  }));
  for (const peer of peers) {
    world.client.permit(world.now, [peer.host]);
    world.client.bind(world.now, peer);
  }
  world.drain();
  t.equal(world.sent.length - 2, STUN_LIMITS.permissionsMax + STUN_LIMITS.channelsMax);
  const reached = peers.filter((peer) => world.client.canReach(world.now, peer));
  t.strictSame(reached, peers.slice(-STUN_LIMITS.permissionsMax));
  const last = peers[299];
  const ports = Array.from({ length: 300 }, (_, at) => ({ host: last.host, port: 2_000 + at }));
  const paths = ports.map((peer) => hears(world, peer));
  t.strictSame(paths, ports, 'nobody is dropped for coming late');
  const again = ports.filter((peer, at) => hears(world, peer) === paths[at]);
  t.equal(again.length, 0, 'and 64 of them are kept: all were made anew');
  t.equal(wrapping(world, last), CHANNEL_HEADER_BYTES, 'the peer of the talk stays');
  t.end();
});

t.test('the hosts that are wanted, and that of the peer, never make room', (t) => {
  const hosts = (from: number, count: number): readonly string[] =>
    Array.from({ length: count }, (_, at) => `203.0.113.${from + at}`);
  const reach = (world: TurnWorld, all: readonly string[]): number =>
    all.filter((host) => world.client.canReach(world.now, { host, port: 9 })).length;
  const world = ready();
  world.client.bind(world.now, PEER);
  world.client.permit(world.now, hosts(1, 10));
  world.drain();
  for (let from = 11; from < 200; from += 10) {
    world.client.permit(world.now, [...hosts(1, 10), ...hosts(from, 10)]);
    world.run(after(world.now, seconds(1)));
    t.equal(reach(world, [...hosts(1, 10), ...hosts(from, 10)]), 20);
    t.ok(world.client.canReach(world.now, PEER));
  }
  world.client.permit(world.now, hosts(1, 100));
  world.drain();
  t.equal(reach(world, hosts(1, 100)), STUN_LIMITS.permissionsMax - 1);
  t.ok(world.client.canReach(world.now, PEER), 'the place that is left is the peer’s');
  const next: Path = { ...PEER, host: '192.0.2.77' };
  world.client.bind(world.now, next);
  world.drain();
  t.equal(reach(world, hosts(1, 100)), STUN_LIMITS.permissionsMax - 1);
  t.ok(world.client.canReach(world.now, next), 'and the one of the next peer');
  t.end();
});

t.test('hosts of the other IP version take nobody’s place', (t) => {
  const world = new TurnWorld();
  const others = Array.from({ length: 40 }, (_, at) => `2001:db8::${(at + 1).toString(16)}`);
  world.client.permit(world.now, others.slice(0, 20));
  world.client.bind(world.now, { host: others[0], port: 9 });
  ready(world);
  const before = world.sent.length;
  world.client.permit(world.now, [...others, PEER.host]);
  world.client.bind(world.now, { host: others[1], port: 9 });
  world.drain();
  t.strictSame(world.methods(before), [METHOD.createPermission]);
  t.ok(world.client.canReach(world.now, PEER));
  t.end();
});

t.test('what is neither wanted nor used is not renewed; what is used is', (t) => {
  const world = ready();
  const [quiet, busy]: readonly Path[] = [9, 10].map((at) => ({ ...PEER, host: `192.0.2.${at}` }));
  world.client.permit(world.now, [quiet.host, busy.host]);
  world.client.bind(world.now, PEER);
  world.drain();
  world.client.permit(world.now, []);
  for (let turn = 0; turn < 40; turn++) {
    world.run(after(world.now, seconds(30)));
    t.ok(hears(world, busy) !== undefined);
  }
  t.ok(world.client.canReach(world.now, busy));
  t.ok(world.client.canReach(world.now, PEER));
  t.notOk(world.client.canReach(world.now, quiet), 'it ran out');
  world.client.permit(world.now, [quiet.host]);
  world.drain();
  t.ok(world.client.canReach(world.now, quiet), 'and is asked for when it is wanted again');
  t.end();
});

t.test('a peer that comes back to its address has the channel that it had', (t) => {
  const world = ready(new TurnWorld(client({ via: 7 })));
  const [one, two]: readonly Path[] = [PEER, { ...PEER, port: 6_000 }];
  world.client.bind(world.now, one);
  world.drain();
  world.client.bind(world.now, two);
  world.run(after(world.now, seconds(700)));
  world.client.bind(world.now, one);
  const before = world.sent.length;
  world.drain();
  t.strictSame(channels(world, before), [CHANNEL_FIRST]);
  t.equal(wrapping(world, one), CHANNEL_HEADER_BYTES);
  t.end();
});
