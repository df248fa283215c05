// What an idle terminal stands beside: Node by itself, mosquitto_sub at a broker that is the same
// as ours without our door, and nebula by itself, on loopback. Each is there if the
// machine has it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { Aedes } from 'aedes';
import type { IdleCommand } from './idle-process.ts';
import { nebulaMissing } from './lab/tunnels.ts';
import { has } from '../sim/lab/namespaces.ts';

/** Waits for nothing. */
export const BARE_NODE: IdleCommand = {
  program: process.execPath,
  args: ['-e', "console.log('ready'); setInterval(() => {}, 1e9)"],
  ready: /^ready$/,
};

/** A peer that can be started as often as wanted, until it is closed. */
export interface IdlePeer {
  readonly name: string;
  readonly command: IdleCommand;
  close(): Promise<void>;
}

/** mosquitto_sub on a topic of a plain broker in this process; undefined if it is not installed. */
export async function mosquittoSub(): Promise<IdlePeer | undefined> {
  if (!has('mosquitto_sub') || !has('stdbuf')) return undefined;
  const broker = await Aedes.createBroker();
  const server = createServer((socket) => broker.handle(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    name: 'mosquitto_sub',
    command: {
      // It keeps its lines back where nobody looks on.
      program: 'stdbuf',
      args: [
        '-oL',
        'mosquitto_sub',
        '-d',
        '-h',
        '127.0.0.1',
        '-p',
        `${port}`,
        '-t',
        'bench/idle',
        '-k',
        '60',
      ],
      ready: /^Subscribed/,
    },
    close: async () => {
      await new Promise<void>((resolve) => broker.close(() => resolve()));
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** nebula without a device and with nobody to talk to; undefined if it is not installed. */
export function nebulaIdle(folder: string): IdlePeer | undefined {
  if (nebulaMissing() !== undefined) return undefined;
  mkdirSync(folder, { recursive: true });
  const cert = (...words: readonly string[]): void => {
    execFileSync('nebula-cert', words, { cwd: folder, stdio: 'ignore' });
  };
  cert('ca', '-name', 'bench');
  cert('sign', '-name', 'a', '-ip', '10.74.0.1/24');
  const at = (name: string): string => join(folder, name);
  const config = {
    pki: { ca: at('ca.crt'), cert: at('a.crt'), key: at('a.key') },
    lighthouse: { am_lighthouse: false, hosts: [] },
    listen: { host: '127.0.0.1', port: 0 },
    tun: { disabled: true },
    logging: { level: 'info' },
    firewall: { outbound: [], inbound: [] },
  };
  // JSON is YAML.
  writeFileSync(at('a.yml'), JSON.stringify(config));
  return {
    name: 'nebula',
    command: { program: 'nebula', args: ['-config', at('a.yml')], ready: /interface is active/ },
    close: async () => {},
  };
}
