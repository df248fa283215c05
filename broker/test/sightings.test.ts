// What our STUN server sees, in virtual time: records that it completes, in every order in which
// UDP and MQTT can bring things; what it sees too early, too often or of nobody; where a terminal's
// connection comes from, and what both together prove.

import t from 'tap';
import type { Candidate, FoundAddress } from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, topic } from '../../protocol/control/topics.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { BROKER_LIMITS } from '../limits.ts';
import type { Sighting } from '../sightings.ts';
import {
  HOME,
  HOME6,
  OTHER,
  RECORD,
  REQUEST,
  STUN,
  Scene,
  gathered,
  gathering,
  reflexive,
} from './scene.ts';
import {
  CALLEE,
  CALLER,
  HERE,
  MANAGER,
  VirtualBroker,
  answer,
  query,
  recordOf,
  requestOf,
} from './virtual-broker.ts';

const VICTIM = Uint8Array.of(198, 51, 100, 66);
const NO_IP = new Uint8Array(16);

const COMPLETE: FoundAddress = {
  device: CALLER,
  record: RECORD,
  candidates: [HERE, reflexive(HOME, 40_000)],
  seenAt: HOME,
  proven: true,
};

t.test('S3000: S3003: in every order, both ports seen complete a record, once', async (t) => {
  const steps = ['query', 'record', 'first', 'second'] as const;
  for (const order of permutations(steps)) {
    const scene = new Scene();
    const take = {
      query: () => scene.ask(),
      record: () => scene.record(),
      first: () => scene.see(STUN),
      second: () => scene.see(OTHER),
    };
    const answers = order.map((step) => {
      const said = take[step]();
      scene.broker.pass(1);
      return said.filter(({ message }) => message?.kind === 'addressAnswer');
    });
    t.strictSame(answers.slice(0, -1), [[], [], []], `${order.join(' ')}: not before`);
    t.strictSame(answers[3], [answer(REQUEST, [COMPLETE])], order.join(' '));
    t.strictSame(scene.broker.pass(LIMITS.recordWaitMs), [], 'once');
  }
});

t.test('in a flood a held record is favoured, as often as a terminal has to ask', async (t) => {
  const scene = new Scene();
  const { core } = scene.broker;
  const { stunKnownPerRecord } = BROKER_LIMITS;
  t.notOk(core.favours(RECORD), 'nobody has recorded it');
  scene.see(STUN);
  t.notOk(core.favours(RECORD), 'that somebody named it in a request is nothing');
  scene.record();
  t.notOk(core.favours(recordOf(77)), 'another one');
  let favoured = 0;
  for (let each = 0; each < 2 * stunKnownPerRecord; each++) if (core.favours(RECORD)) favoured += 1;
  t.equal(favoured, stunKnownPerRecord);
  scene.record(gathered(HERE));
  t.notOk(core.favours(RECORD), 'the same record again has no more');
  scene.broker.pass(LIMITS.recordSecondsMax * 1_000 + 1);
  scene.record();
  t.ok(core.favours(RECORD), 'a record is one until it is forgotten');
});

t.test('S3000: the record again, gathered, completes it with what both know', async (t) => {
  const scene = new Scene();
  scene.ask();
  scene.record();
  t.strictSame(scene.see(STUN), [], 'one port of two');
  const relayed: Candidate = { address: VICTIM, port: 9, type: 'relayed' };
  const [, said] = scene.record(gathered(HERE, relayed));
  const candidates = [HERE, relayed, reflexive(HOME, 40_000)];
  t.strictSame(said, answer(REQUEST, [{ ...COMPLETE, candidates }]));
});

t.test('S3003: a record that nobody completes is told when the wait is over', async (t) => {
  for (const waitMs of [200, LIMITS.recordWaitMs, 60_000]) {
    const scene = new Scene();
    scene.record();
    scene.see(STUN);
    t.strictSame(scene.ask(waitMs), []);
    t.strictSame(scene.record(), [
      { to: topic('call', CALLER), message: { kind: 'addressRecorded', record: RECORD } },
    ]);
    t.strictSame(scene.broker.pass(Math.min(waitMs, LIMITS.recordWaitMs) - 1), []);
    t.strictSame(scene.broker.pass(1), [answer(REQUEST, [COMPLETE])]);
  }
});

