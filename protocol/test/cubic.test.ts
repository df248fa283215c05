// CUBIC (RFC 9438) and HyStart++ (RFC 9406) by their formulas, on acknowledgements that never were;
// then two real connections over a link in virtual time.

import t from 'tap';
import fc from 'fast-check';
import type { RateSample } from '../congestion/controller.ts';
import { CUBIC, Cubic } from '../congestion/cubic.ts';
import { HYSTART } from '../congestion/hystart.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { micros, ms, seconds } from '../time.ts';
import type { TraceEvent } from '../trace/trace-event.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const SIZE = 1200;
/** 100 Mbit/s. */
const LINK = 12_500_000;
const FIRST = DATA_LIMITS.initialWindowDatagrams * SIZE;

/** One controller and a path that acknowledges whatever it is told. */
class Path {
  readonly cubic = new Cubic(SIZE);
  now = micros(seconds(1));
  #delivered = 0;

  get window(): number {
    return this.cubic.congestionWindow;
  }

  /** One acknowledgement of `bytes` sent `rttMs` ago, after a pause of `afterMs`. */
  ack(bytes: number, rttMs: number, more: Partial<RateSample> & { afterMs?: number } = {}): void {
    this.now = micros(this.now + ms(more.afterMs ?? 0));
    const priorDelivered = this.#delivered;
    this.#delivered += bytes;
    this.cubic.onAck(this.now, {
      ackedBytes: bytes,
      newestSentAt: micros(this.now - ms(rttMs)),
      priorDelivered,
      deliveredBytes: bytes,
      intervalMicros: ms(rttMs),
      deliveredTotal: this.#delivered,
      txInFlight: bytes,
      lostBytes: 0,
      rttMicros: ms(rttMs),
      appLimited: false,
      bytesInFlight: 0,
      ...more,
    });
  }

  /** A round trip: one window in acknowledgements of equal size, all sent in it. */
  round(rttMs: number, samples = 16, rtt = (_index: number): number => rttMs): void {
    const bytes = this.window / samples;
    const priorDelivered = this.#delivered;
    for (let i = 0; i < samples; i++) {
      this.ack(bytes, rtt(i), { priorDelivered, afterMs: rttMs / samples });
    }
  }

  /** One packet lost that was sent `agoMs` ago. */
  lose(agoMs = 1, persistent = false, lostBytes = SIZE): void {
    const newestSentAt = micros(this.now - ms(agoMs));
    this.cubic.onLoss(this.now, { lostBytes, newestSentAt, bytesInFlight: 0, persistent });
  }

  /** Grows by slow start to at least `bytes`, with a round trip that never changes. */
  growTo(bytes: number): this {
    while (this.window < bytes) this.round(100);
    return this;
  }
}

t.test('constants are those of RFC 9438 §4.1 and §4.6', async (t) => {
  t.equal(CUBIC.beta, 0.7);
  t.equal(CUBIC.c, 0.4);
  t.ok(Math.abs(CUBIC.alpha - 0.5294) < 1e-4, '3 (1 - β) / (1 + β)');
});

t.test('a loss leaves 0.7 of the window, and only one of a round trip counts', async (t) => {
  const path = new Path().growTo(100 * SIZE);
  const before = path.window;
  path.lose();
  t.equal(path.window, Math.floor(before * 0.7));
  t.equal(path.cubic.phase, 'recovery');
  path.lose(2);
  t.equal(path.window, Math.floor(before * 0.7), 'sent before the loss was seen');
  path.ack(10 * SIZE, 100);
  t.equal(path.window, Math.floor(before * 0.7), 'so was this');
  path.ack(SIZE, 50, { afterMs: 100 });
  t.equal(path.cubic.phase, 'congestion avoidance');
});

