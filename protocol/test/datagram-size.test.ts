// The size of datagrams (RFC 8899): larger ones are tried and used, a black hole is noticed, and a
// path that shrinks in mid-session costs time but no byte.

import fc from 'fast-check';
import t from 'tap';
import type { TransportState } from '../data/connection-types.ts';
import { DatagramSize } from '../data/datagram-size.ts';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from '../data/limits.ts';
import { SentPacket } from '../data/sent-packets.ts';
import { randomBytes } from '../random.ts';
import type { Micros } from '../time.ts';
import { NEVER, after, micros, ms } from '../time.ts';
import { dose } from './dose.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const LEAST = DATA_LIMITS.datagramBytesMin;
const ETHERNET = { datagramBytesProbes: [1452, 1472] };
const LOOPBACK = { datagramBytesProbes: [16_384, 32_768, 65_507] };

/** A path that drops what is larger than `bytesMax`. */
function narrow(pair: Pair, bytesMax: () => number): void {
  pair.filter = (_from, bytes) => bytes.length <= bytesMax();
}

const stateOf = (pair: Pair): TransportState => pair.caller.connection.state(pair.now).transport;
const sizeOf = (pair: Pair): number => stateOf(pair).datagramBytes;

t.test('each larger size is tried once, and the largest that arrives is used', async (t) => {
  for (const [config, bytesMax, expected] of [
    [ETHERNET, 1472, 1472],
    [ETHERNET, 1471, 1452],
    [ETHERNET, 1300, LEAST],
    [LOOPBACK, 65_507, 65_507],
    [LOOPBACK, 40_000, 32_768],
  ] as const) {
    const pair = new Pair({ config });
    narrow(pair, () => bytesMax);
    pair.open();
    pair.pass(10_000);
    t.equal(sizeOf(pair), expected);
    const tooLarge = pair.sent.filter(
      ({ from, bytes }) => from === 'caller' && bytes.length > bytesMax,
    );
    t.ok(tooLarge.length <= DATA_LIMITS.sizeProbeTriesMax, `${tooLarge.length} in vain`);
    const probes = pair.sent.filter(({ bytes }) => bytes.length > LEAST);
    for (const { bytes } of probes) {
      t.ok((config.datagramBytesProbes as readonly number[]).includes(bytes.length), 'exactly');
    }
  }
});

t.test('a probe that is lost is no sign of congestion, and is tried again', async (t) => {
  const pair = new Pair({ config: ETHERNET });
  let dropped = 0;
  pair.filter = (from, bytes) => from !== 'caller' || bytes.length <= LEAST || ++dropped > 2;
  pair.open();
  const window = stateOf(pair).congestionWindow;
  pair.pass(5_000);
  t.equal(sizeOf(pair), 1472, 'the third try arrived');
  t.ok(stateOf(pair).congestionWindow >= window);
  t.ok(stateOf(pair).lostPackets >= 2);
});

t.test('bulk data leaves in datagrams of the size that was found', async (t) => {
  for (const [config, full] of [
    [ETHERNET, 1472],
    [LOOPBACK, 65_507],
  ] as const) {
    const pair = new Pair({ config, faults: { delayMs: 0.1 } }).open();
    pair.pass(DATA_LIMITS.sizeProbeWaitMs + 50);
    const sink = new Sink(pair.callee);
    const data = randomBytes(pair.rng, 1_000_000);
    const before = pair.sent.length;
    const stream = send(pair, pair.caller, data);
    t.ok(pair.run(() => sink.finished.has(stream), 10_000));
    t.ok(Buffer.from(data).equals(sink.bytes(stream)));
    const mine = pair.sent.slice(before).filter(({ from }) => from === 'caller');
    const large = mine.filter(({ bytes }) => bytes.length > full - DATA_LIMITS.paddingBytes);
    t.ok(large.length > mine.length / 2, `${large.length} of ${mine.length}`);
  }
});