t.test('S3003: without a STUN server a record waits for the terminal alone', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(CALLER, topic('address', CALLER), gathering());
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, query(REQUEST, [[CALLER, RECORD]])), []);
  const [, said] = broker.tell(CALLER, topic('address', CALLER), gathered(HERE));
  t.match(said, { message: { kind: 'addressAnswer', found: [{ candidates: [HERE] }] } });
});

t.test('S3000: one port is enough where one is offered', async (t) => {
  const broker = new VirtualBroker({}, 1);
  broker.tell(CALLER, topic('address', CALLER), gathering());
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, query(REQUEST, [[CALLER, RECORD]])), []);
  const seen = {
    kind: 'sighted',
    record: RECORD,
    address: HOME,
    port: 7,
    serverPort: STUN,
  } as const;
  t.match(broker.give(seen), [{ message: { kind: 'addressAnswer' } }]);
});

t.test('S3000: every family that comes is waited for, the connection’s at least', async (t) => {
  const scene = new Scene();
  scene.record();
  scene.ask();
  const six = { address: HOME6, port: 5 };
  t.strictSame(scene.see(STUN, six), []);
  t.strictSame(scene.see(OTHER, six), [], 'the IPv4 of its connection is still missing');
  t.strictSame(scene.see(STUN), []);
  t.match(scene.see(OTHER), [
    {
      message: {
        found: [{ candidates: [HERE, reflexive(HOME6, 5), reflexive(HOME, 40_000)] }],
      },
    },
  ]);
  const half = new Scene();
  half.record();
  half.ask();
  half.see(STUN);
  half.see(STUN, six);
  t.strictSame(half.see(OTHER), [], 'its IPv6 came to one port only');
  t.match(half.see(OTHER, six), [{ message: { kind: 'addressAnswer' } }]);
});

t.test('S3000: a NAT that shows each port of ours another one varies', async (t) => {
  const varies = (...seen: readonly [number, Partial<Sighting>][]): boolean | undefined => {
    const scene = new Scene();
    scene.record();
    for (const [serverPort, sighting] of seen) scene.see(serverPort, sighting);
    return scene.found()?.varies;
  };
  t.equal(varies([STUN, { port: 1 }], [OTHER, { port: 2 }]), true);
  t.equal(varies([STUN, { port: 1 }], [OTHER, { port: 1 }]), undefined);
  t.equal(varies([STUN, { port: 1 }], [OTHER, { port: 1, address: VICTIM }]), true, 'a pool');
  t.equal(varies([STUN, { port: 1 }], [STUN, { port: 2 }]), undefined, 'it was bound anew');
  t.equal(varies([STUN, { port: 1 }], [OTHER, { port: 2, address: HOME6 }]), undefined);
  t.equal(varies([STUN, { port: 1 }]), undefined);
});

t.test('S3000: seenAt is told as it is: IPv4, IPv6, mapped, unknown, the newest', async (t) => {
  const mapped = Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...HOME);
  for (const [seenAt, told] of [
    [HOME, HOME],
    [HOME6, HOME6],
    [mapped, HOME],
    [undefined, undefined],
  ] as const) {
    const scene = new Scene(seenAt);
    if (seenAt === undefined) {
      scene.broker.give({ kind: 'disconnected', device: CALLER });
      scene.broker.give({ kind: 'connected', device: CALLER });
    }
    scene.record();
    t.strictSame(scene.found()?.seenAt, told);
  }
  const scene = new Scene(HOME);
  scene.broker.give({ kind: 'connected', device: CALLER, seenAt: HOME6 });
  scene.broker.give({ kind: 'disconnected', device: CALLER });
  scene.record();
  t.strictSame(scene.found()?.seenAt, HOME6, 'the old connection ended after the new one began');
  scene.broker.give({ kind: 'disconnected', device: CALLER });
  t.strictSame(scene.found()?.seenAt, HOME6, 'a record keeps it');
  const absent = new Scene();
  absent.broker.give({ kind: 'disconnected', device: CALLER });
  absent.record();
  t.equal(absent.found()?.seenAt, undefined, 'nobody is connected any more');
});

