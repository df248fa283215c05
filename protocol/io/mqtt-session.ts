// MQTT 3.1.1 as far as a party speaks it (ADR 0014): one clean session on one stream, QoS 0, one
// SUBSCRIBE with all topics. Everything that is said in one turn of the event loop leaves in one
// write. A fleet has thousands of these in a process, so that each is a few objects and one timer.
// What a broker may not say to us ends the connection. Source: OASIS MQTT 3.1.1.

import type { Duplex } from 'node:stream';
import { MS_PER_SECOND } from '../time.ts';
import { IO_LIMITS } from './limits.ts';

/** First bytes of packets: type and flags (§2.2). */
const CONNECT = 0x10;
const CONNACK = 0x20;
const PUBLISH = 0x30;
const SUBSCRIBE = 0x82;
const SUBACK = 0x90;
const PINGREQ = Buffer.of(0xc0, 0);
const PINGRESP = 0xd0;
const DISCONNECT = Buffer.of(0xe0, 0);
/** The four lower bits of a PUBLISH: DUP, QoS, RETAIN (§3.3.1). */
const PUBLISH_FLAGS = 0x0f;
const RETAIN = 0x01;
/** Name, level 4, flags: user name, password, clean session (§3.1.2). */
const PROTOCOL = Buffer.of(0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2);
/** The only packet of ours that has an identifier. */
const SUBSCRIBE_ID = 1;
const FAILURE = 0x80;
const CONTINUES = 0x80;
/** Bits of a length's byte, and bytes of a length (§2.2.3). */
const LENGTH_BITS = 7;
const LENGTH_BYTES_MAX = 4;
/** The shortest packet there is. */
const HEAD_BYTES = 2;

/** CONNACK return codes (§3.2.2.3). */
const REFUSALS: readonly string[] = [
  'accepted',
  'it speaks another version of MQTT',
  'it does not take this client ID',
  'it is not ready',
  'bad user name or password',
  'not authorized',
];

/** The broker refused the login. */
export class LoginRefused extends Error {
  /** CONNACK return code (§3.2.2.3). */
  readonly returnCode: number;

  constructor(returnCode: number) {
    super(`the broker refused: ${REFUSALS[returnCode] ?? `code ${returnCode}`}`);
    this.name = 'LoginRefused';
    this.returnCode = returnCode;
  }
}

/** Who says what to whom. */
export interface SessionOptions {
  readonly clientId: string;
  readonly username: string;
  readonly password: Uint8Array;
  readonly subscriptions: readonly string[];
  readonly keepAliveSeconds: number;
  /** All subscriptions are acknowledged; called once. */
  readonly onUp: () => void;
  /** `bytes`: the receiver's. */
  readonly onMessage: (topic: string, bytes: Uint8Array) => void;
  /** The stream is closed; `error`: why, if it is known. Called once. */
  readonly onClosed: (error: Error | undefined) => void;
}

/** One connection's session, from CONNECT to its end. */
export class MqttSession {
  readonly #stream: Duplex;
  readonly #options: SessionOptions;
  /** First for the login, then for keeping alive. */
  #timer: NodeJS.Timeout;
  #state: 'connecting' | 'subscribing' | 'up' | 'over' = 'connecting';
  #error: Error | undefined;
  /** Packets of this turn. */
  #out: Uint8Array[] = [];
  #unwritten = 0;
  /** Of a packet that is not whole; `#needed` bytes are looked at next. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #needed = HEAD_BYTES;
  /** Half periods of the keep-alive, and whether anything came in the last one. */
  #beats = 0;
  #isHeard = false;

