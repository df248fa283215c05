// A talk over bad links (issue 4, the last section): whatever the link does to datagrams, every
// transfer that can finish does, byte for byte, on several streams both ways, and both ends count
// the same. Small doses here, full ones in `make prove`.

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { IS_PROOF, dose } from './dose.ts';
import type { ConnectionConfig } from '../data/connection-types.ts';
import { randomBytes } from '../random.ts';
import type { End, PairOptions } from '../../sim/pair.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

type CongestionControl = ConnectionConfig['congestionControl'];

const CONTROLS: readonly CongestionControl[] = ['bbr', 'cubic'];
const SEEDS = dose(1, 10);
const KIBI = 1024;
const DATAGRAM_BYTES = 1452;
const SMALL_PATH_BYTES = 1200;

interface Transfer {
  /** Bytes of each stream, from the caller and from the callee. */
  readonly forth?: readonly number[];
  readonly back?: readonly number[];
  /** Virtual time for all of it. */
  readonly limitMs?: number;
  /** Called when the streams are under way. */
  readonly during?: (pair: Pair) => void;
}

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function start(pair: Pair, end: End, sizes: readonly number[]): ReadonlyMap<number, string> {
  const sent = new Map<number, string>();
  for (const size of sizes) {
    const bytes = randomBytes(pair.rng, size);
    sent.set(send(pair, end, bytes), hash(bytes));
  }
  return sent;
}

/** Why the transfer failed; undefined: all arrived, hashes are equal, counts reconcile. */
function transfer(pair: Pair, wanted: Transfer): string | undefined {
  const { forth = [120 * KIBI, 1, 40 * KIBI], back = [60 * KIBI, 3000] } = wanted;
  const [there, here] = [new Sink(pair.callee), new Sink(pair.caller)];
  const forward = start(pair, pair.caller, forth);
  const backward = start(pair, pair.callee, back);
  wanted.during?.(pair);
  const arrived = (): boolean =>
    there.finished.size === forward.size && here.finished.size === backward.size;
  const over = (): boolean => pair.caller.ended !== undefined || pair.callee.ended !== undefined;
  pair.run(() => arrived() || over(), wanted.limitMs ?? 600_000);
  if (!arrived()) return `${there.total} and ${here.total} bytes arrived; ${ends(pair)}`;
  for (const [stream, digest] of forward) {
    if (hash(there.bytes(stream as never)) !== digest) return `stream ${stream} is damaged`;
  }
  for (const [stream, digest] of backward) {
    if (hash(here.bytes(stream as never)) !== digest) return `stream ${stream} is damaged`;
  }
  return reconcile(pair);
}

function ends(pair: Pair): string {
  return `ended: ${pair.caller.reason}, ${pair.callee.reason}`;
}

/**
 * Ends the talk; what one has sent is what the other has received. The link is good again: that a
 * CLOSE gets through loss is shown in connection-loss.test.ts.
 */
function reconcile(pair: Pair): string | undefined {
  pair.faults = { ...pair.faults, loss: 0, burst: 0, corrupt: 0 };
  pair.caller.connection.close(pair.now, 'done');
  pair.drain();
  if (!pair.runToEnd(120_000)) return 'no end';
  const [a, b] = [pair.caller.counts, pair.callee.counts];
  if (pair.caller.reason !== 'done' || pair.callee.reason !== 'done') return ends(pair);
  if (a === undefined || b === undefined) return 'no counts';
  const isEqual =
    a.sentBytes === b.receivedBytes + a.lostBytes && b.sentBytes === a.receivedBytes + b.lostBytes;
  return isEqual ? undefined : `${JSON.stringify(a)} ${JSON.stringify(b)}`;
}

function check(t: Test, options: PairOptions, wanted: Transfer = {}): void {
  for (let seed = 1; seed <= SEEDS; seed++) {
    for (const congestionControl of CONTROLS) {
      const config = { congestionControl, ...options.config };
      // At half loss a handshake in 30 finds no way in its 10 s: the link turns bad after it.
      const pair = new Pair({ seed, config }).open();
      pair.faults = { ...pair.faults, ...options.faults };
      t.equal(transfer(pair, wanted), undefined, `${congestionControl}, seed ${seed}`);
    }
  }
}

for (const percent of [0, 1, 5, 10, 20, 30, 40, 50]) {
  t.test(`S1006, S4006: ${percent} % loss`, async (t) => {
    check(t, { faults: { loss: percent / 100 } }, { limitMs: 3_600_000 });
  });
}

const LINKS: Readonly<Record<string, NonNullable<PairOptions['faults']>>> = {
  'bursts of loss, of 3 on average': { loss: 0.03, burst: 0.67 },
  // Longer ones outlast the idle time: a silent path is probed twice in 3 s.
  'bursts of loss, of 10 on average': { loss: 0.01, burst: 0.9 },
  'reordering within 30 ms': { jitterMs: 30 },
  'reordering within 200 ms': { jitterMs: 200, delayMs: 20 },
  '30 % doubled': { duplicate: 0.3 },
  'all doubled, and reordered': { duplicate: 1, jitterMs: 20 },
  '10 % with a flipped bit': { corrupt: 0.1 },
  '40 % with a flipped bit': { corrupt: 0.4 },
  'a bottleneck of 500 kB/s with a short queue': {
    bytesPerSecond: 500_000,
    queueBytes: 8_000,
    delayMs: 20,
  },
  'a bottleneck of 100 kB/s with two seconds of queue': {
    bytesPerSecond: 100_000,
    queueBytes: 200_000,
    delayMs: 20,
  },
  'a long path': { delayMs: 300, loss: 0.02 },
  'everything at once': {
    loss: 0.1,
    burst: 0.3,
    jitterMs: 15,
    duplicate: 0.1,
    corrupt: 0.05,
    bytesPerSecond: 800_000,
    queueBytes: 40_000,
  },
};
for (const [name, faults] of Object.entries(LINKS)) {
  t.test(`S1006, S4006: ${name}`, async (t) => {
    check(t, { faults }, { limitMs: 3_600_000 });
  });
}

