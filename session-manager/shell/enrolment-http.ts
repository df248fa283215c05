// Enrolment over HTTP (design §3): POST a signed request, get a signed answer. Plain HTTP shows a
// ticket's secret to whoever reads the wire, so it is opened on loopback only and says so. Length,
// time and number of requests are bounded before a body is looked at.

import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { type AddressInfo, isIPv4, isIPv6 } from 'node:net';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import type { Reply, ReplyFault } from '../manager-types.ts';
import { SHELL_LIMITS } from './limits.ts';

/** Where terminals enrol and where they renew a membership: one handler, told apart by the body. */
export const ENROL_PATH = '/nakodo/1/enrol';
const PATHS: readonly string[] = [ENROL_PATH, '/nakodo/1/membership'];

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
  'name-taken': [409, 'another terminal has that name', 'choose another name'],
  'already-enrolled': [
    409,
    'this terminal is enrolled under another name',
    'keep that name, or enrol from a new --home',
  ],
  'not-enrolled': [403, 'this terminal is not enrolled here', 'ask the operator for a ticket'],
  clock: [
    403,
    'the clocks of this terminal and of its server differ by minutes',
    'set the one that is wrong; the terminal then connects by itself',
  ],
  'no-session': [404, 'there is no such session', 'see which there are: nakodo sessions'],
  busy: [503, 'the server is at its limit', 'try again later'],
  disk: [503, 'the server cannot write to its disk', 'tell the operator, and try again later'],
};

/** A fault as an error for a person. */
export function faultError(code: ReplyFault): NakodoError {
  const [, message, next] = FAULTS[code];
  return new NakodoError(code, message, next);
}

/** An open port. */
export interface EnrolmentServer {
  readonly port: number;
  /** `http://127.0.0.1:port`. */
  readonly url: string;
  /** Lets requests in; until then they are told to come again. */
  serve(answer: (body: Uint8Array) => Promise<Reply>): void;
  close(): Promise<void>;
}

/**
 * Opens the port on a loopback address; 0: any free one.
 * @throws NakodoError `plain-not-loopback`, `port-taken`, `no-permission`, `address-unusable`.
 */
export async function openEnrolment(host: string, port: number): Promise<EnrolmentServer> {
  if (!(isIPv4(host) && host.startsWith('127.')) && host !== '::1') {
    throw new NakodoError(
      'plain-not-loopback',
      `HTTP without TLS would be open to the network on ${host}`,
      'listen on 127.0.0.1 or ::1',
    );
  }
  let answer: ((body: Uint8Array) => Promise<Reply>) | undefined;
  let underWay = 0;
  const server = createServer(
    {
      requestTimeout: SHELL_LIMITS.requestMs,
      headersTimeout: SHELL_LIMITS.requestMs,
      connectionsCheckingInterval: SHELL_LIMITS.requestMs,
      keepAliveTimeout: SHELL_LIMITS.requestMs,
      maxHeaderSize: SHELL_LIMITS.headerBytesMax,
    },
    (request, response) => {
      const isFull = underWay >= SHELL_LIMITS.requestsMax;
      if (isFull || answer === undefined) return sendFault(response, 'busy');
      underWay += 1;
      response.once('close', () => {
        underWay -= 1;
      });
      void handle(request, response, answer);
    },
  );
  server.maxConnections = SHELL_LIMITS.connectionsMax;
  const bound = await listen(server, host, port);
  return {
    port: bound,
    url: `http://${isIPv6(host) ? `[${host}]` : host}:${bound}`,
    serve(take) {
      answer = take;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (body: Uint8Array) => Promise<Reply>,
): Promise<void> {
  if (request.method !== 'POST' || !PATHS.includes(request.url ?? '')) {
    response.writeHead(request.method === 'POST' ? 404 : 405, { connection: 'close' }).end();
    return;
  }
  try {
    const body = await boundedBody(request);
    const reply = body === undefined ? undefined : await answer(body);
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
