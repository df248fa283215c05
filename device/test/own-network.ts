// A network of its own for a process of a test (network_namespaces(7)): only root makes one, and
// not on every kernel.

import { execFileSync } from 'node:child_process';

/** Why no network of its own can be made here; false: it can. */
export function noNetworks(): string | false {
  if (process.getuid?.() !== 0) return 'only root makes networks';
  try {
    execFileSync('unshare', ['-n', 'ip', 'link', 'add', 'one', 'type', 'veth'], {
      stdio: 'ignore',
    });
    return false;
  } catch {
    return 'unshare, iproute2 or veth is not there';
  }
}
