// Where a terminal's MQTT connection comes from, on real sockets: over IPv4, over IPv6, over both
// at one port; what the manager is told of it, and that nobody else is.

import { networkInterfaces } from 'node:os';
import { MqttClient } from 'mqtt';
import t from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { FoundAddress } from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, answerTopic, topic } from '../../protocol/control/topics.ts';
import { addressBytes } from '../../protocol/address.ts';
import type { BrokerShell } from '../shell/broker-shell.ts';
import { makeTerminal } from './parties.ts';
import { attend, manager, managerLogin, serverTls, start } from './real-broker.ts';
import { recordOf, requestOf } from './virtual-broker.ts';

const TERM1 = makeTerminal(manager, 11);
const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((each) => each?.address === '::1');

/** What a manager within the broker's process finds of TERM1's record. */
async function found(broker: BrokerShell): Promise<FoundAddress | undefined> {
  const quiet = { protocolVersion: 4, reconnectPeriod: 0, resubscribe: false } as const;
  const client = new MqttClient(() => broker.connect(), { ...quiet, ...managerLogin() });
  const answer = new Promise<Uint8Array>((resolve) =>
    client.once('message', (_name, bytes) => resolve(bytes)),
  );
  await client.subscribeAsync(answerTopic(manager.id));
  const wanted = [{ device: TERM1.device, record: recordOf(1) }];
  const query = { kind: 'addressQuery', request: requestOf(1), wanted, waitMs: 0 } as const;
  await client.publishAsync(QUERY_TOPIC, Buffer.from(encodeMessage(query)));
  const message = decodeMessage(await answer);
  await client.endAsync(true);
  return message?.kind === 'addressAnswer' ? message.found[0] : undefined;
}

t.test('S3000: a connection’s address is told with the record, in its own family', async (t) => {
  const tls = await serverTls(t);
  const cases = [
    { listen: '127.0.0.1', from: '127.0.0.1' },
    ...(hasIpv6
      ? [
          { listen: '::1', from: '::1' },
          // One socket for both families: IPv4 comes mapped (RFC 4291 §2.5.5.2).
          { listen: '::', from: '127.0.0.1' },
          { listen: '::', from: '::1' },
        ]
      : []),
  ];
  for (const { listen, from } of cases) {
    const broker = await start({ listen, tls });
    const term1 = await attend(broker.port, TERM1, tls.pin, from);
    const record = recordOf(1);
    term1.say(topic('address', TERM1.device), { kind: 'address', record, candidates: [] });
    await term1.next('addressRecorded');
    const told = await found(broker);
    t.strictSame(told?.seenAt, addressBytes(from), `${from} at ${listen}`);
    t.equal(told?.proven, undefined, 'nobody asked a STUN server');
    t.strictSame(
      term1.heard.map(({ message }) => message.kind),
      ['polled'],
      'not to itself',
    );
    await broker.close();
  }
});
