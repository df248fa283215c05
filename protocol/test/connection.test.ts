// The talk from handshake to end: two connections on a clean link, one claim a test. What a bad
// link does to it is in connection-loss.test.ts, what a bad peer does in connection-peer.test.ts.

import t from 'tap';
import type { ConnectionEvent } from '../data/connection-types.ts';
import type { Extension } from '../data/expiry.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import type { EndReason } from '../ends.ts';
import { randomBytes } from '../random.ts';
import { NEVER } from '../time.ts';
import type { End } from '../../sim/pair.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const MB = 1_000_000;

/** Closes with `done` as soon as everything that the end sent is delivered. */
function closeWhenDelivered(pair: Pair, end: End): void {
  const before = end.onEvent;
  end.onEvent = (event) => {
    before(event);
    if (event.kind === 'delivered') end.connection.close(pair.now, 'done');
  };
}

const kinds = (end: End, kind: ConnectionEvent['kind']): ConnectionEvent[] =>
  end.events.filter((event) => event.kind === kind);

function extension(revision: number, seconds: number, bytes?: number): Extension {
  const expiry = new Uint8Array(60).fill(revision);
  return { revision, seconds, bytes, message: { expiry, signature: new Uint8Array(64).fill(7) } };
}

t.test('S1005, S4005: both ends are open on the path that answered', async (t) => {
  const pair = new Pair().open();
  t.strictSame(
    [pair.caller, pair.callee].map(({ events }) => events[0]),
    [
      { kind: 'established', path: pair.callee.path },
      { kind: 'established', path: pair.caller.path },
    ],
  );
  t.strictSame(
    pair.sent.slice(0, 2).map(({ from, bytes }) => [from, bytes.length]),
    [
      ['caller', 53],
      ['callee', 53],
    ],
  );
});

t.test(
  'claim 7: without the session key the callee stays silent and both ends give up',
  async (t) => {
    const pair = new Pair({ foreignKey: true });
    pair.start();
    t.ok(pair.runToEnd());
    t.equal(pair.sent.filter(({ from }) => from === 'callee').length, 0);
    t.ok(pair.callee.connection.statistics().droppedDatagrams > 2);
    t.strictSame([pair.caller.reason, pair.callee.reason], ['path-lost', 'path-lost']);
  },
);

t.test('S4005: the callee sends nothing before the caller proves that it is there', async (t) => {
  const pair = new Pair();
  pair.filter = (from, bytes) => from === 'callee' || bytes.length === 53;
  pair.start();
  pair.pass(5_000);
  const fromCallee = pair.sent.filter(({ from }) => from === 'callee');
  t.ok(fromCallee.length >= 1);
  t.ok(fromCallee.every(({ bytes }) => bytes.length === 53));
  t.notOk(pair.callee.has('established'));
  t.equal(pair.callee.connection.openStream(), undefined);
});

t.test('each genuine initiation is answered once, to where it came from', async (t) => {
  const pair = new Pair();
  pair.filter = () => false;
  pair.start();
  const initiation = pair.sent[0].bytes;
  const elsewhere = { host: '198.51.100.9', port: 9 };
  pair.inject('callee', elsewhere, initiation);
  pair.inject('callee', pair.caller.path, initiation);
  const flipped = initiation.slice();
  flipped[20] ^= 1;
  pair.inject('callee', elsewhere, flipped);
  t.equal(pair.sent.filter(({ from }) => from === 'callee').length, 2);
});

t.test(
  'S1006, S4006: ends when all data is transferred, and both ends count the same',
  async (t) => {
    const pair = new Pair().open();
    const sink = new Sink(pair.callee);
    const data = randomBytes(pair.rng, 3 * MB);
    const stream = send(pair, pair.caller, data);
    closeWhenDelivered(pair, pair.caller);
    t.ok(pair.runToEnd());
    t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
    t.ok(Buffer.from(data).equals(sink.bytes(stream)));
    t.ok(sink.finished.has(stream));
    t.equal(pair.caller.counts?.sentBytes, data.length);
    t.equal(pair.callee.counts?.receivedBytes, data.length);
    t.equal(pair.caller.counts?.lostBytes, 0);
  },
);

