// Messages borrow from the congestion window, a bounded share: also when several of them fit into
// the packet that the first one lets go.

import t from 'tap';
import { Pair, send } from '../../sim/pair.ts';
import type { TransportState } from '../data/connection-types.ts';
import { DATA_LIMITS } from '../data/limits.ts';

/** The window is shown in whole bytes. */
const ROUNDING = 1e-4;

t.test('S1006: messages never have more than their share of windows in flight', async (t) => {
  let most = 0;
  let borrowed = 0;
  const talk: { state?: () => TransportState } = {};
  const pair = new Pair({
    faults: { bytesPerSecond: 200_000, delayMs: 40, queueBytes: 1_000_000 },
    config: { congestionControl: 'cubic' },
    trace: (event) => {
      if (event.kind !== 'packetSent' || !event.eliciting || talk.state === undefined) return;
      const { bytesInFlight, congestionWindow } = talk.state();
      const share = (bytesInFlight + event.bytes) / congestionWindow;
      if (share > 1) borrowed++;
      most = Math.max(most, share);
    },
  }).open();
  talk.state = () => pair.caller.connection.state(pair.now).transport;
  send(pair, pair.caller, new Uint8Array(200_000));
  for (let round = 0; round < 300; round++) {
    for (let count = 0; count < 8; count++) pair.caller.connection.sendDatagram(new Uint8Array(90));
    pair.drain();
    pair.pass(3);
  }
  t.ok(borrowed > 10, `${borrowed} packets were beyond the window`);
  t.ok(most <= DATA_LIMITS.messageWindowShare + ROUNDING, `${most} windows were in flight`);
});
