// UDX with @hyperswarm/secret-stream on top: the transport of Holepunch; one end of a flow
// (driver.ts). Socket buffers as large as ours, as without them it loses its own datagrams.

import type { Duplex } from 'node:stream';
import { Arrivals, microseconds, pump, say, task } from './driver.ts';
import { peerModule } from './modules.ts';

interface UdxSocket {
  bind(port: number, host: string): void;
  address(): { readonly port: number };
  setRecvBufferSize?(bytes: number): void;
  setSendBufferSize?(bytes: number): void;
}
interface UdxStream {
  connect(socket: UdxSocket, remoteId: number, port: number, host: string): void;
}
interface Udx {
  createSocket(): UdxSocket;
  createStream(id: number): UdxStream;
}

const BUFFER_BYTES = 4 * 1024 * 1024;
const RECEIVER = { id: 1, port: 47_310 };
const SENDER = { id: 2, port: 47_311 };

const { role, plan } = task();
const { host, bytes } = plan;
const UDX = peerModule('udx-native') as new () => Udx;
const SecretStream = peerModule('@hyperswarm/secret-stream') as new (
  isInitiator: boolean,
  raw: UdxStream,
) => Duplex;

// Both ports are known ahead: a UDX stream must be told where it goes before anything arrives.
const [own, other] = role === 'receive' ? [RECEIVER, SENDER] : [SENDER, RECEIVER];
const udx = new UDX();
const socket = udx.createSocket();
socket.bind(own.port, String(role === 'receive' ? host : plan.from));
socket.setRecvBufferSize?.(BUFFER_BYTES);
socket.setSendBufferSize?.(BUFFER_BYTES);
const raw = udx.createStream(own.id);
if (role === 'send') say({ began: microseconds() });
raw.connect(socket, other.id, other.port, String(role === 'receive' ? plan.from : host));
const stream = new SecretStream(role === 'send', raw);
stream.on('error', () => {});
if (role === 'receive') {
  const arrivals = new Arrivals(bytes);
  stream.on('data', (chunk: Buffer) => arrivals.add(chunk.length));
  say({ ready: true });
} else {
  pump(stream, bytes);
}
