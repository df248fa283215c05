// A proven peer that breaks one rule (issue 4, the last section): each row names the rule, does the
// deed and says how the talk ends; rows without an end live on, and the talk still carries both
// ways. Every row runs against a callee and against a caller. Endless deeds: `bad-floods.test.ts`.

import t from 'tap';
import type { EndReason } from '../ends.ts';
import { FRAME, writeExpiry } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import type { PeerOptions } from './misbehaving-peer.ts';
import {
  MisbehavingPeer,
  ackOf,
  data,
  frame,
  message,
  numbers,
  repeated,
} from './misbehaving-peer.ts';

const PING = numbers(FRAME.ping);
const KIBI = 1024;
const MAX = Number.MAX_SAFE_INTEGER;

/** One misdeed. */
interface Row {
  readonly rule: string;
  readonly options?: PeerOptions;
  readonly act: (peer: MisbehavingPeer) => void;
  /** undefined: it lives on. */
  readonly ends?: EndReason;
  /** What else must hold; a text says what does not. */
  readonly check?: (peer: MisbehavingPeer) => string | undefined;
  /** The victim has no credit or no window left to send with. */
  readonly receivesOnly?: boolean;
}

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

/** The victim writes to a stream of its own and sends as much as it may. */
function victimWrites(peer: MisbehavingPeer, bytes: number): number {
  const stream = peer.victim.openStream();
  if (stream === undefined) throw new Error('no stream');
  const taken = peer.victim.write(stream, new Uint8Array(bytes));
  peer.hear();
  return taken;
}

const text = (peer: MisbehavingPeer, stream: number): string =>
  Buffer.from(peer.bytesRead(stream)).toString('hex');

const ERROR = { ends: 'protocol-error' } as const;

const ACKS: Readonly<Record<string, Row>> = {
  'an ACK of a packet never sent': {
    rule: 'RFC 9000 §13.1',
    act: (peer) => peer.say(ackOf(0, 1_000_000)),
    ...ERROR,
  },
  'an ACK of the next packet, before it is sent': {
    rule: 'RFC 9000 §21.4, optimistic ACK',
    act: (peer) => {
      victimWrites(peer, 10);
      peer.say(ackOf(0, peer.largestHeard + 1));
    },
    ...ERROR,
  },
  'ACKs of everything, numbers left out as well': {
    rule: 'RFC 9000 §21.4, optimistic ACK',
    act: (peer) => {
      const stream = peer.victim.openStream();
      if (stream === undefined) return;
      for (let i = 0; i <= DATA_LIMITS.skipEveryMax && peer.reason === undefined; i++) {
        peer.victim.write(stream, new Uint8Array(1));
        peer.hear();
        peer.say(ackOf(Math.max(0, peer.largestHeard - 1), peer.largestHeard));
        peer.pass(1);
      }
    },
    ...ERROR,
  },
  'an ACK whose first range runs below zero': {
    rule: 'RFC 9000 §19.3.1',
    act: (peer) => peer.say(numbers(FRAME.ack, 0, 0, 0, 5)),
    ...ERROR,
  },
  'an ACK whose later range runs below zero': {
    rule: 'RFC 9000 §19.3.1',
    act: (peer) => {
      victimWrites(peer, 5000);
      peer.say(numbers(FRAME.ack, peer.largestHeard, 0, 1, 0, 0, 50));
    },
    ...ERROR,
  },
  'an ACK of too many ranges': {
    rule: 'design §5: ackRangesParsed',
    act: (peer) =>
      peer.say(numbers(FRAME.ack, 0, 0, DATA_LIMITS.ackRangesParsed, 0), new Uint8Array(200)),
    ...ERROR,
  },
  'two ACKs in one packet': {
    rule: 'docs/wire.md: one ACK in a packet',
    act: (peer) => {
      victimWrites(peer, 10);
      peer.say(ackOf(0, 0), ackOf(0, 0));
    },
    ...ERROR,
  },
  'an ACK delay of 285 years': {
    rule: 'RFC 9002 §5.3: the delay is bounded',
    act: (peer) => {
      for (let i = 0; i < 20; i++) {
        victimWrites(peer, 10);
        peer.pass(10);
        peer.say(ackOf(peer.largestHeard, peer.largestHeard, MAX));
      }
    },
    check: (peer) => {
      const { rttMs } = peer.victim.state(peer.now);
      return rttMs !== undefined && rttMs > 1 && rttMs < 50 ? undefined : `rtt ${rttMs} ms`;
    },
  },
  'no acknowledgement, ever': {
    rule: 'RFC 9002 §6.2: probes back off',
    act: (peer) => {
      victimWrites(peer, 500 * KIBI);
      for (let i = 0; i < 60; i++) {
        peer.pass(10_000);
        peer.say(PING);
      }
    },
    // Two probes in 3 s for ten minutes, and the first window.
    check: ({ work }) => (work.datagramsOut < 600 ? undefined : `${work.datagramsOut} datagrams`),
  },
  'acknowledgements of its first packet only': {
    rule: 'RFC 9002 §6.2',
    act: (peer) => {
      victimWrites(peer, 500 * KIBI);
      for (let i = 0; i < 300; i++) {
        peer.pass(1_000);
        peer.say(ackOf(0, 0));
      }
    },
    check: ({ work }) => (work.datagramsOut < 600 ? undefined : `${work.datagramsOut} datagrams`),
  },
};

