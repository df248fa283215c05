// The heap of deadlines against its slow twin, a list that is searched from end to end: whatever is
// armed, moved and stopped falls due once, in order.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import { DeadlineHeap, type Due, notArmed } from '../deadlines.ts';
import { NEVER, micros } from '../time.ts';

const ITEMS = 16;

interface Item extends Due {
  readonly number: number;
}

t.test('deadlines fall due once each, in order, whatever was armed, moved, stopped', async () => {
  const step = fc.record({
    which: fc.nat(ITEMS - 1),
    what: fc.constantFrom('set', 'set', 'stop', 'never', 'pop'),
    at: fc.nat(50),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const heap = new DeadlineHeap<Item>();
      const items = Array.from({ length: ITEMS }, (_, number) => ({ number, ...notArmed() }));
      // In the order of arming; sorting by time alone keeps it among equals.
      let twin: { readonly number: number; readonly at: number }[] = [];
      for (const { which, what, at } of steps) {
        const rest = twin.filter(({ number }) => number !== which);
        if (what === 'set') heap.set(items[which], micros(at));
        else if (what === 'stop') heap.stop(items[which]);
        else if (what === 'never') heap.set(items[which], NEVER);
        if (what === 'set') twin = [...rest, { number: which, at }];
        else if (what !== 'pop') twin = rest;
        else {
          const [first] = twin.toSorted((a, b) => a.at - b.at);
          const expected = first !== undefined && first.at <= at ? first.number : undefined;
          if (heap.popDue(micros(at))?.number !== expected) return false;
          twin = twin.filter(({ number }) => number !== expected);
        }
        if (heap.size !== twin.length) return false;
        if (heap.next() !== Math.min(NEVER, ...twin.map((one) => one.at))) return false;
      }
      return true;
    }),
    { numRuns: dose(1_000) },
  );
});

t.test('an empty heap never falls due, not even when time is over', async (t) => {
  const heap = new DeadlineHeap();
  t.equal(heap.next(), NEVER);
  t.equal(heap.popDue(NEVER), undefined);
});

t.test('what was taken out stays out: a second stop moves nothing', async (t) => {
  const heap = new DeadlineHeap();
  const [one, two] = [notArmed(), notArmed()];
  heap.set(one, micros(1));
  heap.set(two, micros(2));
  heap.stop(one);
  heap.stop(one);
  t.equal(heap.size, 1);
  t.equal(heap.next(), micros(2));
});
