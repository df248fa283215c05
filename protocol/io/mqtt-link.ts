// One party's MQTT connection: MQTT 3.1.1, clean session, QoS 0 (ADR 0006). Each connection is a
// new MQTT.js client with a fresh password; reconnecting is ours, since MQTT.js waits a fixed
// time, and a fleet that comes back all at once is a flood. What is published while the link is
// down is dropped and counted: the cores ask again, as an acknowledgement of MQTT means nothing to
// them.

import { type Socket, createConnection } from 'node:net';
import type { Duplex } from 'node:stream';
import { MqttClient } from 'mqtt';
import { EXIT, NakodoError, errorCode, errorMessage } from '../errors.ts';
import { randomFraction } from '../random.ts';
import { entropy } from './entropy.ts';
import { IO_LIMITS } from './limits.ts';

/** Why a connection ended or did not come about. */
interface LinkTrouble {
  /** CONNACK return code (MQTT 3.1.1 §3.2.2.3; 4, 5: not let in), if the broker refused us. */
  readonly refusedCode: number | undefined;
  /** A system error code or `lost`. */
  readonly code: string;
  readonly message: string;
}

/** Where a link leads, who it says that it is, and who hears of it. */
export interface LinkOptions {
  /** `mqtt://host:port`. */
  readonly url: string;
  readonly clientId: string;
  readonly username: string;
  /** Called at every connection: a login token that is good now. */
  readonly password: () => Uint8Array;
  readonly subscriptions: readonly string[];
  /** All subscriptions are acknowledged. */
  readonly onUp: () => void;
  /** A connection that was up is no more, or (`wasUp` false) one did not come about. */
  readonly onDown: (trouble: LinkTrouble, wasUp: boolean) => void;
  /** `bytes`: the receiver's. */
  readonly onMessage: (topic: string, bytes: Uint8Array) => void;
  /** A stream in place of TCP, for a manager in the broker's process. */
  readonly connect?: () => Duplex;
}

/** What a link has done since it was opened. */
interface LinkCounts {
  readonly connections: number;
  readonly dropped: number;
}

/** An MQTT link; made by `openLink`. */
export class MqttLink {
  readonly #options: LinkOptions;
  readonly #host: string;
  readonly #port: number;
  #client: MqttClient | undefined;
  #stream: Duplex | undefined;
  #wanted = true;
  #isUp = false;
  #upSinceMs = 0;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #unwritten = 0;
  #connections = 0;
  #dropped = 0;

