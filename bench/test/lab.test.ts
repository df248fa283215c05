// What the lab computes from what it measured: ratios, goals, fairness, added delay, /proc. The
// measuring needs no test here: a link is checked each time before it is used.

import t from 'tap';
import { addedDelay } from '../lab/alone.ts';
import { cpuSeconds, fineCpuSeconds, residentBytes } from '../../sim/lab/drivers.ts';
import type { FlowFigures } from '../lab/flow.ts';
import { commandOn } from '../../sim/lab/namespaces.ts';
import { loopback } from '../lab/places.ts';
import { goals } from '../lab/reach.ts';
import { type Entry, medianOf, ratioOf } from '../lab/rounds.ts';
import { fairness } from '../../sim/fairness.ts';

const rate = ({ mbPerSecond }: FlowFigures): number => mbPerSecond;

t.test('ratios are those within a round, and a failed round counts for nobody', async (t) => {
  const ours = entry('veth', 'ours', [10, 40, undefined, 90]);
  const udx = entry('veth', 'udx', [20, 10, 5, 30]);
  t.equal(ratioOf(ours, udx, rate), 3);
  t.equal(medianOf(ours, rate), 40);
  t.equal(ratioOf(ours, entry('veth', 'udx', [undefined]), rate), undefined);
  t.equal(ratioOf(ours, undefined, rate), undefined);
});

t.test("Jain's index: 1 for equals, a half when one has all", async (t) => {
  t.equal(fairness([5, 5]), 1);
  t.equal(fairness([5, 0]), 0.5);
  t.ok(fairness([3, 1]) > 0.5 && fairness([3, 1]) < 1);
});

t.test('a goal takes the ratio of its own place, and is left open where nothing was', async (t) => {
  const entries = [
    entry('loopback', 'ours', [30]),
    entry('loopback', 'udx', [10]),
    entry('lossy', 'ours', [11.25]),
  ];
  const found = new Map(goals(entries, {}).map(({ name, value }) => [name, value]));
  t.equal(found.get('loopback bulk / UDX + secret-stream'), 3);
  t.equal(found.get('veth bulk / UDX + secret-stream'), undefined);
  t.equal(found.get('lossy link: share of it, steady'), 0.9);
});

t.test('the delay that bulk adds is that of the same round', async (t) => {
  const delays = (p99: number): { p50: number; p99: number; arrived: number; sent: number } => ({
    p50: 25,
    p99,
    arrived: 400,
    sent: 400,
  });
  const media = [{ alone: delays(26), beside: delays(46) }];
  t.equal(addedDelay({ media }), 20);
  t.equal(addedDelay({}), undefined);
});

t.test('a command runs in the namespace of its side, or as it is', async (t) => {
  t.strictSame(commandOn(loopback().a, 'ping', ['x']), ['ping', ['x']]);
  const side = { host: '10.71.0.1', namespace: 'n' };
  t.strictSame(commandOn(side, 'ping', ['x']), ['ip', ['netns', 'exec', 'n', 'ping', 'x']]);
});

const hasProc = process.platform === 'linux' ? false : 'there is no /proc here';
t.test('processor time and memory are read from /proc', { skip: hasProc }, async (t) => {
  const { user, system } = process.cpuUsage();
  const seconds = (user + system) / 1e6;
  t.ok(cpuSeconds(process.pid) > 0);
  t.ok(Math.abs(fineCpuSeconds(process.pid) / seconds - 1) < 0.5);
  t.ok(residentBytes(process.pid) > 10_000_000);
  t.equal(cpuSeconds(2 ** 30), 0);
});

function entry(
  place: string,
  contestant: Entry['contestant'],
  rates: readonly (number | undefined)[],
): Entry {
  const rounds = rates.map((mbPerSecond) =>
    mbPerSecond === undefined ? undefined : figures(mbPerSecond),
  );
  return { place, contestant, rounds, failure: undefined };
}

function figures(mbPerSecond: number): FlowFigures {
  return {
    mbPerSecond,
    senderCpu: 1,
    receiverCpu: 1,
    cpuPerGb: 2,
    senderMemory: 0,
    receiverMemory: 0,
    bytesPerDatagram: undefined,
  };
}
