// Varints and frames: known values of RFC 9000, and what is written is read. With them the half of
// acknowledgement that receives: what an ACK names and when it leaves.

import fc from 'fast-check';
import t from 'tap';
import type { FrameHandler } from '../data/frame.ts';
import {
  FRAME,
  datagramRoom,
  decodeFrames,
  streamRoom,
  writeDatagram,
  writeExpiry,
  writeNumbers,
  writeStreamHead,
} from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { ReceivedPackets } from '../data/received-packets.ts';
import { Reader, Writer, varintSize } from '../data/varint.ts';
import { micros } from '../time.ts';

function readerOf(bytes: Uint8Array): Reader {
  const reader = new Reader();
  reader.reset(bytes, 0, bytes.length);
  return reader;
}

function written(write: (writer: Writer) => void, size = 2000): Uint8Array {
  const writer = new Writer();
  const bytes = new Uint8Array(size);
  writer.reset(bytes, 0, size);
  write(writer);
  return bytes.slice(0, writer.at);
}

/** Every call that the decoder makes, as a list. */
function decoded(bytes: Uint8Array): unknown[] | undefined {
  const calls: unknown[] = [];
  const handler: FrameHandler = {
    onAck: ({ largest, delayMicros, edges, ranges }) =>
      calls.push(['ack', largest, delayMicros, edges.slice(0, ranges * 2)]),
    onReset: (...args) => calls.push(['reset', ...args]),
    onStop: (...args) => calls.push(['stop', ...args]),
    onStream: (stream, offset, from, start, end, fin) =>
      calls.push(['stream', stream, offset, [...from.subarray(start, end)], fin]),
    onMaxData: (total) => calls.push(['maxData', total]),
    onMaxStreamData: (...args) => calls.push(['maxStreamData', ...args]),
    onMaxStreams: (total) => calls.push(['maxStreams', total]),
    onPathChallenge: (token) => calls.push(['challenge', [...token]]),
    onPathResponse: (token) => calls.push(['response', [...token]]),
    onDatagram: (from, start, end) => calls.push(['datagram', [...from.subarray(start, end)]]),
    onClose: (close) => calls.push(['close', close]),
    onQuota: (quota) => calls.push(['quota', quota]),
    onExpiry: (expiry, signature) => calls.push(['expiry', expiry.length, signature.length]),
  };
  const eliciting = decodeFrames(readerOf(bytes), handler);
  return eliciting === undefined ? undefined : [eliciting, ...calls];
}

t.test('varints are those of RFC 9000 appendix A.1', async (t) => {
  const table: readonly (readonly [string, number])[] = [
    ['9d7f3e7d', 494_878_333],
    ['7bbd', 15_293],
    ['25', 37],
    ['4025', 37],
  ];
  for (const [hex, value] of table) t.equal(readerOf(Buffer.from(hex, 'hex')).varint(), value);
  const large = readerOf(Buffer.from('c2197c5eff14e88c', 'hex'));
  large.varint();
  t.ok(large.failed, '151,288,809,941,952,652 is more than a number holds');
});

