// The manager's timers: what one turn fires, and what fires again when a deadline arms another (the
// order is the heap's: protocol/test/deadlines.test.ts).

import t from 'tap';
import { micros } from '../../protocol/time.ts';
import { Deadlines } from '../deadlines.ts';

t.test('no more than a turn may fire, the rest stays due', async (t) => {
  const deadlines = new Deadlines();
  let fired = 0;
  for (let i = 0; i < 5; i++) {
    const deadline = deadlines.make(() => (fired += 1));
    deadlines.set(deadline, micros(1));
  }
  deadlines.run(micros(1), 2);
  t.equal(fired, 2);
  t.equal(deadlines.next(), micros(1));
  deadlines.run(micros(1), 256);
  t.equal(fired, 5);
});

t.test('a deadline that arms itself again is bounded by the turn', async (t) => {
  const deadlines = new Deadlines();
  let fired = 0;
  const again = deadlines.make((now) => {
    fired += 1;
    deadlines.set(again, now);
  });
  deadlines.set(again, micros(1));
  deadlines.run(micros(1), 7);
  t.equal(fired, 7);
});
