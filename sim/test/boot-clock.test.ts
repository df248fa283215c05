// A Pi has no clock of its own: it boots in 1970. Two of them enrol, log in over TLS, call one
// another and keep to an owner's hours, since the server's time comes with the first answer.

import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import type { Agent } from '../../device/agent.ts';
import type { Session } from '../../device/shell/session.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { type WallMs, wallMs } from '../../protocol/time.ts';
import { answerWithHash } from '../fleet/fleet.ts';
import { type Town, openTown } from '../fleet/town.ts';

const HASH_BYTES = 32;
const MINUTES = 10;
const MS_PER_MINUTE = 60_000;

/** A clock that starts at 1970 with its process, until it is told better. */
class BootClock extends CorrectedClock {
  readonly #bootMs = performance.now();
  isCorrected = false;

  override wall(): WallMs {
    return this.isCorrected ? super.wall() : wallMs(Math.floor(performance.now() - this.#bootMs));
  }

  override correct(unixMs: number): void {
    this.isCorrected = true;
    super.correct(unixMs);
  }
}

interface Pi {
  readonly home: string;
  readonly agent: Agent;
  readonly clock: BootClock;
}

/** Starts an enrolled Pi. Its log in with the wrong time is refused once, and put right. */
async function boot(town: Town, home: string): Promise<Pi> {
  const clock = new BootClock();
  const agent = await town.start(home, { clock });
  agent.onIncoming(answerWithHash);
  return { home, agent, clock };
}

async function talk(t: Test, from: Pi, to: string): Promise<Session> {
  const session = await from.agent.call({ to, service: 'echo-hash' });
  const stream = session.openStream();
  stream.end(Buffer.alloc(1_000));
  t.equal((await buffer(stream)).length, HASH_BYTES, `${from.agent.name} and ${to} talk`);
  session.finish('done');
  t.equal((await session.ended).reason, 'done');
  return session;
}

/** What `until` says of a time so many minutes from now: a time of day here. */
function timeOfDay(minutes: number): string {
  const then = new Date(Date.now() + minutes * MS_PER_MINUTE);
  const [hours, rest] = [then.getHours(), then.getMinutes()];
  return [hours, rest].map((part) => String(part).padStart(2, '0')).join(':');
}

t.test('S1001, S4001: two terminals that boot in 1970 call one another', async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  const year = new Date(new BootClock().wall()).getUTCFullYear();
  t.equal(year, 1970);
  const list = (name: string): string =>
    `[[allow]]\nname = "${name}"\nuntil = "${timeOfDay(MINUTES)}"\n`;
  const one = await boot(town, await town.enrol('TERM1', list('TERM3')));
  const three = await boot(town, await town.enrol('TERM3', list('TERM1')));
  t.ok(town.broker.stats().loginsRefused >= 2, 'in 1970 nobody is let in');
  for (const { clock, agent } of [one, three]) {
    t.ok(clock.isCorrected, 'but told the time');
    t.equal(agent.status().troubles.link, undefined);
  }
  for (const [pi, to] of [
    [one, 'TERM3'],
    [three, 'TERM1'],
  ] as const) {
    const { info } = await talk(t, pi, to);
    t.ok(info.seconds <= MINUTES * 60, 'until is counted by the server’s time');
  }
  await one.agent.stop();
  const again = await boot(town, one.home);
  await talk(t, again, 'TERM3');
  await talk(t, three, 'TERM1');
  t.ok((await town.manager.operations.verify()).ok, 'the log verifies');
});
