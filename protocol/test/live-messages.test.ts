// Live media beside bulk: messages borrow from pacer and window, a bounded share, so that neither a
// full window nor ProbeRTT makes them wait (issue: 25 ms at the 99th percentile on 10 Mbit/s).

import t from 'tap';
import { DATA_LIMITS } from '../data/limits.ts';
import { MICROS_PER_MS, micros, ms } from '../time.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const LINK = { delayMs: 25, bytesPerSecond: 1_250_000, queueBytes: 600_000 };
const MESSAGE_BYTES = 160;
const EVERY_MS = 20;

/** One-way delays, milliseconds ascending, of a message each 20 ms beside bulk. */
function delays(forMs: number): readonly number[] {
  const pair = new Pair({ faults: LINK }).open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(64_000_000), false);
  pair.pass(4_000);
  const found: number[] = [];
  const before = pair.callee.onEvent;
  pair.callee.onEvent = (event) => {
    before(event);
    if (event.kind !== 'datagram') return;
    for (;;) {
      const message = pair.callee.connection.readDatagram();
      if (message === undefined) return;
      const sentAt = new DataView(message.buffer, message.byteOffset).getFloat64(0);
      found.push((pair.now - sentAt) / MICROS_PER_MS);
    }
  };
  const from = pair.now;
  for (let at = 0; at < forMs; at += EVERY_MS) {
    pair.run(() => pair.now >= from + ms(at), EVERY_MS * 2);
    pair.now = micros(Math.max(pair.now, from + ms(at)));
    const message = new Uint8Array(MESSAGE_BYTES);
    new DataView(message.buffer).setFloat64(0, pair.now);
    if (!pair.caller.connection.sendDatagram(message)) throw new Error('the queue is full');
    pair.drain();
  }
  return found.sort((a, b) => a - b);
}

t.test('beside bulk at 10 Mbit/s a message is 15 ms late at most, 99 times of 100', async (t) => {
  const sorted = delays(12_000);
  t.ok(sorted.length >= 0.98 * (12_000 / EVERY_MS), `${sorted.length} arrived`);
  const late = sorted[Math.floor(sorted.length * 0.99)] - LINK.delayMs;
  t.ok(late <= 15, `${late.toFixed(1)} ms`);
});

t.test('what messages borrow is bounded, however many there are', async (t) => {
  // CUBIC fills its window; BBR's is rarely what holds it back.
  const pair = new Pair({ faults: LINK, config: { congestionControl: 'cubic' } }).open();
  new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(8_000_000), false);
  pair.pass(3_000);
  let most = 0;
  for (let i = 0; i < 3_000; i++) {
    pair.caller.connection.sendDatagram(new Uint8Array(1_000));
    pair.drain();
    const { bytesInFlight, congestionWindow } = pair.caller.connection.state(pair.now).transport;
    most = Math.max(most, bytesInFlight / congestionWindow);
    if (i % 10 === 0) pair.pass(1);
  }
  t.ok(most <= DATA_LIMITS.messageWindowShare + 0.01, `${most} windows`);
  t.ok(most > 1, 'and they do borrow');
});
