// Which IP versions a TURN client asks for and takes (RFC 8656 §7, §9.2), in virtual time. A real
// coturn's answers to the same are in turn-coturn.test.

import t from 'tap';
import type { Path } from '../core.ts';
import { ATTRIBUTE, encodeXorAddress } from '../stun/attributes.ts';
import { type Attribute, METHOD, decodeMessage } from '../stun/message.ts';
import { after, seconds } from '../time.ts';
import {
  RELAYED,
  RELAYED_6,
  SERVER,
  TurnWorld,
  type Versions,
  answerOf,
  client,
  ready,
  versionsOf,
} from './turn-server.ts';

const PEER: Path = { host: '198.51.100.7', port: 5_000 };

/** What each signed Allocate asked for. */
const asked = ({ sent }: TurnWorld): readonly Versions[] =>
  sent
    .map(({ bytes }) => decodeMessage(bytes))
    .filter((one) => one?.attributes.has(ATTRIBUTE.messageIntegrity) === true)
    .flatMap((one) => (one?.method === METHOD.allocate ? [versionsOf(one)] : []));

t.test('RFC 8656 §7: an address of each IP version, for peers of each', (t) => {
  const world = ready(new TurnWorld(client({ wantsIpv6: true })));
  t.strictSame(world.client.relayed, [RELAYED, RELAYED_6]);
  t.strictSame(asked(world), ['both']);
  const draft = decodeMessage(world.sent[1].bytes)?.attributes;
  t.ok(draft?.has(ATTRIBUTE.additionalAddressFamilyDraft), 'as coturn before 4.7 calls it');
  const peers = [PEER, { host: '2001:db8::7', port: 5_000 }];
  for (const peer of peers) world.client.bind(world.now, peer);
  world.drain();
  for (const peer of peers) t.ok(world.client.canReach(world.now, peer), peer.host);
  world.client.close(world.now);
  const before = world.sent.length;
  world.run(after(world.now, seconds(2_000)));
  t.strictSame(world.methods(before), [METHOD.refresh], 'both are given back with one packet');
  t.end();
});

t.test('who has no peer with IPv6 asks for none, and reaches none', (t) => {
  const world = ready();
  t.strictSame(asked(world), ['ipv4']);
  const before = world.sent.length;
  world.client.bind(world.now, { host: '2001:db8::7', port: 5_000 });
  world.drain();
  t.equal(world.sent.length, before, 'RFC 8656 §9.2: it would be refused');
  t.notOk(world.client.hasFamilyOf('2001:db8::7'));
  t.end();
});

t.test('RFC 8656 §19, 440: the IP versions that the relay has, within as many questions', (t) => {
  const table: readonly (readonly [boolean, readonly Versions[], number, readonly Path[]])[] = [
    [true, ['ipv4', 'ipv6'], 440, [RELAYED]],
    [true, ['ipv4'], 508, [RELAYED]],
    [true, ['ipv6'], 440, [RELAYED_6]],
    [false, ['ipv6'], 440, [RELAYED_6]],
    [false, ['both'], 440, []],
    [true, [], 440, []],
    [true, [], 508, []],
  ];
  for (const [wantsIpv6, gives, versionCode, relayed] of table) {
    const world = new TurnWorld(client({ wantsIpv6 }));
    Object.assign(world.lies, { gives, versionCode });
    ready(world);
    const words = `${gives.join()} of ${wantsIpv6 ? 'both' : 'one'}`;
    t.strictSame(world.client.relayed, relayed, words);
    t.equal(world.client.state, relayed.length > 0 ? 'ready' : 'failed', words);
    if (relayed.length === 0) t.equal(world.client.failure?.code, versionCode);
    const order: readonly Versions[] = wantsIpv6 ? ['both', 'ipv4', 'ipv6'] : ['ipv4', 'ipv6'];
    const last = order.findIndex((one) => gives.includes(one));
    t.strictSame(asked(world), last < 0 ? order : order.slice(0, last + 1), words);
  }
  t.end();
});

t.test('two addresses of one IP version, or one that is none', (t) => {
  const none: Path = { host: '::', port: 0 };
  for (const [given, relayed] of [
    [[RELAYED, { ...RELAYED, port: 9 }], [RELAYED]],
    [[none, RELAYED], [RELAYED]],
    [
      [RELAYED_6, RELAYED],
      [RELAYED, RELAYED_6],
    ],
    [[none, none], []],
  ] as const) {
    const world = new TurnWorld(client({ wantsIpv6: true }));
    const into = new Uint8Array(2_000);
    world.client.start(world.now);
    for (let turn = 0; turn < 2; turn++) {
      const size = world.client.pollTransmit(world.now, into)?.size ?? 0;
      const bytes = into.slice(0, size);
      const { transaction } = decodeMessage(bytes) ?? {};
      if (transaction === undefined) throw new Error('no request');
      const allocated = given.map((one): Attribute => {
        return [ATTRIBUTE.xorRelayedAddress, encodeXorAddress(one, transaction) ?? transaction];
      });
      const answer = answerOf(bytes, { allocated });
      if (answer !== undefined) world.client.handleDatagram(world.now, SERVER, answer);
    }
    t.strictSame(world.client.relayed, relayed);
    t.equal(world.client.state, relayed.length > 0 ? 'ready' : 'failed');
  }
  t.end();
});