t.test('claim 1: close delivers first what was written and not finished', async (t) => {
  const pair = new Pair().open();
  const sink = new Sink(pair.callee);
  const data = randomBytes(pair.rng, 200_000);
  const stream = send(pair, pair.caller, data, false);
  pair.caller.connection.close(pair.now, 'done');
  t.equal(pair.caller.connection.state(pair.now).state, 'finishing');
  t.ok(pair.runToEnd());
  t.equal(sink.bytes(stream).length, data.length);
  t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
});

t.test('S1006: a done whose peer does not read gives up, and says so', async (t) => {
  const calleeConfig = { streamWindowBytes: DATA_LIMITS.initialMaxStreamData };
  const pair = new Pair({ calleeConfig }).open();
  send(pair, pair.caller, new Uint8Array(DATA_LIMITS.initialMaxStreamData + 1));
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  t.equal(pair.caller.reason, 'peer-gone');
});

t.test('claim 3, claim 14: at the granted time both ends stop at once', async (t) => {
  const faults = { bytesPerSecond: MB / 5, queueBytes: 20_000 };
  const pair = new Pair({ faults, limits: { seconds: 10, bytes: undefined } }).open();
  const start = pair.now;
  new Sink(pair.callee);
  const endless = pump(pair, pair.caller);
  t.ok(pair.run(() => pair.caller.ended !== undefined && pair.callee.ended !== undefined, 20_000));
  t.strictSame([pair.caller.reason, pair.callee.reason], ['time', 'time']);
  t.ok(Math.abs(pair.now - start - 10_000_000) < 50_000, `${pair.now - start} µs`);
  t.ok(endless.bytes > MB);
  t.equal(pair.caller.counts?.durationMs, 10_000);
});

t.test('claim 15: ends after exactly the granted bytes, delivered', async (t) => {
  for (const bytes of [1, 999, 50_000, 1_234_567]) {
    const pair = new Pair({ limits: { seconds: 3600, bytes } }).open();
    const sink = new Sink(pair.callee);
    pump(pair, pair.caller);
    t.ok(pair.runToEnd(), `${bytes}`);
    t.strictSame([pair.caller.reason, pair.callee.reason], ['quota', 'quota']);
    t.equal(pair.caller.counts?.sentBytes, bytes);
    t.equal(pair.callee.counts?.receivedBytes, bytes);
    t.equal(sink.total, bytes);
  }
});

t.test('claim 15: the bytes of both directions sum to the grant', async (t) => {
  for (const seed of [1, 2, 3]) {
    const bytes = 900_001;
    const pair = new Pair({ seed, limits: { seconds: 3600, bytes } }).open();
    const sinks = [new Sink(pair.caller), new Sink(pair.callee)];
    pump(pair, pair.caller);
    pump(pair, pair.callee);
    t.ok(pair.runToEnd());
    const [a, b] = [pair.caller.counts, pair.callee.counts];
    t.strictSame([pair.caller.reason, pair.callee.reason], ['quota', 'quota']);
    t.equal((a?.sentBytes ?? 0) + (b?.sentBytes ?? 0), bytes);
    t.equal(a?.sentBytes, (b?.receivedBytes ?? 0) + (a?.lostBytes ?? 0));
    t.equal(b?.sentBytes, (a?.receivedBytes ?? 0) + (b?.lostBytes ?? 0));
    t.equal(sinks[0].total + sinks[1].total, (a?.receivedBytes ?? 0) + (b?.receivedBytes ?? 0));
  }
});

t.test('claim 15: a talk that needs exactly its grant ends as done', async (t) => {
  const bytes = 300_000;
  const pair = new Pair({ limits: { seconds: 3600, bytes } }).open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(bytes));
  closeWhenDelivered(pair, pair.caller);
  t.ok(pair.runToEnd());
  t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
  t.equal(pair.callee.counts?.receivedBytes, bytes);
});

