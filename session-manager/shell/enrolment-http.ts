// Enrolment over HTTPS (design §3): POST a signed request, get a signed answer; and the server's
// TLS keys as the manager signed them, for whoever came back after they had changed. Without TLS a
// ticket's secret would be shown to whoever reads the wire: then on loopback only. Connections,
// length and time are bounded before a body is looked at.

import {
  type IncomingMessage,
  type Server,
  type ServerResponse,
  createServer as createHttpServer,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, type Socket, isIPv6 } from 'node:net';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import type { ServerCertificate } from '../../protocol/io/server-certificate.ts';
import type { Reply, ReplyFault } from '../manager-types.ts';
import { SHELL_LIMITS } from './limits.ts';

/** Where terminals enrol and where they renew a membership: one handler, told apart by the body. */
export const ENROL_PATH = '/nakodo/1/enrol';
const PATHS: readonly string[] = [ENROL_PATH, '/nakodo/1/membership'];
/** Where the statement about the TLS keys is read (protocol/identity/server-keys.ts). */
const SERVER_KEYS_PATH = '/nakodo/1/server-keys';

const BUSY: Reply = { kind: 'failed', code: 'busy' };

/** Fault → HTTP status, what happened, what to do. */
const FAULTS: Readonly<Record<ReplyFault, readonly [number, string, string]>> = {
  'bad-request': [400, 'the request cannot be read', 'bring both sides to the same release'],
  'wrong-server': [400, 'the request is meant for another server', 'ask for a new ticket'],
  'ticket-invalid': [
    403,
    'the ticket is used up, has expired or was never made here',
    'ask the operator for a new ticket',
  ],
  'name-missing': [400, 'the ticket fixes no name', 'say which: nakodo enroll TICKET --name NAME'],
  'name-fixed': [
    409,
    'the ticket is for another name',
    'leave --name out, or ask for a new ticket',
  ],
  'name-taken': [
    409,
    'another terminal has that name',
    'choose another name; or, to replace it, the operator says: nakodo revoke NAME',
  ],
  'already-enrolled': [
    409,
    'this terminal is enrolled under another name',
    'keep that name, or enrol from a new --home',
  ],
  'not-enrolled': [403, 'this terminal is not enrolled here', 'ask the operator for a ticket'],
  'no-session': [404, 'there is no such session', 'see which there are: nakodo sessions'],
  'no-device': [404, 'there is no terminal of that name', 'see which there are: nakodo devices'],
  revoked: [
    403,
    'this terminal was revoked',
    'enrol from a new --home, so that it makes new keys, with a new ticket',
  ],
  busy: [503, 'the server is at its limit', 'try again later'],
  disk: [503, 'the server cannot write to its disk', 'tell the operator, and try again later'],
};

/** A fault as an error for a person. */
export function faultError(code: ReplyFault): NakodoError {
  const [, message, next] = FAULTS[code];
  return new NakodoError(code, message, next);
}

/** Who answers what comes in. */
interface Answers {
  /** A POST: an enrolment, or a membership to be renewed. */
  answer(body: Uint8Array): Promise<Reply>;
  /** The server's TLS keys, signed; undefined: there is no TLS. */
  serverKeys(): Uint8Array | undefined;
}

/** An open port. */
export interface EnrolmentServer {
  readonly port: number;
  /** `https://127.0.0.1:port`, or `http:` without TLS. */
  readonly url: string;
  /** Lets requests in; until then they are told to come again. */
  serve(answers: Answers): void;
  close(): Promise<void>;
}

/**
 * Opens the port; 0: any free one. `tls` absent: plain, on a loopback literal only. TLS is 1.3.
 * When all connections are taken the oldest is dropped, never the newcomer: whoever holds one open
 * and says nothing keeps nobody out.
 * @throws NakodoError `plain-not-loopback`, `port-taken`, `no-permission`, `address-unusable`.
 */
