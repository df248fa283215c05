// One direction of a modelled access link does to datagrams what its faults say, in the share that
// they say, and counts what it did.

import fc from 'fast-check';
import t from 'tap';
import { seededRng } from '../../protocol/random.ts';
import { type Micros, after, micros, ms, seconds } from '../../protocol/time.ts';
import {
  type Arrival,
  CLEAN_CHANNEL,
  Channel,
  type ChannelFaults,
  FAULT_NAMES,
  type FaultName,
  GROW_BYTES_MAX,
  REPLAYS_MAX,
} from '../network/channel.ts';

const START = micros(seconds(1));
const DAY_MS = 86_400_000;

function channelOf(faults: Partial<ChannelFaults>, seed = 1): Channel {
  const rng = seededRng(seed);
  return new Channel(() => rng.next() / 2 ** 32, { ...CLEAN_CHANNEL, ...faults });
}

/** Sends so many datagrams, one every `everyMs`; their arrivals in the order of sending. */
function sendMany(channel: Channel, count: number, everyMs = 1, length = 100): Arrival[][] {
  const bytes = new Uint8Array(length);
  return Array.from({ length: count }, (_, at) => {
    new DataView(bytes.buffer).setUint32(0, at);
    return [...channel.carry(after(START, ms(at * everyMs)), bytes)];
  });
}

const onlyCounts = (channel: Channel): Partial<Record<FaultName, number>> =>
  Object.fromEntries(Object.entries(channel.counts).filter(([, count]) => count > 0));

t.test('a clean channel delays by the microsecond, copies, and counts no fault', async (t) => {
  const channel = channelOf({ delayMs: 20 });
  const bytes = new Uint8Array([1, 2, 3]);
  const [arrival] = channel.carry(START, bytes);
  t.equal(arrival.at, START + ms(20));
  bytes[0] = 9;
  t.strictSame(arrival.bytes, new Uint8Array([1, 2, 3]), 'a copy');
  const [own] = channel.carryOwn(START, bytes);
  t.equal(own.bytes, bytes, 'bytes that were given away need no copy');
  t.strictSame(onlyCounts(channel), {});
  t.strictSame([channel.carried, channel.carriedBytes], [2, 6]);
});

t.test('losses in bursts: share and length of bursts after Gilbert and Elliott', async (t) => {
  for (const [loss, burst] of [
    [0.1, 0],
    [0.1, 0.1],
    [0.02, 0.75],
    [0.3, 0.9],
  ]) {
    const channel = channelOf({ loss, burst }, 7);
    const fates = sendMany(channel, 50_000).map(({ length }) => length === 0);
    const lost = fates.filter(Boolean).length;
    const share = burst === 0 ? loss : loss / (loss + 1 - burst);
    t.equal(channel.counts.loss, lost);
    t.ok(Math.abs(lost / 50_000 - share) < 0.02, `${loss}/${burst}: ${lost} of 50,000`);
    const bursts = fates.filter((isLost, at) => isLost && !fates[at - 1]).length;
    const mean = 1 / (1 - (burst === 0 ? loss : burst));
    t.ok(Math.abs(lost / bursts / mean - 1) < 0.07, `bursts of ${lost / bursts}, not ${mean}`);
  }
});

t.test('a rate spreads datagrams exactly, and the queue holds exactly its time', async (t) => {
  const channel = channelOf({ delayMs: 5, bytesPerSecond: 1_000_000, queueMs: 4 });
  // 1,000 bytes take 1 ms: one on the line, four behind it; the fifth would wait 5 ms.
  const sent = Array.from({ length: 7 }, () => channel.carry(START, new Uint8Array(1_000)));
  t.strictSame(
    sent.map((arrivals) => arrivals.map(({ at }) => at - START - ms(5))),
    [[1_000], [2_000], [3_000], [4_000], [5_000], [], []],
  );
  t.strictSame(onlyCounts(channel), { queue: 2 });
  t.equal(channel.carry(after(START, 999), new Uint8Array(1)).length, 0, '4.001 ms are too long');
  t.equal(channel.carry(after(START, 1_000), new Uint8Array(1)).length, 1, '4.000 ms are not');
});

