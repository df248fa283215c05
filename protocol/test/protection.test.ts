// Packet protection: what is sealed opens once and only untouched; keys change under reordering.
// Both ends have the secrets that a handshake would leave.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';

import type { CryptoSuite } from '../crypto.ts';
import { CRYPTO_LIMITS } from '../data/limits.ts';
import { HEADER_BYTES } from '../data/packet.ts';
import { Protection } from '../data/protection.ts';
import { REPLAY_WINDOW } from '../data/replay.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { nobleAead } from '../noble-aead.ts';
import { hex } from './vectors.ts';

const A_TO_B = new Uint8Array(32).fill(1);
const B_TO_A = new Uint8Array(32).fill(2);

function pair(suite: CryptoSuite = nodeSuite): readonly [Protection, Protection] {
  return [
    new Protection({
      suite,
      secrets: { send: A_TO_B, receive: B_TO_A },
      localIndex: 0xaaaaaaaa,
      remoteIndex: 0xbbbbbbbb,
    }),
    new Protection({
      suite,
      secrets: { send: B_TO_A, receive: A_TO_B },
      localIndex: 0xbbbbbbbb,
      remoteIndex: 0xaaaaaaaa,
    }),
  ];
}

function seal(end: Protection, packetNumber: number, text = `packet ${packetNumber}`): Uint8Array {
  const payload = new TextEncoder().encode(text);
  const packet = new Uint8Array(HEADER_BYTES + payload.length + 16);
  packet.set(payload, HEADER_BYTES);
  const size = end.seal(packet, packetNumber, payload.length);
  if (size !== packet.length) throw new Error(`sealed ${size} of ${packet.length} bytes`);
  return packet;
}

interface Sealed {
  readonly packet: Uint8Array;
  readonly number: number;
  readonly phase: number;
}

function sealed(end: Protection, number: number): Sealed {
  const packet = seal(end, number);
  return { packet, number, phase: end.keyPhase };
}

/** The text, and whether the number was told rightly; opens a copy. */
function open(end: Protection, packet: Uint8Array): string | undefined {
  const copy = packet.slice();
  const opened = end.open(copy);
  if (opened === undefined) return undefined;
  const text = new TextDecoder().decode(copy.subarray(opened.start, opened.end));
  return text.startsWith('packet ') && text !== `packet ${opened.packetNumber}` ? 'wrong' : text;
}

t.test(
  'claim 7: S1005: sealed with the received key, a packet opens at the other end',
  async (t) => {
    for (const suite of [nodeSuite, { ...nodeSuite, aead: nobleAead }]) {
      const [a, b] = pair(suite);
      const packet = seal(a, 7, 'plain words');
      t.equal(hex(packet.subarray(0, HEADER_BYTES)), '04bbbbbbbb000000000007');
      t.notOk(Buffer.from(packet).includes('plain'), 'nothing of it can be read on the way');
      t.equal(open(b, packet), 'plain words');
      t.equal(open(a, seal(b, 0)), 'packet 0');
      t.equal(open(b, seal(a, 8, '')), '', 'empty');
    }
  },
);

t.test('claim 7: node and noble seal the same packets', async (t) => {
  const [node] = pair();
  const [noble] = pair({ ...nodeSuite, aead: nobleAead });
  t.same(seal(node, 123_456_789_012), seal(noble, 123_456_789_012));
});

t.test('S4005: a flipped bit anywhere in a packet is refused and does no harm', async (t) => {
  const [a, b] = pair();
  const packet = seal(a, 300);
  for (let bit = 0; bit < packet.length * 8; bit++) {
    const flipped = packet.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    t.equal(open(b, flipped), undefined, `bit ${bit}`);
  }
  // Not counted: 7 bits of the type and 32 of the index, which are seen before the key is used.
  t.equal(b.failedOpens, packet.length * 8 - 39);
  t.equal(open(b, packet.subarray(0, -1)), undefined);
  t.equal(open(b, packet.subarray(0, 12)), undefined);
  t.equal(open(b, new Uint8Array(0)), undefined);
  t.equal(b.keyPhase, 0, 'a forged phase bit changes no key');
  t.equal(open(b, packet), 'packet 300', 'the genuine one still counts');
});

