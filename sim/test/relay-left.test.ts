// Relays at the end of a talk [S1006, S4006]: every allocation is given back, also with a nonce
// that has grown old, or where the peer is gone and the terminal stops. Real cores, virtual time,
// every invariant of the simulator on.

import t from 'tap';
import { MeetingStage, behind } from './meeting-stage.ts';

const BOTH = [behind('symmetric'), behind('symmetric')] as const;
const OPEN_MS = 10_000;
/** Two round trips, and what a CLOSE takes. */
const LEFT_MS_MAX = 1_000;

/** A talk through the relay. */
function relayed(): MeetingStage {
  const stage = new MeetingStage({ places: BOTH, set: { 'relay.there': 1 } }).call(OPEN_MS);
  stage.pass(1_000);
  return stage;
}

const allocations = (stage: MeetingStage): number => stage.world.relay?.allocations ?? NaN;

for (const isOld of [false, true])
  t.test(`S1006: the end gives every allocation back, nonce old: ${isOld}`, async (t) => {
    const stage = relayed();
    const { session } = stage.ends.caller;
    t.equal(stage.way, 'relay');
    t.equal(allocations(stage), 2, 'positive control');
    if (isOld) stage.world.relay?.outdateNonce();
    if (session !== undefined) stage.caller.end(session, 'local');
    stage.pass(LEFT_MS_MAX * 3);
    t.match(stage.ends, { caller: { ended: 'local' }, callee: { ended: 'local' } });
    t.equal(allocations(stage), 0);
    t.equal(stage.caller.sockets.length + stage.callee.sockets.length, 0);
  });

t.test('S1006: who stops gives its relay back, whatever the peer has heard', async (t) => {
  for (const stops of [false, true]) {
    const stage = relayed();
    const { session } = stage.ends.caller;
    stage.callee.kill();
    if (session !== undefined) stage.caller.end(session, 'local');
    stage.pass(20);
    t.equal(stage.ends.caller.ended, 'local');
    const { core } = stage.caller;
    t.equal(core?.isLeaving, true, 'the CLOSE may have to be said again');
    if (stops) core?.leaveRelays(stage.caller.clock.local(stage.world.now));
    stage.world.touch(stage.caller);
    stage.pass(80);
    t.equal(allocations(stage), stops ? 1 : 2, 'that of the peer stays in any case');
    t.equal(core?.isLeaving, !stops);
    stage.pass(30_000);
    t.equal(allocations(stage), 1);
  }
});
