// The line of a terminal that comes and goes: forwards its TCP connections to the broker, and can
// be cut. The terminal's program knows nothing of it; what it says stays as it is, under TLS.

import { once } from 'node:events';
import {
  type AddressInfo,
  type Server,
  type Socket,
  createConnection,
  createServer,
} from 'node:net';
import { brokerAddress } from '../../protocol/io/mqtt-link.ts';
import { FLEET_LIMITS } from './limits.ts';

/** One terminal's line to the broker. */
export class Line {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(server: Server, brokerUrl: string) {
    this.#server = server;
    const { host, port, isTls } = brokerAddress(brokerUrl);
    const own = (server.address() as AddressInfo).port;
    this.url = `${isTls ? 'mqtts' : 'mqtt'}://127.0.0.1:${own}`;
    server.maxConnections = FLEET_LIMITS.lineConnectionsMax;
    server.on('connection', (near) => {
      if (this.#isCut) near.destroy();
      else this.#forward(near, createConnection({ host, port, noDelay: true }));
    });
  }

  /** Opens a line to a broker, on a port of its own. */
  static async open(brokerUrl: string): Promise<Line> {
    const server = createServer({ noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Line(server, brokerUrl);
  }

  /** Every connection breaks, and no other comes about. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** It carries again. */
  mend(): void {
    this.#isCut = false;
  }

  /** Closes for good. */
  close(): void {
    this.cut();
    this.#server.close();
  }

  #forward(near: Socket, far: Socket): void {
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.pipe(other);
      // The other end hears of it: what one end loses, both do.
      socket.once('error', () => other.destroy());
      socket.once('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}
