// The TURN client in virtual time, against a relay that does as it should and against ones that
// lie, are gone, or are somebody else.

import fc from 'fast-check';
import t from 'tap';
import type { Path } from '../core.ts';
import { randomBytes, seededRng } from '../random.ts';
import { ATTRIBUTE, encodeErrorCode, lifetimeValue } from '../stun/attributes.ts';
import { relayCredentials } from '../stun/credentials.ts';
import { STUN_LIMITS } from '../stun/limits.ts';
import { METHOD, decodeMessage, encodeMessage } from '../stun/message.ts';
import { CHANNEL_HEADER_BYTES } from '../stun/turn-frames.ts';
import { type Micros, NEVER, after, micros, ms, seconds } from '../time.ts';
import { dose } from './dose.ts';
import {
  RELAYED,
  SERVER,
  TurnWorld,
  answerOf,
  client,
  indication,
  ready,
  signed,
} from './turn-server.ts';
import { hex } from './vectors.ts';

const PEER: Path = { host: '198.51.100.7', port: 5_000 };
const PAYLOAD = Uint8Array.from({ length: 101 }, (_, at) => at);

/** The bytes that `wrap` makes of PAYLOAD; empty if it may not be sent. */
function wrapped(world: TurnWorld, peer: Path): Uint8Array {
  const buffer = new Uint8Array(200);
  buffer.set(PAYLOAD);
  return buffer.slice(0, world.client.wrap(world.now, peer, buffer, PAYLOAD.length));
}

t.test('an allocation: asked, challenged, signed, told', (t) => {
  const world = new TurnWorld();
  t.equal(world.client.state, 'idle');
  ready(world);
  t.equal(world.client.state, 'ready');
  t.strictSame(world.client.relayed, [RELAYED]);
  t.strictSame(world.methods(), [METHOD.allocate, METHOD.allocate]);
  const [bare] = world.sent;
  t.notOk(decodeMessage(bare.bytes)?.attributes.has(ATTRIBUTE.username), 'no name before 401');
  world.client.start(world.now);
  world.run(world.now);
  t.equal(world.sent.length, 2, 'started once');
  t.end();
});

t.test('a peer is reached by a channel, or by its permission', (t) => {
  const world = ready();
  t.equal(wrapped(world, PEER).length, 0, 'nobody is reached without leave');
  t.notOk(world.client.canReach(world.now, PEER));
  world.client.permit(world.now, [PEER.host]);
  t.equal(wrapped(world, PEER).length, 0, 'asked for is not granted');
  world.drain();
  t.ok(world.client.canReach(world.now, PEER));
  const sent = decodeMessage(wrapped(world, PEER));
  t.equal(sent?.method, METHOD.send);
  t.equal(hex(sent?.attributes.get(ATTRIBUTE.data) ?? PEER_NONE), hex(PAYLOAD));
  world.client.bind(world.now, PEER);
  world.drain();
  const framed = wrapped(world, PEER);
  t.equal(hex(framed), `40000065${hex(PAYLOAD)}`);
  t.equal(wrapped(world, { ...PEER, port: 1 }).length, 140, 'another port has no channel');
  t.equal(wrapped(world, { host: '198.51.100.8', port: 1 }).length, 0);
  const small = new Uint8Array(PAYLOAD.length + CHANNEL_HEADER_BYTES - 1);
  t.equal(world.client.wrap(world.now, PEER, small, PAYLOAD.length), 0, 'no room');
  t.strictSame(world.methods(2), [METHOD.createPermission, METHOD.channelBind]);
  t.end();
});

const PEER_NONE = new Uint8Array(0);

