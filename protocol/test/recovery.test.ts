// Loss detection, round-trip time, congestion window and pacing: the rules of RFC 9002, one by one,
// on packets that never were.

import t from 'tap';
import type { Controller, RateSample } from '../congestion/controller.ts';
import { Cubic } from '../congestion/cubic.ts';
import type { AckFrame } from '../data/frame.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { Pacer } from '../data/pacer.ts';
import { Recovery } from '../data/recovery.ts';
import { Rtt } from '../data/rtt.ts';
import { SentPackets } from '../data/sent-packets.ts';
import { PART } from '../data/sent-packets.ts';
import { TIMER, Timers } from '../data/timers.ts';
import { NEVER, micros, ms } from '../time.ts';

const SIZE = 1200;
const RTT_MS = 100;

class Bench {
  readonly rtt = new Rtt();
  readonly controller = new Cubic(SIZE);
  readonly fates: string[] = [];
  late = 0;
  readonly recovery = new Recovery(this.rtt, this.controller, {
    onPartAcked: (_kind, a) => this.fates.push(`acked ${a}`),
    onPartLost: (_kind, a) => this.fates.push(`lost ${a}`),
    onPartProbed: (_kind, a) => this.fates.push(`probed ${a}`),
    onLateDatagrams: (bytes) => (this.late += bytes),
  });

  /** Sends packets, each with a DATAGRAM part that names it. */
  send(count: number, atMs: number): void {
    for (let i = 0; i < count; i++) {
      const packet = this.recovery.beginPacket();
      packet.add(PART.datagram, packet.packetNumber);
      this.recovery.onPacketSent(micros(ms(atMs)), packet, SIZE, true);
    }
  }

  ack(atMs: number, ...ranges: readonly (readonly [number, number])[]): void {
    const edges = ranges.flat();
    const ack: AckFrame = { largest: edges[1], delayMicros: 0, edges, ranges: ranges.length };
    this.recovery.onAck(micros(ms(atMs)), ack);
  }
}

t.test('three later acknowledgements make a packet lost (RFC 9002 §6.1.1)', async (t) => {
  const bench = new Bench();
  bench.send(5, 0);
  bench.ack(RTT_MS, [2, 3]);
  t.strictSame(bench.fates, ['acked 3', 'acked 2', 'lost 0']);
  t.equal(bench.recovery.bytesInFlight, 2 * SIZE);
  t.equal(bench.recovery.lostPackets, 1);
});

t.test('who sends without a pause notices a silence too', async (t) => {
  const bench = new Bench();
  bench.send(1, 0);
  bench.ack(RTT_MS, [0, 0]);
  const { pto } = bench.recovery;
  // A packet each half of a PTO: RFC 9002 alone would put the timeout off for ever.
  let timeouts = 0;
  let firstAt = 0;
  for (let at = 2 * RTT_MS; timeouts < 2 && at < 60_000; at += pto / 2_000) {
    bench.send(1, at);
    if (bench.recovery.nextTimeout() > ms(at)) continue;
    bench.recovery.handleTimeout(micros(ms(at)));
    timeouts += 1;
    firstAt ||= ms(at);
  }
  t.equal(timeouts, 2);
  t.ok(bench.recovery.wantsSmall);
  const waited = firstAt - ms(2 * RTT_MS);
  t.ok(waited >= DATA_LIMITS.steadyPtos * pto, `${waited}`);
  t.ok(waited <= (DATA_LIMITS.steadyPtos + 1) * pto, `${waited}`);
  bench.ack(90_000, [1, 1]);
  t.notOk(bench.recovery.wantsSmall, 'an acknowledgement ends it');
});

t.test('an acknowledgement puts the timeout of who waits in vain off', async (t) => {
  const bench = new Bench();
  bench.send(1, 0);
  bench.ack(RTT_MS, [0, 0]);
  const step = bench.recovery.pto / 2_000;
  for (let number = 1; number < 40; number++) {
    const at = 2 * RTT_MS + number * step;
    bench.send(1, at);
    t.ok(bench.recovery.nextTimeout() > ms(at), `${number}`);
    // Each is acknowledged one round trip later, when the next one is under way.
    if (number > 1) bench.ack(at + 1, [number - 1, number - 1]);
  }
});