const STREAMS: Readonly<Record<string, Row>> = {
  'stream data beyond its limit': {
    rule: 'RFC 9000 §4.1',
    act: (peer) => peer.say(data(peer.own(0), DATA_LIMITS.initialMaxStreamData, 1)),
    ...ERROR,
  },
  'data on all streams beyond the limit of the talk': {
    rule: 'RFC 9000 §4.1',
    options: { deaf: true, config: { windowBytes: 512 * KIBI } },
    act: (peer) => {
      const { initialMaxStreamData } = DATA_LIMITS;
      for (let i = 0; i < 8; i++) peer.say(data(peer.own(i), initialMaxStreamData - 1, 1));
      peer.say(data(peer.own(8), initialMaxStreamData - 1, 1));
    },
    ...ERROR,
  },
  'a stream beyond the limit': {
    rule: 'RFC 9000 §4.6',
    act: (peer) => peer.say(data(peer.own(DATA_LIMITS.streamsMax), 0, 1)),
    ...ERROR,
  },
  'stream 2^30': {
    rule: 'RFC 9000 §4.6',
    act: (peer) => peer.say(data(peer.own(2 ** 30), 0, 1)),
    ...ERROR,
  },
  'data on a stream that only we can open': {
    rule: 'RFC 9000 §19.8',
    act: (peer) => peer.say(data(peer.theirs(0), 0, 1)),
    ...ERROR,
  },
  'STOP_SENDING for a stream that only we can open': {
    rule: 'RFC 9000 §19.5',
    act: (peer) => peer.say(numbers(FRAME.stop, peer.theirs(3), 0)),
    ...ERROR,
  },
  'MAX_STREAM_DATA for a stream that only we can open': {
    rule: 'RFC 9000 §19.10',
    act: (peer) => peer.say(numbers(FRAME.maxStreamData, peer.theirs(0), 10)),
    ...ERROR,
  },
  'RESET_STREAM for a stream that only we can open': {
    rule: 'RFC 9000 §19.4',
    act: (peer) => peer.say(numbers(FRAME.reset, peer.theirs(0), 0, 0)),
    ...ERROR,
  },
  'data after the end': {
    rule: 'RFC 9000 §4.5',
    act: (peer) => {
      peer.isDeaf = true;
      peer.say(data(peer.own(0), 0, 10, true));
      peer.say(data(peer.own(0), 10, 1));
    },
    ...ERROR,
  },
  'another final size': {
    rule: 'RFC 9000 §4.5',
    act: (peer) => {
      peer.isDeaf = true;
      peer.say(data(peer.own(0), 0, 10, true));
      peer.say(data(peer.own(0), 0, 5, true));
    },
    ...ERROR,
  },
  'an end below what was sent': {
    rule: 'RFC 9000 §4.5',
    act: (peer) => {
      peer.say(data(peer.own(0), 0, 10));
      peer.say(data(peer.own(0), 0, 5, true));
    },
    ...ERROR,
  },
  'a reset below what was sent': {
    rule: 'RFC 9000 §4.5',
    act: (peer) => {
      peer.say(data(peer.own(0), 0, 10));
      peer.say(numbers(FRAME.reset, peer.own(0), 1, 5));
    },
    ...ERROR,
  },
  'a reset to another final size than the end said': {
    rule: 'RFC 9000 §4.5',
    act: (peer) => {
      peer.say(data(peer.own(0), 20, 10, true));
      peer.say(numbers(FRAME.reset, peer.own(0), 1, 31));
    },
    ...ERROR,
  },
  'a reset to a size beyond the limit': {
    rule: 'RFC 9000 §4.5: the final size counts',
    act: (peer) => peer.say(numbers(FRAME.reset, peer.own(0), 1, 2 ** 40)),
    ...ERROR,
  },
  'an offset that would overflow': {
    rule: 'RFC 9000 §19.8: at most 2^62 - 1; here 2^53 - 1',
    act: (peer) => peer.say(numbers(0x0c, peer.own(0), MAX), new Uint8Array(9)),
    ...ERROR,
  },
  'other bytes for a place that was not read': {
    rule: 'RFC 9000 §2.2: what can be read never changes; ahead of a gap the last bytes hold',
    act: (peer) => {
      peer.isDeaf = true;
      const id = peer.own(0);
      peer.say(data(id, 0, 4, false, 1));
      peer.say(data(id, 8, 4, false, 1));
      peer.say(data(id, 0, 4, false, 2), data(id, 8, 4, false, 2));
      peer.isDeaf = false;
      peer.say(data(id, 2, 6, false, 3));
    },
    check: (peer) => {
      const read = text(peer, peer.own(0));
      return read === '010101010303030302020202' ? undefined : read;
    },
  },
  'an empty frame beyond a gap': {
    rule: 'RFC 9000 §19.8',
    act: (peer) => peer.say(data(peer.own(0), 5000, 0), data(peer.own(0), 0, 0, false)),
  },
  'RESET, STOP and data for a stream that is over': {
    rule: 'RFC 9000 §3.2: late frames are ignored',
    act: (peer) => {
      const id = peer.newStream();
      const over = [numbers(FRAME.reset, id, 1, 0), numbers(FRAME.stop, id, 1)];
      peer.say(...over);
      peer.pass(5);
      peer.acknowledge();
      for (let i = 0; i < 10; i++) {
        peer.say(...over, data(id, 0, 100), numbers(FRAME.maxStreamData, id, 2 ** 40));
      }
    },
  },
  'a window that never opens': {
    rule: 'RFC 9000 §4.1: what we send never exceeds it',
    act: (peer) => {
      victimWrites(peer, 800 * KIBI);
      for (let i = 0; i < 500; i++) {
        peer.acknowledge();
        peer.pass(10);
      }
      peer.work = { ...peer.work, datagramsOut: 0 };
      peer.pass(10_000);
    },
    check: ({ heard, work }) =>
      heard.received === DATA_LIMITS.initialMaxStreamData && work.datagramsOut < 5
        ? undefined
        : `${heard.received} bytes, then ${work.datagramsOut} datagrams`,
  },
  'a window that shrinks': {
    rule: 'RFC 9000 §4.1: totals only grow',
    act: (peer) => {
      peer.say(numbers(FRAME.maxData, 2 ** 30));
      peer.say(numbers(FRAME.maxData, 0), numbers(FRAME.maxStreams, 0));
      peer.say(numbers(FRAME.maxStreamData, peer.own(0), 0));
    },
  },
  'windows of 2^53 - 1': {
    rule: 'RFC 9000 §19.9',
    act: (peer) => {
      const id = peer.own(0);
      peer.say(
        numbers(FRAME.maxData, MAX),
        numbers(FRAME.maxStreams, MAX),
        numbers(FRAME.maxStreamData, id, MAX),
      );
    },
  },
};

