// Network namespaces as laboratories use them: named by the process that made them, so that what a
// killed one left behind is known and swept by the next; commands that run inside; what a machine
// has to have. Several labs may stand side by side. Needs root.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const NAMESPACES = '/run/netns';
/** Characters of what a failed command said that are passed on. */
const COMPLAINT_CHARACTERS_MAX = 500;

/** One end of a place: where a program is started, and at which address it is reached. */
export interface Side {
  readonly host: string;
  /** Undefined: no namespace of its own. */
  readonly namespace: string | undefined;
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

/** Runs lines of a shell in a namespace, to the first that fails. @throws Error if one does. */
export function scriptIn(namespace: string, lines: readonly string[]): string {
  try {
    return execFileSync('ip', ['netns', 'exec', namespace, 'sh', '-e'], {
      input: lines.join('\n'),
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  } catch (error) {
    const said = (error as { stderr?: unknown }).stderr;
    const words = typeof said === 'string' ? said.slice(0, COMPLAINT_CHARACTERS_MAX) : 'no word';
    throw new Error(`in ${namespace}: ${words}`, { cause: error });
  }
}

/** Runs ip to its end. @throws Error if it fails. */
export function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Makes namespaces with a loopback device that is up. */
export function addNamespaces(names: readonly string[]): void {
  execFileSync('ip', ['-batch', '-'], {
    input: names.map((name) => `netns add ${name}\n`).join(''),
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  for (const name of names) ip('-n', name, 'link', 'set', 'lo', 'up');
}

/** Removes namespaces, with all devices in them; those that are gone are passed over. */
export function removeNamespaces(names: readonly string[]): void {
  const left = names.filter((name) => existsSync(join(NAMESPACES, name)));
  if (left.length === 0) return;
  execFileSync('ip', ['-force', '-batch', '-'], {
    input: left.map((name) => `netns del ${name}\n`).join(''),
    stdio: ['pipe', 'ignore', 'ignore'],
  });
}

/** A name for a namespace of this process: `PREFIX-PID-rest`. */
export function namespaceName(prefix: string, rest: string): string {
  return `${prefix}-${process.pid}-${rest}`;
}

/** Removes the namespaces of labs that are no more. */
export function sweepNamespaces(prefix: string): void {
  if (!existsSync(NAMESPACES)) return;
  const dead = readdirSync(NAMESPACES).filter((name) => {
    const [first, pid] = name.split('-');
    return first === prefix && !existsSync(`/proc/${pid}`);
  });
  removeNamespaces(dead);
}

/** Why there are no namespaces here, or undefined. */
export function namespacesMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'namespaces need root';
  if (!has('ip')) return 'namespaces need ip (Debian: iproute2)';
  try {
    const name = namespaceName('nkprobe', 'x');
    ip('netns', 'add', name);
    ip('netns', 'del', name);
    return undefined;
  } catch {
    return 'this machine lets nobody make namespaces';
  }
}

/** Why there is no delay line here, or undefined. */
export function linkMissing(): string | undefined {
  if (!existsSync('/dev/net/tun')) return 'the delay line needs /dev/net/tun';
  if (!has('cc')) return 'the delay line needs a C compiler (Debian: gcc libc6-dev)';
  return namespacesMissing();
}

/** Why there are no boxes here, or undefined. */
export function boxesMissing(): string | undefined {
  const why = namespacesMissing();
  if (why !== undefined) return why;
  if (!has('nft')) return 'boxes need nft (Debian: nftables)';
  if (!has('conntrack')) return 'boxes need conntrack (Debian: conntrack)';
  const name = namespaceName('nkprobe', 'y');
  try {
    addNamespaces([name]);
    scriptIn(name, [
      'nft add table ip t',
      "nft 'add chain ip t c { type nat hook postrouting priority srcnat; }'",
      "nft 'add rule ip t c meta l4proto udp snat to 192.0.2.1:1-2 fully-random'",
    ]);
    return undefined;
  } catch {
    return 'this kernel has no nftables with NAT';
  } finally {
    removeNamespaces([name]);
  }
}

/** Whether a program is on the path. */
export function has(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, program)));
}
