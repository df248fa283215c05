// Ten thousand connections that are opened and left half open, by a process of its own, against a
// broker in another: honest terminals go on at their rate. Rates are compared within one run, in
// turns with and without the flood, and decide in a proof only; who is served decides always.

import t from 'tap';
import { topic } from '../../protocol/control/topics.ts';
import { IS_PROOF, dose } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { Attacker, startApart } from './broker-child.ts';
import { makeTerminal } from './parties.ts';
import { type Wire, attend, manager, serverTls } from './real-broker.ts';
import { recordOf } from './virtual-broker.ts';

const FLOOD = dose(500, 20);
const TURNS = dose(1, 5);
const TERMINALS = 10;
/** What each honest terminal says: an address every 25 ms. */
const PERIOD_MS = 25;
const TURN_MS = dose(200, 8);
const KEPT_SHARE = 0.9;
/** The first six bytes of a ClientHello. */
const HALF_HELLO = [22, 3, 1, 1, 0, 1];

interface Honest {
  readonly wire: Wire;
  readonly device: string;
}

/** Each terminal at its rate until `isOver`; how many of its messages were answered a second. */
async function rateOf(crowd: readonly Honest[], isOver: () => boolean): Promise<number> {
  const began = performance.now();
  let answered = 0;
  await Promise.all(
    crowd.map(async ({ wire, device }, index) => {
      let next = performance.now() + (index * PERIOD_MS) / crowd.length;
      for (let at = 0; !isOver() || at === 0; at++) {
        await until(() => performance.now() >= next, 'the next turn');
        next += PERIOD_MS;
        const record = recordOf(at % 60);
        wire.say(topic('address', device as never), { kind: 'address', record, candidates: [] });
        await wire.next('addressRecorded');
        answered += 1;
      }
    }),
  );
  return (answered * 1000) / (performance.now() - began);
}

t.test('half-open connections by the thousand: honest terminals keep their rate', async (t) => {
  const tls = await serverTls(t);
  const { port, gauges } = await startApart(t, { tls });
  const attacker = new Attacker(t, port);
  const crowd: Honest[] = [];
  for (let at = 0; at < TERMINALS; at++) {
    const terminal = makeTerminal(manager, 50 + at);
    crowd.push({ wire: await attend(port, terminal, tls.pin), device: terminal.device });
  }
  const rates = { quiet: 0, flooded: 0 };
  for (let turn = 0; turn < TURNS; turn++) {
    const quietUntil = performance.now() + TURN_MS;
    rates.quiet += (await rateOf(crowd, () => performance.now() > quietUntil)) / TURNS;
    let isFlooded = false;
    const floodUntil = performance.now() + TURN_MS;
    const flood = attacker
      .flood({ count: FLOOD / TURNS, bytes: turn % 2 === 0 ? HALF_HELLO : [] })
      .then(() => {
        isFlooded = true;
      });
    rates.flooded +=
      (await rateOf(crowd, () => isFlooded && performance.now() > floodUntil)) / TURNS;
    await flood;
  }
  const state = await attacker.state();
  const { stats } = await gauges();
  const share = rates.flooded / rates.quiet;
  t.comment(
    `${state.opened} opened, ${state.open} open; ${rates.quiet.toFixed(0)} answers/s quiet, ` +
      `${rates.flooded.toFixed(0)} flooded: ${(share * 100).toFixed(1)} %`,
  );
  t.equal(state.opened, FLOOD);
  t.ok((stats?.strangers ?? Infinity) <= BROKER_LIMITS.strangersMax);
  t.ok(
    crowd.every(({ wire }) => !wire.closed),
    'nobody honest was dropped',
  );
  if (IS_PROOF) t.ok(share >= KEPT_SHARE, `${(share * 100).toFixed(1)} % of their rate`);
  const late = makeTerminal(manager, 49);
  t.ok((await attend(port, late, tls.pin)).up, 'and a newcomer gets in');
});