t.test('no interval sees more than the rate, no datagram waits longer than the queue', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2_000, max: 10_000_000 }),
      fc.integer({ min: 1, max: 1_000 }),
      fc.array(fc.tuple(fc.nat(20_000), fc.integer({ min: 1, max: 1_500 })), { maxLength: 60 }),
      (bytesPerSecond, queueMs, sends) => {
        const channel = channelOf({ delayMs: 0, bytesPerSecond, queueMs });
        let now: Micros = START;
        let freeAt: number = START;
        for (const [wait, length] of sends) {
          now = after(now, wait);
          const arrivals = channel.carry(now, new Uint8Array(length));
          const begin = Math.max(now, freeAt);
          if (begin - now > ms(queueMs)) {
            if (arrivals.length !== 0) return false;
            continue;
          }
          freeAt = begin + (length * 1e6) / bytesPerSecond;
          if (arrivals.length !== 1 || arrivals[0].at !== Math.ceil(freeAt)) return false;
        }
        return channel.counts.queue + sends.length >= channel.carried;
      },
    ),
    { numRuns: 300 },
  );
});

t.test('jitter keeps the order, reordering does not', async (t) => {
  const jittery = sendMany(channelOf({ delayMs: 10, jitterMs: 30 }), 2_000).flat();
  t.ok(jittery.every(({ at }, nth) => nth === 0 || at >= jittery[nth - 1].at));
  const waits = jittery.map(({ at }, nth) => at - START - ms(nth) - ms(10));
  t.ok(Math.min(...waits) >= 0 && Math.max(...waits) <= ms(30), 'within the jitter');
  t.ok(Math.max(...waits) > ms(25) && Math.min(...waits) < ms(25), 'and all over it');
  const channel = channelOf({ delayMs: 10, reorder: 0.1, reorderMs: 5 });
  const mixed = sendMany(channel, 2_000).flat();
  const late = mixed.filter(({ at }, nth) => at !== START + ms(nth) + ms(10));
  t.equal(late.length, channel.counts.reorder);
  t.ok(Math.abs(late.length - 200) < 45, `${late.length} of 2,000`);
  t.ok(
    mixed.some(({ at }, nth) => nth > 0 && at < mixed[nth - 1].at),
    'some overtake',
  );
});

t.test('copies, damage, and what is cut or grows come in their shares', async (t) => {
  const near = (count: number, channel: Channel, name: FaultName): void => {
    t.ok(Math.abs(count - 2_000) < 200, `${name}: ${count} of 20,000`);
    t.strictSame(onlyCounts(channel), { [name]: count });
  };
  const doubled = channelOf({ duplicate: 0.1 });
  const twice = sendMany(doubled, 20_000).filter(({ length }) => length === 2);
  near(twice.length, doubled, 'duplicate');
  t.ok(twice.every(([a, b]) => b.at >= a.at && b.at <= a.at + ms(5)));
  t.ok(twice.every(([a, b]) => a.bytes !== b.bytes && Buffer.compare(a.bytes, b.bytes) === 0));

  const flipping = channelOf({ corrupt: 0.1 });
  const bits = sendMany(flipping, 20_000).map(([{ bytes }], nth) => {
    const original = new Uint8Array(100);
    new DataView(original.buffer).setUint32(0, nth);
    return bytes.reduce((sum, byte, at) => sum + ones(byte ^ original[at]), 0);
  });
  near(bits.filter((count) => count === 1).length, flipping, 'corrupt');
  t.ok(bits.every((count) => count <= 1));

  const cutting = channelOf({ truncate: 0.1 });
  const lengths = sendMany(cutting, 20_000).map(([{ bytes }]) => bytes.length);
  near(lengths.filter((length) => length < 100).length, cutting, 'truncate');
  t.equal(new Set(lengths).size, 101, 'every length from 0');

  const growing = channelOf({ grow: 0.1 });
  const grown = sendMany(growing, 20_000).map(([{ bytes }]) => bytes.length);
  near(grown.filter((length) => length > 100).length, growing, 'grow');
  t.strictSame([Math.min(...grown), Math.max(...grown)], [100, 100 + GROW_BYTES_MAX]);
});