t.test('9/8 of the round trip make a packet lost (RFC 9002 §6.1.2)', async (t) => {
  const bench = new Bench();
  bench.send(2, 0);
  bench.ack(RTT_MS, [1, 1]);
  t.equal(bench.recovery.nextTimeout(), ms(RTT_MS) * 1.125);
  bench.recovery.handleTimeout(micros(ms(RTT_MS) * 1.125));
  t.strictSame(bench.fates, ['acked 1', 'lost 0']);
  t.equal(bench.recovery.nextTimeout(), NEVER);
});

t.test('the probe timeout doubles, and a probe repeats the oldest packets (§6.2)', async (t) => {
  const bench = new Bench();
  bench.send(1, 0);
  bench.ack(RTT_MS, [0, 0]);
  bench.send(3, 200);
  const first = bench.recovery.nextTimeout() - ms(200);
  t.equal(first, ms(RTT_MS) + 4 * ms(RTT_MS / 2) + ms(DATA_LIMITS.peerAckDelayMs));
  bench.fates.length = 0;
  bench.recovery.handleTimeout(bench.recovery.nextTimeout());
  t.strictSame(bench.fates, ['probed 1', 'probed 2']);
  t.equal(bench.recovery.probes, DATA_LIMITS.probesPerPto);
  t.equal(bench.recovery.pto, first * 2);
  t.equal(bench.recovery.bytesInFlight, 3 * SIZE, 'nothing is lost yet');
  for (let i = 0; i < 20; i++) bench.recovery.handleTimeout(bench.recovery.nextTimeout());
  t.equal(bench.recovery.pto, ms(DATA_LIMITS.ptoMsMax), 'but never beyond a bound');
});

t.test('a packet that was declared lost and arrives is counted as such', async (t) => {
  const bench = new Bench();
  bench.send(5, 0);
  bench.ack(RTT_MS, [3, 4]);
  t.equal(bench.recovery.spuriousLosses, 0);
  bench.ack(RTT_MS + 1, [0, 4]);
  t.equal(bench.recovery.spuriousLosses, 2);
  t.equal(bench.late, 1, 'DATAGRAM bytes 0 and 1');
  bench.ack(RTT_MS + 2, [0, 4]);
  t.equal(bench.recovery.spuriousLosses, 2, 'once');
});

t.test('a path that reorders is given more time (§6.1.1), within bounds', async (t) => {
  const bench = new Bench();
  bench.send(12, 0);
  bench.ack(RTT_MS, [11, 11]);
  t.equal(bench.recovery.lostPackets, 9, 'three packets are not waited for longer');
  bench.ack(RTT_MS + 1, [0, 11]);
  t.equal(bench.recovery.spuriousLosses, 9);
  bench.fates.length = 0;
  bench.send(12, 200);
  bench.ack(200 + RTT_MS, [22, 23]);
  t.notOk(bench.fates.includes('lost 12'), 'eleven later ones prove nothing any more');
  t.equal(bench.recovery.nextTimeout(), ms(200) + ms(RTT_MS) * 1.25, 'nor does 9/8');
  bench.recovery.handleTimeout(bench.recovery.nextTimeout());
  t.ok(bench.fates.includes('lost 12'));
  for (let turn = 1; turn <= 20; turn++) {
    const from = bench.recovery.nextPacketNumber;
    bench.send(200, 1000 * turn);
    bench.ack(1000 * turn + RTT_MS, [from + 199, from + 199]);
    bench.ack(1000 * turn + RTT_MS + 1, [from, from + 199]);
  }
  const from = bench.recovery.nextPacketNumber;
  bench.send(100, 50_000);
  bench.fates.length = 0;
  bench.ack(50_000 + RTT_MS, [from + 99, from + 99]);
  const lost = bench.fates.filter((fate) => fate.startsWith('lost')).length;
  t.equal(lost, 100 - DATA_LIMITS.packetThresholdMax);
  const most = (ms(RTT_MS + 1) * DATA_LIMITS.timeThresholdEighthsMax) / 8;
  t.ok(bench.recovery.nextTimeout() - ms(50_000) <= most);
});

const FIRST = DATA_LIMITS.initialWindowDatagrams;

