// The broker's TCP port. Plain MQTT shows tokens and addresses to whoever can read the wire, so it
// is opened on loopback only (design §3); every way it can fail says what to do next.

import { type AddressInfo, type Server, type Socket, createServer, isIPv4, isIPv6 } from 'node:net';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { BROKER_LIMITS } from '../limits.ts';

/** A port that is open; connections are refused until `onConnection` is called. */
export interface Listener {
  readonly port: number;
  readonly url: string;
  onConnection(take: (socket: Socket) => void): void;
  /** Resolves when the port is free; connections taken are the taker's to end. */
  close(): Promise<void>;
}

/**
 * Opens a TCP port on a loopback address; `port` 0: any free one.
 * `onTrouble`: a connection could not be accepted (no file descriptors left, say); others can.
 * @throws NakodoError `plain-not-loopback`, `port-taken`, `no-permission` or `address-unusable`.
 */
export async function listenOnLoopback(
  host: string,
  port: number,
  onTrouble: (error: Error) => void,
): Promise<Listener> {
  if (!isLoopback(host)) {
    throw new NakodoError(
      'plain-not-loopback',
      `MQTT without TLS would be open to the network on ${host}`,
      'listen on 127.0.0.1 or ::1',
    );
  }
  const server = createServer({
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: BROKER_LIMITS.tcpKeepAliveSeconds * 1_000,
  });
  let take = (socket: Socket): void => void socket.destroy();
  server.on('connection', (socket) => take(socket));
  const bound = await listen(server, host, port);
  server.on('error', onTrouble);
  return {
    port: bound,
    url: `mqtt://${isIPv6(host) ? `[${host}]` : host}:${bound}`,
    onConnection(taker) {
      take = taker;
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function isLoopback(host: string): boolean {
  return (isIPv4(host) && host.startsWith('127.')) || host === '::1';
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port)));
    server.listen({ host, port, backlog: BROKER_LIMITS.backlogMax }, () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function listenError(error: Error, host: string, port: number): NakodoError {
  const code = errorCode(error);
  if (code === 'EADDRINUSE') {
    return new NakodoError(
      'port-taken',
      `another program uses TCP port ${port}`,
      'choose another port with --mqtt-port, or 0 for any free one',
    );
  }
  if (code === 'EACCES') {
    return new NakodoError(
      'no-permission',
      `this user may not open TCP port ${port}`,
      'choose a port above 1023 with --mqtt-port',
    );
  }
  return new NakodoError(
    'address-unusable',
    `cannot listen on ${host}: ${errorMessage(error)}`,
    'give a loopback address of this host: 127.0.0.1',
  );
}
