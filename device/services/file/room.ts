// Room on the disk for files on their way: what was promised to files under way and not written yet
// counts as used, so that two large ones are not both let in where one fits. What was promised to
// other peers counts as half of what is free at most: who only says that much is coming keeps
// nobody out. So a promise is no proof, and who writes looks again where an owner wants room kept.

import { statfs } from 'node:fs/promises';

/** Of the room that is free, what promises to others take away at most. */
const OTHERS_SHARE = 0.5;
/** Of a file system's inodes, what has to be left where its owner wants room kept. */
const INODES_SHARE_LEAST = 1 / 64;

/** The promises of one process. */
export class Room {
  /** Bytes by peer; at most as many peers as have files under way. */
  readonly #promised = new Map<string, number>();

  /**
   * Promises room for a file of this peer's. `keepFree`: bytes that have to be left, if the owner
   * says so.
   * @throws an error of code `disk-full` or `no-room`.
   */
  async promise(
    path: string,
    bytes: number,
    { peer, keepFree }: { readonly peer: string; readonly keepFree: number | undefined },
  ): Promise<Promised> {
    const free = await freeBytes(path, keepFree);
    let [own, others] = [0, 0];
    for (const [each, promised] of this.#promised) {
      if (each === peer) own += promised;
      else others += promised;
    }
    const left = free - own - Math.min(others, free * OTHERS_SHARE) - bytes;
    refuseIfLess(left, keepFree);
    this.#promised.set(peer, own + bytes);
    let open = bytes;
    return {
      spend: (length) => {
        const spent = Math.min(length, open);
        open -= spent;
        const rest = (this.#promised.get(peer) ?? 0) - spent;
        if (rest > 0) this.#promised.set(peer, rest);
        else this.#promised.delete(peer);
      },
    };
  }
}

/** Room that was promised to one file; `spend` everything at its end. */
export interface Promised {
  /** So many bytes are on the disk now, or will not come. */
  spend(length: number): void;
}

/**
 * Looks whether so many bytes more leave the room that an owner wants kept, if he wants any.
 * @throws an error of code `disk-full` or `no-room`.
 */
export async function refuseIfFull(
  path: string,
  bytes: number,
  keepFree: number | undefined,
): Promise<void> {
  if (keepFree !== undefined) refuseIfLess((await freeBytes(path, keepFree)) - bytes, keepFree);
}

async function freeBytes(path: string, keepFree: number | undefined): Promise<number> {
  const { bavail, bsize, files, ffree } = await statfs(path);
  // Files without content fill a disk as well. Some file systems make inodes as they need them.
  if (keepFree !== undefined && files > 0 && ffree < files * INODES_SHARE_LEAST) throw noRoom();
  return bavail * bsize;
}

function refuseIfLess(left: number, keepFree: number | undefined): void {
  if (left < 0) throw Object.assign(new Error('no space is left'), { code: 'disk-full' });
  if (left < (keepFree ?? 0)) throw noRoom();
}

const noRoom = (): Error =>
  Object.assign(new Error('too little would be left'), { code: 'no-room' });
