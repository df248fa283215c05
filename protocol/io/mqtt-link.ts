// One party's MQTT connection: MQTT 3.1.1, clean session, QoS 0 (ADR 0006). Each connection is a
// new MQTT.js client with a fresh password; reconnecting is ours, since MQTT.js waits a fixed
// time, and a fleet that comes back all at once is a flood. What is published while the link is
// down is dropped and counted: the cores ask again, as an acknowledgement of MQTT means nothing to
// them. With TLS, the server's key is checked before the login token is even made. Long because all
// that can happen to a link changes the same few fields: client, stream, timers.

import { type Socket, createConnection } from 'node:net';
import type { Duplex } from 'node:stream';
import { MqttClient } from 'mqtt';
import { EXIT, NakodoError, errorCode, errorMessage } from '../errors.ts';
import { NO_PIN } from '../identity/token.ts';
import { randomFraction } from '../random.ts';
import { entropy } from './entropy.ts';
import { IO_LIMITS } from './limits.ts';
import { NO_STORE, boundIncoming } from './mqtt-bounds.ts';
import { LinkCheck } from './link-check.ts';
import { LinkPauses } from './link-pauses.ts';
import { hostOf } from './loopback.ts';
import { PinMismatch, connectPinned, refusePlain } from './pinned-tls.ts';

/** Why a connection ended or did not come about. */
interface LinkTrouble {
  /** CONNACK return code (MQTT 3.1.1 §3.2.2.3; 4, 5: not let in), if the broker refused us. */
  readonly refusedCode: number | undefined;
  /** A system error code, `not-let-in`, `lost`, or `pin-mismatch`: it shows a key not known. */
  readonly code: string;
  readonly message: string;
  /** With `pin-mismatch`: the pin of the key that the server shows, 32 bytes. */
  readonly pin?: Uint8Array;
}

/** CONNACK (MQTT 3.1.1 §3.2.2.3): the broker waits for its revocation list; soon it has one. */
const SERVER_UNAVAILABLE = 3;
const AT_MOST_ONCE = { qos: 0 } as const;

/** In place of a `debug` for each client. */
const unheard = (): void => {};
const MQTT_PORT = 1_883;
const MQTTS_PORT = 8_883;

/** Where a link leads, who it says that it is, and who hears of it. */
export interface LinkOptions {
  /** `mqtts://host:port`; `mqtt://` on a loopback literal. Not looked at if `connect` is there. */
  readonly url: string;
  /** Whether the broker with this TLS key is ours: has to be there for `mqtts:`, and only then. */
  readonly isPinned?: (pin: Uint8Array) => boolean;
  readonly clientId: string;
  readonly username: string;
  /**
   * Called at every connection: a login token that is good now, at the server that showed the key
   * of this pin; NO_PIN without TLS.
   */
  readonly password: (server: Uint8Array) => Uint8Array;
  readonly subscriptions: readonly string[];
  /** All subscriptions are acknowledged. */
  readonly onUp: () => void;
  /** A connection that was up is no more, or (`wasUp` false) one did not come about. */
  readonly onDown: (trouble: LinkTrouble, wasUp: boolean) => void;
  /** `bytes`: the receiver's. */
  readonly onMessage: (topic: string, bytes: Uint8Array) => void;
  /** A stream in place of TCP, for a manager in the broker's process. */
  readonly connect?: () => Duplex;
  /** Seconds between two pings of a quiet link, up to 65,535; IO_LIMITS.linkKeepAliveSeconds. */
  readonly keepaliveSeconds?: number | undefined;
  /** Milliseconds for TCP and TLS, and again for MQTT; default IO_LIMITS.linkConnectMs. */
  readonly connectMs?: number | undefined;
}

/** What a link is doing, for whoever has to tell whether it works; milliseconds. */
export type LinkHealth =
  | {
      readonly state: 'up';
      readonly forMs: number;
      readonly heardMsAgo: number;
      readonly keepaliveSeconds: number;
    }
  /** Connecting; or logged in, and not yet subscribed. */
  | { readonly state: 'opening'; readonly forMs: number }
  /** Waits to try again: in so long, or (`lateMs`) it should have long ago. */
  | { readonly state: 'waiting'; readonly inMs: number; readonly lateMs: number }
  /** It is not wanted. */
  | { readonly state: 'down' };

/** What a link has done since it was opened. */
interface LinkCounts {
  readonly connections: number;
  readonly dropped: number;
}

