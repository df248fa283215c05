// Makes what happened to a folder's names durable, once for all who ask at the same time: of many
// small files that arrive side by side each would else wait for a flush of its own.

import type { FileHandle } from 'node:fs/promises';
import { errorCode } from '../../../protocol/errors.ts';

interface Syncs {
  /** The one under way, and the one that begins after it. */
  readonly running: Promise<void>;
  next: Promise<void> | undefined;
}

const known = new Map<string, Syncs>();

/**
 * Resolves when the folder is flushed, in a flush that began after this call.
 * `path`: which folder it is; `handle`: the folder, open until this resolves.
 */
export function syncShared(path: string, handle: FileHandle): Promise<void> {
  const syncs = known.get(path);
  if (syncs === undefined) return begin(path, handle);
  syncs.next ??= syncs.running.then(
    () => begin(path, handle),
    () => begin(path, handle),
  );
  return syncs.next;
}

function begin(path: string, handle: FileHandle): Promise<void> {
  const running = handle.sync().catch((error: unknown) => {
    // A file system that cannot is left alone.
    if (errorCode(error) !== 'EINVAL') throw error;
  });
  const syncs: Syncs = { running, next: undefined };
  known.set(path, syncs);
  const forget = (): void => {
    if (known.get(path) === syncs && syncs.next === undefined) known.delete(path);
  };
  running.then(forget, forget);
  return running;
}