const HOLE_MS = 5_000;
const HOLES = { 'both ways': undefined, 'one way, forth': 'caller', 'one way, back': 'callee' };
for (const [name, from] of Object.entries(HOLES)) {
  t.test(`a black hole of 5 s, ${name}, and again`, async (t) => {
    check(
      t,
      { faults: { bytesPerSecond: 400_000, queueBytes: 60_000 } },
      {
        forth: [400 * KIBI, 2000],
        during: (pair) => {
          for (let time = 0; time < 2; time++) {
            pair.pass(150);
            pair.filter = (sender) => from !== undefined && sender !== from;
            pair.pass(HOLE_MS);
            pair.filter = () => true;
          }
        },
      },
    );
  });
}

t.test('a black hole during the handshake', async (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pair = new Pair({ seed });
    pair.filter = () => false;
    pair.start();
    pair.pass(HOLE_MS);
    pair.filter = () => true;
    t.ok(
      pair.run(() => pair.callee.has('established'), 3_000),
      `seed ${seed}`,
    );
    t.equal(transfer(pair, {}), undefined);
  }
});

t.test('a path that carries 1 200 bytes only, from the middle of the talk on', async (t) => {
  for (const afterMs of IS_PROOF ? [5, 40, 100, 300, 700] : [100, 300]) {
    check(
      t,
      {
        faults: { bytesPerSecond: 400_000, queueBytes: 60_000 },
        config: { datagramBytes: DATAGRAM_BYTES },
      },
      {
        forth: [300 * KIBI, 2000],
        during: (pair) => {
          pair.pass(afterMs);
          pair.filter = (_from, bytes) => bytes.length <= SMALL_PATH_BYTES;
        },
      },
    );
  }
});

t.test('a rate that changes every second, ten times down and up', async (t) => {
  check(
    t,
    { faults: { bytesPerSecond: 1_000_000, queueBytes: 30_000, delayMs: 10 } },
    {
      forth: [1000 * KIBI],
      during: (pair) => {
        for (let turn = 0; turn < 6; turn++) {
          pair.pass(300);
          const bytesPerSecond = turn % 2 === 0 ? 100_000 : 1_000_000;
          pair.faults = { ...pair.faults, bytesPerSecond };
        }
      },
    },
  );
});

t.test('5 s of black hole each minute are survived for an hour', async (t) => {
  const pair = new Pair({ faults: { delayMs: 20 }, limits: { seconds: 7200, bytes: undefined } });
  pair.open();
  for (let minute = 0; minute < dose(10, 6); minute++) {
    pair.pass(55_000);
    pair.filter = () => false;
    pair.pass(HOLE_MS);
    pair.filter = () => true;
  }
  t.equal(transfer(pair, { forth: [1000], back: [1000] }), undefined);
});

/** One link of many: mixed faults, a hole or two, a small path, changes of rate. */
const anyLink = fc.record({
  seed: fc.nat(1_000_000),
  loss: fc.double({ min: 0, max: 0.3, noNaN: true }),
  burst: fc.double({ min: 0, max: 0.8, noNaN: true }),
  duplicate: fc.double({ min: 0, max: 0.3, noNaN: true }),
  corrupt: fc.double({ min: 0, max: 0.2, noNaN: true }),
  delayMs: fc.nat(150),
  jitterMs: fc.nat(60),
  bytesPerSecond: fc.constantFrom(50_000, 300_000, 2_000_000, Infinity),
  queueBytes: fc.constantFrom(10_000, 100_000, Infinity),
  control: fc.constantFrom(...CONTROLS),
  datagramBytes: fc.constantFrom(1200, DATAGRAM_BYTES),
  holes: fc.array(fc.record({ afterMs: fc.nat(2_000), lastsMs: fc.nat(HOLE_MS) }), {
    maxLength: 2,
  }),
  forth: fc.array(fc.nat(80 * KIBI), { minLength: 1, maxLength: 6 }),
  back: fc.array(fc.nat(40 * KIBI), { maxLength: 4 }),
});

t.test('any link: what can finish does', async (t) => {
  const result = fc.check(
    fc.property(anyLink, ({ seed, control, datagramBytes, holes, forth, back, ...faults }) => {
      const config = { congestionControl: control, datagramBytes };
      const pair = new Pair({ seed, config });
      pair.open();
      pair.faults = { ...pair.faults, ...faults };
      const during = (): void => {
        for (const { afterMs, lastsMs } of holes) {
          pair.pass(afterMs);
          pair.filter = () => false;
          pair.pass(lastsMs);
          pair.filter = () => true;
        }
      };
      const failure = transfer(pair, { forth, back, during, limitMs: 3_000_000 });
      if (failure !== undefined) throw new Error(failure);
    }),
    { numRuns: dose(25, 40), endOnFailure: true },
  );
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? 'as claimed');
});