t.test('the window follows W_cubic(t) = C (t - K)^3 + W_max (§4.2)', async (t) => {
  const path = new Path().growTo(800 * SIZE);
  const plateau = path.window / SIZE;
  path.lose();
  const epochWindow = path.window / SIZE;
  const k = Math.cbrt((plateau - epochWindow) / 0.4);
  t.ok(k > 8 && k < 11, `K is ${k} s`);
  const rttMs = 100;
  const from = path.now + ms(rttMs);
  path.now = micros(from);
  for (const at of [0.5 * k, k, 1.5 * k]) {
    while (path.now < from + seconds(at)) path.round(rttMs);
    const elapsed = (path.now - from) / seconds(1);
    const wanted = 0.4 * (elapsed - k) ** 3 + plateau;
    // It runs after the target of one round trip later: within one round trip's growth.
    const slack = Math.abs(0.4 * (elapsed + 0.2 - k) ** 3 + plateau - wanted) + 1;
    t.ok(Math.abs(path.window / SIZE - wanted) <= slack, `${path.window / SIZE} of ${wanted}`);
  }
});

t.test('a loss below the last plateau leaves room: fast convergence (§4.7)', async (t) => {
  const path = new Path().growTo(800 * SIZE);
  path.lose();
  path.ack(SIZE, 100, { afterMs: 200 });
  const second = path.window;
  path.lose(0.5);
  path.ack(SIZE, 50, { afterMs: 100 });
  const plateau = (second * 1.7) / 2;
  const k = Math.cbrt((plateau - path.window) / SIZE / 0.4);
  const from = path.now;
  while (path.now < from + seconds(k)) path.round(100);
  t.ok(Math.abs(path.window - plateau) < 2 * SIZE, 'flat at W_max = cwnd (1 + β) / 2');
});

t.test('a small window grows as Reno would: the Reno-friendly region (§4.3)', async (t) => {
  const path = new Path().growTo(20 * SIZE);
  const prior = path.window;
  path.lose();
  path.now = micros(path.now + ms(10));
  const start = path.window;
  const perRound: number[] = [];
  let last = start;
  for (let i = 0; i < 30; i++) {
    path.round(10);
    perRound.push((path.window - last) / SIZE);
    last = path.window;
  }
  t.ok(Math.abs(perRound[2] - CUBIC.alpha) < 0.03, `${perRound[2]} a round trip at first`);
  const reached = perRound.findIndex((_, i) => start + sum(perRound, i) * SIZE >= prior);
  t.ok(Math.abs(perRound[reached + 2] - 1) < 0.06, 'and one above the window of the loss');
  // In 300 ms of a 10 ms path the cubic alone would not have moved by a datagram.
  t.ok(path.window - start > 10 * SIZE);
});

t.test('the window grows by half in a round trip at most (§4.2)', async (t) => {
  const path = new Path().growTo(40 * SIZE);
  path.lose();
  path.ack(SIZE, 100, { afterMs: 200 });
  const before = path.window;
  path.now = micros(path.now + seconds(60));
  path.round(100);
  t.ok(path.window <= before * 1.66, 'e^0.5 when every acknowledgement counts');
  t.ok(path.window > before * 1.4);
});

t.test('time in which the application was what limits is none (§5.8)', async (t) => {
  const path = new Path().growTo(400 * SIZE);
  path.lose();
  path.ack(SIZE, 100, { afterMs: 200 });
  const before = path.window;
  for (let i = 0; i < 100; i++) path.ack(SIZE, 100, { afterMs: 1_000, appLimited: true });
  t.equal(path.window, before, 'it does not grow');
  path.round(100);
  t.ok(path.window < before * 1.05, 'nor does it leap afterwards');
});

t.test('an application that does not fill the first window leaves it as it is', async (t) => {
  const path = new Path();
  for (let i = 0; i < 50; i++) path.ack(SIZE, 20, { afterMs: 20, appLimited: true });
  t.equal(path.window, FIRST);
});

t.test('losses that were none are undone, all of them or nothing (§4.9)', async (t) => {
  const path = new Path().growTo(300 * SIZE);
  const before = path.window;
  const sentAt = micros(path.now - ms(1));
  path.lose(1, false, 3 * SIZE);
  path.cubic.onSpuriousLoss(path.now, SIZE, sentAt);
  path.cubic.onSpuriousLoss(path.now, SIZE, sentAt);
  t.ok(path.window < before, 'one is missing');
  path.cubic.onSpuriousLoss(path.now, SIZE, sentAt);
  t.equal(path.window, before);
  t.ok(path.cubic.inSlowStart, 'as if nothing had been');

  path.lose();
  path.ack(SIZE, 50, { afterMs: 100 });
  const reduced = path.window;
  path.lose();
  path.cubic.onSpuriousLoss(path.now, SIZE, micros(path.now - ms(101)));
  t.ok(path.window < reduced, 'a packet of the episode before undoes nothing of this one');
});

