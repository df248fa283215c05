// Table tests of the address record in virtual time: registration, the query that waits for the
// record it names, and the answer to the asker alone; ages and bounds.

import t from 'tap';
import { decodeMessage } from '../../protocol/control/codec.ts';
import { type MessageOf } from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, answerTopic, topic } from '../../protocol/control/topics.ts';
import { type DeviceId, type RecordId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { NEVER, micros, ms } from '../../protocol/time.ts';
import { Addresses } from '../addresses.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { Outbox } from '../outbox.ts';
import {
  CALLEE,
  CALLER,
  HERE,
  MANAGER,
  OTHER_MANAGER,
  THERE,
  VirtualBroker,
  address,
  answer,
  deviceOf,
  query,
  recordOf,
  requestOf,
} from './virtual-broker.ts';

t.test('S3000: an address record is kept and its terminal told so', async (t) => {
  const broker = new VirtualBroker();
  const said = broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
  t.strictSame(said, [
    { to: topic('call', CALLER), message: { kind: 'addressRecorded', record: recordOf(1) } },
  ]);
  t.match(broker.core.counters(), { registered: 1, records: 1 });
});

t.test('S3000: a record without candidates registers presence and gives no address', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(CALLER, topic('address', CALLER), address(recordOf(1)));
  t.match(broker.core.counters(), { registered: 1, records: 1 });
  const said = broker.tell(MANAGER, QUERY_TOPIC, query(requestOf(1), [[CALLER, recordOf(1)]]));
  t.strictSame(said, [
    answer(requestOf(1), [{ device: CALLER, record: recordOf(1), candidates: [] }]),
  ]);
});

t.test('S3000: a terminal records its own address only, a manager none', async (t) => {
  const broker = new VirtualBroker();
  for (const from of [CALLEE, MANAGER, ''])
    t.strictSame(broker.tell(from, topic('address', CALLER), address(recordOf(1), HERE)), []);
  t.match(broker.core.counters(), { records: 0, outOfPlace: 3 });
});

t.test('S3000: records age, and the bounds of a terminal drop its oldest', async (t) => {
  const broker = new VirtualBroker();
  const has = (record: number): boolean => {
    const asked = query(requestOf(record), [[CALLER, recordOf(record)]], 0);
    const [said] = broker.tell(MANAGER, QUERY_TOPIC, asked);
    return (said.message as MessageOf<'addressAnswer'>).found.length === 1;
  };
  for (let at = 0; at <= LIMITS.recordsPerDeviceMax; at++)
    broker.tell(CALLER, topic('address', CALLER), address(recordOf(at), HERE));
  t.equal(broker.core.counters().records, LIMITS.recordsPerDeviceMax);
  t.notOk(has(0), 'the oldest went');
  t.ok(has(1));
  broker.pass(LIMITS.recordSecondsMax * 1000 - 1);
  t.ok(has(1));
  broker.pass(1);
  t.notOk(has(1), 'too old');
  t.match(broker.core.counters(), { records: 0, registered: 1 });
  t.equal(broker.core.nextTimeout(), NEVER);
});

t.test('S3000: the same record again replaces the first and is young again', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
  broker.pass(LIMITS.recordSecondsMax * 1000 - 1);
  broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), THERE));
  broker.pass(1000);
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, query(requestOf(1), [[CALLER, recordOf(1)]])), [
    answer(requestOf(1), [{ device: CALLER, record: recordOf(1), candidates: [THERE] }]),
  ]);
});

t.test('S3000: past devicesMax the terminal registered longest ago goes', async (t) => {
  const outbox = new Outbox();
  const addresses = new Addresses(outbox);
  const presence = { kind: 'address', record: recordOf(1), candidates: [] } as const;
  for (let at = 0; at <= LIMITS.devicesMax; at++) {
    addresses.record(micros(at), deviceOf(at), presence);
    outbox.poll();
  }
  t.match(addresses, { devices: LIMITS.devicesMax, records: LIMITS.devicesMax });
  const found = [0, 1].map((at) => {
    const wanted = [{ device: deviceOf(at), record: recordOf(1) }];
    const request = requestOf(at);
    addresses.query(micros(0), MANAGER, { kind: 'addressQuery', request, wanted, waitMs: 0 });
    const said = decodeMessage(outbox.poll()?.bytes ?? new Uint8Array());
    return said?.kind === 'addressAnswer' ? said.found.length : undefined;
  });
  t.strictSame(found, [0, 1]);
});

