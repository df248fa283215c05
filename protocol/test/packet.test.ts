// The packet layouts of docs/wire.md, byte by byte, and what is not a packet. Numbers are
// big endian, apart from the nonce, which is Noise's.

import fc from 'fast-check';
import t from 'tap';

import {
  encodeHandshakeHeader,
  encodeTransportHeader,
  indexOf,
  keyPhaseOf,
  packetKind,
  packetNonce,
  packetNumberOf,
  receiverIndex,
} from '../data/packet.ts';
import type { SessionId } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { hex } from './vectors.ts';

const SESSION = 'abcdefghijklmnopqrstuvwxyz' as SessionId;

t.test('S1005: the headers lie as they are drawn', async (t) => {
  const packet = new Uint8Array(11);
  const header = { keyPhase: 3, receiverIndex: 0xfedcba98, packetNumber: 0x0102_0304_0506 };
  encodeTransportHeader(packet, header);
  t.equal(hex(packet), '05fedcba98010203040506');
  encodeTransportHeader(packet, { ...header, keyPhase: 2, packetNumber: 2 ** 48 - 1 });
  t.equal(hex(packet), '04fedcba98ffffffffffff');
  encodeHandshakeHeader(packet, 'initiation', 1);
  t.equal(hex(packet.subarray(0, 5)), '0100000001');
  encodeHandshakeHeader(packet, 'response', 0x80000000);
  t.equal(hex(packet.subarray(0, 5)), '0280000000');
  for (const packetNumber of [-1, 2 ** 48])
    t.throws(() => encodeTransportHeader(packet, { ...header, packetNumber }), {
      code: 'assertion',
    });
});

t.test('S1005: a header reads as it was written', async (t) => {
  const packet = new Uint8Array(27);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1 }),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.integer({ min: 0, max: 2 ** 48 - 1 }),
      (keyPhase, index, packetNumber) => {
        encodeTransportHeader(packet, { keyPhase, receiverIndex: index, packetNumber });
        t.equal(packetKind(packet), 'transport');
        t.equal(keyPhaseOf(packet), keyPhase);
        t.equal(indexOf(packet), index);
        t.equal(packetNumberOf(packet), packetNumber);
      },
    ),
  );
});

t.test('S1005: what cannot be a packet is told by type and length', async (t) => {
  const kind = (type: number, length: number): string | undefined => {
    const datagram = new Uint8Array(length);
    if (length > 0) datagram[0] = type;
    return packetKind(datagram);
  };
  const cases: readonly (readonly [number, number, string | undefined])[] = [
    [0x01, 53, 'initiation'],
    [0x02, 53, 'response'],
    [0x01, 52, undefined],
    [0x01, 54, undefined],
    [0x02, 52, undefined],
    [0x04, 27, 'transport'],
    [0x05, 27, 'transport'],
    [0x04, 26, undefined],
    [0x05, 65_507, 'transport'],
    [0x03, 53, undefined],
    [0x00, 53, undefined],
    [0x06, 53, undefined],
    [0x14, 53, undefined],
    [0x84, 53, undefined],
    [0x04, 0, undefined],
    [0x04, 1, undefined],
  ];
  for (const [type, length, expected] of cases)
    t.equal(kind(type, length), expected, `type ${type}, ${length} bytes`);
});

t.test('S1005: a nonce is four zero bytes and the number, little endian', async (t) => {
  const nonce = new Uint8Array(12).fill(0xff);
  packetNonce(0x0102_0304_0506, nonce);
  t.equal(hex(nonce), '000000000605040302010000');
  packetNonce(2 ** 48 - 1, nonce);
  t.equal(hex(nonce), '00000000ffffffffffff0000');
  packetNonce(0, nonce);
  t.equal(hex(nonce), '00'.repeat(12));
});

t.test('S1005: both ends know both receiver indices without asking', async (t) => {
  const label = new TextEncoder().encode(`nakodo/1/index${SESSION}callee`);
  const digest = nodeSuite.blake2s(label);
  const callee = receiverIndex(nodeSuite, SESSION, 'callee');
  t.equal(callee, Buffer.from(digest).readUInt32BE(0));
  t.not(receiverIndex(nodeSuite, SESSION, 'caller'), callee);
  const other = 'bbcdefghijklmnopqrstuvwxyz' as SessionId;
  t.not(receiverIndex(nodeSuite, other, 'callee'), callee);
});
