// The STUN server beside the broker on real UDP sockets: both ports, both families, what it answers
// and to whom, what completes an address record over MQTT, and what a flood of anything does to it.

import { once } from 'node:events';
import { type Socket, createSocket } from 'node:dgram';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { addressBytes } from '../../protocol/address.ts';
import { QUERY_TOPIC, topic } from '../../protocol/control/topics.ts';
import { asciiBytes } from '../../protocol/bytes.ts';
import { NakodoError } from '../../protocol/errors.ts';
import type { RecordId } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { ATTRIBUTE, decodeXorAddress } from '../../protocol/stun/attributes.ts';
import { METHOD, decodeMessage, encodeMessage } from '../../protocol/stun/message.ts';
import { seededRng } from '../../protocol/random.ts';
import { micros, seconds } from '../../protocol/time.ts';
import { dose } from '../../protocol/test/dose.ts';
import { until } from '../../protocol/test/until.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { type StunListener, openStun } from '../shell/stun-listener.ts';
import type { Sighting } from '../sightings.ts';
import { StunGate } from '../stun-gate.ts';
import { makeTerminal } from './parties.ts';
import { attend, manage, manager, start, startUntold } from './real-broker.ts';
import { asRead, recordOf, requestOf } from './virtual-broker.ts';

const LOOPBACK = '127.0.0.1';
const TERM1 = makeTerminal(manager, 11);
const ANY = { port: 0, otherPort: 0 };
/** Times that somebody asks, and milliseconds until it is taken for lost. */
const TRIES = 10;
const LOSS_MS = 1_000;
const parts = { clock: new Clock(), log: silentLog };

/** A Binding request of 128 bytes, the record in it. */
function request(record?: RecordId, transaction = 1): Uint8Array {
  const own = record === undefined ? [] : [[ATTRIBUTE.record, asciiBytes(record)] as const];
  const filling = record === undefined ? 96 : 64;
  return encodeMessage({
    stunClass: 'request',
    method: METHOD.binding,
    transaction: new Uint8Array(12).fill(transaction),
    attributes: [...own, [ATTRIBUTE.filling, new Uint8Array(filling)]],
    hasFingerprint: true,
  });
}

/** Somebody with a UDP socket. */
class Client {
  readonly socket: Socket;
  readonly heard: { readonly bytes: Uint8Array; readonly port: number }[] = [];

  constructor(t: Test, family: 4 | 6 = 4) {
    this.socket = createSocket(family === 4 ? 'udp4' : 'udp6');
    this.socket.on('message', (bytes, { port }) => {
      this.heard.push({ bytes: Uint8Array.from(bytes), port });
    });
    t.teardown(() => this.socket.close());
  }

  async open(host: string): Promise<this> {
    this.socket.bind(0, host);
    await once(this.socket, 'listening');
    return this;
  }

  get port(): number {
    return this.socket.address().port;
  }

  /** Asks until there is an answer, as UDP may lose even on loopback. */
  async ask(bytes: Uint8Array, port: number, host = LOOPBACK): Promise<Uint8Array> {
    const find = (): number => this.heard.findIndex((each) => each.port === port);
    for (let tries = 0; find() < 0 && tries < TRIES; tries++) {
      this.socket.send(bytes, port, host);
      await until(() => find() >= 0, 'an answer', LOSS_MS).catch(() => {});
    }
    await until(() => find() >= 0, 'an answer', 0);
    const [{ bytes: answer }] = this.heard.splice(find(), 1);
    return answer;
  }
}

const mappedIn = (answer: Uint8Array): unknown => {
  const message = decodeMessage(answer);
  if (message === undefined) return undefined;
  return decodeXorAddress(message.attributes.get(ATTRIBUTE.xorMappedAddress), message.transaction);
};

/** A listener on its own, and what it saw. */
async function listener(
  t: Test,
  host = LOOPBACK,
): Promise<{ readonly stun: StunListener; readonly seen: (Sighting & { record: RecordId })[] }> {
  const stun = await openStun({ host, ports: ANY, ...parts });
  t.teardown(() => stun.close());
  const seen: (Sighting & { record: RecordId })[] = [];
  stun.onSighting((record, sighting) => seen.push({ record, ...sighting }));
  return { stun, seen };
}

