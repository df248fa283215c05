// A proven peer that breaks one rule (issue 4, the last section): each row names the rule, does the
// deed and says how the talk ends; rows without an end live on, and the talk still carries both
// ways. Every row runs against a callee and against a caller. Endless deeds: `bad-floods.test.ts`.

import t from 'tap';
import { FRAME, writeExpiry } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import type { Row } from './bad-peer-deeds.ts';
import { ACKS, ERROR, METER, STREAMS, victimWrites } from './bad-peer-deeds.ts';
import { MisbehavingPeer } from './misbehaving-peer.ts';
import { data, frame, message, numbers, repeated } from './peer-frames-made.ts';

const PING = numbers(FRAME.ping);
const KIBI = 1024;
const MAX = Number.MAX_SAFE_INTEGER;

/** A frame whose numbers are all in eight bytes (RFC 9000 §16). */
const longest = (type: number, ...values: readonly number[]): Uint8Array =>
  Buffer.concat([
    Uint8Array.of(type),
    ...values.map((value) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(BigInt(value) | (3n << 62n));
      return bytes;
    }),
  ]);

const FRAMES: Readonly<Record<string, Row>> = {
  'a packet without frames': {
    rule: 'RFC 9000 §12.4',
    act: (peer) => peer.say(new Uint8Array(0)),
    ...ERROR,
  },
  'a DATAGRAM longer than its packet': {
    rule: 'RFC 9221 §4: the length lies',
    act: (peer) => peer.say(numbers(FRAME.datagram, 100), new Uint8Array(99)),
    ...ERROR,
  },
  'STREAM data longer than its packet': {
    rule: 'RFC 9000 §19.8: the length lies',
    act: (peer) => peer.say(numbers(0x0a, peer.own(0), 100), new Uint8Array(99)),
    ...ERROR,
  },
  'an EXPIRY that is too long': {
    rule: 'design §5: expiryBytesMax',
    act: (peer) =>
      peer.say(frame((writer) => writeExpiry(writer, new Uint8Array(513), new Uint8Array(64)))),
    ...ERROR,
  },
  'an EXPIRY with half a signature': {
    rule: 'S5005',
    act: (peer) =>
      peer.say(frame((writer) => writeExpiry(writer, new Uint8Array(90), new Uint8Array(32)))),
    ...ERROR,
  },
  'EXPIRYs that nobody signed': {
    rule: 'S5005: the owner is bothered so often, and no more',
    act: (peer) => {
      for (let i = 0; i < 500; i++) {
        const bytes = new Uint8Array(90).fill(i);
        peer.say(frame((writer) => writeExpiry(writer, bytes, new Uint8Array(64))));
      }
    },
    check: ({ expiriesHeard }) =>
      expiriesHeard.length <= DATA_LIMITS.expiriesHeardMax
        ? undefined
        : `heard ${expiriesHeard.length}`,
  },
  'a CLOSE without a known reason': {
    rule: 'design §5: one reason of a list',
    act: (peer) => peer.say(numbers(FRAME.close, 99, 0, 0, 0)),
    ...ERROR,
  },
  'a CLOSE whose counts are lies': {
    rule: 'S5007: the lost bytes lie within what is not acknowledged',
    act: (peer) => {
      victimWrites(peer, 5000);
      peer.say(numbers(FRAME.close, 1, MAX, 0, MAX));
    },
    ends: 'done',
    check: ({ ended }) =>
      ended !== undefined && ended.counts.lostBytes <= 5000 && ended.counts.receivedBytes === 0
        ? undefined
        : JSON.stringify(ended?.counts),
  },
  'numbers longer than they need to be': {
    rule: 'RFC 9000 §16: any length will do',
    act: (peer) => peer.say(longest(FRAME.maxData, 5), longest(0x0e, peer.own(0), 0, 1), PING),
  },
  'a number above 2^53 - 1': {
    rule: 'docs/wire.md: refused',
    act: (peer) => peer.say(longest(FRAME.maxData, 0).fill(0xff, 1)),
    ...ERROR,
  },
  'a byte of padding in each of many packets': {
    rule: 'RFC 9000 §19.1',
    act: (peer) => {
      for (let i = 0; i < 100; i++) peer.say(new Uint8Array(1));
    },
    check: ({ work }) => (work.datagramsOut === 0 ? undefined : 'answered'),
  },
};
for (const type of [0x03, 0x06, 0x07, 0x13, 0x14, 0x1c, 0x1e, 0x30, 0x33, 0x43, 0x7f, 0xff]) {
  Object.assign(FRAMES, {
    [`the unknown frame 0x${type.toString(16)}`]: {
      rule: 'RFC 9000 §12.4',
      act: (peer: MisbehavingPeer) => peer.say(Uint8Array.of(type, 0, 0, 0, 0)),
      ...ERROR,
    },
  });
}
for (const [name, type] of Object.entries(FRAME)) {
  if (type === FRAME.padding || type === FRAME.ping) continue;
  Object.assign(FRAMES, {
    [`a frame cut off: ${name}`]: {
      rule: 'RFC 9000 §12.4',
      // 0x40 begins a number of two bytes; a stream frame says its length.
      act: (peer: MisbehavingPeer) =>
        peer.say(Uint8Array.of(type === FRAME.stream ? 0x0e : type, 0x40)),
      ...ERROR,
    },
  });
}

