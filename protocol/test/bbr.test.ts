// BBR's estimators one by one, and the controller's answers to hand-made acknowledgements
// (draft-ietf-ccwg-bbr §5); on links: bbr-link.test.ts, in connections: bbr-connection.test.ts.

import t from 'tap';
import {
  AckAggregation,
  FullBandwidth,
  MaximumBandwidth,
  MinimumRtt,
  RoundCounter,
  WindowedMaximum,
} from '../congestion/bbr-filters.ts';
import { LossEpisode, ShortTermModel, inflightAtLoss } from '../congestion/bbr-losses.ts';
import { BBR } from '../congestion/bbr-parameters.ts';
import { Bbr } from '../congestion/bbr.ts';
import type { LostPacket, RateSample } from '../congestion/controller.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { Pacer } from '../data/pacer.ts';
import { seededRng } from '../random.ts';
import { micros, ms, seconds } from '../time.ts';

const SIZE = 1200;

/** An acknowledgement of nothing in particular. */
function sampleOf(some: Partial<RateSample>): RateSample {
  return {
    ackedBytes: SIZE,
    newestSentAt: micros(0),
    priorDelivered: 0,
    deliveredBytes: SIZE,
    intervalMicros: 0,
    deliveredTotal: SIZE,
    txInFlight: 10 * SIZE,
    lostBytes: 0,
    rttMicros: 0,
    appLimited: false,
    bytesInFlight: 0,
    ...some,
  };
}

/** A controller on a path of a fixed rate: one acknowledgement a round trip, all it can carry. */
class Path {
  readonly bbr = new Bbr({ datagramBytes: SIZE, rng: seededRng(1) });
  now = micros(seconds(1));
  delivered = 0;
  rtt = ms(50);
  bytesPerMicro = 1.25;
  phases: string[] = [];

  /** `rounds` full round trips. */
  pass(rounds: number, some: Partial<RateSample> = {}): void {
    for (let round = 0; round < rounds; round++) this.#round(some);
  }

  lose(some: Partial<LostPacket>): void {
    const lost = { bytes: SIZE, txInFlight: 10 * SIZE, lostBytes: SIZE, appLimited: false };
    this.bbr.onPacketLost(this.now, { ...lost, ...some });
  }

  #round(some: Partial<RateSample>): void {
    const prior = this.delivered;
    const { congestionWindow, pacingRate } = this.bbr;
    const window = Math.min(congestionWindow, pacingRate * this.rtt);
    const sentAt = this.now;
    this.bbr.onPacketSent(sentAt, SIZE, window, false);
    const interval = Math.max(this.rtt, window / this.bytesPerMicro);
    this.now = micros(this.now + interval);
    this.delivered += window;
    const sample = sampleOf({
      ackedBytes: window,
      newestSentAt: sentAt,
      priorDelivered: prior,
      deliveredBytes: window,
      intervalMicros: interval,
      deliveredTotal: this.delivered,
      txInFlight: window,
      rttMicros: interval,
      ...some,
    });
    this.bbr.onAck(this.now, sample);
    this.phases.push(this.bbr.phase);
  }
}

t.test('the bandwidth filter remembers this cycle and the one before', async (t) => {
  const filter = new MaximumBandwidth();
  filter.update(10, false);
  filter.advance();
  filter.update(4, false);
  t.equal(filter.value, 10);
  filter.advance();
  t.equal(filter.value, 4);
  filter.advance();
  t.equal(filter.value, 4, 'a cycle without a sample forgets nothing');
  filter.update(3, true);
  filter.update(5, true);
  t.equal(filter.value, 5, 'a limited application counts only when it is faster');
});

t.test('the windowed maximum agrees with a plain one', async (t) => {
  const rng = seededRng(7);
  const filter = new WindowedMaximum();
  let isSound = true;
  const seen: { value: number; time: number }[] = [];
  for (let time = 0; time < 500; time++) {
    const value = rng.next() % 1000;
    filter.update(value, time, 10);
    seen.push({ value, time });
    const window = seen.filter((entry) => time - entry.time <= 10).map((entry) => entry.value);
    isSound &&= filter.value <= Math.max(...window) && filter.value >= value;
  }
  t.ok(isSound, 'never what is too old, never less than the newest');
});

t.test('the least round-trip time holds 10 s; a look at it is due after 5 s', async (t) => {
  const rtt = new MinimumRtt(0);
  rtt.update(ms(1), ms(50));
  rtt.update(ms(2), ms(60));
  t.equal(rtt.value, ms(50));
  rtt.update(seconds(4), ms(55));
  t.notOk(rtt.isProbeDue);
  rtt.update(seconds(6), ms(55));
  t.ok(rtt.isProbeDue);
  t.equal(rtt.value, ms(50), 'still the one from before');
  rtt.update(seconds(12), ms(58));
  t.ok(rtt.value > ms(50), 'the path has become longer');
});

