// The broker on real Aedes, real TCP and real MQTT.js clients: the story of the patent's trigger
// server, logins, rights on the wire, and the guard against strangers and slow readers.

import { MqttClient } from 'mqtt';
import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import type { Message, MessageOf } from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, topic } from '../../protocol/control/topics.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { until } from '../../protocol/test/until.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { makeManager, makeTerminal } from './parties.ts';
import {
  Wire,
  attend,
  connectTcp,
  loginOf,
  manage,
  manager,
  managerLogin,
  nowSeconds,
  start,
} from './real-broker.ts';
import { asRead, recordOf, requestOf } from './virtual-broker.ts';

const TERM1 = makeTerminal(manager, 11);
const TERM3 = makeTerminal(manager, 13);
const PAYLOAD = Uint8Array.of(7, 7, 7);
const HERE = { address: Uint8Array.of(10, 20, 30, 1), port: 4000, type: 'host' } as const;

const trigger = (request: number, deadlineMs: number): Message => ({
  kind: 'trigger',
  request: requestOf(request),
  deadlineMs,
  payload: PAYLOAD,
});
const TRIGGER3 = topic('trigger', TERM3.device);

t.test('S3001: S3002: a trigger reaches a connected terminal over real MQTT', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const term3 = await attend(broker.port, TERM3);
  t.strictSame(await term3.next('polled'), { kind: 'polled', handed: 0 });
  operator.say(TRIGGER3, trigger(1, 5000));
  const call = await term3.next('call');
  t.strictSame(call.payload, PAYLOAD);
  t.equal(call.deadlineMs, 5000);
  t.equal((await operator.next('triggerState')).state, 'handed');
});

t.test(
  'S3000: S3003: S3005: an address goes to the broker, and out to the asker only',
  async (t) => {
    const broker = await start();
    t.teardown(() => broker.close());
    const operator = await manage(broker.port);
    const term1 = await attend(broker.port, TERM1);
    const term3 = await attend(broker.port, TERM3);
    operator.say(QUERY_TOPIC, {
      kind: 'addressQuery',
      request: requestOf(1),
      wanted: [{ device: TERM1.device, record: recordOf(1) }],
      waitMs: 1000,
    });
    const name = topic('address', TERM1.device);
    term1.say(name, { kind: 'address', record: recordOf(1), candidates: [HERE] });
    t.equal((await term1.next('addressRecorded')).record, recordOf(1));
    const answer = await operator.next('addressAnswer');
    const record = { device: TERM1.device, record: recordOf(1), candidates: [HERE] };
    t.strictSame(answer.found, [asRead({ ...record, seenAt: Uint8Array.of(127, 0, 0, 1) })]);
    // What is forwarded after the address would have arrived after it.
    operator.say(topic('down', TERM3.device), { kind: 'polled', handed: 3 });
    await term3.next('polled');
    t.strictSame(await term3.next('polled'), { kind: 'polled', handed: 3 }, 'the control arrives');
    const kinds = [operator, term1, term3].flatMap(({ heard }) =>
      heard.map(({ message }) => message.kind),
    );
    t.strictSame(kinds, ['polled'], 'only the answer to the poll of TERM1 is left');
  },
);

t.test('claim 17: a trigger waits for a terminal whose TCP connection is closed', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const first = await attend(broker.port, TERM3);
  await first.leave();
  await until(() => broker.stats().connected === 0, 'the broker sees it');
  operator.say(TRIGGER3, trigger(1, 60_000));
  t.equal((await operator.next('triggerState')).state, 'waiting');
  t.equal(broker.stats().connections, 1, 'only the manager is connected');
  const second = await attend(broker.port, TERM3);
  const call = await second.next('call');
  t.equal(call.request, requestOf(1));
  t.ok(call.deadlineMs < 60_000);
  t.strictSame(await second.next('polled'), { kind: 'polled', handed: 1 });
  t.equal((await operator.next('triggerState')).state, 'handed');
});