t.test('persistent congestion: the least window, then slow start to the threshold', async (t) => {
  const path = new Path().growTo(100 * SIZE);
  const threshold = path.window * 0.7;
  path.lose(1, true);
  t.equal(path.window, DATA_LIMITS.minimumWindowDatagrams * SIZE);
  t.ok(path.cubic.inSlowStart);
  path.now = micros(path.now + ms(200));
  let rounds = 0;
  while (path.cubic.inSlowStart) {
    path.round(100);
    rounds++;
  }
  t.equal(rounds, Math.ceil(Math.log2(threshold / (2 * SIZE))));
  const after = path.window;
  path.round(100);
  t.ok(path.window < after + 2 * SIZE, 'a new cubic, flat at its beginning');
});

t.test('the window never falls below two datagrams, of whatever size they are', async (t) => {
  const path = new Path();
  for (let i = 0; i < 20; i++) {
    path.now = micros(path.now + ms(10));
    path.lose();
  }
  t.equal(path.window, 2 * SIZE);
  path.cubic.onDatagramBytes(9000);
  t.equal(path.window, 2 * 9000);
  path.cubic.reset();
  t.equal(path.window, DATA_LIMITS.initialWindowDatagrams * 9000, 'a new path begins anew');
  t.ok(path.cubic.inSlowStart);
  path.cubic.onDatagramBytes(SIZE);
  t.equal(path.window, FIRST, 'a first window that nothing tested is that of the new size');
});

t.test('RFC 9406: a round trip that grows ends slow start before a loss', async (t) => {
  const path = new Path();
  path.round(50, 16);
  path.round(50, 16);
  t.equal(path.cubic.phase, 'slow start');
  path.round(50, 16, () => 50 + 50 / HYSTART.rttDivisor);
  t.equal(path.cubic.phase, 'conservative slow start');
  const before = path.window;
  path.round(50, 16, () => 60);
  const growth = path.window / before - 1;
  t.ok(growth > 0.2 && growth < 0.3, 'a quarter of what slow start adds');
  for (let i = 0; i < HYSTART.rounds && path.cubic.inSlowStart; i++) path.round(50, 16, () => 60);
  t.equal(path.cubic.phase, 'congestion avoidance');
  t.notOk(path.cubic.inSlowStart);
});

t.test('RFC 9406: jitter is found out, and slow start goes on', async (t) => {
  const path = new Path();
  path.round(50, 16);
  path.round(50, 16, () => 70);
  t.equal(path.cubic.phase, 'conservative slow start');
  path.round(50, 16, () => 52);
  t.equal(path.cubic.phase, 'slow start');
  const before = path.window;
  path.round(50, 16);
  t.ok(path.window > before * 1.9);
});

t.test('RFC 9406: less than 4 ms, or fewer than 8 samples, say nothing', async (t) => {
  const path = new Path();
  path.round(5, 16);
  path.round(5, 16, () => 8.9);
  t.equal(path.cubic.phase, 'slow start');
  path.round(5, HYSTART.samples - 1, () => 50);
  t.equal(path.cubic.phase, 'slow start');
});

/** So that the congestion window is what limits, not what the receiver allows. */
const WIDE = {
  sendBufferBytes: 8 * 1024 * 1024,
  windowBytes: 8 * 1024 * 1024,
  streamWindowBytes: 8 * 1024 * 1024,
};

interface TransferOptions {
  /** Of the caller's datagrams, counted from 0. */
  readonly lose: (index: number) => boolean;
  readonly bytesPerSecond: number;
  readonly queueBytes: number;
}

/**
 * Sends `bytes` over a link, 100 Mbit/s by default, with a round trip of 50 ms. What the caller's
 * trace said, and the share of the link, headers excluded, after the first tenth.
 */