for (const [name, config, bytesMax] of [
  ['from 1472', ETHERNET, 1200],
  ['from 64 kB', LOOPBACK, 1200],
  ['from 64 kB to 1500', LOOPBACK, 1472],
] as const) {
  t.test(`S1006, S4006: a link that shrinks ${name} in mid-session loses no byte`, async (t) => {
    for (const seed of [1, 2, 3]) {
      const faults = { delayMs: 10, bytesPerSecond: 5_000_000, loss: seed === 3 ? 0.01 : 0 };
      const pair = new Pair({ seed, config, faults }).open();
      let most = Infinity;
      narrow(pair, () => most);
      const [there, here] = [new Sink(pair.callee), new Sink(pair.caller)];
      const data = [randomBytes(pair.rng, 2_000_000), randomBytes(pair.rng, 500_000)];
      const forth = send(pair, pair.caller, data[0]);
      const back = send(pair, pair.callee, data[1]);
      pair.run(() => there.total > 300_000, 10_000);
      t.ok(sizeOf(pair) > bytesMax, 'large before');
      most = bytesMax;
      const since = pair.now;
      t.ok(
        pair.run(() => there.finished.has(forth) && here.finished.has(back), 30_000),
        `seed ${seed}`,
      );
      t.ok(pair.now - since < ms(10_000), `${(pair.now - since) / 1e6} s`);
      t.ok(Buffer.from(data[0]).equals(there.bytes(forth)));
      t.ok(Buffer.from(data[1]).equals(here.bytes(back)));
      t.equal(pair.caller.connection.statistics().blackHoles, 1);
      pair.caller.connection.close(pair.now, 'done');
      t.ok(pair.runToEnd());
      t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
    }
  });
}

t.test('a whole outage, and heavy loss, are no black hole of the large', async (t) => {
  const pair = new Pair({ config: ETHERNET }).open();
  const sink = new Sink(pair.callee);
  const stream = send(pair, pair.caller, new Uint8Array(3_000_000));
  pair.pass(60);
  t.equal(sizeOf(pair), 1472);
  pair.filter = () => false;
  pair.pass(5_000);
  pair.filter = () => true;
  t.ok(pair.run(() => sink.finished.has(stream), 60_000));
  t.equal(sizeOf(pair), 1472);
  pair.faults = { ...pair.faults, loss: 0.2 };
  const second = send(pair, pair.caller, new Uint8Array(500_000));
  t.ok(pair.run(() => sink.finished.has(second), 120_000));
  t.equal(pair.caller.connection.statistics().blackHoles, 0);
});

t.test('larger sizes are tried again after a while, and not for ever', async (t) => {
  const pair = new Pair({ config: ETHERNET }).open();
  let most = 1472;
  narrow(pair, () => most);
  new Sink(pair.callee);
  const shrink = (): void => {
    most = LEAST;
    send(pair, pair.caller, new Uint8Array(300_000));
    pair.pass(20_000);
    most = 1472;
  };
  for (let hole = 1; hole <= DATA_LIMITS.blackHolesMax; hole++) {
    pair.pass(5_000);
    t.equal(sizeOf(pair), 1472, `before hole ${hole}`);
    shrink();
    t.equal(sizeOf(pair), LEAST);
    t.equal(pair.caller.connection.statistics().blackHoles, hole);
    pair.pass(DATA_LIMITS.blackHolePauseMs);
  }
  pair.pass(10 * DATA_LIMITS.blackHolePauseMs);
  t.equal(sizeOf(pair), LEAST, 'a path that shrank three times is left alone');
});

t.test('claim 15: a message that no longer fits is given up unsent and unmetered', async (t) => {
  const limits = { seconds: 3600, bytes: 1_000_000 };
  const pair = new Pair({ config: ETHERNET, limits, faults: { delayMs: 20 } }).open();
  pair.pass(DATA_LIMITS.sizeProbeWaitMs + 500);
  let most = 1472;
  narrow(pair, () => most);
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(400_000), false);
  const { connection } = pair.caller;
  const room = connection.maxDatagramBytes;
  t.ok(room > LEAST);
  most = LEAST;
  // The window fills while nothing comes back, so that messages wait.
  let taken = 0;
  for (let turn = 0; turn < 400 && connection.statistics().blackHoles === 0; turn++) {
    if (connection.sendDatagram(new Uint8Array(room))) taken++;
    if (connection.sendDatagram(new Uint8Array(100))) taken++;
    pair.drain();
    pair.pass(5);
  }
  t.equal(connection.statistics().blackHoles, 1);
  const { tooLargeMessages } = connection.statistics();
  t.ok(tooLargeMessages > 0, `${tooLargeMessages} of ${taken}`);
  t.ok(connection.maxDatagramBytes < LEAST);
  t.notOk(connection.sendDatagram(new Uint8Array(room)));
  connection.close(pair.now, 'done');
  t.ok(pair.runToEnd());
  const [a, b] = [pair.caller.counts, pair.callee.counts];
  t.equal(a?.sentBytes, (b?.receivedBytes ?? 0) + (a?.lostBytes ?? 0));
  t.strictSame([pair.caller.reason, pair.callee.reason], ['done', 'done']);
});