/** An MQTT link; made by `openLink`. */
export class MqttLink {
  readonly #options: LinkOptions;
  readonly #address: BrokerAddress;
  /** TCP and TLS under way. */
  #opening: AbortController | undefined;
  #client: MqttClient | undefined;
  #stream: Duplex | undefined;
  #wanted = true;
  #isUp = false;
  #upSinceMs = 0;
  /** When a whole packet came last, and when the newest try began or will begin. */
  #heardAtMs = 0;
  #openingSinceMs = 0;
  #retryAtMs = 0;
  readonly #pauses = new LinkPauses();
  #retry: NodeJS.Timeout | undefined;
  readonly #check = new LinkCheck({
    heardAtMs: () => this.#heardAtMs,
    onGone: () => this.#stream?.destroy(),
  });
  #connections = 0;
  #dropped = 0;

  /** @throws NakodoError `bad-broker-url`, `plain-not-loopback`. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.#address = brokerAddress(options.url);
    if (options.connect === undefined) refuseUnfit(options, this.#address);
    this.#connect();
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Seconds between two pings of a quiet link. */
  get keepaliveSeconds(): number {
    return this.#options.keepaliveSeconds ?? IO_LIMITS.linkKeepAliveSeconds;
  }

  get #connectMs(): number {
    return this.#options.connectMs ?? IO_LIMITS.linkConnectMs;
  }

  /** What it is doing now. */
  health(): LinkHealth {
    const now = performance.now();
    if (!this.#wanted) return { state: 'down' };
    if (this.#isUp) {
      const { keepaliveSeconds } = this;
      const [forMs, heardMsAgo] = [now - this.#upSinceMs, now - this.#heardAtMs];
      return { state: 'up', forMs, heardMsAgo, keepaliveSeconds };
    }
    if (this.#retry === undefined) return { state: 'opening', forMs: now - this.#openingSinceMs };
    const inMs = this.#retryAtMs - now;
    return { state: 'waiting', inMs: Math.max(0, inMs), lateMs: Math.max(0, -inMs) };
  }

  get counts(): LinkCounts {
    return { connections: this.#connections, dropped: this.#dropped };
  }

  /** This end's address of the TCP connection, while there is one. */
  get localAddress(): string | undefined {
    return folded((this.#stream as Partial<Socket> | undefined)?.localAddress);
  }

  /** The broker's address of the TCP connection, while there is one. */
  get remoteAddress(): string | undefined {
    return folded((this.#stream as Partial<Socket> | undefined)?.remoteAddress);
  }

  /**
   * Publishes at QoS 0; false (and counted) when the link is down or too much waits to be written.
   * `bytes`: the link's.
   */
  publish(topic: string, bytes: Uint8Array): boolean {
    const unwritten = this.#stream?.writableLength ?? 0;
    if (this.#client === undefined || !this.#isUp || unwritten >= IO_LIMITS.linkQueueBytesMax) {
      this.#dropped += 1;
      return false;
    }
    const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    // No callback: for each one MQTT.js would listen for `drain` while the stream is full.
    this.#client.publish(topic, payload, AT_MOST_ONCE);
    return true;
  }

  /** Connects now if it waits to try again: whoever calls has learnt something new. */
  retryNow(): void {
    if (this.#retry === undefined) return;
    clearTimeout(this.#retry);
    this.#connect();
  }

  /**
   * Looks at once whether the link still works, for whoever has a reason to doubt it: one that
   * waits to try again does, one that is up has `patienceMs` to answer a ping, the shortest of all
   * that ask, or no time at all if `isGone` says that its own address is no more. Else it is made
   * anew, without a pause: what is wrong is on our side.
   */
  check(isGone: (localAddress: string) => boolean, patienceMs: number): void {
    this.retryNow();
    const client = this.#client;
    const stream = this.#stream;
    if (client === undefined || stream === undefined || !this.#isUp) return;
    const { localAddress } = this;
    if (localAddress === undefined || !isGone(localAddress)) {
      this.#check.ask(() => client.sendPing(), patienceMs);
      return;
    }
    this.#check.ask(() => {}, patienceMs);
    stream.destroy();
  }

  /** Closes the TCP connection after what was published is written, and stays down. */
  down(): void {
    this.#wanted = false;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#isUp = false;
    this.#check.stop();
    this.#opening?.abort();
    this.#opening = undefined;
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
    this.#pauses.reset();
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
    this.#retry = undefined;
    this.#openingSinceMs = performance.now();
    this.#connections += 1;
    const { connect, isPinned } = this.#options;
    const { host, port, isTls } = this.#address;
    if (connect !== undefined) this.#login(connect(), NO_PIN);
    else if (isTls && isPinned !== undefined) void this.#connectTls(host, port, isPinned);
    else this.#login(createConnection({ host, port, noDelay: true }), NO_PIN);
  }

  async #connectTls(
    host: string,
    port: number,
    isPinned: (pin: Uint8Array) => boolean,
  ): Promise<void> {
    const opening = new AbortController();
    this.#opening = opening;
    const timeoutMs = this.#connectMs;
    const { signal } = opening;
    try {
      const { socket, pin } = await connectPinned({ host, port, isPinned, timeoutMs, signal });
      if (this.#opening !== opening) {
        socket.destroy();
        return;
      }
      this.#opening = undefined;
      this.#login(socket, pin);
    } catch (error) {
      if (this.#opening !== opening) return;
      this.#opening = undefined;
      this.#onClosed(undefined, {
        refusedCode: undefined,
        code: errorCode(error),
        message: errorMessage(error),
        ...(error instanceof PinMismatch && { pin: error.pin }),
      });
    }
  }

  /** MQTT on a stream that leads to the broker. `server`: the pin of its key. */
  #login(stream: Duplex, server: Uint8Array): void {
    const client = new MqttClient(() => stream, {
      protocolVersion: 4,
      clean: true,
      clientId: this.#options.clientId,
      username: this.#options.username,
      password: Buffer.from(this.#options.password(server)),
      keepalive: this.keepaliveSeconds,
      connectTimeout: this.#connectMs,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      // A ping a minute is cheaper than a timer moved at each message.
      reschedulePings: false,
      incomingStore: NO_STORE,
      outgoingStore: NO_STORE,
      log: unheard,
      // Else 65 536 numbers are kept as a Buffer each: 6.5 MB, and 8 ms at start.
      writeCache: false,
    });
    this.#client = client;
    this.#stream = stream;
    boundIncoming(client, stream, () => {
      this.#heardAtMs = performance.now();
    });
    let trouble: LinkTrouble | undefined;
    client.on('connect', () => {
      // It was for this connection, and is as long as all the rest.
      client.options.password = undefined;
      const late = setTimeout(() => {
        const message = 'the broker does not confirm our subscriptions';
        trouble ??= { refusedCode: undefined, code: 'timeout', message };
        stream.destroy();
      }, this.#connectMs);
      stream.once('close', () => clearTimeout(late));
      this.#onConnect(client, () => clearTimeout(late));
    });
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

  #onConnect(client: MqttClient, onUp: () => void): void {
    if (this.#client !== client) return;
    const up = (): void => {
      if (this.#client !== client) return;
      onUp();
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

  #onClosed(client: MqttClient | undefined, trouble: LinkTrouble | undefined): void {
    if (this.#client !== client || !this.#wanted) return;
    const wasUp = this.#isUp;
    this.#client = undefined;
    this.#stream = undefined;
    this.#isUp = false;
    // Doubted and gone: our own network is the reason, not a broker that a whole fleet misses.
    const pauseMs =
      wasUp && this.#check.isOpen
        ? 0
        : this.#pauses.next({
            heldMs: wasUp ? performance.now() - this.#upSinceMs : undefined,
            isUnavailable: trouble?.refusedCode === SERVER_UNAVAILABLE,
            fraction: randomFraction(entropy),
          });
    this.#check.stop();
    this.#retryAtMs = performance.now() + pauseMs;
    this.#retry = setTimeout(() => this.#connect(), pauseMs);
    const lost = { refusedCode: undefined, code: 'lost', message: 'the connection was closed' };
    this.#options.onDown(trouble ?? lost, wasUp);
  }
}

/**
 * Opens a link, which connects and reconnects until `down` or `close`.
 * @throws NakodoError `bad-broker-url`, `plain-not-loopback`.
 */
export function openLink(options: LinkOptions): MqttLink {
  return new MqttLink(options);
}

/** Where a broker listens. */
interface BrokerAddress {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

/**
 * Host and port of a broker's URL; without a port 8883 (mqtts) or 1883 (mqtt).
 * @throws NakodoError `bad-broker-url` (exit 2).
 */
export function brokerAddress(url: string): BrokerAddress {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^mqtts?:$/.test(parsed.protocol) || parsed.hostname === '') {
    throw badUrl(`"${url}" is not a broker's URL`);
  }
  const isTls = parsed.protocol === 'mqtts:';
  const port = parsed.port === '' ? (isTls ? MQTTS_PORT : MQTT_PORT) : Number(parsed.port);
  return { host: hostOf(parsed), port, isTls };
}

/** An IPv4 address as such, also where it was reached by an IPv6 socket (RFC 4291 §2.5.5.2). */
function folded(address: string | undefined): string | undefined {
  return address?.startsWith('::ffff:') === true ? address.slice('::ffff:'.length) : address;
}

/** A link that knows a key never goes without TLS, nor one that knows none with it. */
function refuseUnfit({ url, isPinned }: LinkOptions, { host, isTls }: BrokerAddress): void {
  if (!isTls) refusePlain(url, host);
  if (isTls && isPinned === undefined) throw badUrl(`the key of the broker at ${url} is not known`);
  if (!isTls && isPinned !== undefined) throw badUrl(`${url} has no TLS, where a key is pinned`);
}

function badUrl(message: string): NakodoError {
  const next = 'it looks like mqtts://nakodo.example:8883; mqtt:// is for 127.0.0.1 and --plain';
  return new NakodoError('bad-broker-url', message, next, EXIT.usage);
}
