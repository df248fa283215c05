// The replay window: RFC 6479's cases as a table, and agreement with a slow twin that remembers
// every number.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';

import { REPLAY_WINDOW, ReplayWindow } from '../data/replay.ts';

const W = REPLAY_WINDOW;
const TOP = 2 ** 48 - 1;

t.test('S1005: the table of the replay window', async (t) => {
  // In order, on one window: the number and whether it is fresh; the fresh ones are accepted.
  const table: readonly (readonly [number, boolean])[] = [
    [0, true],
    [0, false],
    [1, true],
    [1, false],
    [9, true],
    [8, true],
    [7, true],
    [7, false],
    [W, true],
    [W - 1, true],
    [W, false],
    [W - 1, false],
    [W - 2, true],
    [2, true],
    [2, false],
    [W + 16, true],
    [3, false],
    [W + 16, false],
    [W * 4, true],
    [W * 4 - (W - 1), true],
    [10, false],
    [W * 4 - W, false],
    [W * 4 - (W + 1), false],
    [W * 4, false],
    [W * 4 + 1, true],
    [TOP - 1, true],
    [TOP, true],
    [TOP - 1, false],
    [TOP - 2, true],
    [TOP - W, false],
    [TOP - W + 1, true],
    [0, false],
  ];
  const window = new ReplayWindow();
  table.forEach(([number, expected], row) => {
    t.equal(window.isFresh(number), expected, `row ${row}: ${number}`);
    if (expected) window.accept(number);
  });
});

t.test('S1005: a number that was only asked about stays fresh', async (t) => {
  const window = new ReplayWindow();
  window.accept(5);
  t.ok(window.isFresh(1_000_000));
  t.ok(window.isFresh(1_000_000));
  t.ok(window.isFresh(4), 'and the window did not move');
  t.notOk(window.isFresh(5));
});

t.test('S1005: the window agrees with a twin that remembers every number', async (t) => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: -40, max: 40 }) },
    { weight: 3, arbitrary: fc.integer({ min: -W - 40, max: W + 40 }) },
    { weight: 1, arbitrary: fc.integer({ min: -3 * W, max: 3 * W }) },
    { weight: 1, arbitrary: fc.constantFrom(-W - 1, -W, 1 - W, W, W + 1, 8192, 2 ** 40) },
  );
  let [fresh, refused] = [0, 0];
  fc.assert(
    fc.property(
      fc.nat(100_000),
      fc.array(step, { minLength: 50, maxLength: 300 }),
      (start, steps) => {
        const window = new ReplayWindow();
        const seen = new Set<number>();
        let highest = -1;
        for (const each of steps) {
          const number = Math.min(TOP, Math.max(0, (highest < 0 ? start : highest) + each));
          const expected = !seen.has(number) && highest - number < W;
          if (window.isFresh(number) !== expected) return false;
          if (!expected) {
            refused++;
            continue;
          }
          fresh++;
          window.accept(number);
          seen.add(number);
          highest = Math.max(highest, number);
        }
        return true;
      },
    ),
    { numRuns: dose(500) },
  );
  t.ok(fresh > 1000 && refused > 1000, `${fresh} fresh, ${refused} refused`);
});