t.test('claim 17: a trigger that waits is dropped at its deadline, never late', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const before = performance.now();
  operator.say(TRIGGER3, trigger(1, 80));
  t.equal((await operator.next('triggerState')).state, 'waiting');
  t.equal((await operator.next('triggerState')).state, 'expired');
  t.ok(performance.now() - before >= 79);
  const term3 = await attend(broker.port, TERM3);
  t.strictSame(await term3.next('polled'), { kind: 'polled', handed: 0 });
  t.match(broker.stats(), { expired: 1, handed: 0, triggersWaiting: 0 });
});

t.test('claim 18: an end request reaches both terminals through the broker', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const wires = [await attend(broker.port, TERM1), await attend(broker.port, TERM3)];
  for (const { device } of [TERM1, TERM3]) operator.say(topic('trigger', device), trigger(4, 5000));
  for (const wire of wires) t.strictSame((await wire.next('call')).payload, PAYLOAD);
});

t.test('claim 21: a manager in the same process uses a duplex, same code', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const client = new MqttClient(() => broker.connect(), {
    ...managerLogin(),
    protocolVersion: 4,
    reconnectPeriod: 0,
  });
  t.teardown(() => client.end(true));
  await new Promise((resolve) => client.once('connect', resolve));
  const term3 = await attend(broker.port, TERM3);
  client.publish(TRIGGER3, Buffer.from(encodeMessage(trigger(1, 5000))), { qos: 1 });
  t.strictSame((await term3.next('call')).payload, PAYLOAD);
  t.equal(broker.stats().strangers, 0);
});

t.test('a login that proves nothing is refused', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const good = loginOf(TERM1);
  const foreign = makeTerminal(makeManager(9), 11);
  const stale = Buffer.from(TERM1.password(nowSeconds() - 3600));
  const table = [
    ['another terminal as client ID', { ...good, clientId: TERM3.device }, 2],
    ['a client ID of its own liking', { ...good, clientId: 'x' }, 2],
    ['a stale token', { ...good, password: stale }, 4],
    ['the token of another manager', loginOf(foreign), 4],
    ['no password', { ...good, password: undefined }, 4],
    ['no username', { clientId: TERM1.device }, 4],
    ['a terminal that calls itself manager', { ...good, username: 'manager' }, 4],
    ['a password that is no token', { ...good, password: Buffer.from('secret') }, 4],
  ] as const;
  for (const [what, login, code] of table) {
    const wire = await new Wire(broker.port, login).settled();
    t.ok(await wire.isClosed(), what);
    t.equal(wire.refusedCode, code, what);
  }
  t.equal(broker.stats().loginsRefused, table.length);
  t.ok((await new Wire(broker.port, good).settled()).up, 'the control is let in');
});

t.test('a CONNECT of another form ends the connection', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const good = loginOf(TERM1);
  const will = { topic: topic('up', TERM1.device), payload: Buffer.from('x'), qos: 0 as const };
  const table = [
    ['a Will', { ...good, will: { ...will, retain: false } }],
    ['a session to keep', { ...good, clean: false }],
    ['no client ID', { ...good, clientId: '' }],
    ['MQTT 5', { ...good, protocolVersion: 5 }],
    ['MQTT 3.1', { ...good, protocolId: 'MQIsdp', protocolVersion: 3 }],
  ] as const;
  for (const [what, login] of table) {
    const wire = await new Wire(broker.port, login).settled();
    t.ok(await wire.isClosed(), what);
    t.notOk(wire.up, what);
  }
  t.equal(broker.stats().connectsRefused, table.length);
});

t.test('a takeover leaves the terminal connected and callable', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const wires = [await attend(broker.port, TERM3)];
  for (let round = 1; round <= 3; round++) {
    wires.push(await attend(broker.port, TERM3));
    t.ok(await wires[round - 1].isClosed(), 'the old connection ends');
    operator.say(TRIGGER3, trigger(round, 5000));
    t.equal((await wires[round].next('call')).request, requestOf(round));
    t.match(broker.stats(), { connected: 1, connections: 2 });
  }
});