  /** Takes the stream over and logs in. */
  constructor(stream: Duplex, options: SessionOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.on('data', (chunk: Buffer) => this.#onBytes(chunk));
    stream.on('error', (error: Error) => this.#end(error));
    stream.once('close', () => this.#onClosed());
    this.#timer = setTimeout(() => this.#onTimer(), IO_LIMITS.linkConnectMs);
    this.#send(connectPacket(options));
  }

  /** Sends at QoS 0; false when it is not up or too much waits to be written. `bytes`: copied. */
  publish(topic: string, bytes: Uint8Array): boolean {
    if (this.#state !== 'up' || this.#unwritten >= IO_LIMITS.linkQueueMax) return false;
    this.#send(publishPacket(topic, bytes));
    return true;
  }

  /** Says goodbye behind what was published and closes, within IO_LIMITS.linkCloseMs. */
  close(): void {
    if (this.#state === 'over') return;
    if (this.#state !== 'up') {
      this.#end(undefined);
      return;
    }
    this.#send(DISCONNECT);
    this.#flush();
    this.#state = 'over';
    this.#stream.end();
    const patience = setTimeout(() => this.#stream.destroy(), IO_LIMITS.linkCloseMs);
    this.#stream.once('close', () => clearTimeout(patience));
  }

  get #isOver(): boolean {
    return this.#state === 'over';
  }

  #send(packet: Uint8Array): void {
    this.#unwritten += 1;
    if (this.#out.push(packet) === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const packets = this.#out;
    if (packets.length === 0 || this.#state === 'over') return;
    this.#out = [];
    const bytes = packets.length === 1 ? packets[0] : Buffer.concat(packets);
    this.#stream.write(bytes, () => {
      this.#unwritten -= packets.length;
    });
  }

  #end(error: Error | undefined): void {
    this.#error ??= error;
    this.#state = 'over';
    this.#stream.destroy();
  }

  #onClosed(): void {
    clearTimeout(this.#timer);
    this.#state = 'over';
    this.#held = [];
    this.#options.onClosed(this.#error);
  }

  /** A login that takes too long; later a half period: a ping in one, its answer in the next. */
  #onTimer(): void {
    if (this.#state === 'over') return;
    const isPinging = this.#beats % 2 === 0;
    if (this.#state !== 'up' || (!isPinging && !this.#isHeard)) {
      this.#end(new Error('the broker does not answer'));
      return;
    }
    this.#beats += 1;
    this.#isHeard = false;
    if (isPinging) this.#send(PINGREQ);
    this.#timer.refresh();
  }

  #onBytes(chunk: Buffer): void {
    if (this.#state === 'over') return;
    this.#isHeard = true;
    this.#heldBytes += chunk.length;
    this.#held.push(chunk);
    if (this.#heldBytes < this.#needed) return;
    const bytes = this.#held.length === 1 ? chunk : Buffer.concat(this.#held, this.#heldBytes);
    let at = 0;
    while (at < bytes.length && !this.#isOver) {
      const end = this.#endOfPacket(bytes, at);
      if (end === undefined || end > bytes.length) break;
      at = end;
    }
    this.#heldBytes = bytes.length - at;
    this.#held = this.#heldBytes === 0 ? [] : [bytes.subarray(at)];
    this.#needed = this.#heldBytes === 0 ? HEAD_BYTES : this.#needed;
  }

  /** Takes the packet at `at` if it is whole, and returns its end; undefined: not known yet. */
  #endOfPacket(bytes: Buffer, at: number): number | undefined {
    let length = 0;
    for (let index = 1; index <= LENGTH_BYTES_MAX; index++) {
      if (at + index >= bytes.length) {
        this.#needed = bytes.length - at + 1;
        return undefined;
      }
      const byte = bytes[at + index];
      length |= (byte & ~CONTINUES) << (LENGTH_BITS * (index - 1));
      if ((byte & CONTINUES) !== 0) continue;
      const start = at + index + 1;
      const end = start + length;
      this.#needed = end - at;
      if (length > IO_LIMITS.linkPacketBytesMax) this.#end(spoke('a packet that is too long'));
      else if (end <= bytes.length) this.#onPacket(bytes[at], bytes.subarray(start, end));
      return end;
    }
    this.#end(spoke('no MQTT'));
    return undefined;
  }

  #onPacket(head: number, body: Buffer): void {
    if ((head & ~PUBLISH_FLAGS) === PUBLISH) this.#onPublish(head, body);
    else if (head === CONNACK && this.#state === 'connecting') this.#onConnack(body);
    else if (head === SUBACK && this.#state === 'subscribing') this.#onSuback(body);
    else if (head !== PINGRESP) this.#end(spoke('out of turn'));
  }

  #onConnack(body: Buffer): void {
    const [, returnCode] = body;
    if (returnCode !== 0) {
      this.#end(returnCode === undefined ? spoke('no MQTT') : new LoginRefused(returnCode));
      return;
    }
    this.#state = 'subscribing';
    const { subscriptions } = this.#options;
    if (subscriptions.length === 0) this.#onLoggedIn();
    else this.#send(subscribePacket(subscriptions));
  }

  #onSuback(body: Buffer): void {
    const codes = body.subarray(2);
    const isGranted = codes.length === this.#options.subscriptions.length;
    if (!isGranted || codes.includes(FAILURE)) this.#end(spoke('that it grants no subscription'));
    else this.#onLoggedIn();
  }

  #onLoggedIn(): void {
    this.#state = 'up';
    clearTimeout(this.#timer);
    const halfMs = (this.#options.keepAliveSeconds * MS_PER_SECOND) / 2;
    this.#timer = setTimeout(() => this.#onTimer(), halfMs);
    this.#options.onUp();
  }

  /** At QoS 1 and 2 a broker would wait for answers, and we would have to remember. */
  #onPublish(head: number, body: Buffer): void {
    const topicEnd = body.length < 2 ? Number.NaN : 2 + body.readUInt16BE(0);
    if ((head & PUBLISH_FLAGS & ~RETAIN) !== 0 || !(topicEnd <= body.length)) {
      this.#end(spoke('a message that we did not ask for'));
      return;
    }
    if (this.#state !== 'up') return;
    this.#options.onMessage(body.toString('utf8', 2, topicEnd), body.subarray(topicEnd));
  }
}

const spoke = (what: string): Error => new Error(`the broker said ${what}`);

/** A packet of this head and so many bytes to fill behind its length; `at`: where they begin. */
function packet(head: number, length: number): { readonly bytes: Buffer; readonly at: number } {
  let lengthBytes = 1;
  for (let rest = length >> LENGTH_BITS; rest > 0; rest >>= LENGTH_BITS) lengthBytes += 1;
  const bytes = Buffer.allocUnsafe(1 + lengthBytes + length);
  bytes[0] = head;
  let rest = length;
  for (let at = 1; at <= lengthBytes; at++) {
    bytes[at] = (rest & ~CONTINUES) | (at < lengthBytes ? CONTINUES : 0);
    rest >>= LENGTH_BITS;
  }
  return { bytes, at: 1 + lengthBytes };
}

/** A length of two bytes and the text; returns where it ends. */
function writeText(bytes: Buffer, at: number, text: string): number {
  const length = bytes.write(text, at + 2);
  bytes.writeUInt16BE(length, at);
  return at + 2 + length;
}

function publishPacket(topic: string, payload: Uint8Array): Buffer {
  const { bytes, at } = packet(PUBLISH, 2 + Buffer.byteLength(topic) + payload.length);
  bytes.set(payload, writeText(bytes, at, topic));
  return bytes;
}

function connectPacket(options: SessionOptions): Buffer {
  const { clientId, username, password, keepAliveSeconds } = options;
  const texts = Buffer.byteLength(clientId) + Buffer.byteLength(username);
  const { bytes, at } = packet(CONNECT, PROTOCOL.length + 2 + 6 + texts + password.length);
  bytes.set(PROTOCOL, at);
  const afterKeepAlive = bytes.writeUInt16BE(keepAliveSeconds, at + PROTOCOL.length);
  const afterNames = writeText(bytes, writeText(bytes, afterKeepAlive, clientId), username);
  bytes.set(password, bytes.writeUInt16BE(password.length, afterNames));
  return bytes;
}

function subscribePacket(topics: readonly string[]): Buffer {
  const length = topics.reduce((all, topic) => all + 2 + Buffer.byteLength(topic) + 1, 2);
  const { bytes, at } = packet(SUBSCRIBE, length);
  let end = bytes.writeUInt16BE(SUBSCRIBE_ID, at);
  for (const topic of topics) end = bytes.writeUInt8(0, writeText(bytes, end, topic));
  return bytes;
}
