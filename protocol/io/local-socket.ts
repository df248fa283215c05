// How a command talks to the agent or the server of a home: one request over a Unix socket, events
// while it runs, bytes both ways, one result.
//
//   frame   1: type | length (4, big endian, ≤ 64 KiB) | payload
//   types   1 request JSON · 2 event JSON · 3 result JSON (last) · 4 error JSON (last)
//           5 data · 6 end of data · 7 credit (4, big endian): so much more data may be sent
//
// Data flows on credit, not on TCP-like backpressure: so that a socket is always read, a ^C is
// seen at once, and what an end holds for a slow reader is bounded (IO_LIMITS.localWindowBytes).

import { chmod, chown, rm } from 'node:fs/promises';
import { type Server, type Socket, createConnection, createServer } from 'node:net';
import { dirname } from 'node:path';
import { EXIT, type ExitCode, NakodoError, errorCode, errorMessage } from '../errors.ts';
import { fileError } from './files.ts';
import { FrameType, LocalChannel } from './local-channel.ts';
import { IO_LIMITS } from './limits.ts';

/** chown(2): the user stays as it is. */
const SAME_USER = -1;

/** What a handler may do besides answering. */
export interface ServedChannel {
  /** Tells the command something; dropped if the command does not read. */
  event(event: object): void;
  /** What the command streams in, at the handler's pace; to be iterated at most once. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Streams out; resolves when the command has room for more. Rejects when it has gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** Says that nothing more is streamed out; the result may still take its time. */
  endData(): void;
  /** Aborted when the command has gone. */
  readonly closed: AbortSignal;
}

interface LocalServerOptions {
  /** Permission bits of the socket: 0600, or 0660 with a group of its own. */
  readonly mode: number;
  /** The group that the socket is given to; default: that of the process. */
  readonly group?: number | undefined;
  /** `request`: an object parsed from JSON, not checked. What it throws becomes the error. */
  readonly handle: (request: Record<string, unknown>, channel: ServedChannel) => Promise<object>;
}

/** A listening local socket. */
export interface LocalServer {
  /** Stops listening, drops the commands under way, removes the socket file. */
  close(): Promise<void>;
}

/**
 * Listens on a Unix socket. A socket file on which nobody answers any more is replaced.
 * @throws NakodoError `already-running`, `socket-path-too-long`, `no-permission`.
 */
export async function serveLocal(path: string, options: LocalServerOptions): Promise<LocalServer> {
  checkPath(path);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveOne(socket, options);
  });
  server.maxConnections = IO_LIMITS.localConnectionsMax;
  await listenOrReplace(server, path);
  // The group first: under another one the mode would let others in for a moment.
  if (options.group !== undefined) await chown(path, SAME_USER, options.group);
  await chmod(path, options.mode);
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** What may go with a command's call, and how long it waits. */
export interface LocalCallOptions {
  readonly onEvent?: (event: Record<string, unknown>) => void;
  /** What is streamed to the agent; its failure fails the call. */
  readonly body?: AsyncIterable<Uint8Array>;
  /** Takes what the agent streams; the next chunk comes when it has resolved. */
  readonly onData?: (bytes: Uint8Array) => Promise<void> | void;
  /** Gives up when aborted. */
  readonly signal?: AbortSignal;
}

/**
 * Sends one request and waits for its result.
 * @throws NakodoError as the other side threw it, `not-running` if nobody listens, `not-for-us` if
 *   it is another user's, `agent-gone`.
 */
export async function callLocal(
  path: string,
  request: object,
  options: LocalCallOptions = {},
): Promise<Record<string, unknown>> {
  checkPath(path);
  const socket = await connect(path);
  const onAbort = (): void => void socket.destroy();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const channel = new LocalChannel(socket);
  try {
    const answer = answerOf(channel, options);
    channel.sendJson(FrameType.request, request);
    const reading = readData(channel, options);
    const body = sendBody(channel, options.body);
    // The body may fail first (an unreadable file); the answer may come first (a refusal).
    const result = await Promise.race([answer, failureOf(body), failureOf(reading)]);
    await reading;
    return result;
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

/** A call that is used as a pair of streams; made by `openLocal`. */
export interface LocalCall {
  /** The last word of the other side; its error if it failed, `agent-gone` if it vanished. */
  readonly result: Promise<Record<string, unknown>>;
  /** The same error as soon as it is known, so that the end of data is not taken for success. */
  failure(): Error | undefined;
  /** What the other side streams, at the reader's pace; to be iterated at most once. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Streams to the other side; resolves when there is room for more. Rejects when it has gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** Says that nothing more is streamed to the other side. */
  endData(): void;
  /** Lets go: the other side takes it for a command that was given up. */
  close(): void;
}

/**
 * Sends one request and leaves both directions of data, and the waiting, to the caller.
 * `onEvent`: called for each event.
 * @throws NakodoError `not-running` if nobody listens, `not-for-us` if it is another user's,
 *   `socket-path-too-long`.
 */
export async function openLocal(
  path: string,
  request: object,
  onEvent: (event: Record<string, unknown>) => void = () => {},
): Promise<LocalCall> {
  checkPath(path);
  const socket = await connect(path);
  const channel = new LocalChannel(socket);
  let failure: Error | undefined;
  const result = new Promise<Record<string, unknown>>((resolve, reject) => {
    const fail = (error: Error): void => {
      failure ??= error;
      reject(error);
    };
    let isAnswered = false;
    channel.onJson = (type, value): void => {
      if (type === FrameType.event) onEvent(value);
      if (type !== FrameType.result && type !== FrameType.error) return;
      isAnswered = true;
      if (type === FrameType.result) resolve(value);
      else fail(errorOf(value));
    };
    const onClosed = (): void => void (isAnswered || fail(gone()));
    channel.closed.addEventListener('abort', onClosed, { once: true });
  });
  // Whoever only reads hears of a failure there.
  result.catch(() => {});
  channel.sendJson(FrameType.request, request);
  return {
    result,
    failure: () => failure,
    incoming: channel.incoming(),
    write: (bytes) => channel.write(bytes),
    endData: () => channel.endData(),
    close: () => socket.destroy(),
  };
}

function serveOne(socket: Socket, options: LocalServerOptions): void {
  const channel = new LocalChannel(socket);
  const late = setTimeout(() => socket.destroy(), IO_LIMITS.localRequestMs);
  socket.once('close', () => clearTimeout(late));
  let asked = false;
  channel.onJson = (type, value): void => {
    if (type !== FrameType.request || asked) {
      socket.destroy();
      return;
    }
    asked = true;
    clearTimeout(late);
    const served: ServedChannel = {
      event: (event) => channel.sendEvent(event),
      incoming: channel.incoming(),
      write: (bytes) => channel.write(bytes),
      endData: () => channel.endData(),
      closed: channel.closed,
    };
    options.handle(value, served).then(
      (result) => channel.sendLast(FrameType.result, result),
      (error: unknown) => channel.sendLast(FrameType.error, errorFields(error)),
    );
  };
}

function answerOf(
  channel: LocalChannel,
  options: LocalCallOptions,
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    channel.onJson = (type, value): void => {
      if (type === FrameType.event) options.onEvent?.(value);
      if (type === FrameType.result) resolve(value);
      if (type === FrameType.error) reject(errorOf(value));
    };
    channel.closed.addEventListener('abort', () => reject(gone()), { once: true });
  });
}

