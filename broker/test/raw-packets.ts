// MQTT 3.1.1 packets byte by byte, and a client that sends any of them: MQTT.js refuses to send
// what an attacker would.

import { type Socket, createConnection } from 'node:net';
import { until } from '../../protocol/test/until.ts';
import type { TestTerminal } from './parties.ts';
import { nowSeconds } from './real-broker.ts';

/** Text, or bytes that are no UTF-8. */
type Text = string | Uint8Array;

const CONNACK = 2;
const SUBACK = 9;

function text(value: Text): Buffer {
  const bytes = Buffer.from(value as Uint8Array);
  return Buffer.concat([uint16(bytes.length), bytes]);
}

function uint16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff);
}

/** A packet of any type and body (§2.2). */
export function packet(type: number, flags: number, body: Uint8Array): Buffer {
  const header = [(type << 4) | flags];
  let rest = body.length;
  do {
    header.push((rest & 127) | (rest > 127 ? 128 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from(header), body]);
}

interface Connect {
  readonly clientId: Text;
  readonly username: Text;
  readonly password: Uint8Array;
  readonly will?: { readonly topic: Text; readonly retain: boolean; readonly qos: number };
}

/** CONNECT (§3.1), a clean session. */
export function connect({ clientId, username, password, will }: Connect): Buffer {
  const willFlags = will === undefined ? 0 : 4 | (will.qos << 3) | (will.retain ? 32 : 0);
  return packet(
    1,
    0,
    Buffer.concat([
      text('MQTT'),
      Buffer.of(4, 0x80 | 0x40 | 0x02 | willFlags),
      uint16(60),
      text(clientId),
      ...(will === undefined ? [] : [text(will.topic), text('boo')]),
      text(username),
      text(password),
    ]),
  );
}

/** The CONNECT of a terminal, with a new token. */
export const terminalConnect = (terminal: TestTerminal, will?: Connect['will']): Buffer =>
  connect({
    clientId: terminal.device,
    username: 'terminal',
    password: terminal.password(nowSeconds()),
    ...(will === undefined ? {} : { will }),
  });

/** PUBLISH (§3.3) with packet identifier 7 where it has one. */
export function publish(
  topic: Text,
  payload: Uint8Array,
  { qos = 0, retain = false }: { readonly qos?: number; readonly retain?: boolean } = {},
): Buffer {
  const id = qos === 0 ? Buffer.alloc(0) : uint16(7);
  return packet(
    3,
    (qos << 1) | (retain ? 1 : 0),
    Buffer.concat([text(topic), id, Buffer.from(payload)]),
  );
}

/** SUBSCRIBE (§3.8). */
export function subscribe(id: number, filters: readonly Text[], qos = 0): Buffer {
  const list = filters.flatMap((filter) => [text(filter), Buffer.of(qos)]);
  return packet(8, 2, Buffer.concat([uint16(id), ...list]));
}

/** A bare connection that speaks what it is told to and keeps what it hears. */
export class RawClient {
  readonly socket: Socket;
  /** Topics of what was forwarded to it. */
  readonly heard: string[] = [];
  closed = false;
  #bytes: Buffer = Buffer.alloc(0);
  #connack: number | undefined;
  readonly #subacks = new Map<number, readonly number[]>();

  constructor(port: number) {
    this.socket = createConnection({ host: '127.0.0.1', port, noDelay: true });
    this.socket.on('error', () => {});
    this.socket.once('close', () => {
      this.closed = true;
    });
    this.socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Sends a CONNECT; resolves when it is answered: whether it was let in. */
  async enter(bytes: Uint8Array): Promise<boolean> {
    this.send(bytes);
    await until(() => this.#connack !== undefined || this.closed, 'a CONNACK or the end');
    return this.#connack === 0;
  }

  /** The granted QoS of each filter (128: refused), or undefined if the connection was ended. */
  async subscribe(id: number, filters: readonly Text[]): Promise<readonly number[] | undefined> {
    this.send(subscribe(id, filters));
    await until(() => this.#subacks.has(id) || this.closed, 'a SUBACK or the end');
    return this.#subacks.get(id);
  }

  async isClosed(): Promise<boolean> {
    await until(() => this.closed, 'the end of a connection');
    return true;
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      let length = 0;
      let at = 1;
      do {
        if (at >= this.#bytes.length) return;
        length |= (this.#bytes[at] & 127) << (7 * (at - 1));
        at += 1;
      } while ((this.#bytes[at - 1] & 128) !== 0);
      if (this.#bytes.length < at + length) return;
      this.#take(this.#bytes[0], this.#bytes.subarray(at, at + length));
      this.#bytes = this.#bytes.subarray(at + length);
    }
  }

  #take(header: number, body: Buffer): void {
    const type = header >> 4;
    if (type === CONNACK) this.#connack = body[1];
    if (type === SUBACK) this.#subacks.set(body.readUInt16BE(0), [...body.subarray(2)]);
    if (type === 3) this.heard.push(body.toString('utf8', 2, 2 + body.readUInt16BE(0)));
  }
}
