// What is at and below a path, in the order of names: files, folders, and what is passed over, with
// the reason. No link is followed. Memory holds the names of the folders on the way, no more.

import { readdir } from 'node:fs/promises';
import { errorCode } from '../../../protocol/errors.ts';
import type { JailedFolder } from './jailed-folder.ts';
import { isFileName, isFilePath } from './names.ts';
import { isPartial } from './partial-file.ts';

/** Why something is passed over. */
type Skipped = 'link' | 'special' | 'name' | 'unreadable';

/** One thing of a tree. */
export type TreeEntry =
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly size: number;
      /** Milliseconds since 1970, at least 0. */
      readonly modified: number;
    }
  | { readonly kind: 'folder'; readonly path: string; readonly isEmpty: boolean }
  | { readonly kind: 'skipped'; readonly path: string; readonly why: Skipped };

/**
 * Walks what `name` is in `folder`; `path`: what it is called in the entries.
 * A name that is not there, or has gone meanwhile, is no entry.
 */
export async function* walkTree(
  folder: JailedFolder,
  name: string,
  path: string,
): AsyncGenerator<TreeEntry, void, undefined> {
  if (isPartial(name)) return;
  const facts = await folder.facts(name);
  if (facts === undefined) return;
  if (!isFileName(name) || !isFilePath(path)) yield { kind: 'skipped', path, why: 'name' };
  else if (facts.isSymbolicLink()) yield { kind: 'skipped', path, why: 'link' };
  else if (facts.isFile()) {
    const modified = Math.max(0, Math.floor(facts.mtimeMs));
    yield { kind: 'file', path, size: facts.size, modified };
  } else if (facts.isDirectory()) yield* walkFolder(folder, name, path);
  else yield { kind: 'skipped', path, why: 'special' };
}

async function* walkFolder(
  parent: JailedFolder,
  name: string,
  path: string,
): AsyncGenerator<TreeEntry, void, undefined> {
  let folder: JailedFolder;
  let names: readonly string[];
  try {
    folder = await parent.folder(name);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') yield { kind: 'skipped', path, why: 'unreadable' };
    return;
  }
  try {
    names = await namesIn(folder);
    yield { kind: 'folder', path, isEmpty: names.length === 0 };
    for (const each of names) yield* walkTree(folder, each, `${path}/${each}`);
  } finally {
    await folder.close();
  }
}

/** The names in a folder, in their order. */
export async function namesIn(folder: JailedFolder): Promise<readonly string[]> {
  const names = await readdir(folder.path);
  return names.filter((name) => !isPartial(name)).toSorted();
}
