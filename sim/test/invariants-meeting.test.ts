// Positive controls of what is judged about meeting: who asks where it is although nobody wants to
// know, who searches at an address where nobody saw its peer, or twice, or too fast, is found.

import t from 'tap';
import { RELAY_ADDRESSES, RELAY_PORT } from '../parties/virtual-relay.ts';
import { STUN_PORTS } from '../parties/virtual-stun.ts';
import { TalkStage as Stage, foundIn, talking } from './talk-stage.ts';

const PROBE = 8;
const PROBE_BYTES = 41;
const QUESTION = new Uint8Array(128);

function asks(stage: Stage, host: string, port: number): string | undefined {
  const peer = stage.world.internet.paths.of(host, port);
  const terminal = stage.caller;
  const socket = stage.sockets.caller;
  const happening = { kind: 'stunSent', terminal, socket, peer, bytes: QUESTION } as const;
  return foundIn(() => stage.world.happen(happening));
}

const serverOf = (stage: Stage): string => stage.world.broker.stun.addressFor(stage.caller.host);

t.test('¶0032: a terminal that asks where it is, and has nothing to say, is found', async (t) => {
  const idle = new Stage();
  t.match(asks(idle, serverOf(idle), STUN_PORTS.first), /^idle: terminal-0 asks where it is/);
  const busy = talking();
  t.equal(asks(busy, serverOf(busy), STUN_PORTS.other), undefined);
  t.match(asks(busy, '198.51.100.1', STUN_PORTS.first), /^idle: .* which is no server/);
});

t.test('S1005: a relay that is asked without a talk is found', async (t) => {
  const idle = new Stage();
  t.match(asks(idle, RELAY_ADDRESSES[0], RELAY_PORT), /^idle: .* asks the relay, and has no talk/);
  t.equal(asks(talking(), RELAY_ADDRESSES[0], RELAY_PORT), undefined);
});

t.test(
  'S1005: who slept after a talk gives its relay back when it wakes up, not later',
  async (t) => {
    const stage = talking();
    const { clock } = stage.caller;
    stage.ends('caller', 'done');
    clock.stop(stage.world.now);
    stage.pass(60_000);
    clock.go(stage.world.now, 0);
    t.equal(asks(stage, RELAY_ADDRESSES[0], RELAY_PORT), undefined);
    stage.pass(21_000);
    t.match(
      asks(stage, RELAY_ADDRESSES[0], RELAY_PORT),
      /^idle: .* asks the relay, and has no talk/,
    );
  },
);

t.test('S1005: a search where nobody saw the peer is found', async (t) => {
  const stage = talking();
  const { session } = stage;
  const search = (): void =>
    stage.event('caller', { kind: 'searching', session, address: '198.51.100.1' });
  t.match(foundIn(search), /^searches: .* where nobody saw its peer/);
  t.match(foundIn(search), /^searches: .* searches twice/);
});

t.test('S1005: probes that are no search’s, to many ports, are found', async (t) => {
  const stage = talking();
  const probes = (): void => {
    for (let port = 1; port < 50; port++)
      stage.sends('caller', stage.datagram('caller', PROBE, PROBE_BYTES), stage.path(1_000));
  };
  t.match(foundIn(probes), /^amplification: .* 11 packets in a second/);
});

t.test('S1005: what an ordinary meeting sends during a search is judged by its own', async (t) => {
  const stage = talking();
  const { session } = stage;
  const peer = stage.path(1_000);
  foundIn(() => stage.event('caller', { kind: 'searching', session, address: peer.host }));
  const probes = (count: number): string | undefined =>
    foundIn(() => {
      for (let packet = 0; packet < count; packet++)
        stage.sends('caller', stage.datagram('caller', PROBE, PROBE_BYTES), peer);
    });
  t.equal(probes(12), undefined, 'two of a search and ten');
  t.match(probes(1), /^amplification: .* 11 packets in a second/);
});