t.test('S1000: both ports tell a client where it is, and the broker of its record', async (t) => {
  const { stun, seen } = await listener(t);
  const client = await new Client(t).open(LOOPBACK);
  const { port, otherPort } = stun.ports;
  t.not(port, otherPort);
  for (const each of [port, otherPort]) {
    const asked = request(recordOf(1), each % 200);
    const answer = await client.ask(asked, each);
    t.strictSame(mappedIn(answer), { host: LOOPBACK, port: client.port });
    t.strictSame(decodeMessage(answer)?.transaction, decodeMessage(asked)?.transaction);
    t.ok(answer.length <= asked.length);
  }
  const address = addressBytes(LOOPBACK);
  const sighting = { record: recordOf(1), address, port: client.port };
  t.match(seen, [
    { ...sighting, serverPort: port },
    { ...sighting, serverPort: otherPort },
  ]);
  t.match(stun.counters(), { stunAnswered: 2, stunMalformed: 0, stunOverRate: 0 });
});

t.test('a request without a record is answered as anybody’s, and told to nobody', async (t) => {
  const { stun, seen } = await listener(t);
  const client = await new Client(t).open(LOOPBACK);
  t.ok(mappedIn(await client.ask(request(), stun.ports.port)));
  t.ok(mappedIn(await client.ask(request('../etc/passwd' as RecordId), stun.ports.port)));
  t.strictSame(seen, []);
});

t.test('on all addresses it answers in both families, from one port each', async (t) => {
  const { stun, seen } = await listener(t, '0.0.0.0');
  const four = await new Client(t).open(LOOPBACK);
  await four.ask(request(recordOf(4)), stun.ports.otherPort);
  t.match(seen, [{ record: recordOf(4), address: addressBytes(LOOPBACK) }]);
  const six = await new Client(t, 6).open('::1').catch(() => undefined);
  if (six === undefined) {
    t.comment('no IPv6 here');
    return;
  }
  const answer = await six.ask(request(recordOf(6)), stun.ports.otherPort, '::1');
  t.strictSame(mappedIn(answer), { host: '::1', port: six.port });
  t.match(seen.at(-1), { record: recordOf(6), address: addressBytes('::1'), port: six.port });
});

t.test('S3000: S3003: a record is complete when STUN over UDP has seen it', async (t) => {
  const broker = await start({ stun: ANY });
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const term1 = await attend(broker.port, TERM1);
  const host = { address: Uint8Array.of(10, 20, 30, 1), port: 4000, type: 'host' } as const;
  const record = recordOf(1);
  term1.say(topic('address', TERM1.device), {
    kind: 'address',
    record,
    candidates: [host],
    gathering: true,
  });
  await term1.next('addressRecorded');
  const wanted = [{ device: TERM1.device, record }];
  // Its wait is over long after this: what answers it is what STUN saw.
  operator.say(QUERY_TOPIC, { kind: 'addressQuery', request: requestOf(1), wanted, waitMs: 1000 });
  await until(() => broker.stats().queriesWaiting === 1, 'the query to wait');
  const client = await new Client(t).open(LOOPBACK);
  const { port = 0, otherPort = 0 } = broker.stunPorts ?? {};
  await Promise.all([
    client.ask(request(record, 1), port),
    client.ask(request(record, 2), otherPort),
  ]);
  const answer = await operator.next('addressAnswer');
  const address = addressBytes(LOOPBACK) ?? new Uint8Array();
  const candidates = [host, { address, port: client.port, type: 'reflexive' } as const];
  const found = { device: TERM1.device, record, candidates, seenAt: address, proven: true };
  t.strictSame(answer.found, [asRead(found)]);
  t.match(broker.stats(), { stunAnswered: Number, earlySightings: 0 });
});

