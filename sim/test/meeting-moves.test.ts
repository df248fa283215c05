// A talk whose ends get other addresses: a NAT that forgets, machines that move, both at once, with
// the broker away, a relay that goes and comes back, a way that opens only later. Real cores,
// virtual time, every invariant of the simulator on.

import t from 'tap';
import { MICROS_PER_MS, after, ms, seconds } from '../../protocol/time.ts';
import type { Options } from '../options.ts';
import { MeetingStage, type PlaceMaker, behind } from './meeting-stage.ts';

const RTT_MS = 50;
/** After a NAT has forgotten. */
const STALL_MS_MAX = 3 * RTT_MS + 1_000;
/** A shell looks at addresses each second. */
const MOVED_MS_MAX = STALL_MS_MAX + 1_000;
/** Beside it the link is made anew, which takes no time here but its own round trips. */
const CARRIED_MS_MAX = 3 * RTT_MS + 650;
/** Within the 45 s that a talk bears, and longer than routers remember. */
const ASLEEP_MS = 40_000;
const EVERY_MS = 20;
const WATCH_MS = 10_000;
const RELAY = { 'relay.there': 1 };

/** A talk in which the caller says something every 20 ms. */
function talking(
  places: readonly [PlaceMaker, PlaceMaker],
  set: Partial<Options> = {},
): MeetingStage {
  const stage = new MeetingStage({ places, set }).call(WATCH_MS);
  stage.trickle(EVERY_MS);
  return stage.pass(1_000);
}

/** The longest silence that the callee's application hears after something has happened; ms. */
function stallAfter(stage: MeetingStage, act: () => void, lasts = WATCH_MS): number {
  let last: number = stage.world.now;
  let worst = 0;
  stage.world.watchers.push({
    onHappening(happening) {
      if (happening.kind !== 'read' || happening.terminal !== stage.callee) return;
      worst = Math.max(worst, stage.world.now - last);
      last = stage.world.now;
    },
  });
  act();
  stage.pass(lasts);
  return Math.max(worst, stage.world.now - last) / MICROS_PER_MS;
}

const HOME = behind('port');

t.test('claim 7: after a NAT has forgotten, a talk stalls for 3 round trips and 1 s', async (t) => {
  for (const what of ['port', 'address'] as const) {
    for (const who of ['caller', 'callee', 'both'] as const) {
      const stage = talking([HOME, HOME]);
      const stall = stallAfter(stage, () => {
        const { caller, callee, world } = stage;
        const ends = who === 'both' ? [caller, callee] : [stage[who]];
        for (const { host } of ends) host.nats[0]?.rebind(world.now, what);
      });
      t.ok(stall <= STALL_MS_MAX, `${what} of ${who}: ${Math.round(stall)} ms`);
      t.equal(stage.ends.caller.ended, undefined, `${what} of ${who}`);
    }
  }
});

t.test('S3000: an address change takes the link along, and the stall is as short', async (t) => {
  for (const who of ['caller', 'callee', 'both'] as const) {
    const stage = talking([HOME, HOME]);
    const { caller, callee, world } = stage;
    const stall = stallAfter(stage, () => {
      for (const end of who === 'both' ? [caller, callee] : [stage[who]]) {
        end.host.nats[0]?.rebind(world.now, 'address');
        // Its TCP connection came from the old address: nobody says so.
        if (end.connection !== undefined) world.broker.die(end.connection);
      }
    });
    t.ok(stall <= CARRIED_MS_MAX, `${who}: ${Math.round(stall)} ms`);
    t.equal(stage.ends.caller.ended, undefined, who);
  }
});