const ones = (byte: number): number => byte.toString(2).replaceAll('0', '').length;

t.test('an empty datagram and the longest one survive every damage', async (t) => {
  for (const length of [0, 1, 65_507]) {
    const channel = channelOf({ corrupt: 1, truncate: 0.5, grow: 1, duplicate: 1, replay: 1 });
    for (const [{ bytes }] of sendMany(channel, 50, 1, Math.max(length, 4))) {
      t.ok(bytes.length <= 65_507);
    }
    t.equal(channel.carry(START, new Uint8Array(length)).length, 3);
  }
});

t.test('replays come once, the same, up to a day later, from a bounded store', async (t) => {
  const channel = channelOf({ replay: 1, replayAfterMsMax: DAY_MS });
  const sent = sendMany(channel, 2_000);
  const replayed = sent.filter(({ length }) => length === 2);
  t.equal(replayed.length, channel.counts.replay);
  t.ok(replayed.every(([a, b]) => Buffer.compare(a.bytes, b.bytes) === 0));
  const waits = replayed.map(([a, b]) => b.at - a.at);
  t.ok(Math.min(...waits) >= ms(1) && Math.max(...waits) <= ms(DAY_MS));
  t.ok(waits.filter((wait) => wait < seconds(60)).length > 100, 'many within a minute');
  t.ok(waits.filter((wait) => wait > seconds(3_600)).length > 10, 'some after an hour');
  const end = after(START, ms(2_000));
  const kept = replayed.filter(([, { at }]) => at > end).length;
  t.ok(kept > 0 && kept <= REPLAYS_MAX, `${kept} are kept`);
  const before = channel.counts.replay;
  channel.carry(after(end, ms(DAY_MS)), new Uint8Array(1));
  t.equal(channel.counts.replay, before + 1, 'what has come again makes room');
});

t.test('too large is dropped in silence; a black hole ends at its microsecond', async (t) => {
  const channel = channelOf({ mtuBytes: 576 });
  t.equal(channel.carry(START, new Uint8Array(577)).length, 0);
  t.equal(channel.carry(START, new Uint8Array(576)).length, 1);
  channel.blackHole(after(START, 10));
  t.equal(channel.carry(after(START, 9), new Uint8Array(1)).length, 0);
  t.equal(channel.carry(after(START, 10), new Uint8Array(1)).length, 1);
  channel.blackHole(after(START, seconds(300)));
  channel.blackHole(START);
  t.equal(channel.carry(after(START, 11), new Uint8Array(1)).length, 1, 'ended early');
  t.strictSame(onlyCounts(channel), { blackHole: 1, mtu: 1 });
});

t.test('when the faults are over, the queue that there was holds nobody up', async (t) => {
  const channel = channelOf({ delayMs: 2_000, bytesPerSecond: 1_000, queueMs: 10_000, loss: 0.2 });
  const last = sendMany(channel, 20, 1, 1_000).flat().at(-1);
  t.ok(last !== undefined && last.at > after(START, seconds(10)));
  channel.faults = CLEAN_CHANNEL;
  const now = after(START, seconds(1));
  t.strictSame(
    channel.carry(now, new Uint8Array(1_000)).map(({ at }) => at),
    [now + ms(CLEAN_CHANNEL.delayMs)],
  );
  const slower = channelOf({ bytesPerSecond: 1_000, queueMs: 10_000 });
  sendMany(slower, 5, 1, 1_000);
  slower.faults = { ...CLEAN_CHANNEL, delayMs: 0, bytesPerSecond: 1_000_000, queueMs: 1 };
  const [{ at }] = slower.carry(now, new Uint8Array(1_000));
  t.equal(at, now + ms(1), 'a line with another rate is another line');
});