t.test('no answer is longer than its request, whatever it is', async (t) => {
  const { stun } = await listener(t);
  const client = await new Client(t).open(LOOPBACK);
  const packets = fc.sample(
    fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      fc.uint8Array({ maxLength: 200 }).map((tail) => Uint8Array.of(0, 1, ...tail)),
      fc
        .array(fc.tuple(fc.nat(0xffff), fc.uint8Array({ maxLength: 40 })), { maxLength: 8 })
        .map((attributes) =>
          encodeMessage({
            stunClass: 'request',
            method: METHOD.binding,
            transaction: new Uint8Array(12),
            attributes,
          }),
        ),
    ),
    dose(500),
  );
  let answered = 0;
  for (const [at, packet] of packets.entries()) {
    // One socket keeps order: what is answered of this one is there before the control's answer.
    client.socket.send(packet, stun.ports.port, LOOPBACK);
    const control = (at % 255) + 1;
    const isControl = ({ bytes }: { readonly bytes: Uint8Array }): boolean => bytes[19] === control;
    client.socket.send(request(undefined, control), stun.ports.port, LOOPBACK);
    await until(() => client.heard.some(isControl), 'the control to be answered');
    const answers = client.heard.splice(0).filter((each) => !isControl(each));
    answered += answers.length;
    if (answers.length > 1) t.fail('two answers to one request');
    for (const { bytes } of answers) if (bytes.length > packet.length) t.fail(`${bytes.length}`);
  }
  t.ok(answered > packets.length / 20, `${answered} of ${packets.length} were answered`);
  t.ok(stun.counters().stunAnswered >= packets.length + answered);
});

t.test('what is too long, or no request, is counted, and nobody hears of it', async (t) => {
  const { stun, seen } = await listener(t);
  const client = await new Client(t).open(LOOPBACK);
  const good = request(recordOf(1));
  const [cut, broken, answerLike] = [good.slice(0, 124), good.slice(), good.slice()];
  broken[30] ^= 1;
  answerLike[0] = 1;
  const long = encodeMessage({
    stunClass: 'request',
    method: METHOD.binding,
    transaction: new Uint8Array(12),
    attributes: [[ATTRIBUTE.filling, new Uint8Array(BROKER_LIMITS.stunRequestBytesMax)]],
  });
  const bad = [new Uint8Array(), Uint8Array.of(0), cut, broken, answerLike, long];
  for (const packet of bad) client.socket.send(packet, stun.ports.port, LOOPBACK);
  await until(() => stun.counters().stunMalformed === bad.length, 'all to be counted');
  t.strictSame([client.heard, seen], [[], []]);
  t.ok(mappedIn(await client.ask(good, stun.ports.port)), 'the control is answered');
});

/** IPv4 source number so many, each in a network of its own. */
const sourceOf = (each: number): Uint8Array => Uint8Array.of(20, each >> 8, each, 7);

t.test('the gate: a burst, then a rate, over all senders; garbage takes no token', async (t) => {
  const gate = new StunGate(seededRng(1), () => false);
  const good = request();
  const { stunBurst, stunRequestsPerSecond } = BROKER_LIMITS;
  const judge = (at: number, bytes: Uint8Array, port = 1, address = sourceOf(1)) =>
    gate.judge(micros(at), { bytes, address, port });
  const passed = (at: number, tries: number, bytes = good): number => {
    let count = 0;
    for (let each = 0; each < tries; each++)
      if (judge(at, bytes, 1 + each, sourceOf(each % 1_000)) === 'ok') count += 1;
    return count;
  };
  t.equal(passed(0, stunBurst, new Uint8Array(128)), 0);
  t.equal(passed(0, 2 * stunBurst), stunBurst);
  t.equal(judge(0, good), 'over-rate');
  t.equal(passed(seconds(0.1), 2 * stunBurst), stunRequestsPerSecond / 10);
  t.equal(passed(seconds(1_000), 2 * stunBurst), stunBurst, 'no more than a burst is saved up');
  t.equal(passed(seconds(999), 10), 0, 'a clock that went back gives nothing');
  t.equal(judge(seconds(2_000), good, 0), 'malformed', 'nobody is at port 0');
});

t.test('one network that floods leaves the others theirs, whatever addresses it has', async (t) => {
  const { stunBurst, stunNetworkBurst, stunNetworkPerSecond } = BROKER_LIMITS;
  const ipv4 = (each: number): Uint8Array => Uint8Array.of(203, 0, 113, each);
  const ipv6 = (each: number): Uint8Array =>
    Uint8Array.of(32, 1, 13, 184, 0, 1, 0, 2, each >> 8, each, 0, 0, 0, 0, 0, 1);
  const mapped = (each: number): Uint8Array =>
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...ipv4(each));
  for (const source of [ipv4, ipv6, mapped]) {
    const gate = new StunGate(seededRng(2), () => false);
    const flood = (at: number): number => {
      let count = 0;
      for (let each = 0; each < 2 * stunBurst; each++) {
        const address = source(each % 256);
        if (gate.judge(micros(at), { bytes: request(), address, port: 1 }) === 'ok') count += 1;
      }
      return count;
    };
    t.equal(flood(0), stunNetworkBurst);
    let others = 0;
    for (let each = 0; each < 1_000; each++) {
      const arrival = { bytes: request(), address: sourceOf(each), port: 1 };
      if (gate.judge(micros(0), arrival) === 'ok') others += 1;
    }
    t.ok(others >= 990, `${others} of 1,000: one in 4,096 has the flooder's bucket`);
    t.equal(flood(seconds(0.1)), stunNetworkPerSecond / 10);
  }
});