t.test('S4005: a packet of the other direction or another talk is refused', async (t) => {
  const [a, b] = pair();
  t.equal(open(a, seal(a, 1)), undefined, 'reflected');
  t.equal(a.failedOpens, 0, 'by its index already');
  const other = new Protection({
    suite: nodeSuite,
    secrets: { send: new Uint8Array(32).fill(9), receive: B_TO_A },
    localIndex: 1,
    remoteIndex: 0xbbbbbbbb,
  });
  t.equal(open(b, seal(other, 1)), undefined);
  t.equal(b.failedOpens, 1);
});

t.test('S4005: a replay and a packet behind the window are refused', async (t) => {
  const [a, b] = pair();
  const old = seal(a, 10);
  const first = seal(a, 11);
  t.equal(open(b, first), 'packet 11');
  t.equal(open(b, first), undefined, 'replayed');
  t.equal(b.replays, 1);
  t.equal(open(b, seal(a, 10 + REPLAY_WINDOW)), `packet ${10 + REPLAY_WINDOW}`);
  t.equal(open(b, old), undefined, 'too old');
  t.equal(b.replays, 2);
  t.equal(b.failedOpens, 0, 'neither was tried');
});

t.test('S4005: a forged packet number does not move the window', async (t) => {
  const [a, b] = pair();
  const packet = seal(a, 1);
  const forged = packet.slice();
  forged.fill(0xff, 5, 11);
  t.equal(open(b, forged), undefined);
  t.equal(open(b, packet), 'packet 1');
});

t.test('S1005: a packet number is used once, and growing', async (t) => {
  const [a] = pair();
  seal(a, 5);
  t.throws(() => seal(a, 5), { code: 'assertion' });
  t.throws(() => seal(a, 4), { code: 'assertion' });
  t.notOk(a.mustEnd);
  seal(a, CRYPTO_LIMITS.packetNumberMax);
  t.ok(a.mustEnd, 'no number is left');
  t.throws(() => seal(a, CRYPTO_LIMITS.packetNumberMax + 1), { code: 'assertion' });
});

t.test('claim 7: a key update reaches both directions; reordered packets open', async (t) => {
  const [a, b] = pair();
  const before = [0, 1, 2].map((number) => seal(a, number));
  t.notOk(a.updateKeys(), 'nothing is acknowledged yet');
  t.equal(open(b, before[0]), 'packet 0');
  a.onAcknowledged(0);
  t.ok(a.updateKeys());
  t.notOk(a.updateKeys(), 'one at a time');
  const after = [3, 4, 5].map((number) => seal(a, number));
  t.equal(after[0][0], 0x05, 'the phase bit');
  t.equal(open(b, after[1]), 'packet 4');
  t.equal(b.keyPhase, 1, 'the peer follows');
  t.equal(open(b, before[2]), 'packet 2', 'sealed before, came after');
  t.equal(open(b, after[0]), 'packet 3', 'the first of the phase came second');
  t.equal(open(b, before[1]), 'packet 1');
  t.equal(open(b, after[2]), 'packet 5');
  t.equal(b.failedOpens, 0);
  a.onAcknowledged(4);
  t.notOk(a.updateKeys(), 'nothing of the peer’s new phase has come');
  t.equal(open(a, seal(b, 0)), 'packet 0');
  t.ok(a.updateKeys());
  t.equal(seal(a, 6)[0], 0x04);
});

t.test('claim 7: both ends update at the same moment', async (t) => {
  const [a, b] = pair();
  const [fromA, fromB] = [seal(a, 0), seal(b, 0)];
  t.ok(open(b, fromA) && open(a, fromB));
  a.onAcknowledged(0);
  b.onAcknowledged(0);
  t.ok(a.updateKeys() && b.updateKeys());
  const [nextA, nextB] = [seal(a, 1), seal(b, 1)];
  t.equal(open(b, nextA), 'packet 1');
  t.equal(open(a, nextB), 'packet 1');
  t.same([a.keyPhase, b.keyPhase], [1, 1]);
});

t.test('claim 7: a key of one phase opens nothing of another', async (t) => {
  const [a, b] = pair();
  const spy = pair()[1];
  t.equal(open(b, seal(a, 0)), 'packet 0');
  a.onAcknowledged(0);
  t.ok(a.updateKeys());
  const packet = seal(a, 1);
  packet[0] = 0x04;
  t.equal(open(spy, packet), undefined);
  t.equal(spy.failedOpens, 1);
});

