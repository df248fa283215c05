// A TCP proxy between one terminal and the broker that keeps what passes, so that the demo (and a
// test) can search every byte that a terminal was sent, as it was sent. It stands for somebody who
// listens on the wire, with one advantage: plain MQTT on loopback hides nothing from it.

import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';

/** Bytes kept of one connection, both ways; beyond it the proxy ends the connection, loudly. */
const RECORD_BYTES_MAX = 64 * 1024 * 1024;
/** Connections of one proxy: a terminal reconnects rarely. */
const CONNECTIONS_MAX = 1_000;

interface Recorded {
  readonly up: Buffer[];
  readonly down: Buffer[];
  bytes: number;
}

/** One proxy, listening on a free loopback port. */
export class RecordingProxy {
  readonly #server: Server;
  readonly #connections: Recorded[] = [];
  readonly #sockets = new Set<Socket>();
  /** Those of `#sockets` that lead to the terminal. */
  readonly #terminals = new Set<Socket>();
  #target: { readonly host: string; readonly port: number } | undefined;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => this.#onConnection(socket));
  }

  static async listen(): Promise<RecordingProxy> {
    const server = createServer();
    const proxy = new RecordingProxy(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  /** What a terminal is told to connect to. */
  get url(): string {
    return `mqtt://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on connections lead to this port; earlier ones were closed at once. */
  leadTo(host: string, port: number): void {
    this.#target = { host, port };
  }

  /** Everything that went to the terminal, one buffer a connection; copies. */
  received(): readonly Buffer[] {
    return this.#connections.map(({ down }) => Buffer.concat(down));
  }

  /** Everything that came from the terminal, one buffer a connection; copies. */
  sent(): readonly Buffer[] {
    return this.#connections.map(({ up }) => Buffer.concat(up));
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
    const broker = connect(this.#target.port, this.#target.host);
    const recorded: Recorded = { up: [], down: [], bytes: 0 };
    this.#connections.push(recorded);
    this.#terminals.add(terminal);
    terminal.once('close', () => this.#terminals.delete(terminal));
    const record =
      (into: Buffer[]) =>
      (chunk: Buffer): void => {
        recorded.bytes += chunk.length;
        if (recorded.bytes > RECORD_BYTES_MAX) broker.destroy();
        else into.push(chunk);
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

/**
 * How many bytes of `recorded` belong to `address`: each place where its 4 raw bytes stand (as a
 * candidate carries them) counts 4, each place where its dotted text stands counts its length.
 */
export function addressBytes(recorded: readonly Buffer[], address: string): number {
  const raw = Buffer.from(address.split('.').map(Number));
  const text = Buffer.from(address);
  return recorded.reduce(
    (sum, buffer) => sum + 4 * places(buffer, raw) + text.length * places(buffer, text),
    0,
  );
}

function places(buffer: Buffer, pattern: Buffer): number {
  let count = 0;
  for (let at = buffer.indexOf(pattern); at >= 0; at = buffer.indexOf(pattern, at + 1)) count += 1;
  return count;
}
