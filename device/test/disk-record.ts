// What a process does to the files below one folder, recorded call by call: node:fs/promises is
// put behind a layer that does the same and writes it down. For tests that cut the power at every
// call (power-cut.ts), and that count what wears a memory card.

import fsPromises, { type FileHandle, stat } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, sep } from 'node:path';

/** One call that changes something; `file`: which inode, whatever it is called later. */
export type DiskCall =
  | { readonly kind: 'makeFolder'; readonly path: string }
  | { readonly kind: 'create'; readonly path: string; readonly file: number }
  | { readonly kind: 'write'; readonly file: number; readonly bytes: Uint8Array }
  | { readonly kind: 'sync'; readonly file: number }
  | { readonly kind: 'syncFolder'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }
  | { readonly kind: 'link'; readonly from: string; readonly to: string }
  | { readonly kind: 'remove'; readonly path: string }
  /** Somebody was told that everything so far is on disk. */
  | { readonly kind: 'promised' };

/** A recording under way. */
export interface DiskRecord {
  readonly calls: readonly DiskCall[];
  /** Says that whatever was done so far has to survive. */
  promise(): void;
  /** Puts node:fs/promises back. */
  stop(): void;
}

/** Records what happens below `folder`, which is there. Of synchronous calls it hears nothing. */
export function recordDisk(folder: string): DiskRecord {
  const real = { ...fsPromises };
  const calls: DiskCall[] = [];
  let files = 0;
  const isOurs = (path: unknown): path is string =>
    typeof path === 'string' && (path === folder || path.startsWith(folder + sep));
  const isThere = (path: string): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    );
  const layer: Partial<typeof fsPromises> = {
    async open(path, flags, mode) {
      if (!isOurs(path)) return real.open(path, flags, mode);
      const wasThere = await isThere(path);
      const handle = await real.open(path, flags, mode);
      const isFolder = (await handle.stat()).isDirectory();
      const file = files++;
      if (!isFolder && !wasThere) calls.push({ kind: 'create', path, file });
      else if (!isFolder && typeof flags === 'string' && flags !== 'r') {
        throw new Error(`${path} is changed in its place`);
      }
      return overhear(handle, file, isFolder ? path : undefined);
    },
    async rename(from, to) {
      await real.rename(from, to);
      if (isOurs(from) && isOurs(to)) calls.push({ kind: 'rename', from, to });
    },
    async link(from, to) {
      await real.link(from, to);
      if (isOurs(from) && isOurs(to)) calls.push({ kind: 'link', from, to });
    },
    async rm(path, options) {
      const wasThere = isOurs(path) && (await isThere(path));
      await real.rm(path, options);
      if (wasThere) calls.push({ kind: 'remove', path });
    },
    writeFile: () => Promise.reject(new Error('node:fs writeFile is not recorded')),
    unlink: () => Promise.reject(new Error('node:fs unlink is not recorded')),
    truncate: () => Promise.reject(new Error('node:fs truncate is not recorded')),
  };
  const mkdir: typeof fsPromises.mkdir = (async (
    path: string,
    options?: { recursive?: boolean },
  ) => {
    const missing: string[] = [];
    let at = path;
    while (isOurs(at) && !(await isThere(at))) {
      missing.unshift(at);
      at = dirname(at);
    }
    const first = await real.mkdir(path, options);
    calls.push(...missing.map((each) => ({ kind: 'makeFolder' as const, path: each })));
    return first;
  }) as typeof fsPromises.mkdir;
  const overhear = (handle: FileHandle, file: number, isFolder: string | undefined): FileHandle => {
    const writeFile = handle.writeFile.bind(handle);
    const sync = handle.sync.bind(handle);
    return Object.assign(handle, {
      async writeFile(content: Uint8Array | string) {
        await writeFile(content);
        calls.push({ kind: 'write', file, bytes: Buffer.from(content) });
      },
      async sync() {
        await sync();
        calls.push(
          isFolder === undefined ? { kind: 'sync', file } : { kind: 'syncFolder', path: isFolder },
        );
      },
      write: () => Promise.reject(new Error('FileHandle.write is not recorded')),
    });
  };
  Object.assign(fsPromises, layer, { mkdir });
  syncBuiltinESMExports();
  return {
    calls,
    promise: () => calls.push({ kind: 'promised' }),
    stop: () => {
      Object.assign(fsPromises, real);
      syncBuiltinESMExports();
    },
  };
}