t.test('claim 15: messages count too, and one that no longer fits ends the talk', async (t) => {
  const pair = new Pair({ limits: { seconds: 3600, bytes: 1000 } }).open();
  for (let i = 0; i < 7; i++) t.ok(pair.caller.connection.sendDatagram(new Uint8Array(160)));
  pair.drain();
  t.ok(pair.runToEnd());
  t.strictSame([pair.caller.reason, pair.callee.reason], ['quota', 'quota']);
  t.equal(pair.caller.counts?.sentBytes, 960);
  t.equal(pair.callee.counts?.receivedBytes, 960);
});

t.test('S5003: near the expiry is said once, at 70 % of the time', async (t) => {
  const pair = new Pair({ limits: { seconds: 100, bytes: undefined } }).open();
  pair.pass(69_000);
  t.notOk(pair.caller.has('expiryNear'));
  pair.pass(1_100);
  t.strictSame(kinds(pair.caller, 'expiryNear'), [{ kind: 'expiryNear', by: 'time' }]);
  t.equal(kinds(pair.callee, 'expiryNear').length, 1);
  pair.pass(20_000);
  t.equal(kinds(pair.caller, 'expiryNear').length, 1);
});

t.test('S5003: near the expiry is said at 70 % of the bytes, at both ends', async (t) => {
  const pair = new Pair({ limits: { seconds: 3600, bytes: 1_000_000 } }).open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(600_000));
  pair.pass(2_000);
  t.notOk(pair.caller.has('expiryNear'));
  send(pair, pair.caller, new Uint8Array(150_000));
  pair.pass(2_000);
  t.strictSame(kinds(pair.caller, 'expiryNear'), [{ kind: 'expiryNear', by: 'bytes' }]);
  t.strictSame(kinds(pair.callee, 'expiryNear'), [{ kind: 'expiryNear', by: 'bytes' }]);
});

t.test('S5005, S5006, claim 4: a new expiry carries the talk on, at both ends', async (t) => {
  const pair = new Pair({ limits: { seconds: 10, bytes: 500_000 } }).open();
  const sink = new Sink(pair.callee);
  adoptFromPeer(pair, pair.callee, 1, 30, 2_000_000);
  pair.pass(1_000);
  t.ok(pair.caller.connection.extend(pair.now, extension(1, 30, 2_000_000)));
  t.notOk(pair.caller.connection.extend(pair.now, extension(1, 30, 2_000_000)), 'once');
  pair.pass(14_000);
  t.equal(pair.callee.ended, undefined);
  t.equal(kinds(pair.callee, 'expiry').length, 1);
  t.equal(kinds(pair.caller, 'expiry').length, 0, 'it is not sent back');
  const data = randomBytes(pair.rng, 1_900_000);
  const stream = send(pair, pair.caller, data);
  t.ok(pair.run(() => sink.finished.has(stream), 10_000));
  t.ok(pair.runToEnd());
  t.strictSame([pair.caller.reason, pair.callee.reason], ['time', 'time']);
  t.ok((pair.caller.counts?.durationMs ?? 0) >= 30_000);
});

t.test('S5006: an extension that comes after the end changes nothing', async (t) => {
  const pair = new Pair({ limits: { seconds: 5, bytes: undefined } }).open();
  t.ok(pair.runToEnd());
  t.notOk(pair.caller.connection.extend(pair.now, extension(1, 30)));
  t.equal(pair.caller.events.filter(({ kind }) => kind === 'ended').length, 1);
});

t.test('S5001, claim 6: an end by the operator stops at once, at both ends', async (t) => {
  const reasons: readonly EndReason[] = ['operator', 'revoked', 'local', 'restarted'];
  for (const reason of reasons) {
    const pair = new Pair({ faults: { bytesPerSecond: 5 * MB } }).open();
    pump(pair, pair.caller);
    new Sink(pair.callee);
    pair.pass(100);
    pair.callee.connection.close(pair.now, reason);
    pair.drain();
    t.equal(pair.callee.reason, reason);
    t.ok(pair.run(() => pair.caller.ended !== undefined, 1_000));
    t.equal(pair.caller.reason, reason);
    const [a, b] = [pair.caller.counts, pair.callee.counts];
    t.equal(a?.sentBytes, (b?.receivedBytes ?? 0) + (a?.lostBytes ?? 0), 'counts agree');
  }
});