t.test(
  'the window opens by what is acknowledged and shrinks once a round trip (§7.3)',
  async (t) => {
    const bench = new Bench();
    const { controller } = bench;
    t.equal(controller.congestionWindow, FIRST * SIZE);
    bench.send(FIRST, 0);
    t.notOk(bench.recovery.hasRoom(SIZE));
    bench.ack(RTT_MS, [0, FIRST - 1]);
    t.equal(controller.congestionWindow, 2 * FIRST * SIZE, 'slow start');
    bench.send(2 * FIRST, 100);
    bench.ack(200, [2 * FIRST, 2 * FIRST + 5]);
    const reduced = controller.congestionWindow;
    t.ok(Math.abs(reduced - 2 * FIRST * SIZE * 0.7) < 1, `${reduced}`);
    t.notOk(controller.inSlowStart);
    bench.ack(201, [2 * FIRST, 3 * FIRST - 1]);
    t.equal(controller.congestionWindow, reduced, 'sent before the loss was seen');
  },
);

t.test('who does not fill the window does not widen it (§7.8)', async (t) => {
  const bench = new Bench();
  for (let i = 0; i < 10; i++) {
    bench.recovery.onAppLimited();
    bench.send(1, i * 100);
    bench.ack(i * 100 + 50, [i, i]);
  }
  t.equal(bench.controller.congestionWindow, FIRST * SIZE);
});

t.test('losses over three probe timeouts mean persistent congestion (§7.6)', async (t) => {
  const bench = new Bench();
  bench.send(1, 0);
  bench.ack(RTT_MS, [0, 0]);
  for (let i = 1; i <= 8; i++) bench.send(1, 200 * i);
  bench.send(1, 1900);
  bench.ack(2000, [9, 9]);
  // The least window, and the datagram that was acknowledged.
  t.equal(bench.controller.congestionWindow, (DATA_LIMITS.minimumWindowDatagrams + 1) * SIZE);
});

t.test('a delivery rate comes with each acknowledgement', async (t) => {
  const samples: RateSample[] = [];
  const controller: Controller = {
    name: 'listening',
    phase: 'listening',
    congestionWindow: 100 * SIZE,
    pacingRate: undefined,
    sendQuantum: undefined,
    inSlowStart: false,
    onPacketSent() {},
    onAck: (_now, sample) => void samples.push({ ...sample }),
    onPacketLost() {},
    onLoss() {},
    onSpuriousLoss() {},
    onDatagramBytes() {},
    reset() {},
  };
  const owner = { onPartAcked() {}, onPartLost() {}, onPartProbed() {}, onLateDatagrams() {} };
  const recovery = new Recovery(new Rtt(), controller, owner);
  for (let i = 0; i < 80; i++) {
    // One packet a millisecond, acknowledged 20 ms later: 1200 bytes a millisecond.
    const packet = recovery.beginPacket();
    recovery.onPacketSent(micros(ms(i)), packet, SIZE, true);
    if (i < 20) continue;
    const number = i - 20;
    const edges = [0, number];
    recovery.onAck(micros(ms(i)), { largest: number, delayMicros: 0, edges, ranges: 1 });
  }
  const last = samples[samples.length - 1];
  t.equal(last.deliveredBytes / (last.intervalMicros / 1000), SIZE);
  t.equal(last.rttMicros, ms(20));
});

t.test('round-trip times are smoothed as RFC 9002 §5.3 says', async (t) => {
  const rtt = new Rtt();
  t.equal(rtt.smoothed, ms(DATA_LIMITS.initialRttMs));
  rtt.update(ms(100), ms(50));
  t.equal(rtt.smoothed, ms(100), 'the first one counts as it is');
  rtt.update(ms(120), ms(2));
  t.equal(rtt.smoothed, (7 * ms(100) + ms(118)) / 8);
  rtt.update(ms(101), ms(5));
  t.equal(rtt.minimum, ms(100));
  t.equal(rtt.latest, ms(101));
});

t.test('the pacer lets a burst go, then a window in a round trip (§7.7)', async (t) => {
  const pacer = new Pacer(SIZE);
  const pace = {
    congestionWindow: 100 * SIZE,
    pacingRate: undefined,
    sendQuantum: undefined,
    inSlowStart: false,
  };
  let now = micros(1_000_000);
  let sent = 0;
  const until = now + ms(RTT_MS);
  while (now < until) {
    pacer.refill(now, pace, ms(RTT_MS));
    const at = pacer.next(now, SIZE);
    if (at > now) {
      now = at;
      continue;
    }
    pacer.spend(SIZE);
    sent++;
  }
  t.ok(Math.abs(sent - 125 - DATA_LIMITS.paceBurstDatagrams) <= 1, `${sent} datagrams`);
});

