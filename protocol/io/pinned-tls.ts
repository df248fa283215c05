// TLS 1.3 to a server that is known by its key alone (design §3, ADR 0010): the certificate's
// names, dates and issuer mean nothing, so a Pi whose clock says 1970 connects like any other. The
// key is looked at when the handshake is done and before one byte of ours is written. MQTT and
// HTTPS both go through here. Source: RFC 8446, RFC 7469 §2.4.

import { X509Certificate } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { type Socket, createConnection, isIP } from 'node:net';
import {
  type SecureContext,
  type TLSSocket,
  createSecureContext,
  connect as tlsConnect,
} from 'node:tls';
import { EXIT, NakodoError } from '../errors.ts';
import { NO_PIN } from '../identity/token.ts';
import { IO_LIMITS } from './limits.ts';
import { hostOf, isLoopback } from './loopback.ts';
import { pinOfKey } from './server-certificate.ts';

const HTTPS_PORT = 443;
const HTTP_PORT = 80;

/** The server shows another key than the ones that are pinned: nothing was sent to it. */
export class PinMismatch extends Error {
  readonly code = 'pin-mismatch';
  /** Of the key that it shows, 32 bytes. */
  readonly pin: Uint8Array;

  constructor(pin: Uint8Array) {
    super('the server shows a key that is not known');
    this.name = 'PinMismatch';
    this.pin = pin;
  }
}

/**
 * The pin of the key with which the other end of a connected TLS socket proved itself, 32 bytes.
 * @throws Error if it showed no certificate.
 */
export function pinOf(socket: TLSSocket): Uint8Array {
  // Not getPeerX509Certificate: in Node 20.20 only its first call gives the certificate.
  const { raw } = socket.getPeerCertificate() as { raw?: Buffer };
  if (raw === undefined) throw failure('no-certificate', 'the server showed no certificate');
  return pinOfKey(new X509Certificate(raw).publicKey);
}

/** Where to connect to, and whom to believe. */
interface ConnectOptions {
  /** A literal address or a host name. */
  readonly host: string;
  readonly port: number;
  /** Whether the server with this key is ours; `() => true` trusts nobody and sends no secret. */
  readonly isPinned: (pin: Uint8Array) => boolean;
  /** For TCP and TLS together. */
  readonly timeoutMs: number;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

let shared: SecureContext | undefined;

/** One for all connections of the process: making it costs more than a handshake. */
function context(): SecureContext {
  shared ??= createSecureContext({ minVersion: 'TLSv1.3' });
  return shared;
}

/**
 * Connects with TLS 1.3 and checks the server's key; no application data is sent before. The socket
 * is the caller's. Rejects with PinMismatch, or with an Error that has a `code`.
 */
export function connectPinned(
  options: ConnectOptions,
): Promise<{ readonly socket: TLSSocket; readonly pin: Uint8Array }> {
  const { host, port, isPinned, timeoutMs, signal } = options;
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({
      host,
      port,
      secureContext: context(),
      // The pin below is the whole check.
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    socket.setNoDelay(true);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      reject(error);
    };
    const onError = (error: Error): void => fail(error);
    const onClose = (): void => fail(failure('lost', 'the connection was closed'));
    const onAbort = (): void => fail(failure('aborted', 'given up'));
    const timer = setTimeout(() => fail(failure('timeout', 'it does not answer')), timeoutMs);
    // Errors after a failure are nobody's any more, and must not end the process.
    socket.on('error', onError);
    socket.once('close', onClose);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
    socket.once('secureConnect', () => {
      try {
        const pin = pinOf(socket);
        if (!isPinned(pin)) throw new PinMismatch(pin);
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        socket.off('close', onClose);
        socket.off('error', onError);
        resolve({ socket, pin });
      } catch (error) {
        fail(error instanceof Error ? error : failure('tls', String(error)));
      }
    });
  });
}

/** One HTTP request. */
interface RequestOptions {
  readonly method: 'GET' | 'POST';
  readonly body?: Uint8Array;
  /** Asked for `https:` URLs only. */
  readonly isPinned: (pin: Uint8Array) => boolean;
  /** For everything: connecting, asking, the whole answer. */
  readonly timeoutMs: number;
  /** Bytes of the answer's body; a longer one is an error. */
  readonly bytesMax: number;
}

/** What a server answered. */
interface PinnedResponse {
  readonly status: number;
  readonly body: Uint8Array;
  /** Of the server's key; NO_PIN without TLS. */
  readonly pin: Uint8Array;
}

/**
 * One request on a connection of its own. `https:` goes through `connectPinned`; `http:` goes to a
 * loopback literal only. Redirects are not followed.
 * Rejects with PinMismatch, NakodoError `plain-not-loopback` or `bad-server-url` (exit 2), or an
 * Error that has a `code`.
 */
export async function requestPinned(url: string, options: RequestOptions): Promise<PinnedResponse> {
  const { isPinned, timeoutMs } = options;
  const target = serverUrl(url);
  const until = performance.now() + timeoutMs;
  const host = hostOf(target);
  if (target.protocol === 'http:') {
    const port = Number(target.port || HTTP_PORT);
    const answer = await exchange(createConnection({ host, port }), target, options, timeoutMs);
    return { ...answer, pin: NO_PIN };
  }
  const port = Number(target.port || HTTPS_PORT);
  const { socket, pin } = await connectPinned({ host, port, isPinned, timeoutMs });
  const left = Math.max(1, until - performance.now());
  return { ...(await exchange(socket, target, options, left)), pin };
}

function serverUrl(url: string): URL {
  const target = URL.canParse(url) ? new URL(url) : undefined;
  if (target === undefined || !/^https?:$/.test(target.protocol) || target.hostname === '') {
    throw new NakodoError(
      'bad-server-url',
      `"${url}" is not a server's URL`,
      'it looks like https://nakodo.example:8183',
      EXIT.usage,
    );
  }
  if (target.protocol === 'http:') refusePlain(url, hostOf(target));
  return target;
}

/**
 * Without TLS nothing leaves this machine. `url`: what is to be said about.
 * @throws NakodoError `plain-not-loopback` (exit 2).
 */
export function refusePlain(url: string, host: string): void {
  if (isLoopback(host)) return;
  throw new NakodoError(
    'plain-not-loopback',
    `${url} is not encrypted and does not stay on this machine`,
    'use https:// and mqtts://; without TLS only 127.0.0.1 and [::1] are let in',
    EXIT.usage,
  );
}

function exchange(
  socket: Socket,
  target: URL,
  options: RequestOptions,
  timeoutMs: number,
): Promise<{ readonly status: number; readonly body: Uint8Array }> {
  const { method, body, bytesMax } = options;
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(failure('timeout', 'it does not answer')), timeoutMs);
    const request = httpRequest(
      {
        method,
        path: `${target.pathname}${target.search}`,
        headers: {
          host: target.host,
          connection: 'close',
          ...(body && { 'content-type': 'application/cbor', 'content-length': body.length }),
        },
        createConnection: () => socket,
        maxHeaderSize: IO_LIMITS.httpHeaderBytesMax,
      },
      (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on('data', (part: Buffer) => {
          length += part.length;
          if (length > bytesMax) fail(failure('too-long', 'its answer is too long'));
          else parts.push(part);
        });
        response.once('error', fail);
        response.once('end', () => {
          clearTimeout(timer);
          socket.destroy();
          const status = response.statusCode ?? 0;
          resolve({ status, body: Uint8Array.from(Buffer.concat(parts)) });
        });
      },
    );
    request.on('error', fail);
    request.end(body);
  });
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