t.test('a round trip ends with a packet sent after it began', async (t) => {
  const rounds = new RoundCounter();
  rounds.update(sampleOf({ priorDelivered: 0, deliveredTotal: 10 }));
  t.equal(rounds.count, 1);
  rounds.update(sampleOf({ priorDelivered: 9, deliveredTotal: 20 }));
  t.notOk(rounds.isStart);
  rounds.update(sampleOf({ priorDelivered: 10, deliveredTotal: 30 }));
  t.ok(rounds.isStart);
  rounds.startSoon();
  rounds.update(sampleOf({ priorDelivered: 30, deliveredTotal: 40 }));
  t.notOk(rounds.isStart, 'restarted from this acknowledgement on');
});

t.test('three round trips with less than a quarter more make a full pipe', async (t) => {
  const full = new FullBandwidth();
  for (const rate of [1, 2, 4, 4.9, 4.9]) full.update(rate);
  t.notOk(full.isFull);
  full.update(4.9);
  t.ok(full.isFull);
  full.reset();
  for (const rate of [1, 1, 1, 2, 2, 2]) full.update(rate);
  t.notOk(full.isFull, 'growth starts the count again');
});

t.test('what acknowledgements bring beyond the bandwidth is remembered', async (t) => {
  const aggregation = new AckAggregation(0);
  const model = { bandwidth: 1, window: 1e6, round: 0, rounds: 10 };
  aggregation.update(1000, 1000, model);
  aggregation.update(2000, 1000, model);
  t.equal(aggregation.extraAcked, 1000, 'one step of an even flow');
  aggregation.update(2001, 20_000, model);
  t.ok(aggregation.extraAcked > 19_000, 'a lump');
  aggregation.update(60_000, 100, { ...model, round: 12 });
  t.ok(aggregation.extraAcked < 19_000, 'forgotten after ten round trips');
});

t.test('losses lower the short-term bounds once a round trip, by beta at most', async (t) => {
  const model = new ShortTermModel();
  model.begin(sampleOf({ deliveredBytes: 100, deliveredTotal: 100 }), 1);
  model.adapt(10, 10_000, false);
  t.equal(model.bandwidth, 7);
  t.equal(model.inflight, 7000);
  model.resetBounds();
  t.equal(model.bandwidth, Infinity);
  model.restore(5, 6);
  t.equal(model.bandwidth, Infinity, 'never lowered by giving back');
});

t.test('the bytes in flight at which losses crossed 2 %', async (t) => {
  const packet = { bytes: 1000, appLimited: false };
  const at = inflightAtLoss({ ...packet, txInFlight: 101_000, lostBytes: 2500 }, BBR.lossThreshold);
  t.ok(at > 100_000 && at < 101_000, 'inside this packet');
});

t.test('an episode is spurious only if all of it arrives', async (t) => {
  const episode = new LossEpisode();
  const saved = { bandwidthShortTerm: 1, inflightShortTerm: 2, inflightLongTerm: 3 };
  t.ok(episode.onLoss(10, 100, () => saved));
  t.notOk(episode.onLoss(11, 100, () => saved));
  t.notOk(episode.onSpuriousLoss(100));
  t.notOk(episode.onAck(11), 'sent before the last loss');
  t.ok(episode.onAck(12));
  t.ok(episode.onSpuriousLoss(100), 'late, but before the next episode');
  t.strictSame(episode.takeSaved(), saved);
  t.equal(episode.takeSaved(), undefined, 'once');
});

t.test('Startup doubles each round trip, Drain empties the queue, ProbeBW follows', async (t) => {
  const path = new Path();
  const before = path.bbr.congestionWindow;
  path.pass(2);
  t.ok(path.bbr.congestionWindow >= 2 * before, 'doubled');
  path.pass(12);
  const order = path.phases.filter((phase, i) => phase !== path.phases[i - 1]);
  t.equal(order[0], 'Startup');
  t.match(order[1], /^ProbeBW/, 'nothing in flight between rounds: Drain is over at once');
  t.ok(path.bbr.congestionWindow < 5 * 1.25 * ms(50), 'bounded: product and lumps');
  t.ok(Math.abs(path.bbr.pacingRate - 1.25) < 0.2);
});