t.test('a timer that comes late lowers no rate, and idling earns none', async (t) => {
  for (const lateMs of [0, 1, 5, 15]) {
    const pacer = new Pacer(SIZE);
    // 1 byte a microsecond; the quantum of a slow path.
    const pace = {
      congestionWindow: 1e6,
      pacingRate: 1,
      sendQuantum: 2 * SIZE,
      inSlowStart: false,
    };
    let now = micros(1_000_000);
    const until = now + ms(1_000);
    let sent = 0;
    while (now < until) {
      pacer.refill(now, pace, ms(RTT_MS));
      const at = pacer.next(now, SIZE);
      if (at > now) {
        now = micros(at + ms(lateMs));
        continue;
      }
      pacer.spend(SIZE);
      sent += SIZE;
      // Each takes its time, so that the clock moves within one burst.
      now = micros(now + 2);
    }
    t.ok(sent > 0.97e6 && sent < 1.05e6, `${sent} bytes in a second, ${lateMs} ms late`);
    pacer.refill(micros(now + ms(500)), pace, ms(RTT_MS));
    pacer.refill(micros(now + ms(1_000)), pace, ms(RTT_MS));
    let burst = 0;
    for (; pacer.next(micros(now + ms(1_000)), SIZE) <= now + ms(1_000); burst += SIZE)
      pacer.spend(SIZE);
    t.ok(burst <= 16 * SIZE + ms(2), `${burst} bytes at once after a pause`);
  }
});

t.test('timers fire once and the earliest is next', async (t) => {
  const timers = new Timers();
  t.equal(timers.next(), NEVER);
  timers.set(TIMER.idle, micros(50));
  timers.set(TIMER.expiry, micros(20));
  t.equal(timers.next(), 20);
  t.notOk(timers.fires(TIMER.expiry, micros(19)));
  t.ok(timers.fires(TIMER.expiry, micros(20)));
  t.notOk(timers.fires(TIMER.expiry, micros(20)));
  t.equal(timers.next(), 50);
  timers.stopAll();
  t.equal(timers.next(), NEVER);
});

t.test('the ledger lets go of what a large flight needed when all of it is settled', async (t) => {
  const sent = new SentPackets();
  const flight = (packets: number): void => {
    for (let i = 0; i < packets; i++) sent.begin('outstanding');
    for (let number = sent.base; number < sent.next; number++) sent.at(number).state = 'lost';
    sent.settle();
    t.equal(sent.count, 0);
  };
  flight(5_000);
  t.equal(sent.held, 0);
  flight(1_000);
  t.equal(sent.held, 1_024, 'a small one keeps its records');
  t.equal(sent.begin('outstanding').packetNumber, 6_000);
});

t.test(
  'who is heard again after a silence is asked at once, and the backing off goes on',
  async (t) => {
    const bench = new Bench();
    bench.send(1, 0);
    bench.ack(RTT_MS, [0, 0]);
    bench.send(4, RTT_MS);
    bench.recovery.onHeardAgain(micros(ms(RTT_MS + 1)));
    t.equal(bench.recovery.probes, 0, 'nothing has backed off');
    for (let count = 0; count < 4; count++)
      bench.recovery.handleTimeout(bench.recovery.nextTimeout());
    while (bench.recovery.probes > 0) bench.send(1, 3_000);
    t.ok(bench.recovery.nextTimeout() > micros(ms(3_500)));
    bench.recovery.onHeardAgain(micros(ms(3_100)));
    t.equal(bench.recovery.probes, DATA_LIMITS.probesPerPto);
    t.equal(bench.recovery.pto, ms(DATA_LIMITS.ptoMsMax), 'until an ACK (RFC 9002 §6.2.1)');
  },
);

t.test('what was under way while the process stood still times no round trip', async (t) => {
  const bench = new Bench();
  bench.send(1, 0);
  bench.ack(RTT_MS, [0, 0]);
  bench.send(2, RTT_MS);
  const { pto } = bench.rtt;
  bench.recovery.onStoodStill(micros(ms(40_000)));
  bench.ack(40_001, [1, 2]);
  t.equal(bench.rtt.pto, pto);
  t.equal(bench.recovery.bytesInFlight, 0, 'it is acknowledged all the same');
  bench.send(1, 40_002);
  bench.ack(40_002 + RTT_MS, [3, 3]);
  t.equal(bench.rtt.latest, ms(RTT_MS), 'what left since does');
});