t.test('what a peer sends is told by one object; strangers are not heard', (t) => {
  const world = ready(new TurnWorld(client({ via: 7 })));
  world.client.bind(world.now, PEER);
  world.drain();
  const heard = (bytes: Uint8Array) => world.client.handleDatagram(world.now, SERVER, bytes);
  const channelData = Uint8Array.of(0x40, 0, 0, 3, 1, 2, 3);
  t.strictSame(heard(channelData), { peer: PEER, bytes: Uint8Array.of(1, 2, 3) });
  const one = heard(channelData);
  t.ok(typeof one === 'object' && one.peer === PEER, 'the object that bind was given');
  t.strictSame(heard(Uint8Array.of(...channelData, 0)), one, 'padded');
  t.equal(heard(Uint8Array.of(0x40, 1, 0, 3, 1, 2, 3)), true, 'an unknown channel');
  t.equal(heard(channelData.subarray(0, 6)), true, 'shorter than it says');
  t.equal(heard(Uint8Array.of(...channelData, 0, 0, 0, 0)), true, 'longer than it says');
  t.equal(heard(Uint8Array.of(0x40)), true);
  const other = { host: PEER.host, port: 5_001 };
  const first = heard(indication(other, PAYLOAD));
  const second = heard(indication(other, PAYLOAD));
  t.strictSame(first, { peer: { ...other, via: 7 }, bytes: PAYLOAD });
  t.ok(typeof first === 'object' && typeof second === 'object' && first.peer === second.peer);
  t.equal(heard(indication({ host: '198.51.100.9', port: 1 }, PAYLOAD)), true, 'no leave');
  t.equal(heard(indication({ ...PEER, port: 0 }, PAYLOAD)), true);
  t.equal(world.client.handleDatagram(world.now, PEER, channelData), false, 'not from the relay');
  t.equal(heard(randomBytes(seededRng(1), 60).with(0, 4)), false, 'a packet of a talk');
  t.end();
});

t.test('allocation, permission and channel are renewed before they end', (t) => {
  const world = ready();
  world.client.bind(world.now, PEER);
  const start = world.now;
  world.drain();
  world.sent.length = 0;
  world.run(after(start, seconds(3_000)));
  const gaps = (method: number): number => {
    const times = [
      start,
      ...world.sent.filter((_, at) => world.methods()[at] === method).map(({ at }) => at),
      world.now,
    ];
    return Math.max(...times.slice(1).map((at, index) => at - times[index]));
  };
  t.equal(gaps(METHOD.refresh), seconds(300));
  t.equal(gaps(METHOD.createPermission), seconds(STUN_LIMITS.permissionSeconds));
  t.equal(gaps(METHOD.channelBind), seconds(STUN_LIMITS.channelSeconds));
  t.equal(wrapped(world, PEER).length, PAYLOAD.length + CHANNEL_HEADER_BYTES);
  t.equal(world.client.state, 'ready');
  t.end();
});

t.test('a nonce that has gone stale is replaced, up to a bound', (t) => {
  const world = ready();
  world.lies.nonce = 'nonce two';
  world.client.bind(world.now, PEER);
  world.run(world.now);
  t.equal(wrapped(world, PEER).length, PAYLOAD.length + CHANNEL_HEADER_BYTES);
  t.strictSame(world.methods(2), [
    METHOD.createPermission,
    METHOD.channelBind,
    METHOD.createPermission,
    METHOD.channelBind,
  ]);
  const before = world.sent.length;
  let number = 0;
  const always = new TurnWorld(world.client);
  Object.defineProperty(always.lies, 'nonce', { get: () => `nonce ${(number += 1)}` });
  always.now = world.now;
  world.client.check(world.now);
  always.run(world.now);
  t.equal(always.sent.length, 1 + STUN_LIMITS.challengesMax);
  t.equal(world.client.state, 'failed');
  t.equal(world.client.failure?.code, 438);
  t.equal(world.sent.length, before);
  t.end();
});

t.test('a silent relay is given up in less than 10 s, and nothing is busy afterwards', (t) => {
  const world = new TurnWorld();
  world.lies.isGone = true;
  ready(world).run(micros(seconds(3_600)));
  t.equal(world.client.state, 'failed');
  t.equal(world.client.failure?.code, undefined);
  t.match(world.client.failure?.says, /does not answer/);
  t.strictSame(
    world.sent.map(({ at }) => at / ms(1)),
    [0, 100, 300, 700, 1_500, 2_300, 3_100, 3_900],
  );
  t.equal(new Set(world.sent.map(({ bytes }) => hex(bytes))).size, 1, 'one transaction');
  t.equal(world.client.nextTimeout(), NEVER);
  t.end();
});