t.test('S3000: proven is what both our STUN server and the connection showed', async (t) => {
  const proven = (seenAt: Uint8Array, ...addresses: readonly Uint8Array[]) => {
    const scene = new Scene(seenAt);
    // Its own word counts for nothing here.
    scene.record(gathering(RECORD, [reflexive(HOME, 40_000)]));
    for (const address of addresses) scene.see(STUN, { address });
    return scene.found()?.proven;
  };
  t.equal(proven(HOME, HOME), true);
  t.equal(proven(HOME, VICTIM), undefined);
  t.equal(proven(HOME), undefined);
  t.equal(proven(HOME6, HOME), undefined);
  t.equal(proven(HOME, VICTIM, HOME), true);
});

t.test('a spoofed sighting with another record’s ID changes nothing of this one', async (t) => {
  const scene = new Scene();
  scene.record();
  scene.ask();
  for (let at = 2; at < 50; at++) {
    t.strictSame(scene.see(STUN, { address: VICTIM }, recordOf(at)), []);
    t.strictSame(scene.see(OTHER, { address: VICTIM }, recordOf(at)), []);
  }
  t.equal(scene.broker.core.counters().queriesWaiting, 1);
  scene.see(STUN);
  t.strictSame(scene.see(OTHER), [answer(REQUEST, [COMPLETE])]);
  // Nor does another terminal's record of the same ID take anything away from it.
  scene.broker.tell(CALLEE, topic('address', CALLEE), gathering());
  scene.see(STUN, { address: VICTIM });
  t.strictSame(scene.found()?.candidates.at(-1), reflexive(VICTIM, 40_000));
  const asked = query(requestOf(5), [[CALLEE, RECORD]], 0);
  t.match(scene.broker.tell(MANAGER, QUERY_TOPIC, asked), [
    { message: { found: [{ device: CALLEE, candidates: [HERE] }] } },
  ]);
});

t.test('S3000: what was seen counts until the terminal asks anew, in either order', async (t) => {
  for (const isEarly of [false, true]) {
    const scene = new Scene();
    scene.record();
    scene.see(STUN);
    scene.see(OTHER);
    scene.record(gathered(HERE, reflexive(HOME, 40_000)));
    // Another network while an owner thinks: a new connection, and the servers asked again.
    scene.broker.pass(15_000);
    scene.broker.give({ kind: 'connected', device: CALLER, seenAt: VICTIM });
    const lte = { address: VICTIM, port: 50_000 };
    if (isEarly) {
      scene.see(STUN, lte);
      t.strictSame(scene.found()?.candidates.at(-1), reflexive(HOME, 40_000), 'not by UDP alone');
      scene.record();
    } else {
      scene.record();
      t.strictSame(scene.found()?.candidates, [HERE], 'the former addresses are gone');
      scene.see(STUN, lte);
    }
    t.strictSame(scene.ask(), [], 'a query waits for the other port');
    const candidates = [HERE, reflexive(VICTIM, 50_000)];
    const moved = { device: CALLER, record: RECORD, candidates, seenAt: VICTIM, proven: true };
    t.strictSame(scene.see(OTHER, lte), [answer(REQUEST, [moved])]);
    // And a mapping that is forgotten once more.
    scene.broker.pass(15_000);
    scene.record();
    scene.see(STUN, { ...lte, port: 50_001 });
    scene.see(OTHER, { ...lte, port: 50_002 });
    t.match(scene.found(), { varies: true });
    t.strictSame(
      scene.found()?.candidates.map(({ port }) => port),
      [HERE.port, 50_001, 50_002],
    );
  }
});

t.test('S3000: who moves within seconds of its call is believed at its new place', async (t) => {
  const scene = new Scene();
  scene.record();
  scene.see(STUN);
  scene.see(OTHER);
  scene.record();
  t.strictSame(scene.found()?.candidates, [HERE, reflexive(HOME, 40_000)], 'said twice');
  scene.broker.pass(1_000);
  scene.see(STUN, { address: VICTIM, port: 50_000 });
  scene.broker.give({ kind: 'connected', device: CALLER, seenAt: VICTIM });
  scene.record();
  t.match(scene.found(), {
    candidates: [HERE, reflexive(VICTIM, 50_000)],
    proven: true,
    varies: undefined,
  });
});

