// Where the peers of the benches come from: bench/peers/node_modules, which `make bench-peers`
// installs and nothing else needs. They are loaded by name at run time, so that the project
// compiles without them.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const ROOT = dirname(dirname(dirname(import.meta.dirname)));
const FOLDER = join(ROOT, 'bench', 'peers');

/** A peer's module. @throws Error if it is not installed, or not for this machine. */
export function peerModule(name: string): unknown {
  return createRequire(join(FOLDER, 'package.json'))(name) as unknown;
}

/** Whether a peer's module is installed. */
export const hasPeerModule = (name: string): boolean =>
  existsSync(join(FOLDER, 'node_modules', name, 'package.json'));
