// Room on the disk for files on their way: what was promised to files under way and not written yet
// counts as used, so that two large ones are not both let in where one fits.

import { statfs } from 'node:fs/promises';

/** The promises of one process. */
export class Room {
  #promised = 0;

  /**
   * Promises room for a file. `keepFree`: bytes that have to be left, if the owner says so.
   * @throws an error of code `disk-full` or `no-room`.
   */
  async promise(path: string, bytes: number, keepFree: number | undefined): Promise<Promised> {
    const { bavail, bsize } = await statfs(path);
    const left = bavail * bsize - this.#promised - bytes;
    if (left < 0) throw Object.assign(new Error('no space is left'), { code: 'disk-full' });
    if (left < (keepFree ?? 0)) {
      throw Object.assign(new Error('too little would be left'), { code: 'no-room' });
    }
    this.#promised += bytes;
    let open = bytes;
    return {
      spend: (length) => {
        const spent = Math.min(length, open);
        open -= spent;
        this.#promised -= spent;
      },
    };
  }
}

/** Room that was promised to one file; `spend` everything at its end. */
export interface Promised {
  /** So many bytes are on the disk now, or will not come. */
  spend(length: number): void;
}