export async function openEnrolment(where: {
  readonly host: string;
  readonly port: number;
  readonly tls?: ServerCertificate | undefined;
}): Promise<EnrolmentServer> {
  const { host, port, tls } = where;
  if (tls === undefined && !isLoopback(host)) {
    throw new NakodoError(
      'plain-not-loopback',
      `HTTP without TLS would be open to the network on ${host}`,
      'leave --plain out, or listen on 127.0.0.1 or ::1',
    );
  }
  let answers: Answers | undefined;
  let underWay = 0;
  /** Counted when the body is here: one that never ends takes nobody's turn. */
  const answer = async (body: Uint8Array): Promise<Reply> => {
    if (answers === undefined || underWay >= SHELL_LIMITS.requestsMax) return BUSY;
    underWay += 1;
    try {
      return await answers.answer(body);
    } finally {
      underWay -= 1;
    }
  };
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    const serving = answers;
    if (serving === undefined) return sendFault(response, 'busy');
    void handle(request, response, { answer, serverKeys: () => serving.serverKeys() });
  };
  const server = newServer(tls, take);
  boundConnections(server);
  const bound = await listen(server, host, port);
  const scheme = tls === undefined ? 'http' : 'https';
  return {
    port: bound,
    url: `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${bound}`,
    serve(given) {
      answers = given;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function newServer(
  tls: ServerCertificate | undefined,
  take: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  const bounds = {
    requestTimeout: SHELL_LIMITS.requestMs,
    headersTimeout: SHELL_LIMITS.requestMs,
    connectionsCheckingInterval: SHELL_LIMITS.requestMs,
    keepAliveTimeout: SHELL_LIMITS.requestMs,
    maxHeaderSize: SHELL_LIMITS.headerBytesMax,
  };
  if (tls === undefined) return createHttpServer(bounds, take);
  const { key, cert } = tls;
  const handshakeTimeout = SHELL_LIMITS.handshakeMs;
  return createHttpsServer({ ...bounds, key, cert, minVersion: 'TLSv1.3', handshakeTimeout }, take);
}

/** Counted when TCP connects, before TLS or HTTP cost anything. */
function boundConnections(server: Server): void {
  const sockets = new Set<Socket>();
  server.prependListener('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    if (sockets.size <= SHELL_LIMITS.connectionsMax) return;
    const [oldest] = sockets;
    sockets.delete(oldest);
    oldest.destroy();
  });
  // One request each: a connection is as old as its request.
  server.maxRequestsPerSocket = 1;
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  answers: Answers,
): Promise<void> {
  if (request.method === 'GET' && request.url === SERVER_KEYS_PATH) {
    sendServerKeys(response, answers.serverKeys());
    return;
  }
  if (request.method !== 'POST' || !PATHS.includes(request.url ?? '')) {
    response.writeHead(request.method === 'POST' ? 404 : 405, { connection: 'close' }).end();
    return;
  }
  try {
    const body = await boundedBody(request);
    const reply = body === undefined ? undefined : await answers.answer(body);
    if (reply?.kind === 'enrolled' || reply?.kind === 'membership') {
      response.writeHead(200, { 'content-type': 'application/cbor' }).end(reply.bytes);
    } else sendFault(response, reply?.kind === 'failed' ? reply.code : 'bad-request');
  } catch {
    // The connection broke off, or the manager is closing: nobody is there to be told.
    response.destroy();
  }
}

/** The whole body, or undefined if it is longer than allowed. */
async function boundedBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > SHELL_LIMITS.bodyBytesMax) return undefined;
    parts.push(part);
  }
  return Uint8Array.from(Buffer.concat(parts));
}

function sendServerKeys(response: ServerResponse, statement: Uint8Array | undefined): void {
  if (statement === undefined) response.writeHead(404, { connection: 'close' }).end();
  else response.writeHead(200, { 'content-type': 'application/cbor' }).end(statement);
}

function sendFault(response: ServerResponse, code: ReplyFault): void {
  const [status, message, next] = FAULTS[code];
  response
    .writeHead(status, { 'content-type': 'application/json', connection: 'close' })
    .end(JSON.stringify({ code, message, next }));
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port)));
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      server.on('error', () => {});
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function listenError(error: Error, host: string, port: number): NakodoError {
  const code = errorCode(error);
  const where = `${host}:${port}`;
  if (code === 'EADDRINUSE') {
    const next =
      'stop the program that has it, or choose another: --http-port 0 takes any free one';
    return new NakodoError('port-taken', `the port ${where} is taken`, next);
  }
  if (code === 'EACCES') {
    const next = 'choose a port from 1024 up with --http-port';
    return new NakodoError('no-permission', `the port ${where} may not be opened`, next);
  }
  const what = `cannot listen on ${where}: ${errorMessage(error)}`;
  return new NakodoError('address-unusable', what, 'check --listen and --http-port');
}