t.test('S3003: a query for a record that is not there yet waits for it', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
  const asked = query(requestOf(1), [
    [CALLER, recordOf(1)],
    [CALLEE, recordOf(2)],
  ]);
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, asked), []);
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, asked), [], 'asked again, it goes on waiting');
  t.equal(broker.core.counters().queriesWaiting, 1);
  broker.pass(LIMITS.recordWaitMs - 1);
  broker.tell(CALLEE, topic('address', CALLEE), address(recordOf(3), HERE));
  const said = broker.tell(CALLEE, topic('address', CALLEE), address(recordOf(2), THERE));
  t.strictSame(said.slice(1), [
    answer(requestOf(1), [
      { device: CALLER, record: recordOf(1), candidates: [HERE] },
      { device: CALLEE, record: recordOf(2), candidates: [THERE] },
    ]),
  ]);
  t.equal(broker.core.counters().queriesWaiting, 0);
  t.strictSame(broker.pass(LIMITS.recordWaitMs), [], 'answered once');
});

t.test('S3003: a query waits no longer than it asks, and never beyond the bound', async (t) => {
  for (const [waitMs, waited] of [
    [300, 300],
    [86_400_000, LIMITS.recordWaitMs],
  ]) {
    const broker = new VirtualBroker();
    broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
    const asked = query(
      requestOf(1),
      [
        [CALLER, recordOf(1)],
        [CALLEE, recordOf(2)],
      ],
      waitMs,
    );
    t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, asked), []);
    t.strictSame(broker.pass(waited - 1), []);
    t.strictSame(broker.pass(1), [
      answer(requestOf(1), [{ device: CALLER, record: recordOf(1), candidates: [HERE] }]),
    ]);
  }
});

t.test('S3003: at the bound of waiting queries the next is answered at once', async (t) => {
  const outbox = new Outbox();
  const addresses = new Addresses(outbox);
  const wanted = [{ device: CALLEE, record: recordOf(1) }];
  const ask = (at: number): void =>
    addresses.query(micros(0), MANAGER, {
      kind: 'addressQuery',
      request: requestOf(at),
      wanted,
      waitMs: LIMITS.recordWaitMs,
    });
  for (let at = 0; at < BROKER_LIMITS.queriesMax; at++) ask(at);
  t.match([addresses.waiting, outbox.size], [BROKER_LIMITS.queriesMax, 0]);
  ask(BROKER_LIMITS.queriesMax);
  t.match([addresses.waiting, outbox.size], [BROKER_LIMITS.queriesMax, 1]);
  let answered = 0;
  for (let round = 0; addresses.waiting > 0 && round < 100; round++) {
    addresses.handleTimeout(micros(ms(LIMITS.recordWaitMs)));
    while (outbox.poll() !== undefined) answered += 1;
  }
  t.equal(answered, BROKER_LIMITS.queriesMax + 1, 'no answer is lost in the crowd');
  t.equal(outbox.dropped, 0);
});

t.test('S3004: exactly the record that is named is looked up', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
  broker.tell(CALLEE, topic('address', CALLEE), address(recordOf(2), THERE));
  const cases: readonly (readonly [DeviceId, RecordId, boolean])[] = [
    [CALLER, recordOf(1), true],
    [CALLEE, recordOf(2), true],
    [CALLER, recordOf(2), false],
    [CALLEE, recordOf(1), false],
    [deviceOf(7), recordOf(1), false],
  ];
  for (const [at, [device, record, there]] of cases.entries()) {
    const asked = query(requestOf(at), [[device, record]], 0);
    const candidates = [device === CALLER ? HERE : THERE];
    t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, asked), [
      answer(requestOf(at), there ? [{ device, record, candidates }] : []),
    ]);
  }
});

t.test('S3005: the answer goes to the manager that asked, and to nobody else', async (t) => {
  const broker = new VirtualBroker();
  broker.attend(CALLER);
  broker.attend(CALLEE);
  broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
  const wanted = [[CALLER, recordOf(1)]] as const;
  const found = [{ device: CALLER, record: recordOf(1), candidates: [HERE] }];
  t.strictSame(broker.tell(OTHER_MANAGER, QUERY_TOPIC, query(requestOf(1), wanted)), [
    answer(requestOf(1), found, OTHER_MANAGER),
  ]);
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, query(requestOf(1), wanted)), [
    answer(requestOf(1), found, MANAGER),
  ]);
  for (const from of [CALLER, CALLEE, 'nobody', ''])
    t.strictSame(broker.tell(from, QUERY_TOPIC, query(requestOf(1), wanted)), []);
  t.equal(broker.core.counters().outOfPlace, 4);
});

t.test('S3005: two managers that use the same request each get their answer', async (t) => {
  const broker = new VirtualBroker();
  for (const manager of [MANAGER, OTHER_MANAGER])
    broker.tell(manager, QUERY_TOPIC, query(requestOf(1), [[CALLER, recordOf(1)]]));
  const said = broker.tell(CALLER, topic('address', CALLER), address(recordOf(1), HERE));
  t.strictSame(
    said.map(({ to }) => to),
    [topic('call', CALLER), answerTopic(MANAGER), answerTopic(OTHER_MANAGER)],
  );
});
