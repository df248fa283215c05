// The broker is away for a day: terminals go on calling every minute, talks run out, ends wait to
// be told. Nothing grows beyond its bound, and when the broker is back everything comes right. The
// real cores, in virtual time.

import t from 'tap';
import { LIMITS } from '../../protocol/limits.ts';
import { MICROS_PER_SECOND, after, micros, seconds } from '../../protocol/time.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { watchersOf } from '../invariants/all.ts';
import { CALM } from '../options.ts';
import { World } from '../world.ts';

const DAY_SECONDS = 86_400;
const CALL_SECONDS = 60;
const TERMINALS = 6;
/** A pause is at most 30 s: the broker is found, everybody registers, ends are told. */
const BACK_SECONDS = 120;

t.test('S5007, claim 5: a day without the broker fills no queue, and no end is lost', async (t) => {
  const options = { ...CALM, 'udp.delay': 10, 'mqtt.delay': 10 };
  const world = new World({ seed: 7, terminals: TERMINALS, options, suite: fastSuite });
  let talks = 0;
  let tries = 0;
  const ended = new Set<string>();
  world.watchers.push(...watchersOf(world), {
    onHappening(happening) {
      if (happening.kind !== 'event') return;
      const { event } = happening;
      if (event.kind === 'talk' && event.event.kind === 'established') talks += 1;
      if (event.kind === 'callFailed') tries += 1;
      if (event.kind === 'ended') ended.add(event.session);
    },
  });
  world.open();
  const callAll = (): void => {
    for (const [at, caller] of world.terminals.entries()) {
      const callee = world.terminals[(at + 1) % TERMINALS].name;
      caller.call({ callee, service: 'pipe', want: {}, waitMs: 30_000, extend: false });
    }
  };
  callAll();
  world.run(after(world.now, seconds(5)));
  t.ok(talks >= 4, `${talks} ends of talks when the broker goes`);
  const linked = world.events;

  world.broker.kill();
  const begun = world.now;
  const most = { calls: 0, talks: 0, sockets: 0, ends: 0 };
  while (world.now < after(begun, seconds(DAY_SECONDS))) {
    callAll();
    for (const terminal of world.terminals) {
      const status = terminal.status();
      most.calls = Math.max(most.calls, status?.calls.length ?? 0);
      most.talks = Math.max(most.talks, status?.talks.length ?? 0);
      most.ends = Math.max(most.ends, status?.endNotices ?? 0);
      most.sockets = Math.max(most.sockets, terminal.sockets.length);
    }
    world.run(micros(world.now + CALL_SECONDS * MICROS_PER_SECOND));
  }
  const calls = TERMINALS * (DAY_SECONDS / CALL_SECONDS);
  t.comment(`${world.events - linked} events, ${tries} calls in vain; at most`, most);
  t.ok(tries >= calls, 'every call was answered: there is no link');
  t.ok(most.calls <= 2 && most.sockets <= 4, 'a call leaves when its wait is over');
  t.ok(most.ends > 0 && most.ends < LIMITS.callsMax, 'ends wait');
  t.ok(ended.size >= talks / 2, 'talks ended at their time, without the broker');

  world.broker.start();
  const isBack = (): boolean =>
    world.terminals.every((terminal) => {
      const status = terminal.status();
      return status?.registered === true && status.endNotices === 0;
    });
  t.ok(world.run(after(world.now, seconds(BACK_SECONDS)), isBack), 'everybody is back, and told');
  world.run(after(world.now, seconds(2 * LIMITS.unreportedSeconds)));
  t.equal(world.manager.core?.sessions('open').length, 0, 'every end is in the log');
  for (const watcher of world.watchers) watcher.atEnd?.();
});