t.test('a relay that goes away in mid-session is noticed when it is asked', (t) => {
  const world = ready();
  world.client.bind(world.now, PEER);
  world.run(micros(seconds(60)));
  world.lies.isGone = true;
  t.ok(wrapped(world, PEER).length > 0, 'nobody knows yet');
  world.client.check(world.now);
  world.client.check(world.now);
  world.run(after(world.now, seconds(5)));
  t.equal(world.client.state, 'failed');
  t.match(world.client.failure?.says, /stopped answering/);
  t.equal(wrapped(world, PEER).length, 0);
  t.equal(world.client.nextTimeout(), NEVER);
  t.end();
});

t.test('what the relay refuses is said in words', (t) => {
  for (const [method, code] of [
    [METHOD.allocate, 486],
    [METHOD.allocate, 508],
    [METHOD.allocate, 437],
    [METHOD.allocate, 441],
    [METHOD.allocate, 403],
    [METHOD.allocate, 400],
    [METHOD.allocate, 699],
    [METHOD.createPermission, 437],
    [METHOD.channelBind, 441],
    [METHOD.refresh, 437],
  ] as const) {
    const world = new TurnWorld();
    world.lies.refuse = new Map([[method, code]]);
    ready(world);
    world.client.bind(world.now, PEER);
    world.client.check(world.now);
    world.run(world.now);
    t.equal(world.client.state, 'failed', `${method} ${code}`);
    t.equal(world.client.failure?.code, code);
    t.match(world.client.failure?.says, /^The relay .+\. .+\.$/);
  }
  t.end();
});

t.test('a wrong password is refused, not tried again and again', (t) => {
  const world = ready(new TurnWorld(client({ password: 'guess' })));
  t.equal(world.client.failure?.code, 401);
  t.match(world.client.failure?.says, /expired/);
  t.equal(world.sent.length, 2);
  t.end();
});

t.test('one host that the relay forbids leaves the others reachable', (t) => {
  const world = ready();
  world.lies.refuse = new Map([[METHOD.createPermission, 403]]);
  world.client.permit(world.now, ['10.0.0.1', '2001:db8::1', 'nonsense']);
  world.drain();
  world.lies.refuse = undefined;
  world.client.permit(world.now, ['10.0.0.1', PEER.host]);
  world.drain();
  t.equal(world.client.state, 'ready');
  t.equal(wrapped(world, { host: '10.0.0.1', port: 9 }).length, 0);
  t.ok(wrapped(world, PEER).length > 0);
  t.equal(world.sent.length, 4, 'IPv6 and nonsense are not asked for at all');
  t.end();
});

t.test('an allocation is given back with one packet', (t) => {
  const world = ready();
  const before = world.sent.length;
  world.client.close(world.now);
  world.client.close(world.now);
  t.equal(world.client.state, 'closed');
  world.lies.isGone = true;
  world.run(micros(seconds(3_600)));
  t.equal(world.sent.length, before + 1);
  const last = decodeMessage(world.sent[before].bytes);
  t.equal(last?.method, METHOD.refresh);
  t.equal(hex(last?.attributes.get(ATTRIBUTE.lifetime) ?? PEER_NONE), '00000000');
  t.equal(world.client.nextTimeout(), NEVER);
  t.equal(world.client.failure, undefined);
  const early = new TurnWorld();
  early.client.start(early.now);
  early.client.close(early.now);
  early.drain();
  t.equal(early.sent.length, 0, 'nothing was allocated');
  t.end();
});

t.test('a relay that says nonsense: no address, a lifetime of nothing, of ever, or over', (t) => {
  const without = new TurnWorld();
  without.lies.allocated = [[ATTRIBUTE.lifetime, lifetimeValue(600)]];
  t.match(ready(without).client.failure?.says, /gave no address/);
  const short = new TurnWorld();
  short.lies.lifetime = 1;
  ready(short).run(micros(seconds(100)));
  t.equal(short.sent.length, 2 + 10, 'refreshed every 10 s, not in a busy loop');
  const long = new TurnWorld();
  long.lies.lifetime = 4_294_967_295;
  ready(long).run(micros(seconds(2_000)));
  t.equal(long.sent.length, 3);
  const over = ready();
  over.lies.lifetime = 0;
  over.client.check(over.now);
  over.drain();
  t.equal(over.client.failure?.code, 437);
  t.end();
});

