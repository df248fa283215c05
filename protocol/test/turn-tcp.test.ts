// TURN over TCP: frames cut from a stream however it arrives, nothing believed after what is no
// frame; and an allocation at a real coturn over TCP.

import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { concatBytes } from '../bytes.ts';
import { entropy } from '../io/entropy.ts';
import { STUN_LIMITS } from '../stun/limits.ts';
import { METHOD, encodeMessage } from '../stun/message.ts';
import { TcpFrames, padForStream } from '../stun/tcp-frames.ts';
import { TurnClient } from '../stun/turn-client.ts';
import { realNow, skipCoturn, startCoturn, userOf } from './coturn.ts';
import { dose } from './dose.ts';
import { until } from './until.ts';
import { hex } from './vectors.ts';

const channelFrame = (payload: Uint8Array): Uint8Array => {
  const frame = new Uint8Array((4 + payload.length + 3) & ~3);
  frame.set([0x40, 1, payload.length >> 8, payload.length & 0xff]);
  frame.set(payload, 4);
  return frame;
};

const frames: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 50 }).map(channelFrame),
  fc.uint8Array({ maxLength: 50 }).map((value) =>
    encodeMessage({
      stunClass: 'indication',
      method: METHOD.data,
      transaction: new Uint8Array(12),
      attributes: [[0x0013, value]],
    }),
  ),
);

t.test('however the stream is cut, the frames are the same', (t) => {
  fc.assert(
    fc.property(
      fc.array(frames, { maxLength: 10 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (sent, sizes) => {
        const stream = concatBytes(...sent);
        const cutter = new TcpFrames();
        const heard: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const size = sizes[turn % sizes.length];
          heard.push(...cutter.push(stream.subarray(at, at + size)));
          at += size;
        }
        return !cutter.isBroken && heard.map(hex).join() === sent.map(hex).join();
      },
    ),
    { numRuns: dose(300) },
  );
  t.end();
});

t.test('after what is no frame nothing is cut, and nothing grows', (t) => {
  const good = channelFrame(Uint8Array.of(1, 2, 3));
  for (const bad of [
    Uint8Array.of(0x16, 3, 1, 0),
    Uint8Array.of(0x80, 0, 0, 0),
    Uint8Array.of(0, 1, 0, 3),
  ]) {
    const cutter = new TcpFrames();
    t.equal(cutter.push(concatBytes(good, bad, good)).length, 1);
    t.ok(cutter.isBroken);
    t.equal(cutter.push(good).length, 0);
  }
  const longest = new TcpFrames();
  const header = Uint8Array.of(0x4f, 0xff, 0xff, 0xff);
  t.equal(longest.push(concatBytes(header, new Uint8Array(65_535))).length, 0);
  t.equal(longest.push(new Uint8Array(1))[0]?.length, 65_540, 'the longest ChannelData');
  const message = Uint8Array.of(0, 1, 0xff, 0xfc);
  const [whole] = longest.push(concatBytes(message, new Uint8Array(65_532 + 16)));
  t.equal(whole?.length, STUN_LIMITS.frameBytesMax, 'the longest STUN message');
  t.end();
});

t.test('any bytes: cut or broken', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), (chunks) => {
      const cutter = new TcpFrames();
      const cut = chunks.flatMap((chunk) => cutter.push(chunk)).map(({ length }) => length);
      const came = chunks.reduce((sum, { length }) => sum + length, 0);
      return cut.reduce((a, b) => a + b, 0) <= came;
    }),
    { numRuns: dose(500) },
  );
  t.end();
});

t.test('what is sent is padded, where there is room', (t) => {
  const buffer = new Uint8Array(8).fill(9);
  t.equal(padForStream(buffer, 5), 8);
  t.strictSame([...buffer], [9, 9, 9, 9, 9, 0, 0, 0]);
  t.equal(padForStream(buffer.subarray(0, 6), 5), 0);
  t.end();
});

t.test('coturn: an allocation and a channel over TCP', { skip: skipCoturn }, async (t) => {
  const { server } = await startCoturn(t);
  const client = new TurnClient({ server, ...userOf('one'), rng: entropy });
  const socket = connect(server.port, server.host);
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  const cutter = new TcpFrames();
  const heard: string[] = [];
  socket.on('data', (bytes) => {
    for (const frame of cutter.push(bytes)) {
      const told = client.handleDatagram(realNow(), server, frame);
      if (typeof told === 'object') heard.push(hex(told.bytes));
    }
  });
  const buffer = new Uint8Array(2_000);
  const pumpUntil = (condition: () => boolean, what: string) =>
    until(() => {
      client.handleTimeout(realNow());
      for (let out; (out = client.pollTransmit(realNow(), buffer)) !== undefined;)
        socket.write(buffer.slice(0, padForStream(buffer, out.size)));
      return condition();
    }, what);
  client.start(realNow());
  await pumpUntil(() => client.state === 'ready', 'an allocation');
  const relayed = client.relayed[0] ?? server;
  client.bind(realNow(), relayed);
  await pumpUntil(() => client.wrap(realNow(), relayed, buffer, 5) === 9, 'a channel');
  // Odd lengths: each way needs the padding to stay in step. To itself, through the relay.
  buffer.set(Uint8Array.of(1, 2, 3, 4, 5));
  const size = padForStream(buffer, client.wrap(realNow(), relayed, buffer, 5));
  t.equal(size, 12);
  socket.write(buffer.slice(0, size));
  socket.write(buffer.slice(0, size));
  await pumpUntil(() => heard.length === 2, 'both datagrams');
  t.strictSame(heard, ['0102030405', '0102030405']);
  t.notOk(cutter.isBroken);
});
