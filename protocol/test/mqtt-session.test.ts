// The MQTT session byte by byte, against a broker that is typed in here (OASIS MQTT 3.1.1); against
// a real one see io-mqtt-link.test.ts.

import { type Duplex, duplexPair } from 'node:stream';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { LoginRefused, MqttSession, type SessionOptions } from '../io/mqtt-session.ts';
import { dose } from './dose.ts';
import { until } from './until.ts';

const CONNACK = Buffer.of(0x20, 2, 0, 0);
const SUBACK = Buffer.of(0x90, 4, 0, 1, 0, 0);
const PINGRESP = Buffer.of(0xd0, 0);

interface Ends {
  readonly session: MqttSession;
  readonly broker: Duplex;
  /** What the session said, whole. */
  readonly said: () => Buffer;
  readonly heard: string[];
  readonly errors: (Error | undefined)[];
}

function open(t: Test, more: Partial<SessionOptions> = {}): Ends {
  const [ours, broker] = duplexPair();
  const chunks: Buffer[] = [];
  broker.on('data', (chunk: Buffer) => chunks.push(chunk));
  broker.on('error', () => {});
  broker.once('end', () => broker.end());
  ours.once('close', () => broker.destroy());
  const heard: string[] = [];
  const errors: (Error | undefined)[] = [];
  const session = new MqttSession(ours, {
    clientId: 'id',
    username: 'me',
    password: Buffer.of(1, 2, 3),
    subscriptions: ['a', 'é'],
    keepAliveSeconds: 60,
    onUp: () => heard.push('up'),
    onMessage: (topic, bytes) => heard.push(`${topic} ${Buffer.from(bytes).toString('hex')}`),
    onClosed: (error) => errors.push(error),
    ...more,
  });
  t.teardown(() => ours.destroy());
  return { session, broker, said: () => Buffer.concat(chunks), heard, errors };
}

/** PUBLISH, QoS 0, topic `a`. */
function publish(payload: Uint8Array): Buffer {
  const length = 3 + payload.length;
  const head = length < 128 ? [0x30, length] : [0x30, (length & 0x7f) | 0x80, length >> 7];
  return Buffer.concat([Buffer.of(...head, 0, 1, 0x61), payload]);
}

t.test('CONNECT, SUBSCRIBE and PUBLISH are what MQTT 3.1.1 says (§3.1, §3.8, §3.3)', async (t) => {
  const { session, broker, said, heard } = open(t);
  t.notOk(session.publish('a', Buffer.of(1)), 'not up');
  await until(() => said().length >= 25);
  const connect = [0x10, 23, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2, 0, 60];
  const names = [0, 2, 0x69, 0x64, 0, 2, 0x6d, 0x65, 0, 3, 1, 2, 3];
  t.same([...said()], [...connect, ...names]);
  broker.write(CONNACK);
  await until(() => said().length > 25);
  const subscribe = [0x82, 11, 0, 1, 0, 1, 0x61, 0, 0, 2, 0xc3, 0xa9, 0];
  t.same([...said().subarray(25)], subscribe);
  broker.write(SUBACK);
  await until(() => heard.includes('up'));
  const before = said().length;
  t.ok(session.publish('é', Buffer.of(7, 8)));
  t.ok(session.publish('a', Buffer.alloc(200)));
  session.close();
  await until(() => said().length >= before + 8 + 206 + 2);
  const spoken = said().subarray(before);
  t.same([...spoken.subarray(0, 8)], [0x30, 6, 0, 2, 0xc3, 0xa9, 7, 8]);
  t.same([...spoken.subarray(8, 14)], [0x30, 0xcb, 1, 0, 1, 0x61], 'a length of two bytes');
  t.same([...spoken.subarray(-2)], [0xe0, 0], 'DISCONNECT is behind all of it');
});

t.test('however its bytes are cut, a broker says the same', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
      async (payloads, cuts) => {
        const { broker, heard } = open(t);
        const bytes = Buffer.concat([CONNACK, SUBACK, PINGRESP, ...payloads.map(publish)]);
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const end = at + cuts[turn % cuts.length];
          broker.write(bytes.subarray(at, end));
          at = end;
        }
        await until(() => heard.length === 1 + payloads.length);
        const expected = payloads.map((payload) => `a ${Buffer.from(payload).toString('hex')}`);
        return JSON.stringify(heard) === JSON.stringify(['up', ...expected]);
      },
    ),
    { numRuns: dose(40) },
  );
  t.pass('held');
});

t.test('any bytes: messages, or the end of the connection', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 4, maxLength: 60 }), async (noise) => {
      const { broker, errors, heard, session } = open(t);
      broker.write(Buffer.concat([CONNACK, SUBACK]));
      await until(() => heard.length > 0);
      broker.write(noise);
      broker.end();
      session.close();
      await until(() => errors.length === 1);
      return errors.length === 1;
    }),
    { numRuns: dose(100) },
  );
  t.pass('held');
});

for (const [what, bytes, error] of [
  ['refuses the login', [0x20, 2, 0, 5], /not authorized/],
  ['grants no subscription', [...CONNACK, 0x90, 4, 0, 1, 0, 0x80], /no subscription/],
  ['forgets a subscription', [...CONNACK, 0x90, 3, 0, 1, 0], /no subscription/],
  ['sends at QoS 1', [...CONNACK, ...SUBACK, 0x32, 5, 0, 1, 0x61, 0, 1], /did not ask for/],
  ['cuts a topic', [...CONNACK, ...SUBACK, 0x30, 3, 0, 9, 0x61], /did not ask for/],
  ['greets twice', [...CONNACK, ...SUBACK, ...CONNACK], /out of turn/],
  ['announces 256 MiB', [...CONNACK, 0x30, 0xff, 0xff, 0xff, 0x7f], /too long/],
  ['has a length of five bytes', [0x30, 0x80, 0x80, 0x80, 0x80, 1], /no MQTT/],
] as const) {
  t.test(`a broker that ${what} is left`, async (t) => {
    const { broker, errors } = open(t);
    broker.write(Buffer.from(bytes));
    await until(() => errors.length === 1);
    t.match(errors[0]?.message, error);
    t.equal(errors[0] instanceof LoginRefused && errors[0].returnCode === 5, bytes[3] === 5);
  });
}

t.test('a broker that does not answer a ping is left, one that answers is not', async (t) => {
  const silent = open(t, { keepAliveSeconds: 0.02 });
  silent.broker.write(Buffer.concat([CONNACK, SUBACK]));
  await until(() => silent.errors.length === 1);
  t.match(silent.errors[0]?.message, /does not answer/);
  const polite = open(t, { keepAliveSeconds: 1 });
  polite.broker.on('data', (chunk: Buffer) => {
    if (chunk[0] === 0xc0) polite.broker.write(PINGRESP);
  });
  polite.broker.write(Buffer.concat([CONNACK, SUBACK]));
  const pings = (): number => polite.said().filter((byte) => byte === 0xc0).length;
  await until(() => pings() >= 2);
  t.same(polite.errors, []);
});
