// Delivery rate estimation in recovery (draft-ietf-ccwg-bbr §4.1): what one acknowledgement tells
// the congestion controller, packet by packet.

import t from 'tap';
import { Bbr } from '../congestion/bbr.ts';
import type { RateSample } from '../congestion/controller.ts';
import { Recovery } from '../data/recovery.ts';
import { Rtt } from '../data/rtt.ts';
import { seededRng } from '../random.ts';
import type { Micros } from '../time.ts';
import { micros, ms } from '../time.ts';

const SIZE = 1200;

/** Keeps what it was told. */
class Witness extends Bbr {
  readonly samples: RateSample[] = [];

  override onAck(now: Micros, sample: RateSample): void {
    this.samples.push({ ...sample });
    super.onAck(now, sample);
  }
  get last(): RateSample {
    return this.samples[this.samples.length - 1];
  }
}

class Bench {
  readonly witness = new Witness({ datagramBytes: SIZE, rng: seededRng(1) });
  readonly recovery = new Recovery(new Rtt(), this.witness, {
    onPartAcked: () => {},
    onPartLost: () => {},
    onPartProbed: () => {},
    onLateDatagrams: () => {},
  });

  send(count: number, atMs: number): void {
    for (let i = 0; i < count; i++) {
      this.recovery.onPacketSent(micros(ms(atMs)), this.recovery.beginPacket(), SIZE, true);
    }
  }
  ack(atMs: number, smallest: number, largest: number): RateSample {
    const ack = { largest, delayMicros: 0, edges: [smallest, largest], ranges: 1 };
    this.recovery.onAck(micros(ms(atMs)), ack);
    return this.witness.last;
  }
}

t.test('the newest packet of an acknowledgement is what is measured', async (t) => {
  const bench = new Bench();
  bench.send(2, 1);
  bench.send(2, 11);
  const sample = bench.ack(101, 0, 3);
  t.equal(sample.newestSentAt, ms(11));
  t.equal(sample.rttMicros, ms(90));
  t.equal(sample.ackedBytes, 4 * SIZE);
  t.equal(sample.deliveredBytes, 4 * SIZE);
  t.equal(sample.intervalMicros, ms(100), 'from when the first left: nothing was in flight');
  t.equal(sample.txInFlight, 4 * SIZE);
});

t.test('the interval is the longer of sending and acknowledging', async (t) => {
  const bench = new Bench();
  bench.send(1, 1);
  bench.ack(51, 0, 0);
  bench.send(1, 60);
  bench.send(1, 100);
  const first = bench.ack(110, 1, 1);
  t.equal(first.intervalMicros, ms(50));
  const second = bench.ack(150, 2, 2);
  t.equal(second.priorDelivered, SIZE);
  t.equal(second.deliveredBytes, 2 * SIZE);
  t.equal(second.intervalMicros, ms(90), 'acknowledged over 90 ms, sent over 40');
});

t.test('silence before a packet is not held against the path', async (t) => {
  const bench = new Bench();
  bench.send(1, 1);
  bench.ack(51, 0, 0);
  bench.send(1, 5000);
  t.equal(bench.ack(5050, 1, 1).intervalMicros, ms(50));
});

t.test('application-limited until what was in flight then has arrived', async (t) => {
  const bench = new Bench();
  bench.send(1, 1);
  bench.recovery.onAppLimited();
  bench.send(1, 2);
  bench.ack(51, 0, 0);
  t.notOk(bench.witness.last.appLimited, 'sent before');
  bench.send(1, 60);
  t.ok(bench.ack(61, 1, 1).appLimited);
  bench.send(1, 62);
  t.ok(bench.ack(111, 2, 2).appLimited);
  t.notOk(bench.ack(112, 3, 3).appLimited, 'the pause has been acknowledged');
});

t.test('bytes lost while a packet was under way', async (t) => {
  const bench = new Bench();
  bench.send(10, 1);
  const sample = bench.ack(51, 4, 9);
  t.equal(sample.lostBytes, 4 * SIZE);
  t.equal(sample.bytesInFlight, 0);
  bench.send(1, 60);
  t.equal(bench.ack(110, 10, 10).lostBytes, 0);
});
