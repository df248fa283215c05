// The order of TLS handshakes when many knock at once: one in a turn of the event loop, the newest
// first, and none for who has gone.

import { promisify } from 'node:util';
import t from 'tap';
import { BROKER_LIMITS } from '../limits.ts';
import { Handshakes } from '../shell/handshakes.ts';

/** One turn of the event loop, which is what is counted here. */
const turn = promisify(setImmediate);

/** Somebody whose beginning is written down; `leave`: gone before its turn. */
function knocking(begun: string[], name: string) {
  let isOver = false;
  return {
    isOver: () => isOver,
    begin: () => void begun.push(name),
    leave: () => {
      isOver = true;
    },
  };
}

t.test('one in a turn, the newest first, and never in the turn in which it came', async (t) => {
  const begun: string[] = [];
  const handshakes = new Handshakes();
  for (const name of ['a', 'b', 'c']) handshakes.add(knocking(begun, name));
  await turn();
  t.strictSame(begun, [], 'who has given up is seen to be gone first');
  await turn();
  t.strictSame(begun, ['c']);
  handshakes.add(knocking(begun, 'd'));
  await turn();
  await turn();
  await turn();
  t.strictSame(begun, ['c', 'b', 'd', 'a']);
  handshakes.add(knocking(begun, 'e'));
  await turn();
  await turn();
  t.equal(begun.at(-1), 'e', 'after a rest as before');
});

t.test('who has gone costs no handshake and no place', async (t) => {
  const begun: string[] = [];
  const handshakes = new Handshakes();
  const first = knocking(begun, 'first');
  handshakes.add(first);
  for (let at = 0; at < 4 * BROKER_LIMITS.strangersMax; at++) {
    const one = knocking(begun, 'gone');
    handshakes.add(one);
    one.leave();
  }
  const last = knocking(begun, 'last');
  handshakes.add(last);
  last.leave();
  await turn();
  await turn();
  t.strictSame(begun, ['first'], 'in its first turn, past thousands');
});