t.test(
  'claim 14: a machine that slept for 40 s goes on in its talk as soon as it wakes',
  async (t) => {
    for (const who of ['caller', 'callee'] as const) {
      // A process that stood still has gone on ageing; a machine that slept may not have.
      for (const ages of [true, false]) {
        const stage = talking([HOME, HOME]);
        const { world } = stage;
        const end = stage[who];
        end.suspend();
        end.host.nats[0]?.rebind(world.now, 'address');
        stage.pass(ASLEEP_MS);
        const stall = stallAfter(stage, () => end.resume(ages ? ms(ASLEEP_MS) : 0));
        const words = `${who}${ages ? '' : ', whose clock stood still'}: ${Math.round(stall)} ms`;
        t.ok(stall <= STALL_MS_MAX, words);
        t.comment(words);
        t.strictSame([stage.ends.caller.ended, stage.ends.callee.ended], [undefined, undefined]);
      }
    }
  },
);

const elsewhere = (number: number): { readonly address: string; readonly nats: [] } => ({
  address: `203.0.113.${number}`,
  nats: [],
});

t.test('machines that move, one or both at once, stay in the talk and the grant', async (t) => {
  for (const who of ['caller', 'callee', 'both'] as const) {
    const stage = talking([HOME, HOME]);
    const before = stage.caller.status()?.talks[0];
    let logged = 0;
    stage.world.watchers.push({
      onHappening(happening) {
        if (happening.kind === 'logged' && happening.entry.kind === 'reintroduced') logged += 1;
      },
    });
    const stall = stallAfter(stage, () => {
      if (who !== 'callee') stage.caller.move(elsewhere(50), true);
      if (who !== 'caller') stage.callee.move(elsewhere(51), true);
    });
    t.ok(stall <= MOVED_MS_MAX, `${who}: ${Math.round(stall)} ms`);
    const after = stage.caller.status()?.talks[0];
    t.equal(after?.session, before?.session, 'the same session');
    t.equal(after?.revision, 0, 'the same grant');
    t.ok(
      (after?.talk.counts.sentBytes ?? 0) > (before?.talk.counts.sentBytes ?? 0),
      'it is counted',
    );
    t.equal(stage.way, 'direct');
    t.ok(logged > 0, 'and the log says that they were introduced again');
  }
});

t.test('with the broker away a talk follows whoever can be heard', async (t) => {
  const stage = talking([HOME, behind('none')]);
  const stall = stallAfter(stage, () => {
    stage.world.broker.kill();
    stage.caller.host.nats[0]?.rebind(stage.world.now, 'address');
    stage.world.schedule(after(stage.world.now, seconds(8)), () => stage.world.broker.start());
  });
  t.ok(stall <= STALL_MS_MAX, `${Math.round(stall)} ms`);
});

t.test('a relay that goes away in mid-talk and comes back is used again', async (t) => {
  const stage = talking([behind('symmetric'), behind('symmetric')], RELAY);
  t.equal(stage.way, 'relay');
  const { relay } = stage.world;
  const stall = stallAfter(
    stage,
    () => {
      relay?.kill();
      stage.world.schedule(after(stage.world.now, seconds(3)), () => relay?.start());
    },
    20_000,
  );
  t.ok(stall < 15_000, `${Math.round(stall)} ms`);
  t.equal(stage.ends.caller.ended, undefined);
});

t.test('a nonce that the relay takes back costs nothing', async (t) => {
  const stage = talking([behind('symmetric'), behind('symmetric')], RELAY);
  const stall = stallAfter(stage, () => stage.world.relay?.outdateNonce());
  t.ok(stall <= STALL_MS_MAX, `${Math.round(stall)} ms`);
});

t.test('a talk moves from the relay to the straight way when that opens', async (t) => {
  const stage = new MeetingStage({ places: [HOME, HOME], set: RELAY });
  const { world, caller, callee } = stage;
  const until = after(world.now, ms(5_000));
  world.internet.partition(caller.host, callee.host, until);
  world.internet.partition(callee.host, caller.host, until);
  stage.call(WATCH_MS);
  t.equal(stage.way, 'relay');
  stage.pass(45_000, () => stage.way === 'direct');
  t.equal(stage.way, 'direct');
  t.equal(stage.ends.caller.ended, undefined);
});
