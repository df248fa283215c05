// UDP through a talk: each datagram message begins with the number of its flow, two bytes, so that
// several local senders are told apart and each gets its own answers. Messages are lost as UDP's
// are: one that is too long for the talk's path, or finds its queue full, is dropped and counted.

import { type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { Clock } from '../../../protocol/io/clock.ts';
import { type Micros, MICROS_PER_MS } from '../../../protocol/time.ts';
import type { Session } from '../../shell/session.ts';
import type { Target } from './dialler.ts';
import { FORWARD_LIMITS } from './limits.ts';
import { type LocalEnd, bindError } from './listener.ts';

const FLOW_BYTES = 2;
const FLOWS_EVER = 2 ** 16;

/** What went through a UDP forward. */
interface FlowCounts {
  /** Local senders now. */
  readonly open: number;
  readonly total: number;
  /** Datagrams that did not fit, or found the talk's queue full. */
  readonly dropped: number;
}

/** What is known by flow numbers, each for as long as something goes through it. */
class Flows<T> {
  readonly #byNumber = new Map<number, { readonly value: T; usedAt: Micros }>();
  readonly #onForgotten: (value: T) => void;
  readonly #clock = new Clock();
  #sweep: NodeJS.Timeout | undefined;
  total = 0;

  constructor(onForgotten: (value: T) => void) {
    this.#onForgotten = onForgotten;
  }

  get size(): number {
    return this.#byNumber.size;
  }

  /** What a number stands for; keeps nothing in use. */
  known(number: number): T | undefined {
    return this.#byNumber.get(number)?.value;
  }

  /** The same, and that it is in use. The map is in the order of use. */
  use(number: number): T | undefined {
    const flow = this.#byNumber.get(number);
    if (flow === undefined) return undefined;
    this.#byNumber.delete(number);
    flow.usedAt = this.#clock.now();
    this.#byNumber.set(number, flow);
    return flow.value;
  }

  /** A new one; at FORWARD_LIMITS.flowsMax the longest idle one is forgotten. */
  add(number: number, value: T): void {
    this.total += 1;
    this.#forget(number);
    const [oldest] = this.#byNumber.keys();
    if (this.#byNumber.size >= FORWARD_LIMITS.flowsMax) this.#forget(oldest);
    this.#byNumber.set(number, { value, usedAt: this.#clock.now() });
    this.#sweep ??= setInterval(() => this.#forgetIdle(), FORWARD_LIMITS.flowSweepMs).unref();
  }

  clear(): void {
    for (const number of this.#byNumber.keys()) this.#forget(number);
    this.#rest();
  }

  #forgetIdle(): void {
    const now = this.#clock.now();
    for (const [number, { usedAt }] of this.#byNumber) {
      if (now - usedAt < FORWARD_LIMITS.flowIdleMs * MICROS_PER_MS) break;
      this.#forget(number);
    }
    if (this.#byNumber.size === 0) this.#rest();
  }

  #forget(number: number): void {
    const flow = this.#byNumber.get(number);
    if (flow === undefined) return;
    this.#byNumber.delete(number);
    this.#onForgotten(flow.value);
  }

  #rest(): void {
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}

interface Sender {
  readonly key: string;
  readonly host: string;
  readonly port: number;
}

/** The caller's side of `udp:N`: a local port, whose senders are flows. */
export class UdpListener {
  readonly host: string;
  readonly port: number;
  readonly #socket: Socket;
  readonly #numbers = new Map<string, number>();
  readonly #flows = new Flows<Sender>((sender) => this.#numbers.delete(sender.key));
  #session: Session | undefined;
  #next = 0;
  #dropped = 0;

  private constructor(socket: Socket) {
    const { address, port } = socket.address();
    this.host = address;
    this.port = port;
    this.#socket = socket;
    socket.on('message', (bytes, { address: host, port: from }) =>
      this.#onLocal(host, from, bytes),
    );
  }

  /** @throws NakodoError as `bindError` says */
  static async bind(where: LocalEnd): Promise<UdpListener> {
    const socket = createSocket(isIPv6(where.host) ? 'udp6' : 'udp4');
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(bindError(error, where));
      });
      socket.bind({ address: where.host, port: where.port, exclusive: true }, resolve);
    });
    // A sender that has gone answers with ICMP: that is nobody's fault.
    socket.on('error', () => {});
    return new UdpListener(socket);
  }

  /** Datagrams go through this talk from now on, until it ends. */
  attach(session: Session): void {
    this.#session = session;
    session.on('datagram', (message) => this.#onPeer(message));
    void session.ended.then(() => {
      if (this.#session === session) this.#session = undefined;
    });
  }

  counts(): FlowCounts {
    return { open: this.#flows.size, total: this.#flows.total, dropped: this.#dropped };
  }

  close(): void {
    this.#flows.clear();
    this.#socket.close();
  }

  #onLocal(host: string, port: number, bytes: Buffer): void {
    const key = `${host} ${port}`;
    let number = this.#numbers.get(key);
    if (number === undefined || this.#flows.use(number) === undefined) {
      number = this.#next++ % FLOWS_EVER;
      this.#flows.add(number, { key, host, port });
      this.#numbers.set(key, number);
    }
    if (this.#session?.sendDatagram(framed(number, bytes)) !== true) this.#dropped += 1;
  }

  #onPeer(message: Uint8Array): void {
    if (message.length < FLOW_BYTES) return;
    // Only what is sent from here keeps a flow (RFC 4787 §4.3): its sender may have gone, and the
    // peer would have the next program at that port hear it for as long as it likes.
    const sender = this.#flows.known((message[0] << 8) | message[1]);
    if (sender === undefined) return;
    this.#socket.send(message.subarray(FLOW_BYTES), sender.port, sender.host, () => {});
  }
}

/** The callee's side: a socket for each flow, connected to the target. Ends with the talk. */
export function serveFlows(session: Session, target: Target): void {
  const flows = new Flows<Socket>((socket) => socket.close());
  session.on('datagram', (message) => {
    if (message.length < FLOW_BYTES || session.end !== undefined) return;
    const number = (message[0] << 8) | message[1];
    let socket = flows.use(number);
    if (socket === undefined) {
      socket = flowSocket(session, target, number);
      flows.add(number, socket);
    }
    sendOn(socket, target, message.subarray(FLOW_BYTES));
  });
  void session.ended.then(() => flows.clear());
}

function flowSocket(session: Session, target: Target, number: number): Socket {
  const socket = createSocket(isIPv6(target.host) ? 'udp6' : 'udp4');
  socket.on('error', () => {});
  socket.on('message', (bytes, { address, port }) => {
    // The socket is bound to any address: only the target itself answers through it.
    if (address === target.host && port === target.port) {
      session.sendDatagram(framed(number, bytes));
    }
  });
  return socket;
}

function sendOn(socket: Socket, target: Target, bytes: Uint8Array): void {
  socket.send(bytes, target.port, target.host, () => {});
}

function framed(number: number, bytes: Uint8Array): Uint8Array {
  const message = new Uint8Array(FLOW_BYTES + bytes.length);
  message[0] = number >> 8;
  message[1] = number & 0xff;
  message.set(bytes, FLOW_BYTES);
  return message;
}
