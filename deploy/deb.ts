// `make deb`: builds the bundle, and the package of a terminal from it, into out/deploy. Its files
// show the date of the last commit, so that anybody can build the same bytes.

import { stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { formatSize } from '../protocol/units.ts';
import { buildBundle } from './bundle/bundle.ts';
import { buildDeb } from './deb/package.ts';
import { AGENT_NODE_FLAGS } from './node-flags.ts';
import { tryTool } from './tools.ts';

const MS_PER_SECOND = 1000;

const root = dirname(dirname(import.meta.dirname));
const out = join(root, 'out', 'deploy');
const deb = await buildDeb({
  root,
  out,
  bundle: await buildBundle(root, out),
  nodeFlags: AGENT_NODE_FLAGS,
  epoch: await sourceDate(),
});
console.log(`${relative(process.cwd(), deb)}  ${formatSize((await stat(deb)).size)}`);

/** $SOURCE_DATE_EPOCH, else the last commit's date, else that of package.json; Unix seconds. */
async function sourceDate(): Promise<number> {
  const committed = await tryTool('git', ['-C', root, 'log', '-1', '--format=%ct']).catch(() => ({
    stdout: '',
  }));
  const said = process.env.SOURCE_DATE_EPOCH ?? committed.stdout.trim();
  if (/^\d+$/.test(said)) return Number(said);
  return Math.floor((await stat(join(root, 'package.json'))).mtimeMs / MS_PER_SECOND);
}
