// When a talk notices that its peer's word is missing: from the first packet that waits on, and
// sooner where bytes came steadily until a moment ago.

import t from 'tap';
import { DATA_LIMITS } from '../data/limits.ts';
import { Rtt } from '../data/rtt.ts';
import { Silence } from '../data/silence.ts';
import { TIMER, Timers } from '../data/timers.ts';
import { type Micros, NEVER, after, micros, ms } from '../time.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const START: Micros = micros(1_000_000);

class Bench {
  now = START;
  readonly timers = new Timers();
  readonly rtt = new Rtt();
  readonly silence = new Silence(this.timers, this.rtt);

  constructor() {
    for (let count = 0; count < 20; count++) this.rtt.update(ms(100), 0);
    this.silence.onHeard(this.now);
  }

  /** Milliseconds from now until it is told, which is where the time goes on. */
  told(): number {
    const at = this.timers.next();
    const passed = at === NEVER ? Infinity : (at - this.now) / 1_000;
    if (at !== NEVER) this.now = at;
    return this.silence.fires(this.now) ? passed : Infinity;
  }
}

t.test('two probe timeouts from the first packet that waits, then twice as long', async (t) => {
  const bench = new Bench();
  t.notOk(bench.timers.isSet(TIMER.silence), 'who has said nothing waits for nothing');
  bench.silence.onSent(bench.now);
  const patience = (DATA_LIMITS.silencePtos * bench.rtt.patience) / 1_000;
  bench.now = after(bench.now, ms(50));
  bench.silence.onSent(bench.now);
  t.equal(bench.told(), patience - 50, 'later packets put nothing off');
  t.equal(bench.told(), 2 * patience);
  t.equal(bench.told(), 4 * patience);
  t.equal(bench.silence.lasts(bench.now), bench.now - START);
  t.ok(bench.silence.onHeard(bench.now), 'it was told');
  t.notOk(bench.silence.onHeard(bench.now));
  t.notOk(bench.timers.isSet(TIMER.silence));
  bench.silence.onSent(bench.now);
  t.equal(bench.told(), patience, 'and it begins anew');
});

t.test('where a steady stream is missed one probe timeout is enough', async (t) => {
  const bench = new Bench();
  bench.silence.onMissed();
  bench.silence.onSent(bench.now);
  const { silencePtosMissed, silenceMsLeastMissed } = DATA_LIMITS;
  const patience = Math.max(silencePtosMissed * bench.rtt.patience, ms(silenceMsLeastMissed));
  t.equal(bench.told(), patience / 1_000);
  bench.silence.onHeard(bench.now);
  bench.silence.onSent(bench.now);
  t.ok(bench.told() > patience / 1_000, 'it came again');
});

t.test('S3000: who only receives notices within 350 ms that nothing comes any more', async (t) => {
  const pair = new Pair({ faults: { delayMs: 25, bytesPerSecond: 2_000_000 } }).open();
  const sink = new Sink(pair.callee);
  send(pair, pair.caller, new Uint8Array(3_000_000));
  pair.pass(700);
  t.ok(sink.total > 100_000 && sink.total < 2_500_000, 'in mid-transfer');
  pair.filter = () => false;
  const { now } = pair;
  const isTold = (): boolean => pair.callee.events.some(({ kind }) => kind === 'silent');
  t.ok(pair.run(isTold, 5_000));
  const tookMs = (pair.now - now) / 1_000;
  // What was under way still came: 25 ms.
  t.ok(tookMs <= 375, `${tookMs} ms`);
});
