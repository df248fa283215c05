// `make bundle`: builds what terminals are given into out/deploy (bundle/bundle.ts) and says how
// large each file of it is.

import { stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { formatSize } from '../protocol/units.ts';
import { buildBundle } from './bundle/bundle.ts';

const root = dirname(dirname(import.meta.dirname));
const { program, start, licenses } = await buildBundle(root, join(root, 'out', 'deploy'));
for (const path of [program, start, licenses]) {
  console.log(`${relative(root, path)}  ${formatSize((await stat(path)).size)}`);
}
