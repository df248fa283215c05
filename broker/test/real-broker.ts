// A real broker on a free port and real MQTT.js clients over TCP, for the tests of the shell.
// Everything waits for a condition with a bound, never for a time.

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type Socket, createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { MqttClient, type IClientOptions } from 'mqtt';
import type { Test } from 'tap';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Kind, Message, MessageOf } from '../../protocol/control/messages.ts';
import {
  MANAGER_FILTERS,
  REVOKED_TOPIC,
  answerTopic,
  topic,
} from '../../protocol/control/topics.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { loadServerCertificate } from '../../protocol/io/server-certificate.ts';
import { until } from '../../protocol/test/until.ts';
import { type BrokerOptions, type BrokerShell, startBroker } from '../shell/broker-shell.ts';
import type { TlsOptions } from '../shell/listener.ts';
import { type TestManager, type TestTerminal, makeManager } from './parties.ts';

const clock = new Clock();

export const manager: TestManager = makeManager(1);
export const nowSeconds = (): number => Math.floor(clock.wall() / 1000);

/** Starts a broker that knows `manager`, and that lets nobody in yet. */
export const startUntold = (options: Partial<BrokerOptions> = {}): Promise<BrokerShell> =>
  startBroker({
    managerKeys: [manager.key.publicKey],
    suite: nodeSuite,
    clock,
    log: silentLog,
    ...options,
  });

/** Starts a broker that knows `manager` and has its revocation list: terminals are let in. */
export async function start(options: Partial<BrokerOptions> = {}): Promise<BrokerShell> {
  const broker = await startUntold(options);
  const inProcess = { protocolVersion: 4, reconnectPeriod: 0, resubscribe: false } as const;
  const client = new MqttClient(() => broker.connect(), { ...inProcess, ...managerLogin() });
  await new Promise((resolve) => client.once('connect', resolve));
  const list = Buffer.from(encodeMessage(manager.revoked(nowSeconds())));
  await client.publishAsync(REVOKED_TOPIC, list, { qos: 1 });
  await client.endAsync();
  await until(() => broker.stats().connections === 0, 'the manager to be gone');
  return broker;
}

/** A server's key and certificate in a folder of its own. */
export async function serverTls(t: Test): Promise<TlsOptions> {
  const home = await mkdtemp(join(tmpdir(), 'nakodo-broker-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  return loadServerCertificate({ home, clock });
}

/** One MQTT connection and everything that arrived on it. */
export class Wire {
  readonly client: MqttClient;
  readonly socket: Socket;
  readonly heard: { readonly topic: string; readonly message: Message }[] = [];
  /** CONNACK return code of a refusal. */
  refusedCode: number | undefined;
  closed = false;
  up = false;

  /** `isTls`: what it shows is not looked at. */
  constructor(port: number, options: IClientOptions, isTls = false, host = '127.0.0.1') {
    this.socket = isTls
      ? connectTls({ host, port, rejectUnauthorized: false })
      : createConnection({ host, port, noDelay: true });
    this.client = new MqttClient(() => this.socket, {
      protocolVersion: 4,
      clean: true,
      reconnectPeriod: 0,
      resubscribe: false,
      ...options,
    });
    this.socket.once('close', () => {
      this.closed = true;
      this.client.end(true);
    });
    this.client.on('connect', () => {
      this.up = true;
    });
    this.client.on('error', (error) => {
      if ('code' in error && typeof error.code === 'number') this.refusedCode = error.code;
    });
    this.client.on('message', (name, bytes) => {
      const message = decodeMessage(bytes);
      if (message !== undefined) this.heard.push({ topic: name, message });
    });
  }

  /** Resolves when CONNACK let us in, or the connection is closed. */
  async settled(): Promise<this> {
    await until(() => this.up || this.closed, 'a CONNACK or the end');
    return this;
  }

  async isClosed(): Promise<boolean> {
    await until(() => this.closed, 'the end of a connection');
    return true;
  }

  /** The granted QoS of each filter, 128 for a refusal. */
  async subscribe(filters: readonly string[]): Promise<readonly number[]> {
    const answered = new Promise<readonly number[]>((resolve) => {
      this.client.once('packetreceive', function onPacket(this: MqttClient, packet) {
        if (packet.cmd === 'suback') resolve(packet.granted as readonly number[]);
        else this.once('packetreceive', onPacket);
      });
    });
    this.client.subscribe([...filters], { qos: 1 }, () => {});
    return answered;
  }

  say(name: string, message: Message): void {
    this.client.publish(name, Buffer.from(encodeMessage(message)), { qos: 1 }, () => {});
  }

  /** The next message of this kind, taken out of what was heard. */
  async next<K extends Kind>(kind: K): Promise<MessageOf<K>> {
    const find = (): number => this.heard.findIndex(({ message }) => message.kind === kind);
    await until(() => find() >= 0, kind);
    const [{ message }] = this.heard.splice(find(), 1);
    return message as MessageOf<K>;
  }

  /** Ends the TCP connection and waits until it is closed. */
  async leave(): Promise<void> {
    this.socket.destroy();
    await this.isClosed();
  }
}

/** The login of a terminal, as CONNECT options. */
export const loginOf = (terminal: TestTerminal, server?: Uint8Array): IClientOptions => ({
  clientId: terminal.device,
  username: 'terminal',
  password: Buffer.from(terminal.password(nowSeconds(), { server })),
});

export const managerLogin = (): IClientOptions => ({
  clientId: manager.id,
  username: 'manager',
  password: Buffer.from(manager.password(nowSeconds())),
});

/** A terminal that is connected and has polled; `server`: the pin of a broker with TLS. */
export async function attend(
  port: number,
  terminal: TestTerminal,
  server?: Uint8Array,
  host?: string,
): Promise<Wire> {
  const isTls = server !== undefined;
  const wire = await new Wire(port, loginOf(terminal, server), isTls, host).settled();
  await wire.subscribe([topic('call', terminal.device), topic('down', terminal.device)]);
  return wire;
}

/** A manager that is connected and subscribed to all it may. */
export async function manage(port: number): Promise<Wire> {
  const wire = await new Wire(port, managerLogin()).settled();
  await wire.subscribe([...MANAGER_FILTERS, answerTopic(manager.id)]);
  return wire;
}

/** A bare TCP connection to the broker. */
export async function connectTcp(port: number): Promise<Socket> {
  const socket = createConnection({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}
