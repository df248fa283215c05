// Buckets of tokens and the budgets of callees, by themselves: what a caller may ask in vain, and
// who waits for whom.

import fc from 'fast-check';
import t from 'tap';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Micros, micros, seconds } from '../../protocol/time.ts';
import { Budgets, Friends } from '../friends.ts';
import { MANAGER_LIMITS, RATE_DEFAULTS } from '../limits.ts';
import type { Rate } from '../manager-types.ts';
import { Rates } from '../rates.ts';

const caller = (at: number): DeviceId => `${'a'.repeat(24)}${String(at).padStart(8, 'a')}` as never;
const name = (at: number): Name => `N${at}` as Name;
const at = (second: number): Micros => micros(seconds(second));
const MANY: Rate = { burst: 1_000_000, perSecond: 1_000_000 };
const rates = (perCaller: Rate, perName: Rate = MANY): Rates => new Rates({ perCaller, perName });

/** How many of `times` requests at one instant are within the rate. */
function taken(of: Rates, now: Micros, times: number, to = name(1), from = caller(1)): number {
  let count = 0;
  for (let i = 0; i < times; i++) if (of.take(now, from, to)) count += 1;
  return count;
}

t.test('S2001: a caller may ask its burst at once and then at its rate, no more', async (t) => {
  const some = rates({ burst: 6, perSecond: 3 });
  t.equal(taken(some, at(100), 50), 6);
  t.equal(taken(some, at(100.3), 50), 0);
  t.equal(taken(some, at(100.5), 50), 1);
  t.equal(taken(some, at(101.5), 50), 3);
  t.equal(taken(some, at(1_000), 50), 6, 'full again, and not fuller');
  t.equal(taken(some, at(1_000), 50, name(1), caller(2)), 6, 'another caller has its own');
});

t.test('S2001: each name has a bucket of its own, whoever has it', async (t) => {
  const some = rates(MANY, { burst: 4, perSecond: 0.5 });
  t.equal(taken(some, at(0), 9, name(1)), 4);
  t.equal(taken(some, at(0), 9, name(2)), 4);
  t.equal(taken(some, at(1.9), 9, name(1)), 0);
  t.equal(taken(some, at(2), 9, name(1)), 1);
});

t.test('S2001: what is over the one rate takes nothing of the other', async (t) => {
  const some = rates({ burst: 5, perSecond: 1 }, { burst: 2, perSecond: 1 });
  t.equal(taken(some, at(0), 100, name(1)), 2);
  t.equal(taken(some, at(0), 100, name(2)), 2);
  t.equal(taken(some, at(0), 100, name(3)), 1, 'a hundred vain tries cost the caller nothing more');
  t.equal(taken(some, at(0), 100, name(4)), 0);
});

t.test('S2001: who was let in a thousand times has asked nothing in vain', async (t) => {
  const some = new Rates(RATE_DEFAULTS);
  let passed = 0;
  for (let i = 0; i < 1_000; i++) {
    passed += taken(some, at(1), 1);
    some.giveBack(at(1), caller(1), name(1));
  }
  t.equal(passed, 1_000);
  t.equal(taken(some, at(1), 1_000), LIMITS.introductionsPerCallerMax, 'and has its whole burst');
  some.giveBack(at(1), caller(9), name(9));
  t.equal(taken(some, at(1), 1_000, name(9), caller(9)), LIMITS.introductionsPerCallerMax);
});

t.test('S2001: a script that tries every two seconds for a day never meets the rate', async (t) => {
  const some = new Rates(RATE_DEFAULTS);
  let limited = 0;
  for (let second = 0; second < 86_400; second += 2) limited += 1 - taken(some, at(second), 1);
  t.equal(limited, 0);
  let passed = 0;
  for (let second = 86_400; second < 90_000; second++) passed += taken(some, at(second), 1);
  t.ok(passed > 1_800 && passed < 1_900, `every second gets half through: ${passed}`);
});

t.test('S2001: the buckets say the same as their slow twin', async (t) => {
  const step = fc.record({
    afterUs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_000_000 })),
    isBack: fc.boolean(),
    to: fc.integer({ min: 0, max: 2 }),
  });
  const rate = fc.record({
    burst: fc.integer({ min: 1, max: 8 }),
    perSecond: fc.constantFrom(0.5, 1, 2, 3, 7, 1_000),
  });
  const property = fc.property(
    rate,
    rate,
    fc.array(step, { maxLength: 80 }),
    (perCaller, perName, steps) => {
      const fast = rates(perCaller, perName);
      const slow = new SlowTwin(perCaller, perName);
      let now = 12_345.75;
      for (const { afterUs, isBack, to } of steps) {
        now += afterUs;
        if (isBack) {
          fast.giveBack(micros(now), caller(1), name(to));
          slow.giveBack(Math.floor(now), to);
        } else if (fast.take(micros(now), caller(1), name(to)) !== slow.take(Math.floor(now), to)) {
          return false;
        }
      }
      return true;
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1_000, seed: 3 }));
});

