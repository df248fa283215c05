// Endless misbehaviour: what a proven peer may send by the million. Each row breaks one rule and
// gives the datagrams one by one; `bad-floods.test.ts` bounds memory, work and answers, and
// `bad-neighbours.test.ts` looks at the talk beside it.

import type { EndReason } from '../ends.ts';
import { FRAME, writeExpiry } from '../data/frame.ts';
import { CRYPTO_LIMITS, DATA_LIMITS } from '../data/limits.ts';
import type { MisbehavingPeer, PeerOptions } from './misbehaving-peer.ts';
import { ackBut, ackOf, data, frame, message, numbers, repeated } from './peer-frames-made.ts';

const KIBI = 1024;
const PING = numbers(FRAME.ping);
/** Space of one datagram for frames. */
const FRAMES_BYTES = 1100;

/** One endless misbehaviour. */
export interface Flood {
  /** The rule that it breaks or strains. */
  readonly rule: string;
  readonly options?: PeerOptions;
  /** Once, before. */
  readonly prepare?: (peer: MisbehavingPeer) => void;
  /** The datagram for turn `i`, complete. */
  readonly next: (peer: MisbehavingPeer, i: number) => Uint8Array;
  /** Virtual milliseconds between two datagrams; 0.02 unless told. */
  readonly everyMs?: number;
  /** After each datagram the peer acknowledges what it heard. */
  readonly acknowledges?: boolean;
  /** All credit is the peer's own then: the victim can only receive. */
  readonly takesCredit?: boolean;
  /** How the talk ends; undefined: it lives on, and works. */
  readonly ends?: EndReason;
  /** Datagrams without which nothing would show; 0 unless told. */
  readonly least?: number;
  /** What else holds after it; a text says what does not. */
  readonly check?: (peer: MisbehavingPeer) => string | undefined;
  /** Datagrams and bytes that leave for each one that comes, at most; 1 and 3 unless told. */
  readonly answers?: number;
  readonly amplification?: number;
}

/** Opens `count` streams of the peer's, each one byte. */
function openStreams(peer: MisbehavingPeer, count: number): void {
  for (let i = 0; i < count; i++) peer.say(data(peer.newStream(), 0, 1));
}

/** The victim has `packets` packets under way that nobody acknowledges. */
function outstanding(peer: MisbehavingPeer, bytes = 100): void {
  const stream = peer.victim.openStream();
  if (stream !== undefined) peer.victim.write(stream, new Uint8Array(bytes));
  peer.hear();
}

/** Packets that the victim has declared lost. */
const lostPackets = ({ victim, now }: MisbehavingPeer): number =>
  victim.state(now).transport.lostPackets;

/** Makes the victim declare packets lost: it sends one at a time, and every fourth is told. */
function losses(peer: MisbehavingPeer): void {
  const stream = peer.victim.openStream();
  if (stream === undefined) return;
  for (let i = 0; i < 1000 && lostPackets(peer) < 200; i++) {
    peer.victim.write(stream, new Uint8Array(1));
    peer.hear();
    if (i % 6 === 5) peer.say(ackOf(peer.largestHeard, peer.largestHeard));
    peer.pass(1);
  }
}

/** Every second packet number is left out, so that each one is a gap. */
function skipping(peer: MisbehavingPeer, payload: Uint8Array): Uint8Array {
  peer.nextNumber++;
  return peer.packet(payload);
}

const expiry = (i: number): Uint8Array =>
  frame((writer) => {
    const bytes = new Uint8Array(300);
    new DataView(bytes.buffer).setUint32(0, i);
    writeExpiry(writer, bytes, new Uint8Array(64));
  });

/** 1 024 gaps of one byte in a few datagrams, then one that fills them. */
function fillGaps(peer: MisbehavingPeer, i: number): Uint8Array {
  const turn = i % 9;
  const base = Math.floor(i / 9) * 4096;
  if (turn === 8) {
    return peer.packet(Buffer.concat([data(0, base, 4096), numbers(FRAME.maxData, 2 ** 40)]));
  }
  const frames: Uint8Array[] = [];
  for (let gap = turn * 128; gap < (turn + 1) * 128; gap++) {
    frames.push(data(0, base + 1 + gap * 2, 1));
  }
  return peer.packet(Buffer.concat(frames));
}