t.test('claim 7: after 2^20 packets the key changes by itself', async (t) => {
  // A suite that seals with a checksum: what counts here is when keys change, a million times fast.
  const aead = {
    name: 'checksum',
    importKey: (key: Uint8Array) => ({
      seal: (_: Uint8Array, __: Uint8Array, into: Uint8Array, start: number, length: number) =>
        into.set(key.subarray(0, 16), start + length),
      open: (_: Uint8Array, __: Uint8Array, into: Uint8Array, start: number, length: number) =>
        hex(into.subarray(start + length - 16, start + length)) === hex(key.subarray(0, 16)),
    }),
  };
  const [a, b] = pair({ ...nodeSuite, aead });
  const packet = new Uint8Array(HEADER_BYTES + 16);
  const limit = CRYPTO_LIMITS.keyPhasePacketsMax;
  for (let number = 0; number < limit; number++) a.seal(packet, number, 0);
  t.equal(a.keyPhase, 0);
  a.seal(packet, limit, 0);
  t.equal(a.keyPhase, 0, 'nothing is acknowledged: the old key holds on');
  a.onAcknowledged(limit);
  a.seal(packet, limit + 1, 0);
  t.equal(a.keyPhase, 1);
  t.ok(b.open(packet));
  t.equal(b.keyPhase, 1);
});

t.test(
  'claim 7: every packet opens once under loss, reordering, repetition and updates',
  async (t) => {
    const action = fc.record({
      from: fc.boolean(),
      what: fc.constantFrom(
        'send',
        'send',
        'send',
        'deliver',
        'deliver',
        'repeat',
        'drop',
        'update',
      ),
      pick: fc.nat(7),
    });
    let [opened, late, updates] = [0, 0, 0];
    fc.assert(
      fc.property(fc.array(action, { minLength: 50, maxLength: 300 }), (actions) => {
        const ends = pair();
        const next = [0, 0];
        const onTheWay: [Sealed[], Sealed[]] = [[], []];
        const newest = [0, 0];
        const lost = [0, 0];
        const done: [Uint8Array[], Uint8Array[]] = [[], []];
        for (const { from, what, pick } of actions) {
          const [me, you] = from ? [0, 1] : [1, 0];
          const queue = onTheWay[me];
          if (what === 'send' && queue.length < 8) queue.push(sealed(ends[me], next[me]++));
          if (what === 'update' && ends[me].updateKeys()) updates++;
          if (what === 'repeat' && done[me].length > 0) {
            const packet = done[me][pick % done[me].length];
            if (open(ends[you], packet) !== undefined) return false;
          }
          if (queue.length === 0) continue;
          const at = pick % queue.length;
          if (what === 'drop') queue.splice(at, 1);
          if (what !== 'deliver') continue;
          const [{ packet, number, phase }] = queue.splice(at, 1);
          // Two updates take two round trips: what is that late is lost, as in RFC 9001 §6.5.
          const isLate = phase < newest[me] - 1;
          if (open(ends[you], packet) !== (isLate ? undefined : `packet ${number}`)) return false;
          if (isLate) {
            late++;
            lost[you]++;
            continue;
          }
          newest[me] = Math.max(newest[me], phase);
          opened++;
          done[me].push(packet);
          // An acknowledgement is itself a packet: the peer's keys come along.
          const answer = seal(ends[you], next[you]++);
          if (open(ends[me], answer) === undefined) return false;
          newest[you] = ends[you].keyPhase;
          ends[me].onAcknowledged(number);
        }
        return ends.every((end, at) => end.failedOpens === lost[at]);
      }),
      { numRuns: dose(150) },
    );
    t.ok(opened > 1000 && updates > 100, `${opened} opened, ${late} late, ${updates} updates`);
  },
);

t.test(
  'claim 7: a second update before we can have followed the first ends the talk',
  async (t) => {
    // The same secrets twice: the liar hears from a twin what the victim has not said.
    const [liar, victim] = pair();
    const twin = pair()[1];
    t.ok(open(victim, seal(liar, 0)));
    t.ok(open(liar, seal(victim, 0)));
    liar.onAcknowledged(0);
    t.ok(liar.updateKeys());
    const first = seal(liar, 1);
    t.ok(open(victim, first), 'the first is followed');
    t.ok(open(twin, first));
    t.ok(open(liar, seal(twin, 1)));
    liar.onAcknowledged(1);
    t.ok(liar.updateKeys());
    t.notOk(victim.mustEnd);
    const late = seal(liar, 2);
    t.notOk(open(victim, late), 'we have sealed nothing since');
    t.ok(victim.mustEnd);
    t.equal(victim.failedOpens, 0, 'it is no forgery');
    seal(twin, 2);
    t.ok(open(twin, late), 'once we have, it is');
    t.notOk(twin.mustEnd);
  },
);
