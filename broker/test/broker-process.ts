// The process of `startApart`: the first message starts the broker, every other one asks for its
// gauges. Ends with its parent.

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import type { BrokerShell } from '../shell/broker-shell.ts';
import type { BrokerOrder, Gauges } from './broker-child.ts';
import { start } from './real-broker.ts';

let isStarted = false;
let broker: BrokerShell | undefined;

async function begin({ tls, loginMs, isBare }: BrokerOrder): Promise<{ readonly port: number }> {
  if (isBare) {
    const { key, cert } = tls ?? {};
    const server = createServer({
      ...(key && { key }),
      ...(cert && { cert }),
      ecdhCurve: 'X25519',
    });
    server.on('tlsClientError', () => {});
    server.on('secureConnection', (socket) => socket.on('error', () => {}).resume());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { port: (server.address() as AddressInfo).port };
  }
  broker = await start({
    ...(tls && { tls: { ...tls, pin: Uint8Array.from(tls.pin) } }),
    ...(loginMs !== undefined && { loginMs }),
  });
  return { port: broker.port };
}

/** After two collections: what is only garbage is not held. */
function gauges(): Gauges {
  const { user, system } = process.cpuUsage();
  for (let round = 0; round < 2; round++) globalThis.gc?.();
  return {
    rssBytes: process.memoryUsage.rss(),
    cpuMicros: user + system,
    stats: broker?.stats(),
  };
}

process.on('message', (order: BrokerOrder) => {
  if (isStarted) {
    process.send?.(gauges());
    return;
  }
  isStarted = true;
  void begin(order).then((started) => process.send?.(started));
});
process.on('disconnect', () => process.exit());
