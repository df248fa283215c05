// Each invariant about the limits of talks, their recovery, whom they send to and how much they do
// fires when it is broken, by what a test makes happen. Over 400 lines: a world broken in one way
// after the other.

import t from 'tap';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import { NEVER, ms } from '../../protocol/time.ts';
import { type TalkStage, foundIn, talking, TalkStage as Stage } from './talk-stage.ts';

type Broken = Readonly<Record<string, readonly [RegExp, (stage: TalkStage) => void]>>;

/** Each is found on a stage of its own. */
function allFound(tag: string, broken: Broken): void {
  for (const [name, [says, run]] of Object.entries(broken)) {
    t.test(`${tag}: ${name} is found`, async (t) => {
      const stage = talking({ bytes: 1_000 });
      t.match(
        foundIn(() => run(stage)),
        says,
      );
    });
  }
}

t.test('claim 14: who ends in time, and was given more before it went on, is right', async (t) => {
  const stage = talking();
  const says = foundIn(() => {
    stage.pass(7_000);
    stage.says('caller', { kind: 'expiryNear', by: 'time' });
    stage.granted('extended', 20, undefined);
    for (const role of ['caller', 'callee'] as const)
      stage.event(role, {
        kind: 'extended',
        session: stage.session,
        seconds: 20,
        bytes: undefined,
      });
    stage.pass(12_999);
    stage.trace('caller', { kind: 'packetReceived', packetNumber: 1, bytes: 100 });
    stage.pass(1);
    stage.ends('caller', 'time');
    stage.ends('callee', 'time');
  });
  t.equal(says, undefined);
});

allFound('claim 14', {
  'a packet taken after the expiry': [
    /^expiry: .* takes a packet/,
    (stage) => {
      stage.pass(10_001);
      stage.trace('caller', { kind: 'packetReceived', packetNumber: 1, bytes: 100 });
    },
  ],
  'a datagram sent after the expiry': [
    /^expiry: .* sends a datagram/,
    (stage) => {
      stage.pass(10_001);
      stage.sends('callee', stage.datagram('callee'));
    },
  ],
  'an end before the time is up': [
    /^expiry: .* before its time/,
    (stage) => {
      stage.pass(9_000);
      stage.ends('caller', 'time');
    },
  ],
  'an end long after the time was up': [
    /^expiry: .* after its time/,
    (stage) => {
      stage.pass(10_100);
      stage.ends('caller', 'time');
    },
  ],
  'a notice of the end that comes early': [
    /^expiry: .* is near its end/,
    (stage) => {
      stage.pass(6_000);
      stage.says('caller', { kind: 'expiryNear', by: 'time' });
    },
  ],
});

allFound('claim 4', {
  'an expiry that nobody gave': [
    /^grants: /,
    (stage) =>
      stage.event('caller', {
        kind: 'extended',
        session: stage.session,
        seconds: 20,
        bytes: undefined,
      }),
  ],
});

allFound('claim 15', {
  'more bytes than the grant': [
    /^quota: both ends .* 1200 bytes of 1000/,
    (stage) => {
      stage.ends('caller', 'local', { sentBytes: 600 });
      stage.ends('callee', 'local', { sentBytes: 600, receivedBytes: 600 });
    },
  ],
});

t.test('claim 15: an end by a quota that there is not is found', async (t) => {
  const stage = talking();
  t.match(
    foundIn(() => stage.ends('caller', 'quota')),
    /^quota: /,
  );
});

t.test('S1006: packets that arrive, are lost, or late, and said to be so, are right', async (t) => {
  const stage = talking({}, { 'udp.delay': 10 });
  const says = foundIn(() => {
    for (let number = 0; number < 6; number++) stage.packet('caller', number, number !== 1);
    stage.pass(25);
    stage.trace('caller', {
      kind: 'acknowledged',
      ranges: [
        [2, 5],
        [0, 0],
      ],
    });
    stage.trace('caller', { kind: 'packetLost', packetNumber: 1, bytes: 1_000 });
    const rtt = { latestRtt: 25_000, minimumRtt: 25_000, smoothedRtt: 25_000 };
    stage.metrics('caller', { bytesInFlight: 0, ...rtt });
    stage.packet('caller', 7);
    stage.trace('callee', { kind: 'packetReceived', packetNumber: 1, bytes: 1_000 });
    stage.trace('caller', { kind: 'acknowledged', ranges: [[0, 5]] });
    stage.trace('caller', { kind: 'spuriousLoss', packetNumber: 1 });
    stage.metrics('caller', { bytesInFlight: 1_000, ...rtt });
    stage.pass(1_000);
    stage.trace('caller', { kind: 'timeout', count: 1 });
  });
  t.equal(says, undefined);
  t.equal(stage.world.marks.get('spurious loss'), 1);
});

