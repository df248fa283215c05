// TCP of the lab's hosts as it is where nakodo is installed: Debian's congestion control, and the
// settings of the kernel that we ship for servers and for terminals, read from the very files. They
// hold for one namespace; the machine's own stay as they are.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const ROOT = dirname(dirname(dirname(import.meta.dirname)));
const FILES = {
  server: ['deploy', 'server', 'nakodo-sysctl.conf'],
  terminal: ['deploy', 'deb', 'sysctl.conf'],
} as const;
const CONGESTION = '/proc/sys/net/ipv4/tcp_congestion_control';
/** A name of the network's, which a namespace has for itself, and a whole number; `-`: if known. */
const SETTING = /^-?(net\.[a-z0-9_.]+) = (\d+)$/;

/**
 * What such a host is installed with: name → value; without what this kernel does not know, where
 * that may be (sysctl.d(5): `-`). @throws Error for a line of another kind.
 */
export function shippedSettings(of: keyof typeof FILES): ReadonlyMap<string, string> {
  const lines = readFileSync(join(ROOT, ...FILES[of]), 'utf8').split('\n');
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [, name, value] = SETTING.exec(line) ?? [];
        if (name === undefined) throw new Error(`no setting of a namespace: ${line}`);
        return { name, value, isNeeded: !line.startsWith('-') };
      })
      .filter(({ name, isNeeded }) => isNeeded || existsSync(settingPath(name)))
      .map(({ name, value }) => [name, value]),
  );
}

/** Where a namespace has it. */
export const settingPath = (name: string): string => `/proc/sys/${name.replaceAll('.', '/')}`;

/** A shell's lines that make them those of the namespace that it runs in. */
export function kernelScript(of: keyof typeof FILES): string {
  return [
    'set -e',
    // A namespace may choose what the machine lets everybody choose: not always Debian's cubic.
    `echo cubic 2>/dev/null > ${CONGESTION} || echo reno > ${CONGESTION}`,
    ...[...shippedSettings(of)].map(([name, value]) => `echo ${value} > ${settingPath(name)}`),
  ].join('\n');
}
