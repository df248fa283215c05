// `make trace`: writes docs/patent-map.md; exits 1 and names the gaps when a step or a claim has no
// code or no test. With --check it writes nothing and also fails when the file is stale.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gaps, markdown, patentMap } from './patent.ts';
import { readSources, repositoryRoot } from './sources.ts';

const root = repositoryRoot();
const rows = patentMap(readSources(root));
const file = join(root, 'docs/patent-map.md');
const text = markdown(rows);
const missing = gaps(rows);
if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) missing.push('docs/patent-map.md is stale: make trace');
} else writeFileSync(file, text);
for (const line of missing) console.error(line);
console.log(`${rows.length} steps and claims, ${missing.length} gaps`);
process.exitCode = missing.length === 0 ? 0 : 1;