t.test('a message of full size beside an ACK does not wait for silence', async (t) => {
  const pair = new Pair({ faults: { delayMs: 2 } }).open();
  const heard: number[] = [];
  const { connection } = pair.callee;
  const [, sink] = [new Sink(pair.caller), new Sink(pair.callee)];
  const before = pair.callee.onEvent;
  pair.callee.onEvent = (event) => {
    before(event);
    while (connection.readDatagram() !== undefined) heard.push(pair.now);
  };
  // Bulk both ways: there is an acknowledgement to send all the time.
  send(pair, pair.callee, new Uint8Array(2_000_000));
  const stream = send(pair, pair.caller, new Uint8Array(2_000_000));
  const { maxDatagramBytes } = pair.caller.connection;
  let sent = 0;
  const latest = (): boolean => heard.length === sent;
  for (let i = 0; i < 20; i++) {
    t.ok(pair.caller.connection.sendDatagram(new Uint8Array(maxDatagramBytes)));
    sent++;
    const since = pair.now;
    pair.drain();
    t.ok(pair.run(latest, 1_000));
    t.ok(pair.now - since < ms(60), `${pair.now - since} us`);
  }
  t.ok(pair.run(() => sink.finished.has(stream), 60_000));
});

t.test('any fates of probes and packets: bounded tries, a size from the list', async (t) => {
  const fate = fc.record({
    passMs: fc.constantFrom(0, 1, 600, 61_000),
    bytes: fc.constantFrom(600, LEAST, 1452, 1472, 9000),
    arrives: fc.boolean(),
    moves: fc.integer({ min: 0, max: 40 }).map((n) => n === 0),
  });
  const result = fc.check(
    fc.property(fc.array(fate, { maxLength: 400 }), (fates) => {
      let now: Micros = micros(1_000);
      let probes = 0;
      let moves = 0;
      let told: number = LEAST;
      const sizes = [1000, 1452, 1400, 1472, 9000, 70_000];
      const size = new DatagramSize({
        datagramBytes: LEAST,
        datagramBytesProbes: sizes,
        onChange: (_now, bytes) => (told = bytes),
      });
      size.start(now);
      let packetNumber = 0;
      for (const { passMs, bytes, arrives, moves: isMove } of fates) {
        now = after(now, ms(passMs));
        if (isMove) {
          moves++;
          size.restart(now);
        }
        const packet = new SentPacket();
        packet.begin(packetNumber++, 'outstanding');
        packet.sentAt = now;
        packet.bytes = bytes;
        const due = size.due(now);
        if (due > 0) {
          probes++;
          packet.bytes = due;
          packet.isSizeProbe = true;
          size.onProbeSent(packet);
        }
        now = after(now, ms(1));
        if (arrives) size.onAcked(now, packet);
        else size.onLost(now, packet);
        if (told !== size.current || ![LEAST, 1452, 1472, 9000].includes(told)) return false;
      }
      const searches = (moves + 1) * (DATA_LIMITS.blackHolesMax + 1);
      return probes <= searches * 3 * DATA_LIMITS.sizeProbeTriesMax;
    }),
    { numRuns: dose(300) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('larger sizes are tried at once when a datagram is full, else in a while', async (t) => {
  const probes = (pair: Pair): number =>
    pair.sent.filter(({ from, bytes }) => from === 'caller' && bytes.length > LEAST).length;
  const quiet = new Pair({ config: LOOPBACK }).open();
  quiet.caller.connection.sendDatagram(new Uint8Array(100));
  quiet.pass(DATA_LIMITS.sizeProbeWaitMs - 100);
  t.equal(probes(quiet), 0, 'a short talk pays for none');
  quiet.pass(200);
  t.ok(probes(quiet) > 0);
  const busy = new Pair({ config: LOOPBACK }).open();
  new Sink(busy.callee);
  send(busy, busy.caller, new Uint8Array(20_000));
  busy.pass(100);
  t.ok(probes(busy) > 0);
});

t.test('without sizes to try nothing is probed', async (t) => {
  const size = new DatagramSize({
    datagramBytes: CONNECTION_DEFAULTS.datagramBytes,
    datagramBytesProbes: [],
    onChange: () => t.fail('no change'),
  });
  size.start(micros(5));
  t.equal(size.deadline, NEVER);
  t.equal(size.due(micros(10)), 0);
  size.restart(micros(20));
  t.equal(size.deadline, NEVER);
});
