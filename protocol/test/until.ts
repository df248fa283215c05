// The one way in which a test waits: for a condition, asked again every few milliseconds, with a
// bound after which it says what it waited for. No other test code sleeps (the tidy test looks).

import { setTimeout as delay } from 'node:timers/promises';

const PATIENCE_MS = 10_000;
const LOOK_MS = 2;
const STILL_MS = 100;

/** Resolves when the condition holds; throws `waited in vain` after 10 s, or `patienceMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = 'a condition',
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const patience = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > patience) throw new Error(`waited in vain: ${what}`);
    await delay(LOOK_MS);
  }
}

/** Resolves with a counter's value when it has not moved for a tenth of a second. */
export async function untilStill(count: () => number): Promise<number> {
  let last = -1;
  while (count() !== last) {
    last = count();
    await delay(STILL_MS);
  }
  return last;
}
