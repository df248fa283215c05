// WebRTC by libdatachannel, one ordered reliable data channel; one end of a flow (driver.ts). Its
// two ends exchange their descriptions over a TCP connection of their own. SCTP buffers of 8 MiB
// and messages of 64 KiB, without which it is slower still (speed §8).

import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { Arrivals, microseconds, say, task } from './driver.ts';
import { peerModule } from './modules.ts';

interface Channel {
  onOpen(handler: () => void): void;
  onMessage(handler: (message: Buffer) => void): void;
  onBufferedAmountLow(handler: () => void): void;
  setBufferedAmountLowThreshold(bytes: number): void;
  bufferedAmount(): number;
  sendMessageBinary(message: Uint8Array): boolean;
}
interface Connection {
  onLocalDescription(handler: (sdp: string, type: string) => void): void;
  onLocalCandidate(handler: (candidate: string, mid: string) => void): void;
  onDataChannel(handler: (channel: Channel) => void): void;
  createDataChannel(label: string): Channel;
  setRemoteDescription(sdp: string, type: string): void;
  addRemoteCandidate(candidate: string, mid: string): void;
}
interface Library {
  readonly PeerConnection: new (name: string, config: object) => Connection;
  setSctpSettings(settings: object): void;
}

const SCTP_BUFFER_BYTES = 8 * 1024 * 1024;
const MESSAGE_BYTES = 65_536;
const BUFFERED_LOW_BYTES = 1024 * 1024;
const BUFFERED_HIGH_BYTES = 4 * 1024 * 1024;

const { role, plan, hello } = task();
const { host, bytes } = plan;
const library = peerModule('node-datachannel') as Library;
library.setSctpSettings({
  recvBufferSize: SCTP_BUFFER_BYTES,
  sendBufferSize: SCTP_BUFFER_BYTES,
  maxChunksOnQueue: 100_000,
});
if (role === 'receive') receive();
else send();

function receive(): void {
  const arrivals = new Arrivals(bytes);
  const server = createServer((socket) => {
    const connection = describe(socket, host);
    connection.onDataChannel((channel) => {
      kept.push(channel);
      channel.onMessage((message) => arrivals.add(message.length));
    });
  });
  server.listen(0, host, () => say({ ready: true, port: (server.address() as AddressInfo).port }));
}

function send(): void {
  say({ began: microseconds() });
  const socket = connect({ host, port: Number(hello.port), noDelay: true }, () => {
    const connection = describe(socket, String(plan.from));
    const channel = connection.createDataChannel('bulk');
    kept.push(channel);
    const message = new Uint8Array(MESSAGE_BYTES).fill(0x6e);
    let left = bytes === 0 ? Infinity : bytes;
    const write = (): void => {
      while (left > 0 && channel.bufferedAmount() < BUFFERED_HIGH_BYTES) {
        channel.sendMessageBinary(left < message.length ? message.subarray(0, left) : message);
        left -= message.length;
      }
    };
    channel.setBufferedAmountLowThreshold(BUFFERED_LOW_BYTES);
    channel.onBufferedAmountLow(write);
    channel.onOpen(write);
  });
}

/** A connection whose descriptions go over the socket, a line of JSON each. */
function describe(socket: Socket, bindAddress: string): Connection {
  const config = { iceServers: [], bindAddress, maxMessageSize: 4 * MESSAGE_BYTES };
  const connection = new library.PeerConnection(role, config);
  kept.push(connection);
  const tell = (line: object): void => void socket.write(`${JSON.stringify(line)}\n`);
  connection.onLocalDescription((sdp, type) => tell({ sdp, type }));
  connection.onLocalCandidate((candidate, mid) => tell({ candidate, mid }));
  socket.on('error', () => {});
  createInterface(socket).on('line', (line) => {
    const { sdp, type, candidate, mid } = JSON.parse(line) as Record<string, string | undefined>;
    if (sdp !== undefined) connection.setRemoteDescription(sdp, type ?? '');
    else connection.addRemoteCandidate(candidate ?? '', mid ?? '');
  });
  return connection;
}

/** What the garbage collector must leave alone: the library holds no reference of its own. */
const kept: unknown[] = [];