allFound('S1006', {
  'a packet number used twice': [
    /^recovery: .* sends packet 3 after packet 3/,
    (stage) => {
      stage.packet('caller', 3);
      stage.packet('caller', 3);
    },
  ],
  'a packet opened twice': [
    /^recovery: .* opens packet 3 twice/,
    (stage) => {
      stage.packet('caller', 3);
      stage.trace('callee', { kind: 'packetReceived', packetNumber: 3, bytes: 100 });
    },
  ],
  'an ACK of what was not sent': [
    /^recovery: .* not yet sent/,
    (stage) => {
      stage.packet('caller', 3);
      stage.trace('caller', { kind: 'acknowledged', ranges: [[3, 4]] });
    },
  ],
  'an ACK of what has not arrived': [
    /^recovery: .* which has not arrived/,
    (stage) => {
      stage.packet('caller', 3, false);
      stage.trace('caller', { kind: 'acknowledged', ranges: [[3, 3]] });
    },
  ],
  'a packet lost twice': [
    /^recovery: .* loses packet 3, which is not in flight/,
    (stage) => {
      stage.packet('caller', 3);
      stage.trace('caller', { kind: 'packetLost', packetNumber: 3, bytes: 1_000 });
      stage.trace('caller', { kind: 'packetLost', packetNumber: 3, bytes: 1_000 });
    },
  ],
  'a late ACK that is not told': [
    /^recovery: .* does not tell/,
    (stage) => {
      stage.packet('caller', 3);
      stage.trace('caller', { kind: 'packetLost', packetNumber: 3, bytes: 1_000 });
      stage.trace('caller', { kind: 'acknowledged', ranges: [[3, 3]] });
      stage.metrics('caller');
    },
  ],
  'a late ACK of what was not lost': [
    /^recovery: .* which was not lost/,
    (stage) => {
      stage.packet('caller', 3);
      stage.trace('caller', { kind: 'spuriousLoss', packetNumber: 3 });
    },
  ],
  'bytes in flight that are not': [
    /^recovery: .* says 0 bytes are in flight, it is 1000/,
    (stage) => {
      stage.packet('caller', 3);
      stage.metrics('caller', { bytesInFlight: 0 });
    },
  ],
  'a window below two datagrams': [
    /^recovery: .* window of 1200 bytes/,
    (stage) => stage.metrics('caller', { congestionWindow: 1_200 }),
  ],
  'a round trip of nothing': [
    /^recovery: .* round trips/,
    (stage) => stage.metrics('caller', { latestRtt: 0, minimumRtt: 0 }),
  ],
  'more in flight than the window': [
    /^recovery: .* its window is 2400/,
    (stage) => {
      stage.metrics('caller', { congestionWindow: 2_400 });
      for (let number = 0; number < 5; number++) stage.packet('caller', number);
    },
  ],
  'silence while something is in flight': [
    /^recovery: .* probes nothing/,
    (stage) => {
      stage.packet('caller', 3, false);
      stage.pass(4_000);
      stage.trace('caller', { kind: 'packetReceived', packetNumber: 9, bytes: 100 });
    },
  ],
  'a probe timeout left out': [
    /^recovery: .* counts probe timeout 2 after 0/,
    (stage) => {
      stage.packet('caller', 3, false);
      stage.trace('caller', { kind: 'timeout', count: 2 });
    },
  ],
});

t.test('S1006: a round trip shorter than the path is found', async (t) => {
  const stage = talking({}, { 'udp.delay': 10 });
  t.match(
    foundIn(() => stage.metrics('caller')),
    /^recovery: .* on a path of/,
  );
});

t.test('S1006: five of the round trips that own probes have shown may pass', async (t) => {
  const waiting = (roundTrip: number): string | undefined => {
    const stage = talking();
    return foundIn(() => {
      stage.packet('caller', 3, false);
      stage.trace('caller', { kind: 'roundTrip', micros: ms(roundTrip) });
      stage.pass(3_500);
      stage.trace('caller', { kind: 'packetReceived', packetNumber: 9, bytes: 100 });
    });
  };
  t.equal(waiting(1_100), undefined);
  t.match(waiting(300), /^recovery: .* probes nothing/);
});

