// The package of a terminal, built from the compiled sources of this checkout as `make deb` builds
// it, for those who need one at once: images and the proofs on arm64.

import { repositoryFile } from './tools.ts';
import { buildBundle } from './bundle/bundle.ts';
import { buildDeb } from './deb/package.ts';
import { AGENT_NODE_FLAGS } from './node-flags.ts';

/** Dates in the package where nobody says another: a package is not newer for being built again. */
const EPOCH = Number(process.env.SOURCE_DATE_EPOCH ?? 1_767_225_600);

/** Builds the package into the folder `out`, which is made; returns its path. Takes about 2 s. */
export async function freshPackage(out: string): Promise<string> {
  const root = repositoryFile('.');
  const bundle = await buildBundle(root, out);
  return buildDeb({ root, out, bundle, nodeFlags: AGENT_NODE_FLAGS, epoch: EPOCH });
}
