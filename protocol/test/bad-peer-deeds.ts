// What a proven peer must not do with acknowledgements, streams and credit: the first half of the
// table that `bad-peers.test.ts` runs. A row names the rule, does the deed and says how it ends.

import type { EndReason } from '../ends.ts';
import { FRAME } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import type { MisbehavingPeer, PeerOptions } from './misbehaving-peer.ts';
import { ackOf, data, message, numbers } from './peer-frames-made.ts';

const PING = numbers(FRAME.ping);
const KIBI = 1024;
const MAX = Number.MAX_SAFE_INTEGER;

/** One misdeed. */
export interface Row {
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

/** The victim writes to a stream of its own and sends as much as it may. */
export function victimWrites(peer: MisbehavingPeer, bytes: number): number {
  const stream = peer.victim.openStream();
  if (stream === undefined) throw new Error('no stream');
  const taken = peer.victim.write(stream, new Uint8Array(bytes));
  peer.hear();
  return taken;
}

const text = (peer: MisbehavingPeer, stream: number): string =>
  Buffer.from(peer.bytesRead(stream)).toString('hex');

export const ERROR = { ends: 'protocol-error' } as const;

export const ACKS: Readonly<Record<string, Row>> = {
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

export const STREAMS: Readonly<Record<string, Row>> = {
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

export const METER: Readonly<Record<string, Row>> = {
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
