// The servers that a fleet is tried against: the program that everybody runs, `nakodo serve`, in a
// process of its own; or `broker` and `session-manager` in two, so that their processor time can be
// told apart [¶0028].

import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { askServer } from '../../cli/ask.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { managerPublicKey } from '../../session-manager/shell/manager-shell.ts';
import { Child } from './child.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { Gauge } from './orders.ts';

/** How servers are started. */
interface ServersOptions {
  /** Path of the program's main.js. */
  readonly program: string;
  /** Their homes are made below it. */
  readonly folder: string;
  readonly isPlain: boolean;
  readonly isApart: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly onChild: (child: Child) => void;
  readonly onDeath: (error: NakodoError) => void;
}

/** What is known of each server process. */
export type ServerName = 'servers' | 'broker' | 'manager';

/** Running servers; their processes are ended by whoever was told of them (`onChild`). */
export interface Servers {
  /** The manager's home, for its operator. */
  readonly home: string;
  /** `servers`: both in one. */
  readonly children: ReadonlyMap<ServerName, Child>;
  /** A ticket for so many terminals. */
  ticket(uses: number): Promise<string>;
  gauges(): Promise<ReadonlyMap<ServerName, Gauge>>;
}

/** Starts them. @throws NakodoError `not-ready`, `process-died`. */
export async function startServers(options: ServersOptions): Promise<Servers> {
  const home = join(options.folder, 'server');
  const children = new Map<ServerName, Child>();
  const how = options.isPlain ? ['--plain'] : [];
  const enrolment = ['--http-port', '0', '--explain', ...how];
  const begin = async (name: ServerName, args: readonly string[]): Promise<Ready> => {
    const child = serverChild(options, name, args);
    children.set(name, child);
    options.onChild(child);
    return readyOf(child);
  };
  if (options.isApart) {
    const brokerHome = join(options.folder, 'broker');
    // Made here, so that the broker knows its manager, and the manager its broker's port.
    await managerPublicKey(home, nodeSuite, entropy);
    const pub = ['--manager-pub', join(home, 'manager.pub')];
    const own = ['--home', brokerHome, '--mqtt-port', '0', ...pub, ...how];
    const ready = await begin('broker', ['broker', ...own]);
    const { mqtt, udp, udp2 } = ready.ports;
    const url = `${options.isPlain ? 'mqtt' : 'mqtts'}://127.0.0.1:${mqtt}`;
    const pin = options.isPlain ? [] : ['--broker-pin', join(brokerHome, 'tls.pin')];
    const stun = ['--stun', `${udp},${udp2}`];
    const its = ['--home', home, '--broker', url, ...pin, ...stun, ...enrolment];
    await begin('manager', ['session-manager', ...its]);
  } else await begin('servers', ['serve', '--home', home, '--mqtt-port', '0', ...enrolment]);
  return {
    home,
    children,
    async ticket(uses) {
      const order = { op: 'ticket', uses, forSeconds: FLEET_LIMITS.ticketSeconds };
      const { ticket } = await askServer(home, order);
      return String(ticket);
    },
    async gauges() {
      const asked = [...children].map(
        async ([name, child]) => [name, await child.ask<Gauge>({})] as const,
      );
      return new Map(await Promise.all(asked));
    },
  };
}

interface Ready {
  readonly ports: Readonly<Record<string, number | null>>;
}

function serverChild(options: ServersOptions, name: ServerName, args: readonly string[]): Child {
  const gauge = pathToFileURL(join(import.meta.dirname, 'server-gauge.js')).href;
  return new Child({
    name,
    file: options.program,
    args: [...args, '--json'],
    execArgv: ['--import', gauge],
    env: options.env,
    onDeath: options.onDeath,
  });
}

/** Waits for the line of JSON that says that a server is ready. */
async function readyOf(child: Child): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const failed = (why: string, next = 'free some memory and ports, and try again'): void => {
      clearTimeout(timer);
      reject(new NakodoError('not-ready', `the ${child.name} ${why}`, next));
    };
    const timer = setTimeout(() => failed('was not ready in time'), FLEET_LIMITS.serverReadyMs);
    if (child.stdout === null) return;
    const lines = createInterface(child.stdout);
    lines.on('line', (line) => {
      const said = parsed(line);
      if (said.ready === true) {
        clearTimeout(timer);
        resolve(said as unknown as Ready);
      } else if (typeof said.error === 'object' && said.error !== null) {
        const { message, next } = said.error as { readonly message?: string; next?: string };
        failed(`did not start: ${message}`, next);
      }
    });
    void child.ended.then((error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

function parsed(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    // Words for people.
    return {};
  }
}
