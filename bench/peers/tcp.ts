// Kernel TCP through node:net, and TLS 1.3 with ChaCha20-Poly1305 through node:tls; one end of a
// flow (driver.ts). Congestion control is that of the namespace.

import { readFileSync } from 'node:fs';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { type TLSSocket, connect as connectTls, createServer as createTls } from 'node:tls';
import { Arrivals, microseconds, pump, say, task } from './driver.ts';

const CIPHER = 'TLS_CHACHA20_POLY1305_SHA256';

const { role, plan, hello } = task();
const { host, bytes } = plan;
/** Path of a PEM file without its ending; absent: no TLS. */
const certificate = typeof plan.certificate === 'string' ? plan.certificate : undefined;
if (role === 'receive') receive();
else send();

function receive(): void {
  const arrivals = new Arrivals(bytes);
  const onSocket = (socket: Socket | TLSSocket): void => {
    socket.on('data', (chunk: Buffer) => arrivals.add(chunk.length));
    socket.on('error', () => {});
  };
  const server =
    certificate === undefined
      ? createServer(onSocket)
      : createTls(
          {
            key: readFileSync(`${certificate}.key`),
            cert: readFileSync(`${certificate}.crt`),
            minVersion: 'TLSv1.3',
            ciphers: CIPHER,
          },
          onSocket,
        );
  server.listen(0, host, () => say({ ready: true, port: (server.address() as AddressInfo).port }));
}

function send(): void {
  const port = Number(hello.port);
  say({ began: microseconds() });
  const socket =
    certificate === undefined
      ? connect({ host, port, noDelay: true })
      : connectTls({ host, port, rejectUnauthorized: false, ciphers: CIPHER });
  pump(socket, bytes);
}
