// A TCP proxy between one terminal and the broker that keeps what passes. As the demo uses it, it
// stands for somebody who listens on the wire: it sees TLS, so how much is said, and when. A test
// that gives it the server's own key sees what a broker sees.

import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { connect as tlsConnect, createServer as createTlsServer } from 'node:tls';

/** Bytes kept of one connection, both ways; beyond it the proxy ends the connection, loudly. */
const RECORD_BYTES_MAX = 64 * 1024 * 1024;
/** Connections of one proxy: a terminal reconnects rarely. */
const CONNECTIONS_MAX = 1_000;

interface Recorded {
  readonly up: Piece[];
  readonly down: Piece[];
  bytes: number;
}

/** What came at once; `at`: milliseconds of performance.now(). */
interface Piece {
  readonly at: number;
  readonly bytes: Buffer;
}

/** What somebody on the wire sees of a stretch of time. */
interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Milliseconds from the first byte that the terminal sent to the last one that it was sent. */
  readonly tookMs: number;
}

/** A server's own key and certificate, PEM. */
interface ServerKey {
  readonly key: string;
  readonly cert: string;
}

/** One proxy, listening on a free loopback port. */
export class RecordingProxy {
  readonly #server: Server;
  readonly #isOpened: boolean;
  readonly #connections: Recorded[] = [];
  readonly #sockets = new Set<Socket>();
  /** Those of `#sockets` that lead to the terminal. */
  readonly #terminals = new Set<Socket>();
  #target: { readonly host: string; readonly port: number } | undefined;

  private constructor(server: Server, isOpened: boolean) {
    this.#server = server;
    this.#isOpened = isOpened;
    const event = isOpened ? 'secureConnection' : 'connection';
    server.on(event, (socket: Socket) => this.#onConnection(socket));
  }

  /** `tls`: the broker's own key, with which it ends TLS here and begins it anew behind. */
  static async listen(tls?: ServerKey): Promise<RecordingProxy> {
    const server: Server =
      tls === undefined ? createServer() : createTlsServer({ ...tls, minVersion: 'TLSv1.3' });
    const proxy = new RecordingProxy(server, tls !== undefined);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  /** What a terminal is told to connect to. */
  get url(): string {
    return `mqtts://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on connections lead to this port; earlier ones were closed at once. */
  leadTo(host: string, port: number): void {
    this.#target = { host, port };
  }

  /** Everything that went to the terminal, one buffer a connection; copies. */
  received(): readonly Buffer[] {
    return this.#connections.map(({ down }) => joined(down));
  }

  /** Everything that came from the terminal, one buffer a connection; copies. */
  sent(): readonly Buffer[] {
    return this.#connections.map(({ up }) => joined(up));
  }

  /** What passed since `from`, of performance.now(). */
  since(from: number): Traffic {
    const late = (pieces: readonly Piece[]): Piece[] => pieces.filter(({ at }) => at >= from);
    const up = this.#connections.flatMap((one) => late(one.up));
    const down = this.#connections.flatMap((one) => late(one.down));
    const first = Math.min(...up.map(({ at }) => at));
    const last = Math.max(...down.map(({ at }) => at));
    return {
      sentBytes: joined(up).length,
      receivedBytes: joined(down).length,
      tookMs: up.length === 0 || down.length === 0 ? 0 : last - first,
    };
  }

  /** TCP connections of the terminal: open now, and ever. */
  get connections(): { readonly open: number; readonly ever: number } {
    return { open: this.#terminals.size, ever: this.#connections.length };
  }

  /** Ends every connection and stops listening. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #onConnection(terminal: Socket): void {
    if (this.#target === undefined || this.#connections.length >= CONNECTIONS_MAX) {
      terminal.destroy();
      return;
    }
    const { host, port } = this.#target;
    const broker = this.#isOpened
      ? tlsConnect({ host, port, rejectUnauthorized: false })
      : connect(port, host);
    const recorded: Recorded = { up: [], down: [], bytes: 0 };
    this.#connections.push(recorded);
    this.#terminals.add(terminal);
    terminal.once('close', () => this.#terminals.delete(terminal));
    const record =
      (into: Piece[]) =>
      (bytes: Buffer): void => {
        recorded.bytes += bytes.length;
        if (recorded.bytes > RECORD_BYTES_MAX) broker.destroy();
        else into.push({ at: performance.now(), bytes });
      };
    broker.on('data', record(recorded.down));
    terminal.on('data', record(recorded.up));
    broker.pipe(terminal);
    terminal.pipe(broker);
    for (const [socket, other] of [
      [terminal, broker],
      [broker, terminal],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}

const joined = (pieces: readonly Piece[]): Buffer =>
  Buffer.concat(pieces.map(({ bytes }) => bytes));
