// The modelled link does to datagrams what it says: delay, rate, queue, losses, copies, flipped
// bits.

import t from 'tap';
import { seededRng } from '../../protocol/random.ts';
import { NEVER, micros, ms } from '../../protocol/time.ts';
import { CLEAN, type Faults, Link } from '../link.ts';

const FROM = { host: '192.0.2.1', port: 1 };
const linkOf = (faults: Partial<Faults>): Link<'there'> => {
  const rng = seededRng(1);
  return new Link(() => rng.next() / 2 ** 32, { ...CLEAN, ...faults });
};

/** Sends `count` datagrams of 1000 bytes at once; when each that arrives does. */
function arrivals(link: Link<'there'>, count: number): readonly number[] {
  for (let i = 0; i < count; i++) link.send(micros(0), 'there', FROM, new Uint8Array(1000).fill(i));
  const times: number[] = [];
  for (let next = link.nextArrival; next !== NEVER; next = link.nextArrival) {
    const datagram = link.take(next);
    if (datagram !== undefined) times.push(datagram.at);
  }
  return times;
}

t.test('a clean link delays, and nothing else', async (t) => {
  const link = linkOf({ delayMs: 20 });
  t.strictSame(arrivals(link, 3), [ms(20), ms(20), ms(20)]);
  link.send(micros(5), 'there', FROM, new Uint8Array([1, 2, 3]));
  t.equal(link.take(micros(ms(20))), undefined, 'not before its time');
  t.strictSame(link.take(micros(5 + ms(20)))?.bytes, new Uint8Array([1, 2, 3]));
});

t.test('a rate spreads datagrams, and a queue holds what it holds', async (t) => {
  const spread = arrivals(linkOf({ delayMs: 0, bytesPerSecond: 1_000_000 }), 3);
  t.strictSame(spread, [ms(1), ms(2), ms(3)]);
  const held = arrivals(linkOf({ bytesPerSecond: 1_000_000, queueBytes: 5_000 }), 20);
  t.equal(held.length, 6, 'one on the line, five behind it');
});

t.test('losses, copies and jitter come in the share that was asked for', async (t) => {
  const kept = arrivals(linkOf({ loss: 0.1 }), 10_000).length;
  t.ok(kept > 8_850 && kept < 9_150, `${kept} of 10 000`);
  const twice = arrivals(linkOf({ duplicate: 0.1 }), 10_000).length;
  t.ok(twice > 10_850 && twice < 11_150, `${twice} of 10 000`);
  const burst = arrivals(linkOf({ loss: 0.01, burst: 0.9 }), 10_000).length;
  t.ok(burst > 8_500 && burst < 9_500, `${burst} of 10 000`);
  const late = arrivals(linkOf({ delayMs: 1, jitterMs: 9 }), 1_000);
  t.ok(Math.max(...late) > ms(9) && Math.max(...late) < ms(10));
  t.strictSame(
    late,
    [...late].sort((a, b) => a - b),
    'told in the order of arrival',
  );
});

t.test('a flipped bit is one bit, in a copy', async (t) => {
  const link = linkOf({ corrupt: 1 });
  const bytes = new Uint8Array(100);
  link.send(micros(0), 'there', FROM, bytes);
  const arrived = link.take(micros(ms(5)))?.bytes ?? bytes;
  const bits = arrived.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
  t.equal(bits, 1);
  t.strictSame(bytes, new Uint8Array(100));
});
