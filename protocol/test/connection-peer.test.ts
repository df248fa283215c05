// What a proven peer may do at its bounds, and anything at all: frames of our own making, properly
// sealed, against a real connection. Single rules and floods: bad-peers and bad-floods.test.ts.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import type { StreamId } from '../data/connection-types.ts';
import { FRAME, type FrameHandler, decodeFrames } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { Reader } from '../data/varint.ts';
import { MisbehavingPeer } from './misbehaving-peer.ts';
import { data, message, numbers } from './peer-frames-made.ts';

t.test('gaps without end are not kept, and cost no acknowledged byte', async (t) => {
  const raw = new MisbehavingPeer({ deaf: true });
  const gaps = DATA_LIMITS.gapsMax;
  for (let i = 0; i < gaps + 200; i++) raw.say(data(0, 1 + i * 2, 1));
  t.equal(raw.reason, undefined);
  raw.say(data(0, 0, 1 + gaps * 2));
  const into = new Uint8Array(10_000);
  const stream = 0 as StreamId;
  t.equal(raw.victim.read(stream, into), 1 + gaps * 2, 'what lay beyond was never taken');
  raw.say(data(0, 1 + gaps * 2, 500));
  t.equal(raw.victim.read(stream, into), 500);
});

t.test('messages that nobody reads push out the oldest', async (t) => {
  const raw = new MisbehavingPeer({ deaf: true });
  for (let i = 0; i < 200; i++) raw.say(message(1 + (i % 100)));
  let read = 0;
  while (raw.victim.readDatagram() !== undefined) read++;
  t.equal(read, DATA_LIMITS.datagramsReceiveMax);
  t.equal(raw.victim.state(raw.now).droppedMessages, 200 - read);
});

t.test('endless resets open no more streams than allowed and queue no more events', async (t) => {
  const raw = new MisbehavingPeer({ deaf: true });
  for (let i = 0; i < 64; i++)
    raw.say(numbers(FRAME.reset, i * 2, 1, 0), numbers(FRAME.stop, i * 2, 1));
  t.equal(raw.reason, undefined);
  raw.say(numbers(FRAME.reset, 128 * 2, 1, 0));
  t.equal(raw.reason, 'protocol-error');
});

t.test('a CLOSE ends this end with the same reason, and is answered', async (t) => {
  const raw = new MisbehavingPeer({ deaf: true });
  raw.say(numbers(FRAME.close, 4, 0, 0, 0));
  t.equal(raw.reason, 'operator');
  t.equal(raw.heard.of(FRAME.close), 1);
  for (let i = 0; i < 100; i++) raw.say(numbers(FRAME.close, 4, 0, 0, 0));
  t.ok(raw.heard.of(FRAME.close) <= 1 + DATA_LIMITS.closeAnswersMax, 'not without end');
  raw.pass(10_000);
  const silent = raw.work.datagramsOut;
  raw.say(numbers(FRAME.close, 4, 0, 0, 0));
  t.equal(raw.work.datagramsOut, silent);
});

const anyFrame = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc
    .tuple(
      fc.constantFrom<number>(...Object.values(FRAME)),
      fc.array(fc.oneof(fc.nat(300), fc.maxSafeNat()), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 20 }),
    )
    .map(([type, values, tail]) => Buffer.concat([numbers(type, ...values), tail])),
  fc.tuple(fc.nat(8), fc.nat(70_000), fc.nat(500), fc.boolean()).map((args) => data(...args)),
  fc.nat(300).map(message),
);

t.test('any frames from a proven peer: taken or refused, never an exception', async (t) => {
  const result = fc.check(
    fc.property(fc.array(fc.array(anyFrame, { maxLength: 4 }), { maxLength: 30 }), (packets) => {
      const raw = new MisbehavingPeer({ deaf: true, limits: { seconds: 3600, bytes: 100_000 } });
      const own = raw.victim.openStream();
      if (own !== undefined) raw.victim.write(own, new Uint8Array(5000));
      for (const frames of packets) {
        raw.say(...frames);
        raw.pass(3);
      }
      const counts = raw.victim.counts(raw.now);
      return raw.endedTimes <= 1 && counts.receivedBytes >= 0 && counts.lostBytes >= 0;
    }),
    { numRuns: dose(400) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

const ignore = (): void => {};
const HANDLER: FrameHandler = {
  onAck: ignore,
  onReset: ignore,
  onStop: ignore,
  onStream: ignore,
  onMaxData: ignore,
  onMaxStreamData: ignore,
  onMaxStreams: ignore,
  onPathChallenge: ignore,
  onPathResponse: ignore,
  onDatagram: ignore,
  onClose: ignore,
  onQuota: ignore,
  onExpiry: ignore,
};

t.test('any bytes: decoded within their bounds or refused', async (t) => {
  const reader = new Reader();
  const views: number[] = [];
  const handler: FrameHandler = {
    ...HANDLER,
    onStream: (_id, _offset, _bytes, start, end) => views.push(start, end),
    onDatagram: (_bytes, start, end) => views.push(start, end),
  };
  const result = fc.check(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      views.length = 0;
      reader.reset(bytes, 0, bytes.length);
      const eliciting = decodeFrames(reader, handler);
      return (
        (eliciting === undefined || reader.at === bytes.length) &&
        views.every((at, i) => at <= bytes.length && (i % 2 === 0 || at >= views[i - 1]))
      );
    }),
    { numRuns: dose(5_000) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('any datagrams, before and after the handshake: no answer, no exception', async (t) => {
  const raw = new MisbehavingPeer({ deaf: true });
  const before = raw.work.datagramsOut;
  const result = fc.check(
    fc.property(
      fc.uint8Array({ maxLength: 1500 }),
      fc.constantFrom(0, 1, 2, 4, 5),
      (bytes, type) => {
        if (bytes.length > 0) bytes[0] = type;
        raw.victim.handleDatagram(raw.now, { host: '198.51.100.1', port: 7 }, bytes);
        raw.hear();
        return raw.work.datagramsOut === before;
      },
    ),
    { numRuns: dose(2_000, 50) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
  t.equal(raw.victim.state(raw.now).state, 'open');
});