t.test('a varint that is written is read, in its size', async (t) => {
  const edges = [0, 63, 64, 16_383, 16_384, 2 ** 30 - 1, 2 ** 30, 2 ** 32, Number.MAX_SAFE_INTEGER];
  const value = fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat());
  const result = fc.check(
    fc.property(value, (number) => {
      const bytes = written((writer) => writer.varint(number));
      const reader = readerOf(bytes);
      return reader.varint() === number && !reader.failed && bytes.length === varintSize(number);
    }),
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('every frame that is written is read', async (t) => {
  const all = written((writer) => {
    writeNumbers(writer, FRAME.reset, 4, 9, 1000);
    writeNumbers(writer, FRAME.stop, 4, 9);
    writeStreamHead(writer, 8, 70_000, 3, true);
    writer.copy(Uint8Array.of(1, 2, 3));
    writer.byte(FRAME.padding);
    writeNumbers(writer, FRAME.maxData, 5);
    writeNumbers(writer, FRAME.maxStreamData, 4, 6);
    writeNumbers(writer, FRAME.maxStreams, 7);
    writeDatagram(writer, Uint8Array.of(4, 5));
    writeNumbers(writer, FRAME.quota, 1, 2, 3, 4);
    writeExpiry(writer, new Uint8Array(100), new Uint8Array(64));
    writeNumbers(writer, FRAME.close, 3, 10, 20, 30);
  });
  t.strictSame(decoded(all), [
    true,
    ['reset', 4, 9, 1000],
    ['stop', 4, 9],
    ['stream', 8, 70_000, [1, 2, 3], true],
    ['maxData', 5],
    ['maxStreamData', 4, 6],
    ['maxStreams', 7],
    ['datagram', [4, 5]],
    ['quota', { revision: 1, given: 2, wanted: 3, spare: 4 }],
    ['expiry', 100, 64],
    ['close', { code: 3, sentBytes: 10, receivedBytes: 20, lostBytes: 30 }],
  ]);
});

t.test('ACK, CLOSE and PADDING ask for no acknowledgement, everything else does', async (t) => {
  const ack = written((writer) => writeNumbers(writer, FRAME.ack, 5, 0, 0, 2));
  t.strictSame(decoded(ack), [false, ['ack', 5, 0, [3, 5]]]);
  t.strictSame(decoded(Uint8Array.of(0, 0)), [false]);
  t.strictSame(decoded(Uint8Array.of(0, FRAME.ping)), [true]);
});

t.test('a frame that does not fit is not begun', async (t) => {
  for (let size = 0; size < 12; size++) {
    t.equal(
      written((writer) => writeNumbers(writer, FRAME.reset, 70, 9, 1000), size).length,
      size < 6 ? 0 : 6,
    );
    t.equal(
      written((writer) => writeDatagram(writer, new Uint8Array(5)), size).length,
      size < 7 ? 0 : 7,
    );
  }
  t.ok(streamRoom(3, 0, 0) < 0);
  t.ok(datagramRoom(2) < 0);
});

t.test(
  'acknowledgements name what came, the newest ranges first, and no more than fit',
  async (t) => {
    const received = new ReceivedPackets();
    const now = micros(10);
    for (const number of [0, 1, 2, 5, 6, 9]) received.onPacket(now, number, true, 1200);
    const bytes = written((writer) => received.write(micros(110), writer));
    t.strictSame(decoded(bytes), [false, ['ack', 9, 100, [9, 9, 5, 6, 0, 2]]]);
    const short = written((writer) => received.write(now, writer), 7);
    t.strictSame(decoded(short), [false, ['ack', 9, 0, [9, 9, 5, 6]]]);
  },
);

t.test(
  'acknowledgements leave at once on a gap, else after 16 or 2 ms (RFC 9000 §13.2)',
  async (t) => {
    const now = micros(1000);
    const tell = (received: ReceivedPackets): void => {
      written((writer) => received.write(now, writer));
      received.onWritten();
    };
    const received = new ReceivedPackets();
    received.onPacket(now, 0, true, 1200);
    t.notOk(received.isDue(now));
    t.equal(received.deadline, 3000);
    t.ok(received.isDue(micros(3000)));
    for (let i = 1; i < DATA_LIMITS.ackEvery; i++) received.onPacket(now, i, true, 1200);
    t.ok(received.isDue(now), '16 packets');
    tell(received);
    t.notOk(received.isDue(micros(1_000_000)), 'told');
    received.onPacket(now, 17, true, 1200);
    t.ok(received.isDue(now), 'a gap');
    tell(received);
    received.onPacket(now, 18, false, 1200);
    t.notOk(received.hasNews, 'an ACK is not acknowledged');
    received.onPacket(now, 19, true, DATA_LIMITS.ackEveryBytes - 1 - 1200);
    t.notOk(received.isDue(now));
    received.onPacket(now, 20, true, 1200);
    t.ok(received.isDue(now), '128 KiB in two datagrams, the one of 1200 before them counted');
  },
);

t.test('only 32 ranges are kept, and those that the peer knows of are dropped', async (t) => {
  const received = new ReceivedPackets();
  for (let i = 0; i < 100; i++) received.onPacket(micros(0), i * 2, true, 1200);
  t.equal(edgesOf(received).length, DATA_LIMITS.ackRangesSent * 2);
  received.onAckAcknowledged(190);
  t.ok(edgesOf(received).length < 20);
});

/** First and last packet number of each range in the ACK that would leave now. */
function edgesOf(received: ReceivedPackets): readonly number[] {
  const calls = decoded(written((writer) => received.write(micros(0), writer))) ?? [];
  const ack = calls[1] as readonly [string, number, number, readonly number[]];
  return ack[3];
}
