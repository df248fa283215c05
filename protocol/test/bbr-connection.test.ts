// BBR inside whole connections, in virtual time: the phases as the event trace tells them, and
// whole transfers.

import t from 'tap';
import { ms } from '../time.ts';
import type { TraceEvent } from '../trace/trace-event.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const LINK = { delayMs: 25, bytesPerSecond: 1.25e6, queueBytes: 62_500 };
const KIB = 1024;

t.test('the trace tells Startup, Drain, the four phases of ProbeBW and ProbeRTT', async (t) => {
  const phases: { readonly at: number; readonly to: string }[] = [];
  const trace = (event: TraceEvent): void => {
    if (event.kind === 'phase') phases.push({ at: event.at, to: event.to });
  };
  const pair = new Pair({ faults: LINK, config: { congestionControl: 'bbr' }, trace }).open();
  const bytes = new Uint8Array(7 * KIB * KIB);
  const sink = new Sink(pair.callee);
  send(pair, pair.caller, bytes);
  t.ok(
    pair.run(() => sink.total === bytes.length, 15_000),
    'all arrived',
  );
  const order = phases.map(({ to }) => to).filter((to, i, all) => to !== all[i - 1]);
  t.equal(order[0], 'Startup');
  t.equal(order[1], 'Drain');
  for (const phase of ['DOWN', 'CRUISE', 'REFILL', 'UP']) t.ok(order.includes(`ProbeBW_${phase}`));
  t.equal(order[order.indexOf('ProbeBW_UP') - 1], 'ProbeBW_REFILL');
  t.equal(order[order.indexOf('ProbeBW_UP') + 1], 'ProbeBW_DOWN');
  const probe = phases.findIndex(({ to }) => to === 'ProbeRTT');
  t.ok(probe > 0, 'within ten seconds');
  const length = phases[probe + 1].at - phases[probe].at;
  t.ok(length >= ms(200) && length < ms(400), `ProbeRTT took ${length / 1000} ms`);
});

t.test('1 % loss takes little of the link', async (t) => {
  const faults = { ...LINK, loss: 0.01 };
  const config = { congestionControl: 'bbr' } as const;
  const pair = new Pair({ faults, config, seed: 3 }).open();
  const bytes = new Uint8Array(2 * KIB * KIB);
  const sink = new Sink(pair.callee);
  const began = pair.now;
  send(pair, pair.caller, bytes);
  t.ok(
    pair.run(() => sink.total === bytes.length, 10_000),
    'all arrived',
  );
  const share = (bytes.length * 1e6) / ((pair.now - began) * LINK.bytesPerSecond);
  t.ok(share >= 0.72, `share ${share.toFixed(3)} of payload, start-up included`);
});