t.test('of a crowd that logs in as one terminal exactly one stays', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const crowd = Array.from({ length: 12 }, () => new Wire(broker.port, loginOf(TERM3)));
  await until(() => crowd.filter((wire) => !wire.closed).length === 1, 'one to be left');
  const [left] = crowd.filter((wire) => !wire.closed);
  await left.settled();
  await until(() => broker.stats().connections === 2, 'the broker sees it');
  await left.subscribe([topic('call', TERM3.device)]);
  operator.say(TRIGGER3, trigger(1, 5000));
  t.strictSame((await left.next('call')).payload, PAYLOAD);
  t.equal(broker.stats().connected, 1);
});

t.test('a forbidden publish closes the connection and reaches nobody', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const term3 = await attend(broker.port, TERM3);
  const up = topic('up', TERM1.device);
  const table = [
    [topic('up', TERM3.device), {}],
    [topic('down', TERM3.device), {}],
    [topic('call', TERM1.device), {}],
    [TRIGGER3, {}],
    [QUERY_TOPIC, {}],
    ['nakodo/1/revoked', {}],
    ['$SYS/x/new/clients', {}],
    [`${up}/more`, {}],
    [up, { retain: true }],
    [up, { qos: 2 }],
  ] as const;
  for (const [at, [name, options]] of table.entries()) {
    const wire = await attend(broker.port, TERM1);
    wire.client.publish(name, Buffer.from(TERM3.device), { qos: 1, ...options }, () => {});
    t.ok(await wire.isClosed(), name);
    t.equal(broker.stats().publishesForbidden, at + 1, name);
  }
  const wire = await attend(broker.port, TERM1);
  wire.say(up, { kind: 'polled', handed: 9 });
  t.equal((await operator.next('polled')).handed, 9, 'the control arrives');
  t.notOk(term3.closed, 'nobody was kicked');
  t.strictSame(
    term3.heard.map(({ message }) => message),
    [{ kind: 'polled', handed: 0 }],
  );
});

t.test('a forbidden filter is refused with 128, wherever it stands in the packet', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const wire = await new Wire(broker.port, loginOf(TERM1)).settled();
  const own = [topic('call', TERM1.device), topic('down', TERM1.device)];
  const others = [
    ...'# + +/# nakodo/# nakodo/1/+/+ nakodo/1/call/+ $SYS/# $share/g/a'.split(' '),
    ...['up', 'address', 'allow-list', 'trigger'].map((of) => `nakodo/1/${of}/${TERM1.device}`),
    ...['call', 'down', 'up'].map((of) => `nakodo/1/${of}/${TERM3.device}`),
    QUERY_TOPIC,
    `nakodo/1/answer/${manager.id}`,
    `${own[0]}/#`,
  ];
  for (const filter of others) t.strictSame(await wire.subscribe([filter]), [128], filter);
  const all = [...own, ...others];
  t.equal(all.length, 20);
  t.strictSame(await wire.subscribe(all), [1, 1, ...others.map(() => 128)]);
  t.notOk(wire.closed);
  const operator = await manage(broker.port);
  operator.say(topic('trigger', TERM3.device), trigger(1, 50));
  operator.say(topic('trigger', TERM1.device), trigger(2, 5000));
  t.equal((await wire.next('call')).request, requestOf(2));
  t.ok(wire.heard.every(({ topic: name }) => own.includes(name)));
});

t.test('a packet announced too long is dropped before it is kept', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const socket = await connectTcp(broker.port);
  // CONNECT with a remaining length of 256 MiB − 1.
  socket.write(Uint8Array.of(0x10, 0xff, 0xff, 0xff, 0x7f));
  const chunk = new Uint8Array(64 * 1024);
  let sent = 0;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  while (!socket.destroyed && sent < 128 * 1024 * 1024) {
    sent += chunk.length;
    if (socket.write(chunk)) continue;
    await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
  }
  await closed;
  t.ok(sent < 32 * 1024 * 1024, `${sent} bytes went into the kernel's buffers at most`);
  t.match(broker.stats(), { badFirstBytes: 1, connections: 0 });
});