const METER: Readonly<Record<string, Row>> = {
  'more bytes than the grant': {
    rule: 'claim 15',
    options: { limits: { seconds: 3600, bytes: 1000 } },
    act: (peer) => {
      peer.say(data(peer.own(0), 0, 1000));
      peer.say(message(1));
    },
    ...ERROR,
  },
  'a reset to more bytes than the grant': {
    rule: 'claim 15: a reset counts its final size',
    options: { limits: { seconds: 3600, bytes: 1000 } },
    act: (peer) => peer.say(numbers(FRAME.reset, peer.own(0), 1, 1001)),
    ...ERROR,
  },
  'a gift received that we never made': {
    rule: 'claim 15',
    options: { limits: { seconds: 3600, bytes: 100_000 } },
    act: (peer) => peer.say(numbers(FRAME.quota, 0, 0, 5, 0)),
    ...ERROR,
  },
  'a gift that it does not have': {
    rule: 'claim 15: the credit of both never sums to more than the grant',
    options: { limits: { seconds: 3600, bytes: 100_000 } },
    act: (peer) => peer.say(numbers(FRAME.quota, 0, 100_001, 0, 0)),
    ...ERROR,
  },
  'spare credit of 2^53 - 1': {
    rule: 'claim 15',
    options: { limits: { seconds: 3600, bytes: 100_000 } },
    act: (peer) => peer.say(numbers(FRAME.quota, 0, 0, 0, MAX)),
  },
  'QUOTA in a talk without a quota': {
    rule: 'claim 15',
    act: (peer) => {
      peer.say(numbers(FRAME.quota, 0, 1000, 2 ** 48, 0));
      peer.say(numbers(FRAME.quota, 5, 2000, 2 ** 48, 9));
    },
  },
  'credit never given back, whatever we ask': {
    rule: 'claim 15: the talk ends by its own limits',
    options: { limits: { seconds: 30, bytes: 1_000_000 } },
    act: (peer) => {
      victimWrites(peer, 1_000_000);
      for (let i = 0; i < 400; i++) {
        peer.pass(100);
        peer.acknowledge();
        peer.say(numbers(FRAME.maxStreamData, peer.theirs(0), 2 ** 30), PING);
      }
    },
    ends: 'time',
  },
};

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