t.test('S2001: buckets that are full are forgotten, and there are never too many', async (t) => {
  const some = rates({ burst: 2, perSecond: 1 }, { burst: 1, perSecond: 1 });
  let passed = 0;
  for (let i = 0; i < MANAGER_LIMITS.ratedCallersMax + 100; i++) {
    passed += taken(some, at(0), 1, name(i), caller(i));
  }
  t.equal(passed, MANAGER_LIMITS.ratedCallersMax + 100, 'a bucket more is always found');
  t.equal(some.sizes.callers, MANAGER_LIMITS.ratedCallersMax);
  t.equal(taken(some, at(0), 1, name(90_000), caller(150)), 1, 'the others stand as they were');
  t.equal(taken(some, at(0), 1, name(90_001), caller(150)), 0);
  const before = some.sizes;
  for (let i = 0; i < 30_000; i++) some.take(at(60 + i), caller(1), name(i % 7));
  t.ok(before.names > 20_000 && some.sizes.names <= 2, `${before.names} → ${some.sizes.names}`);
  t.ok(some.sizes.callers <= 2);
});

t.test('S2001: names are bounded too, at whatever cost to those who try them all', async (t) => {
  const some = rates(MANY, { burst: 1, perSecond: 0.000_001 });
  let passed = 0;
  for (let i = 0; i < MANAGER_LIMITS.ratedNamesMax + 10; i++) {
    if (some.take(at(0), caller(1), name(i))) passed += 1;
  }
  t.equal(passed, MANAGER_LIMITS.ratedNamesMax + 10);
  t.equal(some.sizes.names, MANAGER_LIMITS.ratedNamesMax);
});

t.test('a rate that is none is refused when it is set', async (t) => {
  const none = [
    { burst: 0, perSecond: 1 },
    { burst: 1.5, perSecond: 1 },
    { burst: Infinity, perSecond: 1 },
    { burst: 1, perSecond: 0 },
    { burst: 1, perSecond: -1 },
    { burst: 1, perSecond: Number.NaN },
  ];
  for (const rate of none) {
    t.throws(() => rates(rate), { code: 'rates' });
    t.throws(() => rates(MANY, rate), { code: 'rates' });
  }
  t.equal(taken(rates(MANY), at(0), 10_000), 10_000, 'raised as far as one likes');
});

const CALLEE = caller(77);
const HALF = LIMITS.asksPerCalleeMax / 2;
const OWN = LIMITS.asksPerStrangerMax;

interface Question {
  readonly callerId: DeviceId;
}
let callers = 1_000;

/** Puts `count` questions, each of another caller or all of one; returns them, and those put. */
function put(
  budgets: Budgets<Question>,
  count: number,
  isFriend: boolean,
  callerId?: DeviceId,
): { all: readonly Question[]; open: readonly Question[] } {
  const all = Array.from({ length: count }, () => ({ callerId: callerId ?? caller(++callers) }));
  return { all, open: all.filter((question) => budgets.enter(CALLEE, question, isFriend)) };
}

t.test('S2002: strangers have half of a callee’s questions, friends all of them', async (t) => {
  const first = new Budgets<Question>();
  t.equal(put(first, 500, false).open.length, HALF);
  t.equal(put(first, 500, true).open.length, HALF, 'and friends find the other half');
  const second = new Budgets<Question>();
  t.equal(put(second, 500, true, caller(1)).open.length, LIMITS.asksPerCalleeMax);
  t.equal(put(second, 500, false).open.length, 0);
  t.equal(second.open(CALLEE).length, LIMITS.asksPerCalleeMax);
  t.equal(second.open(caller(1)).length, 0);
});

t.test('S2002: who waits is asked in turn, friends first', async (t) => {
  const budgets = new Budgets<Question>();
  const strangers = put(budgets, HALF + 2, false).all;
  const friends = put(budgets, HALF + 2, true).all;
  const leave = (question: Question) => budgets.leave(CALLEE, question);
  t.equal(leave(strangers[HALF]), undefined, 'one that waited gives no turn');
  t.equal(leave(strangers[0]), friends[HALF]);
  t.equal(leave(friends[0]), friends[HALF + 1]);
  t.equal(leave(friends[0]), undefined, 'gone is gone');
  t.equal(leave(friends[1]), strangers[HALF + 1]);
  t.equal(leave(friends[2]), undefined);
  t.equal(budgets.drop(CALLEE).filter((one) => strangers.includes(one)).length, HALF);
  t.equal(budgets.size, 0);
});

t.test('S2002: one stranger has a few of them, whatever it asks for', async (t) => {
  const budgets = new Budgets<Question>();
  const greedy = put(budgets, 60, false, caller(1));
  t.equal(greedy.open.length, OWN);
  t.equal(put(budgets, 2, false).open.length, 2, 'others are asked beside it');
  const full = put(budgets, HALF, false);
  t.equal(full.open.length, HALF - OWN - 2);
  const [waits, next] = full.all.filter((question) => !full.open.includes(question));
  // It is over: one of those who wait, and then everybody in turn.
  t.equal(budgets.leave(CALLEE, greedy.open[0]), greedy.all[OWN], 'whoever waited longest');
  t.equal(budgets.leave(CALLEE, full.open[0]), waits, 'never more than its own');
  t.equal(budgets.leave(CALLEE, greedy.open[1]), next, 'and not twice before the others');
  t.equal(budgets.drop(CALLEE).length, 60 + 2 + HALF - 3, 'nobody is forgotten');
});

