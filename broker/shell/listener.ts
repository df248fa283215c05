// The broker's TCP port and the TLS 1.3 behind it (design §3). Plain MQTT shows tokens and
// addresses to whoever can read the wire, so without TLS it is opened on loopback only; every way
// in which it can fail says what to do next. A TCP connection is accepted here and counted by its
// taker before TLS is spent on it: `secure` is the taker's to call.

import { constants } from 'node:crypto';
import { type AddressInfo, type Server, type Socket, createServer, isIPv6 } from 'node:net';
import { type TLSSocket, createServer as createTlsServer } from 'node:tls';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import { BROKER_LIMITS } from '../limits.ts';

/** The server's key and certificate, PEM; `pin`: SHA-256 of its SPKI, 32 bytes. */
export interface TlsOptions {
  readonly key: string;
  readonly cert: string;
  readonly pin: Uint8Array;
}

/**
 * Speaks TLS as the server on a connection whose bytes so far were pushed back into it; `take` gets
 * the secured stream. On failure the socket is destroyed, and `take` not called.
 */
export type Secure = (socket: Socket, take: (secured: TLSSocket) => void) => void;

/** A port that is open; connections are refused until `onConnection` is called. */
export interface Listener {
  readonly port: number;
  readonly url: string;
  /** Undefined: this port is plain. */
  readonly secure: Secure | undefined;
  onConnection(take: (socket: Socket) => void): void;
  /** Resolves when the port is free; connections taken are the taker's to end. */
  close(): Promise<void>;
}

/** Where to listen. */
interface ListenOptions {
  /** With TLS any address of this host, without it a loopback literal. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls: TlsOptions | undefined;
  /** Milliseconds for a TLS handshake. */
  readonly handshakeMs: number;
  /** A connection could not be accepted (no file descriptors left, say); others can. */
  readonly onTrouble: (error: Error) => void;
}

/**
 * Opens a TCP port.
 * @throws NakodoError `plain-not-loopback`, `tls-unusable`, `port-taken`, `no-permission` or
 *   `address-unusable`.
 */
export async function openListener(options: ListenOptions): Promise<Listener> {
  const { host, port, tls, handshakeMs, onTrouble } = options;
  if (tls === undefined && !isLoopback(host)) {
    throw new NakodoError(
      'plain-not-loopback',
      `MQTT without TLS would be open to the network on ${host}`,
      'listen on 127.0.0.1 or ::1',
    );
  }
  const secure = tls === undefined ? undefined : securing(tls, handshakeMs);
  // No TCP keep-alive: strangers have a deadline, and whoever is let in says how often it pings
  // (`keepaliveLimit`); probes would cost an idle terminal more than its pings.
  const server = createServer({ noDelay: true });
  let take = (socket: Socket): void => void socket.destroy();
  server.on('connection', (socket) => take(socket));
  const bound = await listen(server, host, port);
  server.on('error', onTrouble);
  const scheme = tls === undefined ? 'mqtt' : 'mqtts';
  return {
    port: bound,
    url: `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${bound}`,
    secure,
    onConnection(taker) {
      take = taker;
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/**
 * One TLS server that never listens; connections are put into it one by one, which `tls.Server`
 * documents for its `connection` event. X25519 alone, as `first-bytes.ts` made sure of: OpenSSL
 * then never asks for a second hello. No tickets: nobody resumes, and a resumed session would show
 * no certificate to look at.
 */
function securing(tls: TlsOptions, handshakeMs: number): Secure {
  const takers = new Map<string, (secured: TLSSocket) => void>();
  const server = tlsServer(tls, handshakeMs);
  server.on('secureConnection', (secured) => {
    const take = takers.get(endsOf(secured));
    if (take === undefined) secured.destroy();
    else take(secured);
  });
  // A handshake that fails ends its own socket; the taker sees that.
  server.on('tlsClientError', (_error, secured) => secured.destroy());
  return (socket, take) => {
    const ends = endsOf(socket);
    takers.set(ends, take);
    socket.once('close', () => takers.delete(ends));
    server.emit('connection', socket);
  };
}

function tlsServer(
  { key, cert }: TlsOptions,
  handshakeTimeout: number,
): ReturnType<typeof createTlsServer> {
  try {
    return createTlsServer({
      key,
      cert,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      ecdhCurve: 'X25519',
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout,
    });
  } catch (error) {
    throw new NakodoError(
      'tls-unusable',
      `TLS cannot use the certificate and its key: ${errorMessage(error)}`,
      'give a PEM certificate and its PEM key without a passphrase',
    );
  }
}

/** No two connections that are open have the same two ends. */
const endsOf = (socket: Socket): string =>
  [socket.remoteAddress, socket.remotePort, socket.localAddress].join(' ');

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
    'give an address of this host, such as 127.0.0.1',
  );
}
