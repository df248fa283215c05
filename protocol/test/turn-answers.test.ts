// What a TURN client makes of answers that are forged, cut, or an error that passes; and its last
// word to a relay. In virtual time.

import t from 'tap';
import type { Path } from '../core.ts';
import { ATTRIBUTE, encodeErrorCode } from '../stun/attributes.ts';
import { STUN_LIMITS } from '../stun/limits.ts';
import { type Attribute, METHOD, decodeMessage, encodeMessage } from '../stun/message.ts';
import { type Micros, NEVER, after, micros, ms, seconds } from '../time.ts';
import { SERVER, TurnWorld, answerOf, client, ready } from './turn-server.ts';

const PEER: Path = { host: '198.51.100.7', port: 5_000 };
const utf8 = (words: string): Uint8Array => new TextEncoder().encode(words);
const reach = ({ client, now }: TurnWorld): boolean => client.canReach(now, PEER);

/** The next packet of the client, unanswered. */
function poll({ client, now }: TurnWorld): Uint8Array {
  const into = new Uint8Array(2_000);
  return into.slice(0, client.pollTransmit(now, into)?.size ?? 0);
}

/** An error that nobody signed. */
function unsigned(request: Uint8Array, code: number, more: readonly Attribute[] = []): Uint8Array {
  const { method, transaction } = decodeMessage(request) ?? {};
  if (method === undefined || transaction === undefined) throw new Error('no request');
  const error: Attribute = [ATTRIBUTE.errorCode, encodeErrorCode(code, 'forged')];
  return encodeMessage({ stunClass: 'error', method, transaction, attributes: [error, ...more] });
}

t.test('an error that nobody signed does not end a relay that works', (t) => {
  const realm: Attribute = [ATTRIBUTE.realm, utf8('evil.example')];
  const nonce: Attribute = [ATTRIBUTE.nonce, utf8('forged')];
  const unknown: Attribute = [0x7fff, utf8('?')];
  for (const [code, more] of [
    [400, []],
    [401, [realm, nonce]],
    [437, []],
    [438, []],
    [438, [nonce, unknown]],
    [441, []],
    [500, []],
  ] as const) {
    const world = ready();
    world.client.check(world.now);
    const request = poll(world);
    world.client.handleDatagram(world.now, SERVER, unsigned(request, code, more));
    t.equal(world.client.state, 'ready', `${code}`);
    t.equal(poll(world).length, 0, 'nothing is asked otherwise');
    world.client.handleDatagram(world.now, SERVER, answerOf(request) ?? request);
    const before = world.sent.length;
    world.run(after(world.now, seconds(299)));
    t.equal(world.sent.length, before, 'the answer counts: it is refreshed half a lifetime later');
    t.equal(world.client.state, 'ready');
  }
  const world = ready();
  world.client.check(world.now);
  const forged = unsigned(poll(world), 438, [realm, nonce]);
  world.client.handleDatagram(world.now, SERVER, forged);
  world.drain();
  t.equal(world.methods(2).length, 2, 'a nonce is believed, and the server gives the right one');
  t.equal(world.client.state, 'ready', 'but no realm, with which no key would be right');
  world.client.check(world.now);
  world.lies.isGone = true;
  world.client.handleDatagram(world.now, SERVER, unsigned(poll(world), 401, [realm, nonce]));
  world.run(after(world.now, seconds(5)));
  t.match(world.client.failure?.says, /stopped answering/, 'the positive control: silence ends it');
  t.end();
});

t.test('an error of the server costs nothing that it gave before', (t) => {
  for (const method of [METHOD.createPermission, METHOD.channelBind, METHOD.refresh]) {
    const world = ready();
    world.client.bind(world.now, PEER);
    world.drain();
    const times = (): number => world.methods().filter((one) => one === method).length;
    const before = times();
    const { serverErrorsMax, serverErrorSeconds } = STUN_LIMITS;
    world.lies.refuse = new Map([[method, 500]]);
    while (times() === before) world.run(after(world.now, seconds(1)));
    const start = world.now;
    world.run(after(start, seconds(serverErrorSeconds * (serverErrorsMax - 1))));
    t.ok(times() - before >= serverErrorsMax - 1, 'it is asked again');
    t.ok(reach(world), 'what was granted lives');
    world.lies.refuse = undefined;
    world.run(after(world.now, seconds(1_000)));
    t.ok(reach(world), 'and is granted again');
    t.equal(world.client.state, 'ready');
  }
  t.end();
});

