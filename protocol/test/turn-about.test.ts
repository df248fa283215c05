// Who has only received for a while and then sends finds the path as fast as somebody new on it.
// In virtual time, over one pair of connections.

import t from 'tap';
import type { Role } from '../data/connection-types.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const FAULTS = { delayMs: 25, bytesPerSecond: 2_500_000, queueBytes: 1_000_000 };
const LIMIT_MS = 60_000;

/** Seconds until `bytes` are through. */
function sent(pair: Pair, from: Role, sink: Sink, bytes: number): number {
  const start = pair.now;
  const stream = send(pair, pair.end(from), new Uint8Array(bytes));
  if (!pair.run(() => sink.finished.has(stream), LIMIT_MS)) throw new Error('not through');
  return (pair.now - start) / 1e6;
}

t.test('a download with a standing queue does not slow the upload that follows', async (t) => {
  const fresh = new Pair({ faults: FAULTS }).open();
  const alone = sent(fresh, 'caller', new Sink(fresh.callee), 5_000_000);
  const pair = new Pair({ faults: FAULTS }).open();
  const [there, here] = [new Sink(pair.callee), new Sink(pair.caller)];
  sent(pair, 'callee', here, 10_000_000);
  const behind = sent(pair, 'caller', there, 5_000_000);
  t.ok(behind < 1.3 * alone, `${alone.toFixed(2)} s alone, ${behind.toFixed(2)} s behind it`);
});
