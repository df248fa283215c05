// Receive windows: they grow where the path is long and the reader fast, never beyond their bound,
// and nobody but the reader's own pace makes them grow.

import fc from 'fast-check';
import t from 'tap';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from '../data/limits.ts';
import type { PathClock } from '../data/tuned-window.ts';
import { TunedWindow } from '../data/tuned-window.ts';
import type { StreamId } from '../data/connection-types.ts';
import { after, micros, ms } from '../time.ts';
import { dose } from './dose.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const KIB = 1024;
const SMALL = {
  windowBytes: 256 * KIB,
  windowBytesMax: 4096 * KIB,
  streamWindowBytes: 128 * KIB,
  sendBufferBytes: 8192 * KIB,
  congestionControl: 'cubic',
} as const;

const windowOf = (pair: Pair): number =>
  pair.callee.connection.state(pair.now).transport.receiveWindow;

/** Seconds for `bytes`, one way, in `streams` streams. */
function seconds(pair: Pair, bytes: number, streams = 1): number {
  const sink = new Sink(pair.callee);
  const since = pair.now;
  const ids = Array.from({ length: streams }, () =>
    send(pair, pair.caller, new Uint8Array(bytes / streams)),
  );
  if (!pair.run(() => ids.every((id) => sink.finished.has(id)), 300_000)) throw new Error('late');
  return (pair.now - since) / 1e6;
}

t.test('a long fast path fills: the window grows up to its bound and no further', async (t) => {
  const faults = { delayMs: 50, bytesPerSecond: 25_000_000, queueBytes: 4_000_000 };
  const fixed = new Pair({
    faults,
    config: { ...SMALL, windowBytesMax: SMALL.windowBytes },
  }).open();
  const slow = seconds(fixed, 8_000_000);
  t.equal(windowOf(fixed), SMALL.windowBytes);
  const pair = new Pair({ faults, config: SMALL }).open();
  const fast = seconds(pair, 8_000_000);
  t.ok(windowOf(pair) >= SMALL.windowBytesMax / 2, `${windowOf(pair)} bytes`);
  t.ok(windowOf(pair) <= SMALL.windowBytesMax);
  t.ok(fast * 2 < slow, `${fast} s instead of ${slow} s`);
});

t.test('several streams share the one window of the talk', async (t) => {
  const faults = { delayMs: 50, bytesPerSecond: 25_000_000, queueBytes: 4_000_000 };
  const pair = new Pair({ faults, config: SMALL }).open();
  t.ok(seconds(pair, 8_000_000, 4) < 5);
  t.ok(windowOf(pair) <= SMALL.windowBytesMax);
});

t.test('on a short path the window stays: there the kernel holds the bytes', async (t) => {
  const pair = new Pair({ faults: { delayMs: 0.2 }, config: SMALL }).open();
  seconds(pair, 5_000_000);
  t.equal(windowOf(pair), SMALL.windowBytes);
});

t.test('a slow reader gets no larger window, and never more than was promised', async (t) => {
  const pair = new Pair({ faults: { delayMs: 50 }, config: SMALL }).open();
  const { connection } = pair.callee;
  const stream = send(pair, pair.caller, new Uint8Array(3_000_000)) as StreamId;
  const into = new Uint8Array(16 * KIB);
  let read = 0;
  while (read < 1_000_000) {
    pair.pass(25);
    const length = connection.read(stream, into);
    if (length > 0) read += length;
    const held = connection.counts(pair.now).receivedBytes - read;
    if (held > SMALL.windowBytes) t.fail(`${held} bytes held`);
    pair.drain();
  }
  t.equal(windowOf(pair), SMALL.windowBytes);
});

t.test('a peer of fixed windows and one of growing ones understand each other', async (t) => {
  const faults = { delayMs: 30 };
  const fixed = { ...SMALL, windowBytesMax: SMALL.windowBytes };
  for (const [config, calleeConfig] of [
    [SMALL, fixed],
    [fixed, SMALL],
  ] as const) {
    const pair = new Pair({ faults, config, calleeConfig }).open();
    const [there, here] = [new Sink(pair.callee), new Sink(pair.caller)];
    const forth = send(pair, pair.caller, new Uint8Array(2_000_000));
    const back = send(pair, pair.callee, new Uint8Array(2_000_000));
    t.ok(pair.run(() => there.finished.has(forth) && here.finished.has(back), 60_000));
  }
});

t.test('whatever is read when: a window only grows, by doubling, to its bound', async (t) => {
  const step = fc.record({ bytes: fc.nat(300_000), passMs: fc.nat(200) });
  const result = fc.check(
    fc.property(fc.array(step), fc.constantFrom(1, 40, 400), (steps, rttMs) => {
      const clock: PathClock = {
        now: micros(1),
        rtt: { smoothed: ms(rttMs), hasSample: true },
      };
      const most = 1_000_000;
      const window = new TunedWindow(100_000, () => most, clock);
      let consumed = 0;
      let last = window.bytes;
      for (const { bytes, passMs } of steps) {
        clock.now = after(clock.now, ms(passMs));
        consumed += bytes;
        window.onConsumed(consumed);
        const grown = window.bytes;
        if (grown < last || grown > Math.min(2 * last, most)) return false;
        last = grown;
      }
      return rttMs >= DATA_LIMITS.windowGrowthRttMsLeast || last === 100_000;
    }),
    { numRuns: dose(300) },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});

t.test('without a measured round trip nothing grows', async (t) => {
  const clock: PathClock = { now: micros(1), rtt: { smoothed: ms(333), hasSample: false } };
  const window = new TunedWindow(1000, () => 4000, clock);
  window.onConsumed(1000);
  t.equal(window.bytes, 1000);
  t.ok(CONNECTION_DEFAULTS.windowBytesMax >= CONNECTION_DEFAULTS.windowBytes);
});

t.test('the send buffer follows the congestion window in whole bytes', async (t) => {
  const faults = { delayMs: 50, bytesPerSecond: 25_000_000, queueBytes: 4_000_000 };
  const held = (sendBufferBytesMax: number): number => {
    const pair = new Pair({ faults, config: { sendBufferBytesMax } }).open();
    const stream = send(pair, pair.caller, new Uint8Array(20_000_000), false);
    let most = 0;
    new Sink(pair.callee);
    pair.run(() => {
      const { sentBytes } = pair.caller.connection.counts(pair.now);
      if (!Number.isInteger(sentBytes)) throw new Error(`${sentBytes} bytes`);
      most = Math.max(most, pair.caller.connection.state(pair.now).transport.bytesInFlight);
      return sentBytes === 20_000_000;
    }, 20_000);
    t.equal(pair.caller.connection.counts(pair.now).sentBytes, 20_000_000, `stream ${stream}`);
    return most;
  };
  const least = CONNECTION_DEFAULTS.sendBufferBytes;
  t.ok(held(least) <= least * 1.1, 'no more under way than a stream holds');
  t.ok(
    held(CONNECTION_DEFAULTS.sendBufferBytesMax) > least * 1.5,
    'a long path gets what it needs',
  );
});