t.test('a packet over the bound ends a connection that is logged in, too', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const wire = await attend(broker.port, TERM1);
  const name = topic('up', TERM1.device);
  // Fixed header 3, topic length 2, packet identifier 2 (MQTT 3.1.1 §3.3).
  const most = BROKER_LIMITS.packetBytesMax - name.length - 3 - 2 - 2;
  const acknowledged = new Promise((resolve) => {
    wire.client.publish(name, Buffer.alloc(most), { qos: 1 }, resolve);
  });
  t.notOk(await acknowledged, 'exactly at the bound it is taken');
  wire.client.publish(name, Buffer.alloc(most + 1), { qos: 1 }, () => {});
  t.ok(await wire.isClosed());
  t.equal(broker.stats().badLengths, 1);
});

t.test('who does not log in within the deadline is dropped', async (t) => {
  const broker = await start({ loginMs: 60 });
  t.teardown(() => broker.close());
  const logged = await attend(broker.port, TERM1);
  const socket = await connectTcp(broker.port);
  await until(() => broker.stats().strangers === 1, 'the stranger');
  const drip = await connectTcp(broker.port);
  drip.write(Uint8Array.of(0x10, 0x20, 0x00));
  await until(() => socket.destroyed && drip.destroyed, 'both to be dropped');
  t.match(broker.stats(), { lateLogins: 2, strangers: 0, connections: 1 });
  t.notOk(logged.closed, 'who did stays');
});

t.test('a reader that does not read is ended, and nobody else waits for it', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const term1 = await attend(broker.port, TERM1);
  const term3 = await attend(broker.port, TERM3);
  // MQTT.js resumes what it pipes from.
  term3.socket.unpipe();
  term3.socket.pause();
  const payload = Buffer.alloc(12_000);
  let rounds = 0;
  while (broker.stats().slowReaders === 0 && rounds < 200) {
    rounds += 1;
    for (let at = 0; at < 25; at++)
      operator.client.publish(topic('down', TERM3.device), payload, { qos: 1 }, () => {});
    operator.say(topic('trigger', TERM1.device), trigger(rounds, 5000));
    t.equal((await term1.next('call')).request, requestOf(rounds));
  }
  t.equal(broker.stats().slowReaders, 1);
  term3.socket.resume();
  t.ok(await term3.isClosed());
  await until(() => broker.stats().connected === 1, 'the slow one to be gone');
  t.notOk(operator.closed);
});

t.test('what cannot be opened says what to do next', async (t) => {
  for (const listen of ['0.0.0.0', '::', '192.0.2.1', 'localhost', '', '127.0.0.1.example.org'])
    await t.rejects(start({ listen }), { code: 'plain-not-loopback', next: /127\.0\.0\.1/ });
  const broker = await start();
  t.teardown(() => broker.close());
  const taken = await start({ port: broker.port }).catch((error: unknown) => error);
  t.ok(taken instanceof NakodoError);
  t.match(taken, { code: 'port-taken', next: /another port/ });
  t.equal(broker.url, `mqtt://127.0.0.1:${broker.port}`);
});

t.test('close ends every connection and frees the port', async (t) => {
  const broker = await start();
  const wires = [await manage(broker.port), await attend(broker.port, TERM1)];
  const stranger = await connectTcp(broker.port);
  await until(() => broker.stats().connections === 3, 'all to be accepted');
  await broker.close();
  await until(() => stranger.destroyed, 'the stranger to be dropped');
  for (const wire of wires) t.ok(await wire.isClosed());
  const again = await start({ port: broker.port });
  t.equal(again.port, broker.port);
  await again.close();
});

t.test('claim 17: hops through the broker take no timer', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const term3 = await attend(broker.port, TERM3);
  const clock = new Clock();
  const times: number[] = [];
  const calls: ((message: MessageOf<'call'>) => void)[] = [];
  term3.client.on('message', () => {
    const last = term3.heard.at(-1)?.message;
    if (last?.kind === 'call') calls.shift()?.(last);
  });
  for (let at = 0; at < 200; at++) {
    const began = clock.now();
    const called = new Promise((resolve) => calls.push(resolve));
    operator.say(TRIGGER3, trigger(at, 5000));
    await called;
    times.push(clock.now() - began);
  }
  const median = times.sort((a, b) => a - b)[100];
  t.comment(`trigger to call: p50 ${median} µs, p95 ${times[190]} µs`);
  t.ok(median < 20_000, 'and far less when the machine is free');
});