const anyFaults: fc.Arbitrary<ChannelFaults> = fc.record({
  loss: fc.double({ min: 0, max: 0.5, noNaN: true }),
  burst: fc.double({ min: 0, max: 0.95, noNaN: true }),
  delayMs: fc.nat(2_000),
  jitterMs: fc.nat(100),
  reorder: fc.double({ min: 0, max: 1, noNaN: true }),
  reorderMs: fc.nat(100),
  duplicate: fc.double({ min: 0, max: 1, noNaN: true }),
  replay: fc.double({ min: 0, max: 1, noNaN: true }),
  replayAfterMsMax: fc.nat(DAY_MS),
  corrupt: fc.double({ min: 0, max: 1, noNaN: true }),
  truncate: fc.double({ min: 0, max: 1, noNaN: true }),
  grow: fc.double({ min: 0, max: 1, noNaN: true }),
  mtuBytes: fc.constantFrom(50, 576, Infinity),
  bytesPerSecond: fc.constantFrom(2_000, 1_000_000, Infinity),
  queueMs: fc.nat(1_000),
});

t.test('any faults: nothing vanishes or appears without a name, time goes on', async () => {
  fc.assert(
    fc.property(anyFaults, fc.nat(), (faults, seed) => {
      const channel = channelOf(faults, seed);
      const sent = sendMany(channel, 200);
      const { blackHole, mtu, loss, queue, duplicate, replay } = channel.counts;
      const arrived = sent.flat();
      return (
        arrived.length === 200 - blackHole - mtu - loss - queue + duplicate + replay &&
        arrived.every(({ at }) => Number.isInteger(at)) &&
        sent.every((arrivals, nth) => arrivals.every(({ at }) => at >= START + ms(nth)))
      );
    }),
    { numRuns: 150 },
  );
});

t.test(
  'the same seed gives the same arrivals; switching one fault off shifts no other',
  async (t) => {
    fc.assert(
      fc.property(anyFaults, fc.nat(), (faults, seed) => {
        const [a, b] = [0, 1].map(() => sendMany(channelOf(faults, seed), 50));
        t.strictSame(a, b);
      }),
      { numRuns: 30 },
    );
    const both = channelOf({ loss: 0.3, corrupt: 0.3 }, 5);
    const one = channelOf({ corrupt: 0.3 }, 5);
    const withLoss = sendMany(both, 500);
    const without = sendMany(one, 500);
    const kept = withLoss.map((arrivals, nth) => (arrivals.length === 0 ? [] : without[nth]));
    t.strictSame(withLoss, kept);
    t.ok(both.counts.corrupt < one.counts.corrupt && both.counts.corrupt > 0);
  },
);

t.test('every fault that can be set can fire', async (t) => {
  const channel = channelOf({
    loss: 0.1,
    jitterMs: 1,
    reorder: 0.1,
    reorderMs: 1,
    duplicate: 0.1,
    replay: 0.1,
    replayAfterMsMax: 100,
    corrupt: 0.1,
    truncate: 0.1,
    grow: 0.1,
    bytesPerSecond: 50_000,
    queueMs: 20,
    mtuBytes: 1_000,
  });
  sendMany(channel, 2_000);
  channel.carry(START, new Uint8Array(1_001));
  channel.blackHole(after(START, 1));
  channel.carry(START, new Uint8Array(1));
  t.strictSame(
    FAULT_NAMES.filter((name) => channel.counts[name] === 0),
    [],
  );
});