t.test('the pacing rate starts with the initial window, then with the measured time', async (t) => {
  const path = new Path();
  t.equal(path.bbr.pacingRate, (2.77 * DATA_LIMITS.initialWindowDatagrams * SIZE) / ms(1));
  path.pass(1, { appLimited: true });
  t.ok(path.bbr.pacingRate < (2.8 * DATA_LIMITS.initialWindowDatagrams * SIZE) / ms(50));
});

t.test('the quantum is a millisecond, two datagrams at least, one on a slow path', async (t) => {
  const path = new Path();
  path.pass(20);
  t.equal(path.bbr.sendQuantum, 2 * SIZE);
  const slow = new Path();
  slow.bytesPerMicro = 0.1;
  slow.pass(20);
  t.equal(slow.bbr.sendQuantum, SIZE);
  const fast = new Path();
  fast.bytesPerMicro = 1000;
  fast.rtt = 100;
  fast.pass(40);
  t.equal(fast.bbr.sendQuantum, 65_536);
});

t.test('ProbeRTT: half a product in flight for 200 ms, then the window comes back', async (t) => {
  const path = new Path();
  path.pass(60);
  const before = path.bbr.congestionWindow;
  for (let i = 0; i < 400 && path.bbr.phase !== 'ProbeRTT'; i++) path.pass(1);
  t.equal(path.bbr.phase, 'ProbeRTT');
  const least = path.bbr.congestionWindow;
  const since = path.now;
  t.ok(least <= 0.6 * 1.25 * ms(50) + 8 * SIZE);
  for (let i = 0; i < 40 && path.bbr.phase === 'ProbeRTT'; i++) path.pass(1);
  t.ok(path.now - since >= ms(200));
  t.ok(path.now - since <= ms(450));
  t.ok(path.bbr.congestionWindow >= 0.7 * before);
});

t.test('an application that says little does not lower the estimate', async (t) => {
  const path = new Path();
  path.pass(15);
  const rate = path.bbr.pacingRate;
  const little = { deliveredBytes: SIZE, ackedBytes: SIZE, appLimited: true, rttMicros: ms(50) };
  path.pass(60, little);
  t.ok(path.bbr.pacingRate >= 0.85 * rate);
});

t.test('persistent congestion leaves one datagram; acknowledgements bring it back', async (t) => {
  const path = new Path();
  path.pass(15);
  const before = path.bbr.congestionWindow;
  const report = { lostBytes: before, newestSentAt: path.now, bytesInFlight: 0, persistent: true };
  path.bbr.onLoss(path.now, report);
  t.equal(path.bbr.congestionWindow, SIZE);
  path.pass(12);
  t.ok(path.bbr.congestionWindow > before / 2);
});

t.test('losses that were none give window and phase back', async (t) => {
  const path = new Path();
  path.pass(15);
  const window = path.bbr.congestionWindow;
  path.lose({ txInFlight: window, lostBytes: window / 10 });
  const report = { lostBytes: SIZE, newestSentAt: path.now, bytesInFlight: 0, persistent: true };
  path.bbr.onLoss(path.now, report);
  t.ok(path.bbr.congestionWindow < window);
  path.bbr.onSpuriousLoss(path.now, SIZE);
  t.ok(path.bbr.congestionWindow >= window);
});

t.test('another datagram size and another path', async (t) => {
  const bbr = new Bbr({ datagramBytes: SIZE, rng: seededRng(1) });
  bbr.onPacketSent(micros(1), SIZE, SIZE, false);
  bbr.onDatagramBytes(16_000);
  t.equal(bbr.congestionWindow, DATA_LIMITS.initialWindowDatagrams * 16_000);
  t.ok(bbr.sendQuantum >= 32_000);
  const path = new Path();
  path.pass(20);
  path.bbr.reset(path.now);
  t.equal(path.bbr.phase, 'Startup');
  t.equal(path.bbr.congestionWindow, DATA_LIMITS.initialWindowDatagrams * SIZE);
});

t.test('the pacer lets a quantum go at once, and no tick of a timer is lost', async (t) => {
  const pace = { congestionWindow: 1e6, inSlowStart: false, sendQuantum: 2 * SIZE };
  const burst = (pacingRate: number): number => {
    const pacer = new Pacer(SIZE);
    pacer.refill(micros(seconds(1)), { ...pace, pacingRate }, ms(50));
    pacer.refill(micros(seconds(2)), { ...pace, pacingRate }, ms(50));
    let datagrams = 0;
    while (pacer.next(micros(seconds(2)), SIZE) <= seconds(2)) {
      pacer.spend(SIZE);
      datagrams++;
    }
    return datagrams;
  };
  t.equal(burst(0.5), 2, 'slow: the quantum');
  t.ok(burst(120) * SIZE >= 0.99 * 120 * 1100, 'fast: at least 1.1 ms');
});
