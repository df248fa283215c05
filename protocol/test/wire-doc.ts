// `make wire`: writes the CDDL into docs/wire.md, between its two markers; the prose around it is
// written by hand. With --check it writes nothing and exits 1 when the file is stale.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cddl } from '../control/cddl.ts';
import { repositoryRoot } from './house/sources.ts';

const BEGIN = '<!-- begin: made by `make wire` from the declarations, do not edit -->';
const END = '<!-- end -->';

/** Where the document lies. */
export const WIRE_DOC = join(repositoryRoot(), 'docs/wire.md');

/** The document with its generated part as it should be. */
export function withCddl(document: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END, begin);
  if (begin < 0 || end < 0) throw new Error(`docs/wire.md lacks its markers: ${BEGIN} … ${END}`);
  const before = document.slice(0, begin + BEGIN.length);
  return `${before}\n\`\`\`cddl\n${cddl()}\n\`\`\`\n${document.slice(end)}`;
}

if (process.argv[1] === import.meta.filename) {
  const document = readFileSync(WIRE_DOC, 'utf8');
  const right = withCddl(document);
  if (!process.argv.includes('--check')) writeFileSync(WIRE_DOC, right);
  else if (document !== right) {
    console.error('docs/wire.md is stale: make wire');
    process.exitCode = 1;
  }
}
