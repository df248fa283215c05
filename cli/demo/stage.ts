// The demo's stage: broker, session manager and three terminals as processes of their own on free
// ports, over TLS, each with a home in one temporary folder, and a recording proxy before every
// terminal.

import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NakodoError } from '../../protocol/errors.ts';
import { Children, type Finished, type Running } from './children.ts';
import { RecordingProxy } from './recording-proxy.ts';

/** Milliseconds for the manager to write its public key, and between two looks. */
const KEY_MS_MAX = 15_000;
const KEY_LOOK_MS = 20;

/** One terminal on the stage. */
interface Actor {
  readonly name: string;
  readonly id: string;
  readonly home: string;
  /** The loopback address that its UDP sockets bind to. */
  readonly address: string;
  /** Stands between its agent and the broker. */
  readonly proxy: RecordingProxy;
}

/** The three terminals. */
export interface Cast {
  readonly term1: Actor;
  readonly term3: Actor;
  readonly stranger: Actor;
}

/** Processes, folders and proxies of one run; `clear` takes all of it away again. */
export class Stage {
  readonly folder: string;
  readonly managerHome: string;
  readonly children: Children;
  readonly #proxies: RecordingProxy[] = [];
  #mqttPort = 0;
  readonly #remove = (): void => rmSync(this.folder, { recursive: true, force: true });

  /** `program`: the path of main.js. */
  constructor(program: string) {
    // Short: a Unix socket's path holds about 100 bytes.
    this.folder = mkdtempSync(join(tmpdir(), 'nk-'));
    this.managerHome = join(this.folder, 'm');
    this.children = new Children(program);
    process.on('exit', this.#remove);
  }

  /**
   * Starts the two servers as two processes [¶0028]. The manager comes first, as the broker needs
   * its public key; it is told of a proxy's port, which leads to the broker once that has one, and
   * of the file that will hold the pin of the broker's TLS key.
   */
  async startServers(): Promise<{ readonly mqttPort: number; readonly httpPort: number }> {
    const wayToBroker = await this.#openProxy();
    const brokerHome = join(this.folder, 'b');
    const manager = this.children.serve([
      'session-manager',
      '--home',
      this.managerHome,
      '--broker',
      wayToBroker.url,
      '--broker-pin',
      join(brokerHome, 'tls.pin'),
      '--http-port',
      '0',
      // One machine has no NAT; and the broker's ports are not known yet.
      '--no-stun',
      '--json',
    ]);
    // Its failure is told by the race, or by the last await.
    manager.catch(() => undefined);
    const key = join(this.managerHome, 'manager.pub');
    await Promise.race([appearance(key), manager]);
    const broker = await this.children.serve([
      'broker',
      '--home',
      brokerHome,
      '--manager-pub',
      key,
      '--mqtt-port',
      '0',
      '--no-stun',
      '--json',
    ]);
    this.#mqttPort = portOf(broker, 'mqtt');
    wayToBroker.leadTo('127.0.0.1', this.#mqttPort);
    return { mqttPort: this.#mqttPort, httpPort: portOf(await manager, 'http') };
  }

  /** Enrols three terminals by ticket and starts their agents; TERM3 allows TERM1, nobody else. */
  async startTerminals(): Promise<Cast> {
    const distinct = await canBind('127.0.3.1');
    const at = (address: string): string => (distinct ? address : '127.0.0.1');
    const [term1, term3, stranger] = await Promise.all([
      this.#startTerminal('TERM1', '1', at('127.0.1.1')),
      this.#startTerminal('TERM3', '3', at('127.0.3.1'), () =>
        this.must(['allow', 'TERM1', '--service', 'file', '--extend', '--home', this.#home('3')]),
      ),
      this.#startTerminal('STRANGER', 's', at('127.0.9.1')),
    ]);
    return { term1, term3, stranger };
  }

  /** Runs a command that has to succeed. @throws NakodoError `demo-command`. */
  async must(args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
    const finished = await this.children.run([...args, '--json']);
    if (finished.exit === 0) return finished.said as Readonly<Record<string, unknown>>;
    throw failed(args, finished);
  }

  /** The operator's command, to its end. */
  async operator(...args: readonly string[]): Promise<unknown> {
    return this.must([...args, '--home', this.managerHome]);
  }

  /** Ends every process, closes every proxy, removes the folder. */
  async clear(): Promise<void> {
    await this.children.endAll();
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
    this.#remove();
    process.off('exit', this.#remove);
  }

  async #startTerminal(
    name: string,
    folder: string,
    address: string,
    before: () => Promise<unknown> = async () => undefined,
  ): Promise<Actor> {
    const home = this.#home(folder);
    const proxy = await this.#openProxy();
    proxy.leadTo('127.0.0.1', this.#mqttPort);
    const { ticket } = await this.must(['ticket', '--name', name, '--home', this.managerHome]);
    await this.must(['enroll', String(ticket), '--home', home]);
    await before();
    const agent = await this.children.serve([
      'agent',
      '--home',
      home,
      '--broker',
      proxy.url,
      '--address',
      address,
      '--json',
    ]);
    return { name, id: String(agent.ready.id), home, address, proxy };
  }

  #home(folder: string): string {
    return join(this.folder, folder);
  }

  async #openProxy(): Promise<RecordingProxy> {
    const proxy = await RecordingProxy.listen();
    this.#proxies.push(proxy);
    return proxy;
  }
}

function failed(args: readonly string[], finished: Finished): NakodoError {
  const { error } = finished.said as { error?: { message?: string; next?: string } };
  const why = error?.message ?? finished.stderr.trim().split('\n').slice(-1)[0];
  return new NakodoError(
    'demo-command',
    `nakodo ${args[0]} ended with ${finished.exit}: ${why}`,
    error?.next ?? 'run the demo again with NAKODO_DEBUG=1',
  );
}

function portOf(server: Running, port: string): number {
  return (server.ready.ports as Readonly<Record<string, number>>)[port];
}

/** Resolves when the file is there. @throws NakodoError `no-manager-key` if it never comes. */
async function appearance(path: string): Promise<void> {
  const end = performance.now() + KEY_MS_MAX;
  while (!existsSync(path)) {
    if (performance.now() > end) {
      throw new NakodoError('no-manager-key', 'the session manager wrote no key', 'try again');
    }
    await delay(KEY_LOOK_MS);
  }
}

/** Whether this system lets a socket bind to that loopback address (macOS has 127.0.0.1 only). */
async function canBind(address: string): Promise<boolean> {
  const socket = createSocket('udp4');
  const can = await new Promise<boolean>((resolve) => {
    socket.once('listening', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.bind(0, address);
  });
  socket.close();
  return can;
}
