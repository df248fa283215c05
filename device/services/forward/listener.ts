// A TCP port that this terminal listens on, each connection led into a stream of the talk: the
// caller of `port:N`, and the callee of `listen:N`. Connections that the talk has no stream for
// wait, a bounded number; between two talks (the path was lost, and is called again) they wait too.

import { type Server, type Socket, createServer } from 'node:net';
import { EXIT, NakodoError, errorCode, errorMessage } from '../../../protocol/errors.ts';
import type { Session } from '../../shell/session.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import type { Connections } from './connections.ts';
import { FORWARD_LIMITS } from './limits.ts';

/** Where a forward listens. */
export interface LocalEnd {
  /** A literal address of this machine. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** A port that is listened on. */
export class Listener {
  readonly host: string;
  readonly port: number;
  readonly #server: Server;
  readonly #connections: Connections;
  /** At most FORWARD_LIMITS.waitingMax. */
  readonly #waiting: Socket[] = [];
  #session: Session | undefined;
  #retry: NodeJS.Timeout | undefined;

  private constructor(server: Server, connections: Connections) {
    const address = server.address();
    const isTcp = typeof address === 'object' && address !== null;
    this.host = isTcp ? address.address : '';
    this.port = isTcp ? address.port : 0;
    this.#server = server;
    this.#connections = connections;
    server.on('connection', (socket) => this.#onConnection(socket));
  }

  /** Begins to listen. @throws NakodoError as `bindError` says */
  static async bind(where: LocalEnd, connections: Connections): Promise<Listener> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(bindError(error, where)));
      server.listen({ host: where.host, port: where.port }, resolve);
    });
    // What goes wrong with one connection is that connection's.
    server.on('error', () => {});
    return new Listener(server, connections);
  }

  /** Connections become streams of this talk from now on, until it ends. */
  attach(session: Session): void {
    this.#session = session;
    void session.ended.then(() => {
      if (this.#session === session) this.#session = undefined;
    });
    this.#lead();
  }

  /** Listens no more; connections that wait are reset, those of a talk are the talk's. */
  close(): void {
    clearTimeout(this.#retry);
    this.#server.close();
    for (const socket of this.#waiting.splice(0)) socket.resetAndDestroy();
  }

  #onConnection(socket: Socket): void {
    if (this.#waiting.length >= FORWARD_LIMITS.waitingMax) {
      socket.resetAndDestroy();
      this.#connections.refused('too-many-connections');
      return;
    }
    socket.on('error', () => {});
    this.#waiting.push(socket);
    this.#lead();
  }

  /** Each that waits gets a stream, in the order in which they came, as far as the talk has any. */
  #lead(): void {
    clearTimeout(this.#retry);
    while (this.#session !== undefined && this.#waiting.length > 0) {
      const stream = streamOf(this.#session);
      if (stream === undefined) {
        this.#retry = setTimeout(() => this.#lead(), FORWARD_LIMITS.streamRetryMs);
        return;
      }
      const socket = this.#waiting.shift();
      if (socket === undefined || socket.destroyed) stream.destroy();
      else this.#connections.join(this.#session, stream, socket);
    }
  }
}

/** A new stream; undefined while the talk takes none. */
function streamOf(session: Session): TalkStream | undefined {
  try {
    return session.openStream();
  } catch (error) {
    if (error instanceof NakodoError) return undefined;
    throw error;
  }
}

/** What a person hears when a local port cannot be had. */
export function bindError(error: unknown, { host, port }: LocalEnd): NakodoError {
  switch (errorCode(error)) {
    case 'EADDRINUSE':
      return new NakodoError(
        'port-taken',
        `port ${port} of ${host} is taken by another program`,
        'choose another port, or 0 for any free one',
      );
    case 'EACCES':
      return new NakodoError(
        'port-reserved',
        `the system does not let this agent have port ${port}`,
        `choose one from ${FORWARD_LIMITS.localPortMin}`,
      );
    case 'EADDRNOTAVAIL':
      return new NakodoError(
        'bad-bind',
        `${host} is no address of this machine`,
        'see `ip address` for those that are, or leave --bind away for 127.0.0.1',
        EXIT.usage,
      );
    default:
      return new NakodoError(
        'cannot-listen',
        `cannot listen on port ${port} of ${host}: ${errorMessage(error)}`,
        'choose another port, or 0 for any free one',
      );
  }
}
