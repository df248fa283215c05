// Where transports are measured: loopback; two network namespaces joined by veth at MTU 1500; the
// same two joined by a link of a rate, a delay and loss (delay-line.c). Namespaces need root; they
// bear our process id, and are gone when we are, also after Ctrl-C. What a killed lab left behind
// is swept by the next one.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { atExit } from './clean-up.ts';

const ROOT = dirname(dirname(dirname(import.meta.dirname)));
const NAMESPACES = '/run/netns';
const PREFIX = 'nkbench';
/** Name of the one device that joins a namespace to the other. */
export const DEVICE = 'nk0';
const MTU = 1500;
/** Packets that wait for the delay line to read them: 4 ms at 1 Gbit/s and more. */
const TUN_PACKETS = 4_096;

/** A link as the delay line makes it, the same both ways. */
export interface LinkShape {
  readonly mbit: number;
  /** Milliseconds of one way. */
  readonly oneWayMs: number;
  readonly queueBytes: number;
  /** Share of packets lost by chance, 0 to 1. */
  readonly loss: number;
  readonly seed: number;
}

/** The link of the study: 100 Mbit/s, 50 ms there and back, a FIFO of 600 KB. */
export const LINK: LinkShape = { mbit: 100, oneWayMs: 25, queueBytes: 600_000, loss: 0, seed: 1 };

/** One end of a place: where a program is started, and at which address it is reached. */
export interface Side {
  readonly host: string;
  /** Undefined: no namespace of its own. */
  readonly namespace: string | undefined;
}

/** Two sides that reach each other. `a` sends bulk, `b` receives it and has the servers. */
export interface Place {
  readonly name: string;
  readonly a: Side;
  readonly b: Side;
  readonly link: LinkShape | undefined;
  /** Removes what was made. Repeated calls are harmless. */
  readonly close: () => void;
}

/** Program and arguments of a command as it runs on a side. */
export function commandOn(
  side: Side,
  program: string,
  args: readonly string[],
): [string, string[]] {
  if (side.namespace === undefined) return [program, [...args]];
  return ['ip', ['netns', 'exec', side.namespace, program, ...args]];
}

/** Runs a command on a side to its end; what it says. @throws Error if it fails. */
export function runOn(side: Side, program: string, args: readonly string[]): string {
  const [command, words] = commandOn(side, program, args);
  return execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Why there are no namespaces here, or undefined. */
export function namespacesMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'namespaces need root';
  if (!has('ip')) return 'namespaces need ip (Debian: iproute2)';
  return undefined;
}

/** Why there is no delay line here, or undefined. */
export function linkMissing(): string | undefined {
  if (!existsSync('/dev/net/tun')) return 'the delay line needs /dev/net/tun';
  if (!has('cc')) return 'the delay line needs a C compiler (Debian: gcc libc6-dev)';
  return namespacesMissing();
}

/** Whether a program is on the path. */
export function has(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, program)));
}

/** This machine with itself. */
export function loopback(): Place {
  const side: Side = { host: '127.0.0.1', namespace: undefined };
  return { name: 'loopback', a: side, b: side, link: undefined, close: () => {} };
}

/** Two namespaces joined by veth. */
export function veth(): Place {
  const opened = openNamespaces();
  const { a, b } = opened;
  try {
    const peer = ['type', 'veth', 'peer', 'name', DEVICE, 'netns', b.namespace];
    ip('link', 'add', DEVICE, 'netns', a.namespace, ...peer);
    for (const side of [a, b]) configure(side);
    return { name: 'veth', a, b, link: undefined, close: opened.close };
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** Two namespaces joined by a link of this shape. */
export async function link(shape: LinkShape, name: string): Promise<Place> {
  const opened = openNamespaces();
  const { a, b } = opened;
  const folder = mkdtempSync(join(tmpdir(), 'nk-line-'));
  let line: ChildProcess | undefined;
  const close = atExit(() => {
    line?.kill('SIGTERM');
    opened.close();
    rmSync(folder, { recursive: true, force: true });
  });
  try {
    const program = join(folder, 'delay-line');
    const source = join(ROOT, 'bench', 'lab', 'delay-line.c');
    execFileSync('cc', ['-O2', '-o', program, source], { stdio: ['ignore', 'ignore', 'inherit'] });
    const { mbit, oneWayMs, queueBytes, loss, seed } = shape;
    const figures = [mbit, oneWayMs * 1_000, queueBytes, Math.round(loss * 1e6), seed].map(String);
    const words = [a.namespace, DEVICE, b.namespace, DEVICE, ...figures];
    line = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    await ready(line);
    for (const side of [a, b]) configure(side);
    return { name, a, b, link: shape, close };
  } catch (error) {
    close();
    throw error;
  }
}

interface NamespaceSide extends Side {
  readonly namespace: string;
}

interface Joined {
  readonly a: NamespaceSide;
  readonly b: NamespaceSide;
  readonly close: () => void;
}

let namespacesEver = 0;

function openNamespaces(): Joined {
  sweep();
  const number = (namespacesEver += 1);
  const names = ['a', 'b'].map((side) => `${PREFIX}-${process.pid}-${number}${side}`);
  const close = atExit(() => {
    for (const name of names) if (existsSync(join(NAMESPACES, name))) ip('netns', 'del', name);
  });
  const [a, b] = names.map((namespace, at) => ({ host: `10.71.0.${at + 1}`, namespace }));
  try {
    for (const name of names) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
  } catch (error) {
    close();
    throw error;
  }
  return { a, b, close };
}

/** Namespaces of labs that are no more. */
function sweep(): void {
  if (!existsSync(NAMESPACES)) return;
  for (const name of readdirSync(NAMESPACES)) {
    const [prefix, pid] = name.split('-');
    if (prefix === PREFIX && !existsSync(`/proc/${pid}`)) ip('netns', 'del', name);
  }
}

function configure(side: NamespaceSide): void {
  const { host, namespace } = side;
  ip('-n', namespace, 'address', 'add', `${host}/24`, 'dev', DEVICE);
  const queue = ['mtu', String(MTU), 'txqueuelen', String(TUN_PACKETS)];
  ip('-n', namespace, 'link', 'set', DEVICE, ...queue, 'up');
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Waits for the first word of the delay line. */
function ready(line: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    line.stdout?.once('data', () => resolve());
    line.once('error', reject);
    line.once('exit', () => reject(new Error('the delay line ended at once')));
  });
}