  /** @throws NakodoError `bad-broker-url`. */
  constructor(options: LinkOptions) {
    const { host, port } = brokerAddress(options.url);
    this.#options = options;
    this.#host = host;
    this.#port = port;
    this.#connect();
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get counts(): LinkCounts {
    return { connections: this.#connections, dropped: this.#dropped };
  }

  /** This end's address of the TCP connection, while there is one. */
  get localAddress(): string | undefined {
    const address = (this.#stream as Partial<Socket> | undefined)?.localAddress;
    return address?.startsWith('::ffff:') === true ? address.slice('::ffff:'.length) : address;
  }

  /** Publishes at QoS 0; false (and counted) when the link is down or its queue is full. */
  publish(topic: string, bytes: Uint8Array): boolean {
    const client = this.#client;
    if (client === undefined || !this.#isUp || this.#unwritten >= IO_LIMITS.linkQueueMax) {
      this.#dropped += 1;
      return false;
    }
    this.#unwritten += 1;
    client.publish(topic, Buffer.from(bytes), { qos: 0 }, () => {
      if (this.#client === client) this.#unwritten -= 1;
    });
    return true;
  }

  /** Closes the TCP connection after what was published is written, and stays down. */
  down(): void {
    this.#wanted = false;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#isUp = false;
    const client = this.#client;
    const stream = this.#stream;
    this.#client = undefined;
    this.#stream = undefined;
    if (client === undefined || stream === undefined) return;
    const patience = setTimeout(() => stream.destroy(), 1_000);
    stream.once('close', () => clearTimeout(patience));
    client.end(!client.connected);
  }

  /** Connects again after `down`, at once. */
  up(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#failures = 0;
    this.#connect();
  }

  /** Closes for good; resolves when the TCP connection is closed (bounded, 1 s). */
  close(): Promise<void> {
    const stream = this.#stream;
    this.down();
    if (stream === undefined || stream.destroyed) return Promise.resolve();
    return new Promise((resolve) => stream.once('close', () => resolve()));
  }

  #connect(): void {
    const stream = this.#options.connect?.() ?? tcp(this.#host, this.#port);
    const client = new MqttClient(() => stream, {
      protocolVersion: 4,
      clean: true,
      clientId: this.#options.clientId,
      username: this.#options.username,
      password: Buffer.from(this.#options.password()),
      keepalive: IO_LIMITS.linkKeepAliveSeconds,
      connectTimeout: IO_LIMITS.linkConnectMs,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
    });
    this.#client = client;
    this.#stream = stream;
    this.#unwritten = 0;
    this.#connections += 1;
    let trouble: LinkTrouble | undefined;
    client.on('connect', () => this.#onConnect(client));
    client.on('message', (topic, bytes) => {
      if (this.#client === client) this.#options.onMessage(topic, bytes);
    });
    client.on('error', (error) => {
      const code = 'code' in error && typeof error.code === 'number' ? error.code : undefined;
      const word = code === undefined ? errorCode(error) : 'not-let-in';
      trouble ??= { refusedCode: code, code: word, message: errorMessage(error) };
      stream.destroy();
    });
    stream.once('close', () => {
      client.end(true);
      this.#onClosed(client, trouble);
    });
  }

  #onConnect(client: MqttClient): void {
    if (this.#client !== client) return;
    const up = (): void => {
      if (this.#client !== client) return;
      this.#isUp = true;
      this.#upSinceMs = performance.now();
      this.#options.onUp();
    };
    if (this.#options.subscriptions.length === 0) {
      up();
      return;
    }
    client.subscribe([...this.#options.subscriptions], { qos: 0 }, (error, granted) => {
      const refused = granted?.some((one) => one.qos === 128) === true;
      if (error === null && !refused) up();
      else if (this.#client === client) this.#stream?.destroy();
    });
  }

  #onClosed(client: MqttClient, trouble: LinkTrouble | undefined): void {
    if (this.#client !== client) return;
    const wasUp = this.#isUp;
    this.#client = undefined;
    this.#stream = undefined;
    this.#isUp = false;
    // A link that held for a while starts over; one that is thrown out at once slows down.
    if (wasUp && performance.now() - this.#upSinceMs > 2 * IO_LIMITS.linkRetryFirstMs) {
      this.#failures = 0;
    }
    const most = Math.min(
      IO_LIMITS.linkRetryMaxMs,
      IO_LIMITS.linkRetryFirstMs * 2 ** Math.min(this.#failures, 16),
    );
    this.#failures += 1;
    this.#retry = setTimeout(() => this.#connect(), most * (0.5 + randomFraction(entropy) / 2));
    const lost = { refusedCode: undefined, code: 'lost', message: 'the connection was closed' };
    this.#options.onDown(trouble ?? lost, wasUp);
  }
}

/**
 * Opens a link, which connects and reconnects until `down` or `close`.
 * @throws NakodoError `bad-broker-url`.
 */
export function openLink(options: LinkOptions): MqttLink {
  return new MqttLink(options);
}

/**
 * Host and port of a broker's URL.
 * @throws NakodoError `bad-broker-url` if it is not `mqtt://host:port`.
 */
export function brokerAddress(url: string): { readonly host: string; readonly port: number } {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || parsed.protocol !== 'mqtt:' || parsed.hostname === '') {
    throw new NakodoError(
      'bad-broker-url',
      `"${url}" is not a broker's URL`,
      'it looks like mqtt://127.0.0.1:1883',
      EXIT.usage,
    );
  }
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  return { host, port: parsed.port === '' ? 1883 : Number(parsed.port) };
}

function tcp(host: string, port: number): Socket {
  return createConnection({ host, port, noDelay: true });
}
