// Live messages in order: strictly in order, each at most once, everything handed on or counted as
// lost, nothing kept long or in any number, whatever the path does.

import fc from 'fast-check';
import t from 'tap';
import { type Micros, micros, ms } from '../../protocol/time.ts';
import { LIVE_HELD_MAX, LiveOrder } from '../live-order.ts';

const WAIT = ms(40);
const END_WAIT = ms(250);
const at = (milliseconds: number): Micros => micros(ms(milliseconds));
const frame = (number: number): Uint8Array => Uint8Array.of(number >> 8, number & 0xff);
const numberOf = (bytes: Uint8Array): number => (bytes[0] << 8) | bytes[1];

/** Polls until nothing more is due. */
function due(order: LiveOrder, now: Micros): number[] {
  const numbers: number[] = [];
  for (;;) {
    const next = order.pollFrame(now);
    if (next === undefined) return numbers;
    numbers.push(numberOf(next));
  }
}

const made = (waitMicros = WAIT): LiveOrder =>
  new LiveOrder({ waitMicros, endWaitMicros: END_WAIT });

t.test('the first message waits, a gap waits, and what comes behind waits no longer', async (t) => {
  const order = made();
  order.handleMessage(at(0), 0, frame(0));
  t.strictSame(due(order, at(39)), [], 'a cushion for the player');
  t.equal(order.wakeAt, at(40));
  t.strictSame(due(order, at(40)), [0]);
  order.handleMessage(at(50), 2, frame(2));
  order.handleMessage(at(51), 3, frame(3));
  t.strictSame(due(order, at(60)), [], '1 may still come');
  order.handleMessage(at(61), 1, frame(1));
  t.strictSame(due(order, at(61)), [1, 2, 3]);
  order.handleMessage(at(70), 5, frame(5));
  t.equal(order.wakeAt, at(110));
  t.strictSame(due(order, at(110)), [5], '4 has had its time');
  order.handleMessage(at(111), 4, frame(4));
  t.strictSame(due(order, at(111)), []);
  t.strictSame(order.counts, { received: 5, lost: 1, late: 1 });
});

t.test('the end: what is missing is waited for, then counted; no cushion is kept', async (t) => {
  const order = made();
  order.handleMessage(at(0), 0, frame(0));
  order.handleEnd(at(1), 3);
  t.strictSame(due(order, at(1)), [0]);
  t.equal(order.isOver, false);
  t.equal(order.wakeAt, at(251));
  order.handleMessage(at(100), 1, frame(1));
  t.strictSame(due(order, at(100)), [1]);
  t.strictSame(due(order, at(251)), []);
  t.equal(order.isOver, true);
  t.strictSame(order.counts, { received: 2, lost: 1, late: 0 });
  const empty = made();
  empty.handleEnd(at(0), 0);
  t.equal(empty.isOver, true, 'nothing was sent');
});

t.test('numbers go round after 32 bits', async (t) => {
  const order = made(0);
  const last = 0xffff_ffff;
  // A leap forward of less than half of the numbers, twice, brings us near the end.
  for (const number of [0x7000_0000, 0xe000_0000, last, 0, 1]) {
    order.handleMessage(at(1), number, frame(number & 0xffff));
    due(order, at(1));
  }
  t.match(order.counts, { received: 5, late: 0 });
  order.handleMessage(at(2), last, frame(1));
  t.match(order.counts, { received: 5, late: 1 }, 'from before the turn');
});

t.test('with nobody who takes them, the newest are kept', async (t) => {
  const order = made(0);
  for (let number = 0; number < 3 * LIVE_HELD_MAX; number++) {
    order.handleMessage(at(0), number, frame(number));
  }
  const taken = due(order, at(0));
  t.equal(taken.length, LIVE_HELD_MAX);
  t.equal(taken.at(-1), 3 * LIVE_HELD_MAX - 1);
  t.equal(order.counts.lost, 2 * LIVE_HELD_MAX);
});

/** What a path makes of messages that were sent a millisecond after one another. */
const paths = fc.record({
  count: fc.integer({ min: 0, max: 400 }),
  waitMs: fc.constantFrom(0, 5, 40),
  fates: fc.array(
    fc.record({
      isLost: fc.boolean(),
      lateMs: fc.nat({ max: 80 }),
      copies: fc.constantFrom(1, 1, 1, 2),
    }),
    { minLength: 400, maxLength: 400 },
  ),
});

t.test('any path: in order, once, and what is not handed on is counted', async (t) => {
  fc.assert(
    fc.property(paths, ({ count, waitMs, fates }) => {
      const order = made(ms(waitMs));
      const arrivals = fates
        .slice(0, count)
        .flatMap(({ isLost, lateMs, copies }, number) =>
          Array.from({ length: isLost ? 0 : copies }, (_, copy) => [
            number + lateMs + copy,
            number,
          ]),
        )
        .sort(([a], [b]) => a - b);
      const taken: number[] = [];
      for (const [when, number] of arrivals) {
        order.handleMessage(at(when), number, frame(number));
        taken.push(...due(order, at(when)));
        if (order.wakeAt <= at(when)) return false;
      }
      order.handleEnd(at(600), count);
      taken.push(...due(order, at(600)), ...due(order, at(851)));
      const { received, lost } = order.counts;
      const isInOrder = taken.every((number, index) => index === 0 || number > taken[index - 1]);
      return isInOrder && order.isOver && received === taken.length && received + lost === count;
    }),
    { numRuns: 300 },
  );
  t.pass('300 paths');
});

t.test('nothing is lost that comes within the wait', async (t) => {
  const late = fc.array(fc.nat({ max: 39 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(late, (delays) => {
      const order = made();
      const arrivals = delays
        .map((lateMs, number) => [number * 5 + lateMs, number])
        .sort(([a], [b]) => a - b);
      const taken: number[] = [];
      for (const [when, number] of arrivals) {
        // What was due before this one came is taken before.
        for (let now = order.wakeAt; now < at(when); now = order.wakeAt) {
          taken.push(...due(order, now));
        }
        order.handleMessage(at(when), number, frame(number));
        taken.push(...due(order, at(when)));
      }
      order.handleEnd(at(5_000), delays.length);
      taken.push(...due(order, at(5_000)));
      return taken.length === delays.length && order.counts.lost === 0 && order.isOver;
    }),
    { numRuns: 300 },
  );
  t.pass('300 orders');
});