t.test('S5007: ended comes last, once, and then nothing happens any more', async (t) => {
  const pair = new Pair().open();
  const stream = send(pair, pair.caller, new Uint8Array(1000));
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  while (pair.step());
  for (const { connection, events } of [pair.caller, pair.callee]) {
    t.equal(events.at(-1)?.kind, 'ended');
    t.equal(events.filter(({ kind }) => kind === 'ended').length, 1);
    t.equal(connection.nextTimeout(), NEVER);
    t.equal(connection.openStream(), undefined);
    t.equal(connection.write(stream, new Uint8Array(1)), 0);
    t.equal(connection.sendDatagram(new Uint8Array(1)), false);
    connection.finish(stream);
    connection.reset(stream, 1);
    connection.stop(stream, 1);
    connection.close(pair.now, 'operator');
    connection.handleTimeout(pair.now);
    connection.handleDatagram(pair.now, pair.caller.path, new Uint8Array(100));
    t.equal(connection.pollTransmit(pair.now, new Uint8Array(2000)), undefined);
    t.equal(connection.pollEvent(), undefined);
    t.equal(connection.state(pair.now).state, 'ended');
  }
});

t.test('S5007: what arrived before the end can be read after it', async (t) => {
  const pair = new Pair().open();
  const data = randomBytes(pair.rng, 5000);
  const stream = send(pair, pair.caller, data);
  pair.caller.connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  const into = new Uint8Array(9000);
  t.equal(pair.callee.connection.read(stream, into), 5000);
  t.ok(Buffer.from(into.subarray(0, 5000)).equals(data));
  t.equal(pair.callee.connection.read(stream, into), -1);
});

t.test('S5007: a peer that falls silent is gone after the idle time', async (t) => {
  const pair = new Pair().open();
  pair.pass(1_000);
  const start = pair.now;
  pair.filter = () => false;
  t.ok(pair.runToEnd());
  t.strictSame([pair.caller.reason, pair.callee.reason], ['peer-gone', 'peer-gone']);
  t.ok(pair.now - start < 60_000_000);
});

t.test('a quiet talk stays open with a packet now and then', async (t) => {
  const pair = new Pair({ limits: { seconds: 7200, bytes: undefined } }).open();
  pair.pass(1_000);
  const before = pair.sent.length;
  pair.pass(3_600_000);
  t.equal(pair.caller.ended, undefined);
  const packets = pair.sent.length - before;
  t.ok(packets > 100 && packets < 800, `${packets} packets in an hour`);
});

t.test('bytes that do not authenticate get no answer and change nothing', async (t) => {
  const pair = new Pair().open();
  pair.pass(100);
  const counts = pair.callee.connection.counts(pair.now);
  const before = pair.sent.length;
  for (let i = 0; i < 300; i++) {
    const bytes = randomBytes(pair.rng, 1 + (i % 200));
    if (i % 2 === 0) bytes[0] = [1, 2, 4, 5][i % 4];
    pair.inject('callee', pair.caller.path, bytes);
  }
  t.equal(pair.sent.length, before);
  t.same(
    { ...pair.callee.connection.counts(pair.now), durationMs: 0 },
    { ...counts, durationMs: 0 },
  );
  t.equal(pair.callee.connection.statistics().droppedDatagrams, 300);
  t.equal(pair.callee.connection.state(pair.now).state, 'open');
});

/** Writes without end; what it was allowed to write is counted. */
function pump(pair: Pair, end: End): { bytes: number } {
  const { connection } = end;
  const stream = connection.openStream();
  if (stream === undefined) throw new Error('no stream');
  const chunk = new Uint8Array(100_000);
  const written = { bytes: 0 };
  const write = (): void => {
    for (let taken = -1; taken !== 0;) {
      taken = connection.write(stream, chunk);
      written.bytes += taken;
    }
  };
  const before = end.onEvent;
  end.onEvent = (event) => {
    before(event);
    if (event.kind === 'writable') write();
  };
  write();
  pair.drain();
  return written;
}

function adoptFromPeer(pair: Pair, end: End, ...terms: Parameters<typeof extension>): void {
  const before = end.onEvent;
  end.onEvent = (event) => {
    before(event);
    if (event.kind === 'expiry') end.connection.extend(pair.now, extension(...terms));
  };
}
