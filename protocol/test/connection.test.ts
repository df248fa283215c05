// The talk from handshake to end: two connections on a clean link, one claim a test.

import t from 'tap';
import type { StreamId } from '../data/connection-types.ts';
import { randomBytes } from '../random.ts';
import { Pair, Sink, send } from './pair.ts';

const MB = 1_000_000;

t.test(
  'S1005, S4005: the caller knocks, both ends are open on the path that answered',
  async (t) => {
    const pair = new Pair().open();
    t.same(
      [pair.caller, pair.callee].map(({ events }) => events[0]),
      [
        { kind: 'established', path: pair.callee.path },
        { kind: 'established', path: pair.caller.path },
      ],
    );
    t.strictSame(
      pair.sent.slice(0, 2).map(({ from, bytes }) => [from, bytes.length]),
      [
        ['caller', 53],
        ['callee', 53],
      ],
    );
  },
);

t.test(
  'S1006, S4006: ends when all data is transferred, and both ends count the same',
  async (t) => {
    const pair = new Pair().open();
    const sink = new Sink(pair.callee);
    const data = randomBytes(pair.rng, 3 * MB);
    const stream = send(pair, pair.caller, data);
    pair.caller.onEvent = chain(pair.caller.onEvent, (event) => {
      if (event.kind === 'delivered') pair.caller.connection.close(pair.now, 'done');
    });
    t.ok(pair.runToEnd());
    t.equal(pair.caller.reason, 'done');
    t.equal(pair.callee.reason, 'done');
    t.ok(Buffer.from(data).equals(sink.bytes(stream)));
    t.ok(sink.finished.has(stream));
    t.equal(pair.caller.counts?.sentBytes, data.length);
    t.equal(pair.callee.counts?.receivedBytes, data.length);
    t.equal(pair.caller.counts?.lostBytes, 0);
  },
);

const chain =
  <Event>(first: (event: Event) => void, second: (event: Event) => void) =>
  (event: Event): void => {
    first(event);
    second(event);
  };

export const unused = 0 as StreamId;
