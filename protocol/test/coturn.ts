// A real relay for tests: Debian's coturn on a free port of loopback, with its files in a folder of
// its own, stopped at teardown; and a TURN client on a real socket.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Path } from '../core.ts';
import { entropy } from '../io/entropy.ts';
import { BindingRequests } from '../stun/binding.ts';
import { relayCredentials } from '../stun/credentials.ts';
import { type Relayed, TurnClient } from '../stun/turn-client.ts';
import { micros } from '../time.ts';
import { until } from './until.ts';

const MICROS_PER_MS = 1_000;
const now = () => micros(performance.now() * MICROS_PER_MS);
const SECRET = 'shared with the manager';
const HOUR_SECONDS = 3_600;

/** Why a test that needs coturn is skipped; false where it is installed (Debian: coturn). */
export const skipCoturn =
  spawnSync('turnserver', ['--version']).error === undefined ? false : 'coturn is not installed';

/** A user name that is good for so many seconds (an hour; below 0: that was), its password. */
export function userOf(name: string, forSeconds = HOUR_SECONDS) {
  const untilSeconds = Math.ceil(Date.now() / 1_000) + forSeconds;
  const username = `${untilSeconds}:${name}`;
  const password = relayCredentials(new TextEncoder().encode(SECRET), username);
  return { username, password, untilMs: (untilSeconds + 1) * 1_000 };
}

/** A relay that runs. */
export interface Coturn {
  readonly server: Path;
  readonly child: ChildProcess;
}

/** Starts coturn; resolves when it answers. `at`: 127.0.0.1 (default) or ::1, and its port. */
export async function startCoturn(
  t: Test,
  options: readonly string[] = [],
  at: { readonly host?: string; readonly port?: number } = {},
): Promise<Coturn> {
  const folder = mkdtempSync(join(tmpdir(), 'nakodo coturn '));
  const { host = '127.0.0.1', port } = at;
  const server: Path = { host, port: port ?? (await freePort(host)) };
  const child = spawn(
    'turnserver',
    [
      '-n',
      `--listening-ip=${host}`,
      `--relay-ip=${host}`,
      `--listening-port=${server.port}`,
      '--use-auth-secret',
      `--static-auth-secret=${SECRET}`,
      '--realm=example.test',
      `--userdb=${join(folder, 'db')}`,
      `--pidfile=${join(folder, 'pid')}`,
      '--log-file=stdout',
      '--fingerprint',
      '--no-tls',
      '--no-dtls',
      '--no-cli',
      '--no-multicast-peers',
      '--allow-loopback-peers',
      ...options,
    ],
    { cwd: folder, stdio: 'ignore' },
  );
  const isOver = () => child.exitCode !== null || child.signalCode !== null;
  t.teardown(async () => {
    if (!isOver() && child.kill('SIGKILL')) await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  const asking = await openRelayed(t, { server, ...userOf('first') });
  await until(() => {
    asking.pump();
    if (isOver()) throw new Error('coturn ended at once');
    return asking.bindings.answers().length > 0;
  }, 'coturn answers');
  return { server, child };
}

/** A TURN client on a socket of its own, moved on by `pump`, which `reaches` does by itself. */
export interface RealClient {
  readonly client: TurnClient;
  /** Asks the relay for our address, again and again: whether it is up. */
  readonly bindings: BindingRequests;
  /** What peers sent, copied. */
  readonly heard: Relayed[];
  /** Error codes that the relay answered. */
  readonly codes: number[];
  pump(): void;
  /** Wraps and sends; false if it may not be sent. */
  send(peer: Path, payload: Uint8Array): boolean;
  reaches(condition: () => boolean, what: string): Promise<void>;
}

interface RealOptions {
  readonly server: Path;
  readonly username: string;
  readonly password: string;
  readonly wantsIpv6?: boolean;
}

/** Opens a socket and a client on it; nothing is sent until somebody asks for it. */
export async function openRelayed(t: Test, options: RealOptions): Promise<RealClient> {
  const { server } = options;
  const socket = createSocket(server.host.includes(':') ? 'udp6' : 'udp4');
  socket.bind(0, server.host);
  await once(socket, 'listening');
  t.teardown(() => new Promise<void>((closed) => socket.close(() => closed())));
  const client = new TurnClient({ rng: entropy, ...options });
  let bindings = new BindingRequests({ rng: entropy, servers: [server] });
  const heard: Relayed[] = [];
  const codes: number[] = [];
  socket.on('message', (bytes, { address: host, port }) => {
    if (bindings.handleDatagram(now(), { host, port }, bytes)) return;
    // ERROR-CODE is the first attribute that coturn writes.
    if (bytes.length > 28 && bytes.readUInt16BE(20) === 9) codes.push(bytes[26] * 100 + bytes[27]);
    const told = client.handleDatagram(now(), { host, port }, bytes);
    if (typeof told === 'object') heard.push({ peer: told.peer, bytes: told.bytes.slice() });
  });
  const into = new Uint8Array(2_000);
  const pump = () => {
    for (const core of [client, bindings]) {
      if (core === bindings && client.state !== 'idle') continue;
      core.handleTimeout(now());
      for (let out = core.pollTransmit(now(), into); out; out = core.pollTransmit(now(), into))
        socket.send(into.slice(0, out.size), out.path.port, out.path.host);
    }
    if (bindings.isDone && bindings.answers().length === 0)
      bindings = new BindingRequests({ rng: entropy, servers: [server] });
  };
  return {
    client,
    get bindings() {
      return bindings;
    },
    heard,
    codes,
    pump,
    send(peer, payload) {
      const buffer = new Uint8Array(payload.length + 64);
      buffer.set(payload);
      const size = client.wrap(now(), peer, buffer, payload.length);
      if (size > 0) socket.send(buffer.subarray(0, size), server.port, server.host);
      return size > 0;
    },
    reaches: (condition, what) =>
      until(() => {
        pump();
        return condition();
      }, what),
  };
}

/** A client that has allocated. */
export async function allocated(t: Test, options: RealOptions): Promise<RealClient> {
  const real = await openRelayed(t, options);
  real.client.start(now());
  await real.reaches(() => real.client.state === 'ready', 'an allocation');
  return real;
}

/** `now` of the clients on real sockets. */
export const realNow = now;

/** A UDP port that nobody had a moment ago. */
async function freePort(host: string): Promise<number> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.bind(0, host);
  await once(socket, 'listening');
  const { port } = socket.address();
  await new Promise<void>((closed) => socket.close(() => closed()));
  return port;
}
