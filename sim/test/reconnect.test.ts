// The server loses its power with a crowd of terminals connected, all behind one address, and gets
// it back: all are registered again, by themselves, soon. Server and crowd are processes of their
// own on real TLS. How soon decides in a proof only; that all come back decides always.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { Crowd, ServerApart } from './apart.ts';

const TERMINALS = IS_PROOF ? 2_000 : 30;
const PROCESSES = IS_PROOF ? 4 : 1;
/** What the product promises; asserted in a proof. */
const BACK_MS_MAX = 60_000;
/** How long we wait before we say that somebody never comes. */
const PATIENCE_MS = 4 * BACK_MS_MAX;
/** Short: all knock within a second. Long: every terminal has come to its longest pause. */
const OUTAGES_MS: readonly number[] = IS_PROOF ? [0, 2_000, 60_000] : [0];

async function settled(
  crowd: Crowd,
  isSo: (registered: number) => boolean,
  what: string,
): Promise<void> {
  await until(async () => isSo(await crowd.registered()), what, PATIENCE_MS);
}

/** Why links did not come about, and how often. */
function told(troubles: Readonly<Record<string, number>>): string {
  return Object.entries(troubles)
    .map(([why, times]) => `${why} ${times}`)
    .join(', ');
}

const areAll = (registered: number): boolean => registered === TERMINALS;
const isNone = (registered: number): boolean => registered === 0;

t.test('S1000, S1001: after a power cut everybody is back', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nakodo-cut-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const server = new ServerApart(t, join(folder, 'server'));
  await server.start();
  const crowd = new Crowd(t, PROCESSES);
  const ticket = await server.ticket(TERMINALS);
  await crowd.start(folder, ticket, TERMINALS);
  await settled(crowd, areAll, 'everybody to be registered for the first time');

  for (const outageMs of OUTAGES_MS) {
    await t.test(`the power is away for ${outageMs} ms`, async (t) => {
      await crowd.forget();
      await server.cutPower();
      const powerAt = performance.now() + outageMs;
      await settled(crowd, isNone, 'everybody to notice');
      await until(() => performance.now() >= powerAt, 'the power to come back', PATIENCE_MS);
      const { cpuMicros } = await crowd.report();
      const begun = Date.now();
      await server.start();
      await settled(crowd, areAll, 'everybody to be back');
      const back = await crowd.report();
      const { broker, named, cloned, ...gauges } = await server.gauges();
      const tookMs = back.registeredAt.map((at) => at - begun).sort((a, b) => a - b);
      const seconds = (share: number): string =>
        (tookMs[Math.ceil(share * (TERMINALS - 1))] / 1_000).toFixed(1);
      t.comment(
        `${TERMINALS} terminals: half back after ${seconds(0.5)} s, 99 % ${seconds(0.99)} s, ` +
          `the last ${seconds(1)} s; CPU: server ${(gauges.cpuMicros / 1e6).toFixed(1)} s, ` +
          `terminals ${((back.cpuMicros - cpuMicros) / 1e6).toFixed(1)} s; ` +
          `${broker.strangersDropped} dropped, ${broker.lateLogins} late; ${told(back.troubles)}`,
      );
      t.equal(tookMs.length, TERMINALS, 'each registered again');
      t.equal(broker.registered, TERMINALS, 'the broker has all addresses');
      t.equal(named, TERMINALS, 'the manager has all names');
      t.equal(cloned, 0, 'and takes nobody for a copy');
      const last = tookMs[tookMs.length - 1];
      if (IS_PROOF) t.ok(last <= BACK_MS_MAX, `the last after ${last} ms`);
    });
  }
});
