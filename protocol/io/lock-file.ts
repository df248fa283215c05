// A lock file for what a command reads, changes and writes back: two commands at the same time must
// not lose each other's change. A lock that a killed command left behind is taken over.

import { open, rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { NakodoError, errorCode } from '../errors.ts';
import { fileError, isLeftBehind } from './files.ts';

/** Milliseconds after which a lock counts as left behind: the work under it takes a few. */
const STALE_MS = 10_000;
/** Milliseconds that a command waits for its turn, and between two tries. */
const WAIT_MS_MAX = 15_000;
const TRY_MS = 20;

/**
 * Does `work` while nobody else holds the lock file at `path`.
 * @throws NakodoError `locked` if another one holds it for too long, and what `work` throws.
 */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  await take(path);
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function take(path: string): Promise<void> {
  const end = performance.now() + WAIT_MS_MAX;
  while (!(await canMake(path))) {
    if (await isLeftBehind(path, STALE_MS)) await rm(path, { force: true });
    else if (performance.now() > end) {
      throw new NakodoError(
        'locked',
        `another command has been changing this for a while (${path})`,
        'wait for it; if none is running, remove that file',
      );
    } else await delay(TRY_MS);
  }
}

async function canMake(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600);
    await file.close();
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw fileError(error, path, 'create');
  }
}