t.test('spoofed, replayed, unsigned, from the wrong server: nothing changes', (t) => {
  const made = client();
  const into = new Uint8Array(1_000);
  const poll = (now: Micros): Uint8Array => into.slice(0, made.pollTransmit(now, into)?.size ?? 0);
  made.start(micros(0));
  const bare = poll(micros(0));
  const challenge = answerOf(bare) ?? PEER_NONE;
  const request = decodeMessage(bare);
  const wrong: Path = { host: '192.0.2.66', port: 3_478 };
  t.equal(made.handleDatagram(micros(1), wrong, challenge), false);
  t.equal(poll(micros(1)).length, 0, 'the wrong server');
  t.equal(made.handleDatagram(micros(1), SERVER, challenge), true);
  t.equal(made.handleDatagram(micros(1), SERVER, challenge), true, 'replayed');
  const asked = poll(micros(1));
  t.ok(asked.length > bare.length);
  t.equal(poll(micros(1)).length, 0, 'asked again once');
  const answer = answerOf(asked) ?? PEER_NONE;
  const read = decodeMessage(asked);
  if (read === undefined || request === undefined) throw new Error('our own request is not read');
  const { transaction, method } = read;
  const good = decodeMessage(answer)?.attributes ?? new Map<number, Uint8Array>();
  const attributes = [...good].filter(([type]) => type !== ATTRIBUTE.messageIntegrity);
  const forged = [
    encodeMessage({ stunClass: 'success', method, transaction, attributes }),
    encodeMessage({ stunClass: 'success', method, transaction, attributes, key: PAYLOAD }),
    encodeMessage({
      stunClass: 'error',
      method,
      transaction,
      attributes: [[ATTRIBUTE.errorCode, encodeErrorCode(486, '')]],
    }),
    encodeMessage({ stunClass: 'error', method, transaction, attributes: [] }),
    signed('success', { ...read, method: METHOD.refresh }, attributes),
    signed('success', request, attributes),
    asked,
    answer.subarray(0, -8),
  ];
  for (const bytes of forged) made.handleDatagram(micros(2), SERVER, bytes);
  t.equal(made.state, 'allocating');
  t.strictSame(made.relayed, []);
  t.equal(made.handleDatagram(micros(2), SERVER, answer), true, 'the positive control');
  t.equal(made.state, 'ready');
  made.handleDatagram(micros(3), SERVER, answer);
  t.strictSame(made.relayed, [RELAYED]);
  t.equal(poll(micros(3)).length, 0);
  t.end();
});

t.test('any datagrams from the relay: no error, no state but by its word', (t) => {
  const seed = ready();
  const samples = [
    ...seed.sent.map(({ bytes }) => answerOf(bytes) ?? PEER_NONE),
    indication(PEER, PAYLOAD),
    Uint8Array.of(0x40, 0, 0, 3, 1, 2, 3),
  ];
  const change = fc.record({
    sample: fc.nat(samples.length - 1),
    at: fc.nat(),
    byte: fc.nat(255),
    cut: fc.nat(8),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const world = ready();
      world.client.bind(world.now, PEER);
      world.drain();
      const sent = world.sent.length;
      for (const { sample, at, byte, cut } of changes) {
        const changed = samples[sample].with(at % samples[sample].length, byte);
        const bytes = changed.subarray(0, changed.length - cut);
        world.client.handleDatagram(world.now, SERVER, bytes);
      }
      world.drain();
      return world.client.state === 'ready' && world.sent.length === sent;
    }),
    { numRuns: dose(200) },
  );
  t.end();
});

t.test('credentials are the HMAC that coturn computes', (t) => {
  // printf '1500000000:someone' | openssl dgst -sha1 -hmac CHANGE -binary | base64
  const secret = new TextEncoder().encode('CHANGE');
  t.equal(relayCredentials(secret, '1500000000:someone'), 'eyIBLoAi0t1UIjLFdMc5Ren3AVs=');
  t.end();
});