t.test(
  'in a flood whose record is held is answered, at a rate; made-up ones are not',
  async (t) => {
    const { stunBurst, stunKnownBurst } = BROKER_LIMITS;
    const held = recordOf(1);
    const asked: RecordId[] = [];
    const gate = new StunGate(seededRng(3), (record) => {
      asked.push(record);
      return record === held;
    });
    const judge = (bytes: Uint8Array, each: number): string =>
      gate.judge(micros(0), { bytes, address: sourceOf(each), port: 1 });
    let passed = 0;
    for (let each = 0; each < stunBurst; each++)
      if (judge(request(held), each) === 'ok') passed += 1;
    t.equal(passed, stunBurst);
    t.strictSame(asked, [], 'nobody is asked while there is room');
    t.equal(judge(request(), 1), 'over-rate');
    t.equal(judge(request(recordOf(2)), 1), 'over-rate');
    t.equal(judge(request('../etc/passwd' as RecordId), 1), 'over-rate');
    t.strictSame(asked, [recordOf(2)]);
    const known = Array.from({ length: 2 * stunKnownBurst }, () => judge(request(held), 1));
    t.equal(known.filter((verdict) => verdict === 'ok').length, stunKnownBurst);
  },
);

t.test('floods of garbage and of requests do not stop MQTT, nor the next request', async (t) => {
  const broker = await start({ stun: ANY });
  t.teardown(() => broker.close());
  const term1 = await attend(broker.port, TERM1);
  const client = await new Client(t).open(LOOPBACK);
  const { port = 0 } = broker.stunPorts ?? {};
  const garbage = new Uint8Array(1_200).fill(7);
  const good = request(recordOf(1));
  let rounds = 0;
  let isOver = false;
  const flood = (): void => {
    if (isOver) return;
    for (let each = 0; each < 200; each++)
      client.socket.send(each % 2 === 0 ? garbage : good, port, LOOPBACK, () => {});
    setImmediate(flood);
  };
  flood();
  for (; rounds < 50; rounds++) {
    const record = recordOf(rounds + 10);
    term1.say(topic('address', TERM1.device), { kind: 'address', record, candidates: [] });
    t.equal((await term1.next('addressRecorded')).record, record);
  }
  isOver = true;
  const stats = broker.stats();
  t.ok(stats.stunMalformed > 1_000, `${stats.stunMalformed} were garbage`);
  t.ok(stats.earlySightings <= 1, 'the same record all the time');
  const next = await new Client(t).open(LOOPBACK);
  t.ok(mappedIn(await next.ask(request(), port)), 'the next one is answered');
});

t.test('a port that is taken, or an address that is not ours, is said', async (t) => {
  const { stun } = await listener(t);
  const { port } = stun.ports;
  const code = async (ports: typeof ANY, host = LOOPBACK): Promise<unknown> => {
    const opened = await openStun({ host, ports, ...parts }).catch((error: unknown) => error);
    if (opened instanceof NakodoError) return [opened.code, opened.next];
    await (opened as StunListener).close();
    return undefined;
  };
  t.match(await code({ port, otherPort: 0 }), ['port-taken', /--stun-port.*--no-stun/]);
  t.match(await code({ port: 0, otherPort: port }), ['port-taken', /--stun-other-port/]);
  t.match(await code(ANY, '192.0.2.1'), ['address-unusable']);
  await t.rejects(startUntold({ stun: { port, otherPort: 0 } }), { code: 'port-taken' });
  t.equal(await code(ANY), undefined, 'the control opens');
  await stun.close();
  t.equal(await code({ port, otherPort: 0 }), undefined, 'closed, it is free again');
});