const PACKETS: Readonly<Record<string, Row>> = {
  'the same packet twice': {
    rule: 'RFC 9000 §12.3: processed once',
    act: (peer) => {
      const packet = peer.packet(message(10));
      peer.deliver(packet.slice());
      peer.deliver(packet.slice());
    },
    check: (peer) => {
      const { receivedBytes } = peer.victim.counts(peer.now);
      return receivedBytes === 10 ? undefined : `${receivedBytes} bytes`;
    },
  },
  'a packet under the key before, newer than the update': {
    rule: 'RFC 9001 §6.5',
    act: (peer) => {
      peer.phase = 1;
      peer.say(PING);
      peer.deliver(peer.packet(message(10), peer.nextNumber++, 0));
    },
    check: (peer) =>
      peer.victim.counts(peer.now).receivedBytes === 0 ? undefined : 'an old key was taken',
  },
  'a packet under the key after the next': {
    rule: 'RFC 9001 §6.1: one update is outstanding',
    act: (peer) => peer.deliver(peer.packet(message(10), peer.nextNumber++, 2)),
    check: (peer) =>
      peer.victim.counts(peer.now).receivedBytes === 0 ? undefined : 'it was taken',
  },
  'a key update before the last one is confirmed': {
    rule: 'RFC 9001 §6.1',
    act: (peer) => {
      for (let i = 0; i < 9; i++) {
        peer.phase++;
        peer.say(PING);
      }
    },
    ...ERROR,
  },
  'a packet to another receiver': {
    rule: 'design §5: receiver index',
    act: (peer) => peer.deliver(peer.packet(message(10), peer.nextNumber++, 0, 1)),
    check: (peer) =>
      peer.victim.counts(peer.now).receivedBytes === 0 ? undefined : 'it was taken',
  },
  'the last packet number of all': {
    rule: 'RFC 9000 §12.3: none can follow it',
    act: (peer) => {
      peer.deliver(peer.packet(data(peer.own(1), 0, 5), 2 ** 48 - 1));
      peer.pass(60_000);
    },
    ends: 'peer-gone',
    check: (peer) => (peer.bytesRead(peer.own(1)).length === 5 ? undefined : 'not taken'),
  },
  'nothing but padding, for ever': {
    rule: 'claim 14: the granted time ends it',
    options: { limits: { seconds: 600, bytes: undefined } },
    act: (peer) => {
      for (let i = 0; i < 61; i++) {
        peer.say(new Uint8Array(1));
        peer.pass(10_000);
      }
    },
    ends: 'time',
  },
  silence: {
    rule: 'RFC 9000 §10.1',
    act: (peer) => peer.pass(60_000),
    ends: 'peer-gone',
  },
  'no answer to our CLOSE': {
    rule: 'RFC 9000 §10.2.1',
    act: (peer) => {
      peer.victim.close(peer.now, 'operator');
      peer.hear();
      peer.pass(60_000);
    },
    ends: 'operator',
    check: ({ heard }) =>
      heard.of(FRAME.close) <= 1 + DATA_LIMITS.closeRepeatsMax
        ? undefined
        : `${heard.of(FRAME.close)} CLOSEs`,
  },
  'a done that it never acknowledges': {
    rule: 'S1006: delivery has its time',
    act: (peer) => {
      victimWrites(peer, 10_000);
      peer.victim.close(peer.now, 'done');
      peer.hear();
      for (let i = 0; i < 30; i++) {
        peer.pass(1_000);
        peer.say(PING);
      }
    },
    ends: 'peer-gone',
  },
  'a done whose windows it never opens': {
    rule: 'S1006: delivery has its time',
    act: (peer) => {
      victimWrites(peer, 500 * KIBI);
      peer.victim.close(peer.now, 'done');
      peer.hear();
      for (let i = 0; i < 600; i++) {
        peer.pass(100);
        peer.acknowledge();
      }
    },
    ends: 'peer-gone',
  },
  'frames after its own CLOSE': {
    rule: 'RFC 9000 §10.2.2',
    act: (peer) => {
      peer.say(numbers(FRAME.close, 4, 0, 0, 0), data(peer.own(0), 0, 5));
      for (let i = 0; i < 20; i++) peer.say(repeated(PING, 20), data(peer.own(0), 5, 5));
    },
    ends: 'operator',
    check: (peer) => {
      const { receivedBytes } = peer.victim.counts(peer.now);
      return receivedBytes <= 5 ? undefined : `${receivedBytes} bytes`;
    },
  },
};

const TABLES = { ACKS, STREAMS, METER, FRAMES, PACKETS };

let misdeeds = 0;
for (const [table, rows] of Object.entries(TABLES)) {
  for (const [name, row] of Object.entries(rows)) {
    misdeeds++;
    t.test(`${table}: ${name} (${row.rule})`, async (t) => {
      for (const role of ['caller', 'callee'] as const) {
        const peer = new MisbehavingPeer({ ...row.options, role });
        row.act(peer);
        const { work } = peer;
        t.equal(peer.reason, row.ends, `a ${role} that does it`);
        t.equal(row.check?.(peer), undefined);
        t.equal(peer.endedTimes, row.ends === undefined ? 0 : 1);
        t.ok(work.steps < 6 * work.datagramsIn + 2_000, `${work.steps} steps`);
        if (row.ends === 'protocol-error') t.equal(peer.heard.closeCode, 10, 'it is told why');
        if (row.ends !== undefined) continue;
        t.ok(peer.victimReceives(500), 'it still receives');
        t.ok(row.receivesOnly === true || peer.victimSends(20_000), 'it still sends');
      }
    });
  }
}

t.test('at least fifty misdeeds', async (t) => {
  t.ok(misdeeds >= 50, `${misdeeds}`);
});