t.test('S1006: probes that nobody answers on a calm open path are found', async (t) => {
  const stage = talking({ seconds: 60 });
  stage.world.happen({ kind: 'calm' });
  stage.packet('caller', 3, false);
  const probes = (): void => {
    for (let count = 1; count < 8; count++) {
      stage.pass(2_900);
      stage.trace('caller', { kind: 'timeout', count });
    }
  };
  t.match(foundIn(probes), /^recovery: .* hears nothing after/);
});

allFound('S1005', {
  'a datagram in no talk': [
    /^amplification: .* in no talk of its own/,
    (stage) => stage.sends('caller', new Uint8Array(100)),
  ],
  'a datagram in somebody else’s talk': [
    /^amplification: .* in no talk of its own/,
    (stage) => stage.sends('callee', stage.datagram('caller')),
  ],
  'too much to an address that proves nothing': [
    /^amplification: .* sends 400 bytes to 198.51.100.1:1000, which has sent 100/,
    (stage) => {
      const peer = stage.path(1_000);
      stage.hears('callee', stage.datagram('caller', 4, 100), peer);
      stage.trace('callee', { kind: 'packetReceived', packetNumber: 1, bytes: 100 });
      stage.sends('callee', stage.datagram('callee', 4, 300), peer);
      stage.sends('callee', stage.datagram('callee', 4, 100), peer);
    },
  ],
  'an answer to what is not genuine': [
    /^amplification: .* which has sent 0/,
    (stage) => {
      const peer = stage.path(1_000);
      stage.hears('callee', stage.datagram('caller', 4, 100), peer);
      stage.sends('callee', stage.datagram('callee'), peer);
    },
  ],
  'datagrams long after the end': [
    /^amplification: .* after its end/,
    (stage) => {
      stage.ends('caller', 'local');
      stage.pass(DATA_LIMITS.closingMsMax * 1.2);
      stage.sends('caller', stage.datagram('caller'));
    },
  ],
  'a long datagram after the end': [
    /^amplification: .* after its end/,
    (stage) => {
      stage.ends('caller', 'local');
      stage.sends('caller', stage.datagram('caller', 4, 500));
    },
  ],
  'many datagrams after the end': [
    /^amplification: .* datagram 16 after its end/,
    (stage) => {
      stage.ends('caller', 'local');
      for (let close = 0; close < 16; close++) stage.sends('caller', stage.datagram('caller'));
    },
  ],
});

t.test('S4005: a callee that speaks first, or answers a changed knock, is found', async (t) => {
  const early = new Stage().begin({ isOpen: false });
  t.match(
    foundIn(() => early.sends('callee', early.datagram('callee'))),
    /^amplification: .* has sent 0/,
  );
  const changed = new Stage().begin({ isOpen: false });
  changed.sends('caller', changed.datagram('caller', 1));
  const knock = changed.datagram('caller', 1);
  knock[40] ^= 1;
  changed.hears('callee', knock);
  t.match(
    foundIn(() => changed.sends('callee', changed.datagram('callee', 2))),
    /^amplification: .* has sent 0/,
  );
});

t.test('S1005: a caller that knocks without end is found', async (t) => {
  const stage = new Stage().begin({ isOpen: false });
  const knock = (): void => stage.sends('caller', stage.datagram('caller', 1));
  const knocks = (count: number) => () => {
    for (let number = 0; number < count; number++) knock();
  };
  t.equal(foundIn(knocks(10)), undefined);
  t.match(foundIn(knocks(1)), /^amplification: .* 11 packets in a second, 11 in all/);
  // A few at a time, again and again.
  const slow = new Stage().begin({ isOpen: false });
  const found = foundIn(() => {
    for (let number = 0; number < 50; number++) {
      slow.pass(400);
      slow.sends('caller', slow.datagram('caller', 1));
    }
  });
  t.match(found, /^amplification: .* 42 in all/);
});