t.test('a server whose error does not pass is asked a few times', (t) => {
  const world = ready();
  world.lies.refuse = new Map([[METHOD.createPermission, 508]]);
  const before = world.sent.length;
  world.client.permit(world.now, [PEER.host]);
  world.run(after(world.now, seconds(250)));
  t.equal(world.sent.length - before, 1 + STUN_LIMITS.serverErrorsMax);
  t.notOk(reach(world));
  world.lies.refuse = undefined;
  world.client.permit(world.now, [PEER.host]);
  world.drain();
  t.ok(reach(world), 'whoever wants it asks anew');
  const refused = ready();
  refused.lies.refuse = new Map([[METHOD.refresh, 500]]);
  refused.client.check(refused.now);
  refused.run(after(refused.now, seconds(60)));
  t.equal(refused.client.failure?.code, 500);
  t.equal(refused.methods(2).length, 1 + STUN_LIMITS.serverErrorsMax);
  t.end();
});

t.test('RFC 8489 §6.3.4, §9.2.5: a challenge that may not be followed', (t) => {
  const features = (four: string): Attribute => [ATTRIBUTE.nonce, utf8(`obMatJos2${four}abc`)];
  const unknown: Attribute = [0x7fff, utf8('?')];
  const algorithms: Attribute = [ATTRIBUTE.passwordAlgorithms, Uint8Array.of(0, 1, 0, 0)];
  for (const [more, isFollowed] of [
    [[[ATTRIBUTE.nonce, utf8('plain')]], true],
    [[[ATTRIBUTE.nonce, utf8('plain')], unknown], false],
    [[features('gAAA')], false],
    [[features('////')], false],
    [[features('gAAA'), algorithms], true],
    [[features('QAAA')], true],
    [[features('AAAB')], true],
    [[[ATTRIBUTE.nonce, utf8('obMatJos')]], true],
  ] as const) {
    const world = new TurnWorld();
    world.client.start(world.now);
    const challenge = unsigned(poll(world), 401, [[ATTRIBUTE.realm, utf8('r')], ...more]);
    world.client.handleDatagram(world.now, SERVER, challenge);
    t.equal(poll(world).length > 0, isFollowed, JSON.stringify(more));
    t.equal(world.client.failure?.code, isFollowed ? undefined : 420);
  }
  t.end();
});

t.test('the last Refresh: once, and once more for a nonce that is stale', (t) => {
  for (const answersIn of [10, 500, 900]) {
    const world = ready();
    world.client.close(world.now);
    const first = poll(world);
    world.now = after(world.now, ms(answersIn));
    world.client.handleTimeout(world.now);
    t.notOk(world.client.isOver, 'the farthest server has not answered yet');
    const nonce: Attribute = [ATTRIBUTE.nonce, utf8('nonce two')];
    world.client.handleDatagram(world.now, SERVER, unsigned(first, 438, [nonce]));
    const second = poll(world);
    const { attributes } = decodeMessage(second) ?? {};
    t.strictSame(attributes?.get(ATTRIBUTE.lifetime), new Uint8Array(4));
    t.strictSame(attributes?.get(ATTRIBUTE.nonce), utf8('nonce two'));
    world.client.handleDatagram(world.now, SERVER, unsigned(second, 438, [nonce]));
    t.equal(poll(world).length, 0, 'no third');
    t.ok(world.client.isOver);
  }
  const quiet = ready();
  quiet.client.close(quiet.now);
  quiet.lies.isGone = true;
  quiet.run(after(quiet.now, ms(STUN_LIMITS.closeMs)));
  t.ok(quiet.client.isOver);
  t.equal(quiet.client.nextTimeout(), NEVER);
  t.equal(quiet.client.failure, undefined);
  t.end();
});

t.test('a server without user names gets its allocation back too', (t) => {
  const world = new TurnWorld(client());
  world.lies.isOpen = true;
  ready(world);
  t.equal(world.client.state, 'ready');
  world.client.close(world.now);
  world.drain();
  t.strictSame(world.methods(), [METHOD.allocate, METHOD.refresh]);
  t.ok(world.client.isOver);
  t.end();
});

t.test('an answer that is read from a Buffer', (t) => {
  const world = new TurnWorld();
  const clean: Micros = micros(0);
  const buffers = [Buffer.alloc(2_000), Buffer.alloc(2_000)];
  world.client.start(clean);
  for (const into of buffers) {
    const answer = answerOf(poll(world)) ?? new Uint8Array(0);
    into.set(answer);
    const datagram = into.subarray(0, answer.length);
    world.client.handleDatagram(clean, SERVER, datagram);
    t.strictSame(Uint8Array.from(datagram), answer, 'nothing is written into it');
    into.fill(0);
  }
  t.equal(world.client.state, 'ready');
  world.client.check(clean);
  const nonce = decodeMessage(poll(world))?.attributes.get(ATTRIBUTE.nonce);
  t.strictSame(nonce, utf8('nonce one'), 'what is kept is a copy');
  t.end();
});