t.test('S3000: without a word of the terminal nobody pushes out what was seen', async (t) => {
  const scene = new Scene();
  scene.record();
  scene.see(STUN);
  scene.see(OTHER);
  scene.broker.pass(BROKER_LIMITS.sightingSeconds * 1_000);
  for (let at = 0; at < 20; at++) {
    scene.broker.pass(3_000);
    scene.see(STUN, { address: VICTIM, port: 1 + at });
    t.strictSame(scene.found()?.candidates, [HERE, reflexive(HOME, 40_000)]);
  }
  scene.broker.tell(CALLEE, topic('address', CALLEE), gathering());
  const asked = query(requestOf(5), [[CALLEE, RECORD]], 0);
  t.match(scene.broker.tell(MANAGER, QUERY_TOPIC, asked), [
    { message: { found: [{ device: CALLEE, candidates: [HERE] }] } },
  ]);
  scene.broker.pass(BROKER_LIMITS.sightingSeconds * 1_000);
  t.equal(scene.broker.core.counters().earlySightings, 0, 'none is kept for a round to come');
});

t.test('sightings of one record are bounded, the first ones stay', async (t) => {
  for (const isEarly of [true, false]) {
    const scene = new Scene();
    if (!isEarly) scene.record();
    for (let port = 1; port <= 500; port++) scene.see(STUN, { port });
    if (isEarly) scene.record();
    const ports = scene.found()?.candidates.map(({ port }) => port);
    t.strictSame(ports, [HERE.port, 1, 2, 3, 4].slice(0, BROKER_LIMITS.sightingsPerRecordMax + 1));
  }
});

t.test(
  'early sightings are forgotten after seconds, and at the bound the oldest goes',
  async (t) => {
    const scene = new Scene();
    const { core } = scene.broker;
    scene.see(STUN);
    scene.broker.pass(BROKER_LIMITS.sightingSeconds * 500);
    scene.see(OTHER);
    scene.broker.pass(BROKER_LIMITS.sightingSeconds * 500 - 1);
    t.equal(core.counters().earlySightings, 1);
    scene.broker.pass(1);
    t.equal(core.counters().earlySightings, 0, 'counted from the first');
    scene.record();
    t.strictSame(scene.found()?.candidates, [HERE]);

    const crowd = new Scene();
    crowd.see(STUN);
    for (let at = 0; at < BROKER_LIMITS.sightingsMax; at++) crowd.see(STUN, {}, recordOf(at + 2));
    t.equal(crowd.broker.core.counters().earlySightings, BROKER_LIMITS.sightingsMax);
    crowd.record();
    t.strictSame(crowd.found()?.candidates, [HERE], 'the oldest went');
    crowd.broker.pass(LIMITS.recordSecondsMax * 1000);
    t.match(crowd.broker.core.counters(), { earlySightings: 0, records: 0 });
  },
);

t.test('what was seen of a record is forgotten with it', async (t) => {
  const scene = new Scene();
  scene.record();
  scene.see(STUN);
  scene.broker.pass(LIMITS.recordSecondsMax * 1000);
  scene.record();
  t.strictSame(scene.found()?.candidates, [HERE]);
});

t.test('nobody can be reached at port 0, at :: or by multicast: such are not kept', async (t) => {
  const scene = new Scene();
  scene.record();
  for (const sighting of [
    { port: 0 },
    { port: 65_536 },
    { address: NO_IP },
    { address: Uint8Array.of(0, 0, 0, 0) },
    { address: Uint8Array.of(224, 0, 0, 1) },
    { address: Uint8Array.of(255, 255, 255, 255) },
    { address: Uint8Array.of(1, 2, 3) },
  ])
    scene.see(STUN, sighting);
  t.strictSame(scene.found()?.candidates, [HERE]);
  scene.see(STUN, { address: Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...HOME) });
  t.strictSame(scene.found()?.candidates, [HERE, reflexive(HOME, 40_000)], 'mapped is folded');
});

function permutations<T>(of: readonly T[]): (readonly T[])[] {
  if (of.length <= 1) return [of];
  return of.flatMap((first, at) =>
    permutations([...of.slice(0, at), ...of.slice(at + 1)]).map((rest) => [first, ...rest]),
  );
}
