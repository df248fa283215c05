// What a talk carries: streams side by side, their limits and ends, messages that overtake them,
// and the size of the packets that all of it travels in.

import t from 'tap';
import type { ConnectionEvent, StreamId } from '../data/connection-types.ts';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from '../data/limits.ts';
import type { End } from '../../sim/pair.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const MB = 1_000_000;

const kinds = (end: End, kind: ConnectionEvent['kind']): ConnectionEvent[] =>
  end.events.filter((event) => event.kind === kind);

t.test(
  'packets are padded to 16 bytes unless full, and never larger than configured',
  async (t) => {
    for (const datagramBytes of [1200, 1472, 16_000]) {
      const pair = new Pair({ config: { datagramBytes } }).open();
      new Sink(pair.callee);
      send(pair, pair.caller, new Uint8Array(200_001));
      pair.pass(2_000);
      const sizes = pair.sent.slice(2).map(({ bytes }) => bytes.length);
      t.equal(Math.max(...sizes), datagramBytes);
      t.ok(sizes.every((size) => size === datagramBytes || (size - 27) % 16 === 0));
    }
  },
);

t.test('streams share the line fairly', async (t) => {
  const pair = new Pair({ faults: { bytesPerSecond: MB } }).open();
  const sink = new Sink(pair.callee);
  const streams = Array.from({ length: 8 }, () => send(pair, pair.caller, new Uint8Array(MB)));
  pair.pass(3_000);
  const got = streams.map((stream) => sink.bytes(stream).length);
  t.ok(Math.min(...got) > 0.9 * Math.max(...got), got.join(' '));
});

t.test('streams share the line by their weights', async (t) => {
  const pair = new Pair({ faults: { bytesPerSecond: 1_000_000, queueBytes: 50_000 } }).open();
  const sink = new Sink(pair.callee);
  const streams = [1, 3, 6].map((weight) => {
    const stream = send(pair, pair.caller, new Uint8Array(4_000_000));
    pair.caller.connection.setWeight(stream, weight);
    return stream;
  });
  pair.pass(4_000);
  const [one, three, six] = streams.map((stream) => sink.bytes(stream).length);
  t.ok(Math.abs(three / one - 3) < 0.5, `${three / one}`);
  t.ok(Math.abs(six / one - 6) < 1, `${six / one}`);
  const { connection } = pair.caller;
  for (const weight of [0, -1, 1.5, NaN, DATA_LIMITS.streamWeightMax + 1]) {
    t.throws(() => connection.setWeight(streams[0], weight), { code: 'stream-weight' });
  }
});

t.test('streams: at most 64 at once, and a new one for each that is over', async (t) => {
  const pair = new Pair().open();
  new Sink(pair.callee);
  new Sink(pair.caller);
  const { connection } = pair.caller;
  const answer = pair.callee.onEvent;
  pair.callee.onEvent = (event) => {
    answer(event);
    if (event.kind === 'stream') pair.callee.connection.finish(event.stream);
  };
  const streams: StreamId[] = [];
  for (let stream = connection.openStream(); stream !== undefined;) {
    streams.push(stream);
    stream = connection.openStream();
  }
  t.equal(streams.length, DATA_LIMITS.streamsMax);
  for (const stream of streams) {
    connection.write(stream, new Uint8Array(10));
    connection.finish(stream);
  }
  pair.drain();
  pair.pass(1_000);
  t.not(connection.openStream(), undefined);
});

t.test('streams: long ones leave room for all the others, one after another', async (t) => {
  const pair = new Pair().open();
  new Sink(pair.callee);
  new Sink(pair.caller);
  const { caller, callee } = pair;
  const held = DATA_LIMITS.streamsMax - 1;
  for (let at = 0; at < held; at++) {
    const stream = caller.connection.openStream();
    t.ok(stream !== undefined && caller.connection.write(stream, new Uint8Array(1)) === 1);
  }
  // Fewer than a quarter of them are ever over: the peer has to hear of each.
  for (let at = 0; at < 3; at++) {
    const stream = send(pair, caller, new Uint8Array(10));
    pair.pass(100);
    callee.connection.finish(stream);
    pair.pass(100);
  }
  t.not(caller.connection.openStream(), undefined);
  t.equal(caller.connection.openStream(), undefined, 'as many as there may be');
});

