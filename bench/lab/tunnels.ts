// Tunnels that carry TCP: nebula and wireguard-go, one daemon on each side of a place with
// namespaces. Their processor time counts with that of the two ends inside.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atExit } from '../../sim/lab/clean-up.ts';
import { Driver } from '../../sim/lab/drivers.ts';
import type { FlowKind } from './flow.ts';
import { has, runOn } from '../../sim/lab/namespaces.ts';
import type { Place } from './places.ts';
import { nodeFlows } from './rivals.ts';

const NEBULA_PORT = 4242;
const WIREGUARD_PORT = 51_820;
/** Times that the other end of a tunnel is knocked at, a second each. */
const KNOCKS_MAX = 10;

/** A tunnel that is up. */
interface Tunnel {
  readonly kind: FlowKind;
  close(): Promise<void>;
}

/** Why nebula is missing, or undefined. */
export const nebulaMissing = (): string | undefined =>
  has('nebula') && has('nebula-cert') ? undefined : 'not installed (Debian: nebula)';

/** Why wireguard-go is missing, or undefined. */
export const wireguardMissing = (): string | undefined =>
  has('wireguard-go') && has('wg')
    ? undefined
    : 'not installed (Debian: wireguard-go wireguard-tools)';

/** nebula with ChaCha20-Poly1305; the receiver's side is the lighthouse. */
export async function nebula(place: Place): Promise<Tunnel> {
  const folder = mkdtempSync(join(tmpdir(), 'nk-nebula-'));
  const cert = (...words: readonly string[]): void => {
    execFileSync('nebula-cert', words, { cwd: folder, stdio: 'ignore' });
  };
  cert('ca', '-name', 'lab');
  for (const [name, at] of [
    ['a', 1],
    ['b', 2],
  ] as const) {
    cert('sign', '-name', name, '-ip', `10.72.0.${at}/24`);
    const isLighthouse = name === 'b';
    const config = {
      pki: {
        ca: join(folder, 'ca.crt'),
        cert: join(folder, `${name}.crt`),
        key: join(folder, `${name}.key`),
      },
      static_host_map: { '10.72.0.2': [`${place.b.host}:${NEBULA_PORT}`] },
      lighthouse: { am_lighthouse: isLighthouse, hosts: isLighthouse ? [] : ['10.72.0.2'] },
      listen: { host: place[name].host, port: NEBULA_PORT },
      cipher: 'chachapoly',
      tun: { dev: 'nebula0', mtu: 1300 },
      logging: { level: 'error' },
      firewall: {
        outbound: [{ port: 'any', proto: 'any', host: 'any' }],
        inbound: [{ port: 'any', proto: 'any', host: 'any' }],
      },
    };
    // JSON is YAML.
    writeFileSync(join(folder, `${name}.yml`), JSON.stringify(config));
  }
  const daemons = (['a', 'b'] as const).map((name) => {
    const args = ['-config', join(folder, `${name}.yml`)];
    return new Driver({ side: place[name], program: 'nebula', args });
  });
  return opened(place, '10.72.0', { folder, daemons });
}

/** wireguard-go; its devices bear our process id, as their control sockets share a folder. */
export async function wireguard(place: Place): Promise<Tunnel> {
  const folder = mkdtempSync(join(tmpdir(), 'nk-wireguard-'));
  const keys = (['a', 'b'] as const).map((name) => {
    const key = execFileSync('wg', ['genkey'], { encoding: 'utf8' });
    writeFileSync(join(folder, `${name}.key`), key, { mode: 0o600 });
    return execFileSync('wg', ['pubkey'], { input: key, encoding: 'utf8' }).trim();
  });
  const sides = (['a', 'b'] as const).map((name) => ({ name, device: `nkw${process.pid}${name}` }));
  const daemons = sides.map(
    ({ name, device }) =>
      new Driver({ side: place[name], program: 'wireguard-go', args: ['-f', device] }),
  );
  for (const [at, { name, device }] of sides.entries()) {
    const [side, other] = name === 'a' ? [place.a, place.b] : [place.b, place.a];
    const allowed = ['allowed-ips', '10.73.0.0/24', 'endpoint', `${other.host}:${WIREGUARD_PORT}`];
    const own = ['private-key', join(folder, `${name}.key`), 'listen-port', `${WIREGUARD_PORT}`];
    await until(() => runOn(side, 'wg', ['set', device, ...own, 'peer', keys[1 - at], ...allowed]));
    runOn(side, 'ip', ['address', 'add', `10.73.0.${at + 1}/24`, 'dev', device]);
    runOn(side, 'ip', ['link', 'set', device, 'mtu', '1420', 'up']);
  }
  return opened(place, '10.73.0', { folder, daemons });
}

interface Made {
  readonly folder: string;
  readonly daemons: readonly Driver[];
}

/** Waits until the tunnel carries something; kernel TCP through it is what is measured. */
async function opened(place: Place, network: string, made: Made): Promise<Tunnel> {
  const forget = atExit(() => rmSync(made.folder, { recursive: true, force: true }));
  const close = async (): Promise<void> => {
    await Promise.all(made.daemons.map((daemon) => daemon.end()));
    forget();
  };
  try {
    await until(() => runOn(place.a, 'ping', ['-c', '1', '-W', '1', `${network}.2`]));
    const flows = nodeFlows(place, 'tcp');
    const servants = made.daemons.map(
      ({ pid }, at) => ({ side: at === 0 ? 'a' : 'b', pid }) as const,
    );
    const kind: FlowKind = {
      servants,
      launch: (role, plan, hello) =>
        flows.launch(role, { ...plan, host: `${network}.2`, from: `${network}.1` }, hello),
    };
    return { kind, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Tries until it does not throw, a few times. */
async function until(attempt: () => void): Promise<void> {
  for (let knock = 1; ; knock++) {
    try {
      attempt();
      return;
    } catch (error) {
      if (knock === KNOCKS_MAX) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100 * knock));
    }
  }
}
