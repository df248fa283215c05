// The heap of deadlines fires what a plain
// sorted list would.

import fc from 'fast-check';
import t from 'tap';
import { type Micros, NEVER, micros } from '../../protocol/time.ts';
import { type Deadline, Deadlines } from '../deadlines.ts';

t.test('deadlines fire once each, in order, whatever was armed, moved and stopped', async (t) => {
  const step = fc.record({ which: fc.nat(15), at: fc.option(fc.nat(50), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.nat(50), (steps, until) => {
      const heap = new Deadlines();
      const fired: number[] = [];
      const all: Deadline[] = Array.from({ length: 16 }, (_, at) =>
        heap.make(() => fired.push(at)),
      );
      const model = new Map<number, { at: Micros; order: number }>();
      steps.forEach(({ which, at }, order) => {
        heap.set(all[which], at === undefined ? NEVER : micros(at));
        if (at === undefined) model.delete(which);
        else model.set(which, { at: micros(at), order });
      });
      const due = [...model]
        .filter(([, one]) => one.at <= until)
        .sort(([, a], [, b]) => a.at - b.at || a.order - b.order)
        .map(([which]) => which);
      heap.run(micros(until), 100);
      const rest = [...model].filter(([which]) => !due.includes(which)).map(([, one]) => one.at);
      return (
        JSON.stringify(fired) === JSON.stringify(due) && heap.next() === Math.min(NEVER, ...rest)
      );
    }),
    { numRuns: 500 },
  );
  const heap = new Deadlines();
  let fired = 0;
  for (let i = 0; i < 5; i++)
    heap.set(
      heap.make(() => (fired += 1)),
      micros(1),
    );
  heap.run(micros(1), 2);
  t.equal(fired, 2, 'no more than a turn may fire');
});
