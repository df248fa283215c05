// Reads the public test vectors that lie beside the checkout (../shared/vectors); they are not part
// of this repository, so a test that needs them skips where they are absent.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

function repositoryRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

const folder = join(repositoryRoot(), '..', 'shared', 'vectors');

/** Why a test that needs the vectors is skipped; false where they are. */
export const skip = existsSync(folder) ? false : 'shared/vectors is not beside the checkout';

/** The parsed file. */
export function readVectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
}

/** Bytes from hexadecimal text. */
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
/** Hexadecimal text of bytes. */
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
