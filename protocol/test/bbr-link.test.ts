// BBR on a modelled bottleneck: how much of the link it uses, how long its queue is, how it shares,
// how it adapts. Virtual time: the same figures on every machine; the bounds leave a little room.

import t from 'tap';
import { Bbr } from '../congestion/bbr.ts';
import { Cubic } from '../congestion/cubic.ts';
import { seededRng } from '../random.ts';
import { seconds } from '../time.ts';
import type { BottleneckOptions, FlowOptions } from './bottleneck.ts';
import { fairness } from '../../sim/fairness.ts';
import { Bottleneck } from './bottleneck.ts';

/** 100 Mbit/s, 50 ms, one product of queue. */
const FAST: BottleneckOptions = { bytesPerSecond: 12.5e6, rttMs: 50, queueBytes: 625_000 };
const NARROW: BottleneckOptions = { bytesPerSecond: 1.25e6, rttMs: 50, queueBytes: 600_000 };

const bbr = (seed = 1, datagramBytes = 1200): FlowOptions => ({
  controller: new Bbr({ datagramBytes, rng: seededRng(seed) }),
  datagramBytes,
  timerMs: 1,
});

/** A link with one flow whose Startup is over; counting begins. */
function steady(options: BottleneckOptions, flow = bbr()): Bottleneck {
  const link = new Bottleneck(options);
  link.add(flow);
  link.run(3000);
  link.mark();
  return link;
}

for (const [title, share, options] of [
  ['without loss', 0.95, FAST],
  ['1 % loss', 0.92, { ...FAST, loss: 0.01 }],
  ['1 % loss, 0.3 products of queue', 0.92, { ...FAST, loss: 0.01, queueBytes: 187_500 }],
  ['0.3 products of queue', 0.93, { ...FAST, queueBytes: 187_500 }],
  ['8 products of queue', 0.95, { ...FAST, queueBytes: 5_000_000 }],
  ['1 Gbit/s, 1 ms', 0.93, { bytesPerSecond: 125e6, rttMs: 1, queueBytes: 625_000 }],
] as const) {
  t.test(`the link is used and its queue stays short: ${title}`, async (t) => {
    const link = steady(options);
    link.run(options.bytesPerSecond > 1e8 ? 1000 : 10_000);
    t.ok(link.share() >= share, `share ${link.share().toFixed(3)}`);
    t.ok(link.queueDelay(0.99) <= 20, `99 % wait less than ${link.queueDelay(0.99).toFixed(1)} ms`);
    t.ok(link.queueDelay(0.5) <= 3);
  });
}

for (const datagramBytes of [1200, 16_000, 65_000]) {
  t.test(`loopback does not collapse with datagrams of ${datagramBytes} bytes`, async (t) => {
    const bytesPerSecond = datagramBytes * 20_000;
    const path = { bytesPerSecond, rttMs: 0.1, queueBytes: 100 * datagramBytes };
    const link = steady(path, bbr(1, datagramBytes));
    link.run(1000);
    t.ok(link.share() >= 0.95, `share ${link.share().toFixed(3)}`);
  });
}

t.test('16 MB with start-up over 100 Mbit/s', async (t) => {
  for (const loss of [0, 0.01]) {
    const link = new Bottleneck({ ...FAST, loss });
    const flow = link.add(bbr());
    link.mark();
    t.ok(link.run(3000, () => flow.arrivedBytes >= 16e6));
    t.ok(link.share() >= 0.72, `share ${link.share().toFixed(3)}`);
  }
});

t.test('at 10 Mbit/s nobody beside us waits long, start-up included', async (t) => {
  const link = new Bottleneck(NARROW);
  link.add(bbr());
  link.run(20_000);
  t.ok(link.queueDelay(0.99) <= 65, `99 %: ${link.queueDelay(0.99).toFixed(1)} ms`);
  link.mark();
  link.run(20_000);
  t.ok(link.queueDelay(0.99) <= 20, `steady, 99 %: ${link.queueDelay(0.99).toFixed(1)} ms`);
  t.ok(link.share() >= 0.95);
});

t.test('a slower path is noticed within two cycles', async (t) => {
  const link = steady(FAST);
  link.bytesPerSecond /= 2;
  link.run(8000);
  link.mark();
  link.run(5000);
  t.ok(link.share() >= 0.9, `share ${link.share().toFixed(3)}`);
  t.ok(link.queueDelay(0.5) <= 25, `median wait ${link.queueDelay(0.5).toFixed(1)} ms`);
});

t.test('a faster path is filled within two cycles', async (t) => {
  const link = steady(FAST);
  link.bytesPerSecond *= 2;
  link.run(7000);
  link.mark();
  link.run(5000);
  t.ok(link.share() >= 0.9, `share ${link.share().toFixed(3)}`);
});

t.test('two flows that begin together share fairly', async (t) => {
  for (const options of [FAST, { ...FAST, loss: 0.01 }, { ...FAST, queueBytes: 187_500 }, NARROW]) {
    const link = new Bottleneck(options);
    const flows = [link.add(bbr(3)), link.add(bbr(4))];
    link.run(3000);
    link.mark();
    link.run(15_000);
    const jain = fairness(flows.map((flow) => link.share(flow)));
    t.ok(jain >= 0.93, `Jain ${jain.toFixed(3)}`);
    t.ok(link.share() >= 0.9, `both ${link.share().toFixed(3)}`);
  }
});

t.test('a flow that comes later wins its share', async (t) => {
  const link = new Bottleneck(FAST);
  const flows = [link.add(bbr(1)), link.add({ ...bbr(101), startMs: 2000 })];
  link.run(5000);
  link.mark();
  link.run(15_000);
  const jain = fairness(flows.map((flow) => link.share(flow)));
  t.ok(jain >= 0.9, `Jain ${jain.toFixed(3)}`);
});

t.test('a loss-based flow beside us keeps its share', async (t) => {
  for (const [startMs, least] of [
    [0, 0.8],
    [2000, 0.45],
  ]) {
    const link = new Bottleneck(FAST);
    link.add(bbr());
    const other = link.add({ controller: new Cubic(1200), timerMs: 1, startMs });
    link.run(startMs + 3000);
    link.mark();
    link.run(15_000);
    t.ok(2 * link.share(other) >= least, `${(2 * link.share(other)).toFixed(2)} of the half`);
  }
});

t.test('an application that says little keeps the estimate of a fast path', async (t) => {
  const link = new Bottleneck(FAST);
  const controller = new Bbr({ datagramBytes: 1200, rng: seededRng(1) });
  // Three seconds at full speed, then half a megabit, by a source that dries up.
  link.add({ controller, timerMs: 1, applicationRate: (at) => (at < seconds(3) ? 1e9 : 62_500) });
  link.run(2900);
  const before = controller.pacingRate;
  link.run(20_000);
  t.ok(controller.pacingRate >= 0.85 * before, `${controller.pacingRate.toFixed(2)} bytes per µs`);
});