t.test('S2002: any order of comings and goings keeps the bounds and forgets nobody', async (t) => {
  const step = fc.record({
    from: fc.integer({ min: 1, max: 6 }),
    isFriend: fc.boolean(),
    isLeaving: fc.constantFrom(false, false, true),
    pick: fc.nat(999),
  });
  const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const budgets = new Budgets<Question>();
    const open = new Map<Question, boolean>();
    const waiting = new Map<Question, boolean>();
    for (const { from, isFriend, isLeaving, pick } of steps) {
      if (!isLeaving) {
        const question = { callerId: caller(from) };
        const into = budgets.enter(CALLEE, question, isFriend) ? open : waiting;
        into.set(question, isFriend);
      } else {
        const all = [...open.keys(), ...waiting.keys()];
        if (all.length === 0) continue;
        const gone = all[pick % all.length];
        open.delete(gone);
        waiting.delete(gone);
        const turn = budgets.leave(CALLEE, gone);
        const wasFriend = turn === undefined ? undefined : waiting.get(turn);
        if (turn !== undefined && wasFriend === undefined) return false;
        if (turn !== undefined) open.set(turn, wasFriend === true);
        if (turn !== undefined) waiting.delete(turn);
      }
      if (!isWithinBounds(open) || !isNobodyIdle(open, waiting)) return false;
      if (budgets.open(CALLEE).length !== open.size) return false;
    }
    const left = budgets.drop(CALLEE).length;
    return left === open.size + waiting.size && budgets.size === 0;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500, seed: 5 }));
});

const strangersOf = (open: ReadonlyMap<Question, boolean>): readonly DeviceId[] =>
  [...open].flatMap(([{ callerId }, isFriend]) => (isFriend ? [] : [callerId]));

const countOf = (strangers: readonly DeviceId[], one: DeviceId): number =>
  strangers.filter((each) => each === one).length;

function isWithinBounds(open: ReadonlyMap<Question, boolean>): boolean {
  const strangers = strangersOf(open);
  const isGreedy = strangers.some((one) => countOf(strangers, one) > OWN);
  return open.size <= LIMITS.asksPerCalleeMax && strangers.length <= HALF && !isGreedy;
}

/** Nobody waits where there is room for it. */
function isNobodyIdle(
  open: ReadonlyMap<Question, boolean>,
  waiting: ReadonlyMap<Question, boolean>,
): boolean {
  const strangers = strangersOf(open);
  if (open.size === LIMITS.asksPerCalleeMax) return true;
  return [...waiting].every(
    ([{ callerId }, isFriend]) =>
      !isFriend && (strangers.length === HALF || countOf(strangers, callerId) === OWN),
  );
}

t.test('S2002: a friend is a caller in this direction, and the oldest is forgotten', async (t) => {
  const friends = new Friends();
  const pair = (one: number, two: number) => ({ callerId: caller(one), calleeId: caller(two) });
  friends.add(pair(1, 2));
  t.ok(friends.has(pair(1, 2)));
  t.notOk(friends.has(pair(2, 1)), 'who was called is no friend of its caller');
  for (let i = 0; i < MANAGER_LIMITS.friendsMax - 1; i++) friends.add(pair(3, i));
  friends.add(pair(1, 2));
  friends.add(pair(4, 4));
  t.equal(friends.size, MANAGER_LIMITS.friendsMax);
  t.ok(friends.has(pair(1, 2)), 'talking again keeps it');
  t.notOk(friends.has(pair(3, 0)));
});

/** The same by counting credit in microseconds, the way one would explain it. */
class SlowTwin {
  readonly #perCaller: Rate;
  readonly #perName: Rate;
  readonly #credit = new Map<string, { left: number; at: number }>();

  constructor(perCaller: Rate, perName: Rate) {
    this.#perCaller = perCaller;
    this.#perName = perName;
  }

  take(now: number, to: number): boolean {
    const both = this.#both(now, to);
    const isWithin = both.every(({ state, interval }) => state.left >= interval);
    if (isWithin) for (const { state, interval } of both) state.left -= interval;
    return isWithin;
  }

  giveBack(now: number, to: number): void {
    for (const { state, interval, full } of this.#both(now, to)) {
      state.left = Math.min(full, state.left + interval);
    }
  }

  #both(now: number, to: number) {
    return [
      { key: 'caller', rate: this.#perCaller },
      { key: `name ${to}`, rate: this.#perName },
    ].map(({ key, rate }) => {
      const interval = Math.round(1_000_000 / rate.perSecond);
      const full = rate.burst * interval;
      const state = this.#credit.get(key) ?? { left: full, at: now };
      state.left = Math.min(full, state.left + now - state.at);
      state.at = now;
      this.#credit.set(key, state);
      return { state, interval, full };
    });
  }
}
