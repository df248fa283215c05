// MQTT packets in single bytes, and SUBSCRIBE packets with a hundred filters: what TCP may do to a
// packet, and what a client may put into one, changes no right.

import { createConnection } from 'node:net';
import { MqttClient } from 'mqtt';
import t from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { topic } from '../../protocol/control/topics.ts';
import { makeTerminal } from './parties.ts';
import { attend, loginOf, manage, manager, start } from './real-broker.ts';
import { recordOf } from './virtual-broker.ts';

const TERM1 = makeTerminal(manager, 11);
const TERM3 = makeTerminal(manager, 13);
const FILTERS = 100;

t.test('S3000: a terminal whose every byte comes alone is served like any other', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const socket = createConnection({ host: '127.0.0.1', port: broker.port, noDelay: true });
  const write = socket.write.bind(socket) as (bytes: Uint8Array) => boolean;
  socket.write = (bytes: unknown, ...rest: readonly unknown[]): boolean => {
    for (const byte of Buffer.from(bytes as Uint8Array)) write(Uint8Array.of(byte));
    for (const done of rest) if (typeof done === 'function') queueMicrotask(() => done());
    return true;
  };
  const options = { protocolVersion: 4, reconnectPeriod: 0, resubscribe: false } as const;
  const client = new MqttClient(() => socket, { ...options, ...loginOf(TERM1), clean: true });
  t.teardown(() => client.end(true));
  await new Promise((resolve) => client.once('connect', resolve));
  const call = topic('call', TERM1.device);
  await client.subscribeAsync(call, { qos: 0 });
  const answered = new Promise((resolve) => client.once('message', resolve));
  const address = { kind: 'address', record: recordOf(1), candidates: [] } as const;
  const bytes = Buffer.from(encodeMessage(address));
  await client.publishAsync(topic('address', TERM1.device), bytes, { qos: 1 });
  t.equal(await answered, call);
  t.match(broker.stats(), { registered: 1, badLengths: 0, publishesForbidden: 0 });
});

t.test('S3002: of a hundred filters in one packet only one’s own are granted', async (t) => {
  const broker = await start();
  t.teardown(() => broker.close());
  const wire = await attend(broker.port, TERM1);
  const operator = await manage(broker.port);
  const wanted = ['#', '+', '$SYS/#', '$share/x/nakodo/1/up/+', 'nakodo/1/#', 'nakodo/1/call/+'];
  const foreign = [topic('call', TERM3.device), topic('down', TERM3.device)];
  const filters = Array.from(
    { length: FILTERS },
    (_, at) => [...wanted, ...foreign][at] ?? `nakodo/1/down/${String(at).padStart(32, 'a')}`,
  );
  filters[FILTERS / 2] = topic('call', TERM1.device);
  const granted = await wire.subscribe(filters);
  t.strictSame(
    granted.flatMap((qos, at) => (qos === 128 ? [] : [at])),
    [FILTERS / 2],
  );
  t.equal(broker.stats().subscriptionsForbidden, FILTERS - 1);
  t.notOk(operator.closed);
});