async function readData(channel: LocalChannel, options: LocalCallOptions): Promise<void> {
  if (options.onData === undefined) return;
  for await (const bytes of channel.incoming()) await options.onData(bytes);
}

async function sendBody(
  channel: LocalChannel,
  body: AsyncIterable<Uint8Array> | undefined,
): Promise<void> {
  for await (const bytes of body ?? []) {
    try {
      await channel.write(bytes);
    } catch {
      // The agent has answered or gone: that is told by the answer.
      return;
    }
  }
  channel.endData();
}

/** Never resolves; rejects if `work` does. */
function failureOf(work: Promise<void>): Promise<never> {
  return new Promise((_resolve, reject) => {
    work.catch(reject);
  });
}

function errorFields(error: unknown): object {
  if (error instanceof NakodoError) {
    const { code, message, next, exit } = error;
    return { code, message, next, exit };
  }
  return {
    code: errorCode(error),
    message: errorMessage(error),
    next: 'see the log of the agent or server',
    exit: EXIT.failed,
  };
}

function errorOf(value: Record<string, unknown>): NakodoError {
  const exits: readonly unknown[] = Object.values(EXIT);
  const exit = exits.includes(value.exit) ? (value.exit as ExitCode) : EXIT.failed;
  return new NakodoError(String(value.code), String(value.message), String(value.next), exit);
}

function gone(): NakodoError {
  return new NakodoError(
    'agent-gone',
    'the agent or server closed the connection before it answered',
    'see its log, and start it again if it has stopped',
  );
}

function notRunning(path: string): NakodoError {
  const home = dirname(path);
  return new NakodoError(
    'not-running',
    `nothing is running in ${home}`,
    `start it: nakodo agent --home ${home} (a terminal) or nakodo serve --home ${home} (a server)`,
  );
}

function notForUs(path: string): NakodoError {
  return new NakodoError(
    'not-for-us',
    `what is running in ${dirname(path)} belongs to another user`,
    'do it as that user, or ask to be let into its group',
  );
}

function checkPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= IO_LIMITS.socketPathBytesMax) return;
  throw new NakodoError(
    'socket-path-too-long',
    `the socket's path has ${length} bytes, the system takes ${IO_LIMITS.socketPathBytesMax}`,
    'choose a home with a shorter path (--home)',
  );
}

function connect(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const onError = (error: Error): void => {
      const code = errorCode(error);
      const nobody = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR';
      if (nobody) reject(notRunning(path));
      else reject(code === 'EACCES' ? notForUs(path) : fileError(error, path, 'open'));
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      resolve(socket);
    });
  });
}

async function listenOrReplace(server: Server, path: string): Promise<void> {
  try {
    await listen(server, path);
  } catch (error) {
    if (errorCode(error) !== 'EADDRINUSE') throw fileError(error, path, 'create');
    await refuseIfAnswered(path);
    await rm(path, { force: true });
    await listen(server, path);
  }
}

/**
 * Resolves if nobody listens on a Unix socket, whether its file is there or not.
 * @throws NakodoError `already-running`.
 */
export async function refuseIfAnswered(path: string): Promise<void> {
  let socket: Socket;
  try {
    socket = await connect(path);
  } catch (error) {
    if (errorCode(error) === 'not-running') return;
    throw error;
  }
  socket.destroy();
  throw new NakodoError(
    'already-running',
    `an agent or server is already running in ${dirname(path)}`,
    'stop it first, or use another --home',
  );
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // It is made in this call: nobody else's from the first moment, whatever mask is inherited.
    const inherited = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(inherited);
    }
  });
}