t.test('streams: reset tells the peer, drops the rest and counts what was sent', async (t) => {
  const pair = new Pair().open();
  const stream = send(pair, pair.caller, new Uint8Array(500_000), false);
  pair.pass(20);
  pair.caller.connection.reset(stream, 42);
  pair.pass(200);
  t.strictSame(kinds(pair.callee, 'reset'), [{ kind: 'reset', stream, code: 42 }]);
  t.equal(pair.callee.connection.read(stream, new Uint8Array(10)), -1);
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  t.equal(pair.caller.counts?.sentBytes, pair.callee.counts?.receivedBytes);
});

t.test('S5007: what was sent on a stream whose reset never arrives counts as lost', async (t) => {
  const pair = new Pair().open();
  pair.filter = (from) => from === 'caller';
  const stream = pair.callee.connection.openStream() as StreamId;
  pair.callee.connection.write(stream, new Uint8Array(1_000));
  pair.drain();
  pair.callee.connection.reset(stream, 7);
  pair.pass(1_000);
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  t.equal(pair.caller.counts?.receivedBytes, 0);
  t.match(pair.callee.counts, { sentBytes: 1_000, lostBytes: 1_000 }, 'both ends agree');
});

t.test('streams: stop makes the peer stop sending', async (t) => {
  const pair = new Pair().open();
  const stream = send(pair, pair.caller, new Uint8Array(900_000), false);
  pair.run(() => pair.callee.has('readable'));
  pair.callee.connection.stop(stream, 7);
  pair.drain();
  pair.pass(500);
  t.strictSame(kinds(pair.caller, 'stopped'), [{ kind: 'stopped', stream, code: 7 }]);
  t.equal(pair.caller.connection.write(stream, new Uint8Array(10)), 0);
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  t.equal(pair.caller.counts?.sentBytes, pair.callee.counts?.receivedBytes);
});

t.test('a slow reader holds the sender back, not the other stream', async (t) => {
  const pair = new Pair().open();
  const slow = send(pair, pair.caller, new Uint8Array(9 * MB));
  pair.pass(3_000);
  const sent = pair.caller.connection.counts(pair.now).sentBytes;
  t.ok(sent <= CONNECTION_DEFAULTS.streamWindowBytes, `${sent} bytes`);
  const fast = pair.caller.connection.openStream() as StreamId;
  pair.caller.connection.write(fast, new Uint8Array(50_000));
  pair.drain();
  pair.pass(1_000);
  t.equal(pair.callee.connection.read(fast, new Uint8Array(60_000)), 50_000);
  const sink = new Sink(pair.callee);
  const into = new Uint8Array(2 * MB);
  const first = pair.callee.connection.read(slow, into);
  pair.drain();
  t.ok(pair.run(() => sink.finished.has(slow), 20_000));
  t.equal(first + sink.bytes(slow).length, 9 * MB);
});

t.test('messages overtake bulk and are never sent twice', async (t) => {
  const faults = { bytesPerSecond: MB, queueBytes: 50_000 };
  const pair = new Pair({ faults }).open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(900_000));
  pair.pass(100);
  let received = 0;
  const before = pair.callee.onEvent;
  pair.callee.onEvent = (event) => {
    before(event);
    if (event.kind !== 'datagram') return;
    while (pair.callee.connection.readDatagram() !== undefined) received++;
  };
  t.ok(pair.caller.connection.sendDatagram(Uint8Array.of(1, 2, 3)));
  pair.drain();
  t.ok(
    pair.run(() => received > 0, 200),
    'within the queue of the line',
  );
  t.notOk(pair.caller.connection.sendDatagram(new Uint8Array(1200)), 'too large');
  let taken = 0;
  while (pair.caller.connection.sendDatagram(new Uint8Array(100))) taken++;
  t.equal(taken, DATA_LIMITS.datagramsSendMax);
});