let captured: Uint8Array = new Uint8Array(0);
const capture = (peer: MisbehavingPeer): void => {
  captured = peer.packet(PING);
  peer.deliver(captured.slice());
};

/** name → flood. */
export const FLOODS: Readonly<Record<string, Flood>> = {
  PINGs: {
    rule: 'RFC 9000 §13.2: acknowledgements are few',
    next: (peer) => peer.packet(PING),
  },
  'PINGs, every second number left out': {
    rule: 'RFC 9000 §13.2.1: a gap is told at once',
    next: (peer) => skipping(peer, PING),
  },
  'PINGs with gaps, and no acknowledgement ever': {
    rule: 'RFC 9002 §2: the ledger of packets sent',
    prepare: (peer) => {
      outstanding(peer);
    },
    next: (peer) => skipping(peer, PING),
    least: DATA_LIMITS.settledPacketsMax + 1_000,
    check: (peer) => (lostPackets(peer) > 0 ? undefined : 'it waits for one packet for ever'),
  },
  'a thousand PINGs in each datagram': {
    rule: 'RFC 9000 §19.2',
    next: (peer) => peer.packet(repeated(PING)),
  },
  'padding only': {
    rule: 'RFC 9000 §13.2.1: not ack-eliciting',
    next: (peer) => peer.packet(new Uint8Array(1)),
  },
  'full datagrams of padding': {
    rule: 'RFC 9000 §19.1',
    next: (peer) => peer.packet(new Uint8Array(FRAMES_BYTES)),
  },
  'single bytes ahead of gaps': {
    rule: 'design §5: gapsMax',
    next: (peer, i) => peer.packet(data(0, 1 + 2 * (i % 30_000), 1)),
  },
  'many single bytes ahead of gaps in each datagram': {
    rule: 'design §5: gapsMax',
    next: (peer, i) => {
      const frames: Uint8Array[] = [];
      for (let j = 0; j < 150; j++) frames.push(data(0, 60_001 - 2 * ((i * 150 + j) % 30_000), 1));
      return peer.packet(Buffer.concat(frames));
    },
  },
  'gaps that are filled at once, again and again': {
    rule: 'RFC 9000 §2.2: data may come in any order',
    next: fillGaps,
  },
  'one byte in each packet': {
    rule: 'RFC 9000 §2.2',
    next: (peer, i) => peer.packet(data(0, i, 1)),
  },
  'the same byte for ever': {
    rule: 'RFC 9000 §2.2: data may come twice',
    next: (peer) => peer.packet(repeated(data(0, 0, 1))),
  },
  'other bytes for the same place': {
    rule: 'RFC 9000 §2.2: bytes must be the same each time',
    options: { deaf: true },
    next: (peer, i) => peer.packet(data(0, 5, 500, false, i)),
  },
  'empty STREAM frames': {
    rule: 'RFC 9000 §19.8',
    next: (peer) => peer.packet(repeated(data(0, 0, 0))),
  },
  'the end of a stream for ever': {
    rule: 'RFC 9000 §4.5',
    next: (peer) => peer.packet(repeated(data(0, 0, 1, true))),
  },
  'resets of one stream': {
    rule: 'RFC 9000 §19.4',
    next: (peer) => peer.packet(repeated(numbers(FRAME.reset, 0, 1, 0))),
  },
  'streams opened, reset and stopped one after another': {
    rule: 'RFC 9000 §4.6: streams are limited at once, not for ever',
    acknowledges: true,
    answers: 2,
    everyMs: 1,
    next: (peer) => {
      if (!peer.mayOpen) return peer.packet(PING);
      const id = peer.newStream();
      return peer.packet(
        Buffer.concat([numbers(FRAME.reset, id, 1, 0), numbers(FRAME.stop, id, 1)]),
      );
    },
  },
  'STOP_SENDING for every stream': {
    rule: 'RFC 9000 §19.5',
    prepare: (peer) => openStreams(peer, 60),
    next: (peer, i) => peer.packet(repeated(numbers(FRAME.stop, (i % 60) * 2, i))),
  },
  'MAX_DATA that falls and rises': {
    rule: 'RFC 9000 §4.1: totals only grow',
    next: (peer, i) =>
      peer.packet(
        Buffer.concat([
          repeated(numbers(FRAME.maxData, 2 ** 40 - i), 500),
          numbers(FRAME.maxData, Number.MAX_SAFE_INTEGER),
        ]),
      ),
  },
  'MAX_STREAM_DATA for every stream': {
    rule: 'RFC 9000 §19.10',
    prepare: (peer) => openStreams(peer, 60),
    next: (peer, i) =>
      peer.packet(repeated(numbers(FRAME.maxStreamData, (i % 60) * 2, 2 ** 30 + i))),
  },
  'MAX_STREAMS without end': {
    rule: 'RFC 9000 §4.6',
    next: (peer, i) => peer.packet(repeated(numbers(FRAME.maxStreams, 2 ** 40 + i))),
  },
  'a window that opens byte by byte': {
    rule: 'RFC 9000 §4.2 (silly window)',
    acknowledges: true,
    answers: 2,
    prepare: (peer) => {
      outstanding(peer, 400_000);
      for (let i = 0; i < 500; i++) {
        peer.acknowledge();
        peer.pass(2);
      }
    },
    next: (peer, i) => peer.packet(numbers(FRAME.maxStreamData, 1, 64 * KIBI + 1 + i)),
  },
  'QUOTA: wanting, again and again': {
    rule: 'claim 15: one gift is under way at most',
    options: { limits: { seconds: 3600, bytes: 10_000_000 } },
    takesCredit: true,
    next: (peer, i) => peer.packet(repeated(numbers(FRAME.quota, 0, i, 2 ** 48, 0))),
  },
  'QUOTA: a new revision each time': {
    rule: 'claim 15: revisions only grow',
    options: { limits: { seconds: 3600, bytes: 10_000_000 } },
    takesCredit: true,
    next: (peer, i) => peer.packet(numbers(FRAME.quota, i, 0, 2 ** 48, 0)),
  },
  'messages that nobody reads': {
    rule: 'RFC 9221 §5.3: a receiver may drop',
    options: { deaf: true },
    next: (peer) => peer.packet(message(1000)),
  },
  'messages of one byte': {
    rule: 'RFC 9221',
    next: (peer) => peer.packet(repeated(message(1))),
  },
  'empty messages': {
    rule: 'RFC 9221',
    next: (peer) => peer.packet(repeated(message(0))),
  },
  PATH_CHALLENGEs: {
    rule: 'RFC 9000 §8.2, §21.5: one answer each, of three times the bytes at most',
    answers: 1.1,
    amplification: 3.2,
    next: (peer, i) =>
      peer.packet(Uint8Array.of(FRAME.pathChallenge, 1, 2, 3, 4, 5, 6, i >> 8, i & 255)),
  },
  'PATH_CHALLENGEs, 120 in each datagram': {
    rule: 'RFC 9000 §8.2: one answer for each datagram',
    answers: 1.1,
    next: (peer, i) =>
      peer.packet(repeated(Uint8Array.of(FRAME.pathChallenge, 1, 2, 3, 4, 5, 6, i >> 8, i & 255))),
  },
  'PATH_RESPONSEs to no challenge': {
    rule: 'RFC 9000 §19.18',
    next: (peer) =>
      peer.packet(repeated(Uint8Array.of(FRAME.pathResponse, 1, 2, 3, 4, 5, 6, 7, 8))),
  },
  'EXPIRYs that nobody signed': {
    rule: 'S5005: the manager signs a new expiry',
    next: (peer, i) => peer.packet(expiry(i)),
  },
  'the same ACK for ever': {
    rule: 'RFC 9000 §13.2.4',
    prepare: (peer) => losses(peer),
    next: (peer) => peer.packet(ackOf(peer.largestHeard, peer.largestHeard)),
  },
  'an ACK of everything before, with one packet of ours never acknowledged': {
    rule: 'RFC 9002 §2: work for each acknowledgement',
    prepare: (peer) => {
      outstanding(peer);
      for (let i = 0; i < 9_000; i++) peer.deliver(skipping(peer, PING));
    },
    next: (peer) => {
      const { largest, missing } = peer.heard;
      return peer.packet(ackBut(Math.max(8, largest - 8_000), missing, largest));
    },
  },
  'a key update with every packet': {
    rule: 'RFC 9001 §6.2: not before the last one is confirmed',
    next: (peer) => {
      peer.phase++;
      return peer.packet(PING);
    },
    ends: 'protocol-error',
  },
  'a key update as often as it is confirmed': {
    rule: 'RFC 9001 §6.1',
    next: (peer) => {
      // A number left out is acknowledged at once.
      peer.nextNumber++;
      peer.phase++;
      return peer.packet(PING);
    },
    acknowledges: true,
  },
  'keys of two phases in turn': {
    rule: 'RFC 9001 §6.5: an old key only for old packets',
    prepare: (peer) => {
      peer.phase++;
      peer.say(PING);
    },
    next: (peer, i) => peer.packet(PING, peer.nextNumber++, i % 2),
  },
  'one datagram again and again': {
    rule: 'RFC 9001 §9.5: replay',
    prepare: capture,
    next: () => captured.slice(),
  },
  'datagrams that do not authenticate': {
    rule: 'RFC 9001 §6.6',
    next: (peer) => {
      const packet = peer.packet(new Uint8Array(FRAMES_BYTES));
      packet[packet.length - 1] ^= 1;
      return packet;
    },
  },
  'packets to another index': {
    rule: 'design §5: receiver index',
    next: (peer, i) => peer.packet(PING, peer.nextNumber++, 0, i),
  },
  'datagrams of one byte': {
    rule: 'design §5: silence',
    next: (_peer, i) => Uint8Array.of(i % 8),
  },
  'empty datagrams': { rule: 'design §5: silence', next: () => new Uint8Array(0) },
  'packet numbers that jump': {
    rule: 'RFC 9000 §12.3',
    next: (peer, i) => peer.packet(PING, 1000 + i * 2 ** 20),
  },
  'packets from the past': {
    rule: 'RFC 9000 §12.3: what is too old is dropped',
    prepare: (peer) => {
      peer.nextNumber = 100_000;
      peer.say(PING);
    },
    next: (peer, i) => peer.packet(PING, i % (100_000 - CRYPTO_LIMITS.replayWindowBits)),
  },
  'packets in backward order': {
    rule: 'RFC 9000 §13.2.1',
    options: { role: 'caller' },
    prepare: (peer) => {
      peer.nextNumber = 4_000_000;
    },
    next: (peer, i) => {
      const block = Math.floor(i / 1000);
      peer.nextNumber = 4_000_000 + (block + 1) * 2000 + 1;
      return peer.packet(PING, 4_000_000 + (block + 1) * 2000 - (i % 1000) * 2);
    },
  },
  'its initiation during the talk': {
    rule: 'design §5: one initiation for each session',
    next: (peer) => peer.handshakeMessage.slice(),
  },
  'its response during the talk': {
    rule: 'design §5: one handshake for each session',
    options: { role: 'callee' },
    next: (peer) => peer.handshakeMessage.slice(),
  },
  'packets after its CLOSE': {
    rule: 'RFC 9000 §10.2.2: a closed end is silent',
    prepare: (peer) => peer.say(numbers(FRAME.close, 4, 0, 0, 0)),
    next: (peer) => peer.packet(PING),
    ends: 'operator',
  },
  'packets after our CLOSE, and no answer to it': {
    rule: 'RFC 9000 §10.2.1',
    prepare: (peer) => {
      peer.victim.close(peer.now, 'operator');
      peer.hear();
    },
    next: (peer) => peer.packet(PING),
    ends: 'operator',
  },
};
