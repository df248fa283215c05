// What root does in a home that is another user's: as that user. A packaged terminal's home belongs
// to `nakodo`; `sudo nakodo enroll` must leave no file there that the agent cannot read, and no
// link in there may lead root to a file elsewhere.

import { statSync } from 'node:fs';
import { errorCode } from '../errors.ts';

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes this process, if it is root's and the folder is not, the folder owner's from now on: it
 * cannot go back. Otherwise, and where there is no such folder, nothing changes.
 */
export function becomeOwnerOf(folder: string): void {
  const owner = foreignOwner(folder);
  if (owner === undefined) return;
  // Groups first: they are root's to set.
  process.setgroups?.([owner.gid]);
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
}

/**
 * Runs `action` with the rights of the folder's owner if this process is root's and the folder is
 * not. While it runs, the whole process has these rights; actions must not overlap.
 */
export async function asOwnerOf<T>(folder: string, action: () => Promise<T>): Promise<T> {
  const owner = foreignOwner(folder);
  if (owner === undefined) return action();
  const groups = process.getgroups?.() ?? [];
  process.setgroups?.([owner.gid]);
  process.setegid?.(owner.gid);
  process.seteuid?.(owner.uid);
  try {
    return await action();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.(groups);
  }
}

/** The owner as whom root has to act there. */
function foreignOwner(folder: string): Owner | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  try {
    const { uid, gid } = statSync(folder);
    return uid === 0 ? undefined : { uid, gid };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