t.test('¶0032: a flood from one event, and a party that never rests, are found', async (t) => {
  const stage = talking();
  const flood = (): void => {
    for (let number = 0; number < 5_000; number++) stage.sends('caller', stage.datagram('caller'));
  };
  t.match(foundIn(flood), /^work: .* datagrams at once/);
  const busy = talking();
  const turn = (): void => {
    for (const watcher of busy.watchers) watcher.afterEvent?.(new Set([busy.world.manager]));
  };
  t.match(
    foundIn(() => {
      for (let count = 0; count < 3_000; count++) turn();
    }),
    /^work: a server stays busy/,
  );
});

t.test(
  'S5003: a terminal that talks without a timer, or with one in the past, is found',
  async (t) => {
    const stage = new Stage();
    stage.world.open();
    stage.begin();
    const after = (): void => {
      for (const watcher of stage.watchers) watcher.afterEvent?.(new Set([stage.caller]));
    };
    t.equal(foundIn(after), undefined);
    stage.world.arm(stage.caller.due, stage.world.now);
    t.match(
      foundIn(() => {
        for (let count = 0; count < 100; count++) after();
      }),
      /^work: .* timer in the past/,
    );
    stage.world.arm(stage.caller.due, NEVER);
    t.match(foundIn(after), /^work: .* has no timer/);
  },
);

allFound('S4006', {
  'a talk given up though something was heard': [
    /^silence: .* gives up after/,
    (stage) => {
      stage.pass(1_000);
      stage.trace('caller', { kind: 'packetReceived', packetNumber: 1, bytes: 100 });
      stage.pass(100);
      stage.trace('caller', { kind: 'ended', reason: 'peer-gone' });
    },
  ],
  'a CLOSE said once that nobody answers': [
    /^silence: .* says CLOSE 1 times/,
    (stage) => {
      stage.metrics('caller');
      stage.ends('caller', 'local');
      stage.trace('caller', { kind: 'packetSent', packetNumber: 9, bytes: 59, eliciting: false });
      stage.sends('caller', stage.datagram('caller'));
      stage.pass(1_500);
      const path = stage.sockets.caller;
      stage.world.happen({ kind: 'socketClosed', terminal: stage.caller, path });
    },
  ],
  'a size that nothing of has arrived': [
    /^recovery: .* of which nothing has arrived/,
    (stage) => stage.trace('caller', { kind: 'datagramBytes', bytes: 1_452 }),
  ],
});

t.test('S4006: whom a calm network reaches is not given up', async (t) => {
  const stage = talking({ seconds: 100 });
  stage.world.happen({ kind: 'calm' });
  stage.world.happen({
    kind: 'endAsked',
    terminal: stage.caller,
    session: stage.session,
    reason: 'done',
  });
  stage.pass(10_000);
  t.match(
    foundIn(() => stage.trace('caller', { kind: 'ended', reason: 'peer-gone' })),
    /^silence: .* gives up whom/,
  );
});

t.test(
  'S5007: what arrived though it was taken for lost is all that lost may be too much',
  async (t) => {
    const lostBytes = 1_000;
    const done = (arrives: boolean): string | undefined => {
      const stage = talking();
      stage.packet('caller', 3, arrives);
      stage.trace('caller', { kind: 'packetLost', packetNumber: 3, bytes: 1_000 });
      stage.ends('caller', 'done', { sentBytes: 5_000, lostBytes });
      return foundIn(() => stage.ends('callee', 'done', { receivedBytes: 5_000 }));
    };
    t.equal(done(true), undefined);
    t.match(done(false), /^counts: /);
  },
);

t.test('S1006: who has something to send while nothing is on its way is found', async (t) => {
  const quiet = (readBytes: number): string | undefined => {
    const stage = talking();
    const says = foundIn(() => {
      stage.bytes('caller', 'wrote', 'one');
      stage.bytes('callee', 'wrote', 'two');
      if (readBytes > 0) stage.bytes('callee', 'read', 'one'.slice(0, readBytes));
      for (const role of ['caller', 'callee'] as const) {
        stage.packet(role, 1);
        stage.trace(role, { kind: 'acknowledged', ranges: [[1, 1]] });
      }
      stage.pass(2_000);
      const counts = { sentBytes: 1, receivedBytes: 1 };
      stage.counts('caller', counts);
      stage.counts('callee', counts);
      stage.packet('caller', 2);
    });
    return says;
  };
  t.match(quiet(1), /^deadlock: 2 bytes of the caller .* wait/);
  t.equal(quiet(0), undefined, 'a reader that takes its time');
});