function transfer(
  bytes: number,
  {
    lose = () => false,
    bytesPerSecond = LINK,
    queueBytes = 625_000,
  }: Partial<TransferOptions> = {},
) {
  const events: TraceEvent[] = [];
  const pair = new Pair({
    seed: 7,
    faults: { delayMs: 25, bytesPerSecond, queueBytes },
    config: { congestionControl: 'cubic', ...WIDE },
    trace: (event) => events.push(event),
  });
  pair.open();
  pair.sent.length = 0;
  let index = 0;
  pair.filter = (from) => from !== 'caller' || !lose(index++);
  const sink = new Sink(pair.callee);
  const stream = send(pair, pair.caller, new Uint8Array(bytes).fill(7));
  pair.run(() => pair.callee.connection.counts(pair.now).receivedBytes >= bytes / 10, 60_000);
  const from = pair.now;
  const isDone = pair.run(() => sink.finished.has(stream), 60_000);
  const share = (0.9 * bytes) / ((pair.now - from) / seconds(1)) / bytesPerSecond;
  return { isDone, events, share };
}

t.test('100 Mbit/s, 50 ms, no loss: nine tenths of the link', async (t) => {
  const { isDone, events, share } = transfer(20_000_000, { queueBytes: 1_250_000 });
  t.ok(isDone);
  t.ok(share >= 0.9, `${share} of the link`);
  const phases = events.filter((event) => event.kind === 'phase').map(({ to }) => to);
  t.equal(phases[0], 'slow start');
  t.ok(phases.includes('conservative slow start'), phases.join(', '));
});

t.test('RFC 9406: a deep queue is left before it overflows', async (t) => {
  const { isDone, events } = transfer(5_000_000, {
    bytesPerSecond: LINK / 5,
    queueBytes: 1_000_000,
  });
  t.ok(isDone);
  const told = events.flatMap((event) => {
    if (event.kind === 'phase') return [event.to];
    return event.kind === 'packetLost' ? ['lost'] : [];
  });
  t.strictSame(told.slice(0, 3), ['slow start', 'conservative slow start', 'congestion avoidance']);
});

t.test('one loss is repaired, and the window returns', async (t) => {
  const { isDone, events, share } = transfer(12_000_000, { lose: (index) => index === 5_000 });
  t.ok(isDone);
  t.ok(share >= 0.9, `${share} of the link`);
  const lost = events.filter(({ kind }) => kind === 'packetLost');
  t.ok(lost.length >= 1);
  t.ok(events.some((event) => event.kind === 'phase' && event.to === 'recovery'));
});

t.test('whatever happens, the window stays a number between its bounds', async (t) => {
  const step = fc.record({
    what: fc.constantFrom('ack', 'ack', 'round', 'lose', 'persistent', 'spurious', 'size', 'reset'),
    bytes: fc.integer({ min: 1, max: 1_000_000 }),
    rttMs: fc.oneof(fc.constant(0), fc.double({ min: 0.001, max: 10_000, noNaN: true })),
    afterMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 3_600_000, noNaN: true })),
    appLimited: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const path = new Path();
      let size = SIZE;
      for (const { what, bytes, rttMs, afterMs, appLimited } of steps) {
        if (what === 'ack') path.ack(bytes, rttMs, { afterMs, appLimited });
        if (what === 'round') path.round(rttMs + 1);
        if (what === 'lose' || what === 'persistent') path.lose(rttMs, what === 'persistent');
        const sentAt = micros(path.now - ms(rttMs));
        if (what === 'spurious') path.cubic.onSpuriousLoss(path.now, bytes, sentAt);
        if (what === 'size') path.cubic.onDatagramBytes((size = 1200 + (bytes % 64_000)));
        if (what === 'reset') path.cubic.reset();
        const { window } = path;
        if (!(window >= 2 * size || what !== 'size')) return false;
        if (!(window >= 2 * SIZE && window <= DATA_LIMITS.congestionWindowMax)) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass('500 runs');
});

function sum(numbers: readonly number[], until: number): number {
  return numbers.slice(0, until + 1).reduce((a, b) => a + b, 0);
}
