// The terms of everything in the bundle that is not ours: MIT, ISC and BSD ask that they go with
// each copy. Which packages these are is read from what esbuild really put in.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';
import { EXIT, NakodoError } from '../../protocol/errors.ts';

const RULE = `\n${'-'.repeat(72)}\n\n`;

/** The folders of packages that have bytes in the output, relative to the checkout, sorted. */
export function packagesIn(output: Metafile['outputs'][string]): readonly string[] {
  const folders = Object.entries(output.inputs)
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .map(([path]) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  return [...new Set(folders.filter((folder) => folder !== undefined))].sort();
}

/**
 * The text of all their licences. `root`: the checkout.
 * @throws NakodoError `no-license` for a package without one: it must not be given to others.
 */
export function licenseTexts(root: string, packages: readonly string[]): string {
  return packages
    .map((folder) => {
      const path = join(root, folder);
      const { name, version, license } = JSON.parse(
        readFileSync(join(path, 'package.json'), 'utf8'),
      ) as { readonly name: string; readonly version: string; readonly license?: string };
      const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry));
      if (file === undefined) throw unlicensed(name);
      const text = readFileSync(join(path, file), 'utf8').trim();
      return `${name} ${version} (${license ?? 'as follows'})\n\n${text}\n`;
    })
    .join(RULE);
}

function unlicensed(name: string): NakodoError {
  return new NakodoError(
    'no-license',
    `the package ${name} is in the bundle and says nowhere under which terms`,
    'find its terms, or do without it',
    EXIT.failed,
  );
}
