// Folders that several files use at the same time, each opened once: of a tree of small files most
// of the work would else be to walk to where each belongs. Nothing stays open that nobody uses.

import { type JailedFolder, walkFrom } from './jailed-folder.ts';

/** An open folder in use; `release` has to follow, once. */
export interface SharedFolder {
  readonly folder: JailedFolder;
  /** `isDoubtful`: it may be gone; whoever comes next opens it anew. Never rejects. */
  release(isDoubtful?: boolean): Promise<void>;
}

interface Shared {
  readonly opening: Promise<JailedFolder>;
  users: number;
}

/** The folders in use, by path; as many at most as there are files under way. */
export class SharedFolders {
  readonly #open = new Map<string, Shared>();
  readonly #makeMode: number | undefined;

  /** `makeMode`: makes folders that are missing with these permission bits. */
  constructor(makeMode?: number) {
    this.#makeMode = makeMode;
  }

  /** Opens the folder that `names` lead to from `root`; see JailedFolder.walk. */
  async use(root: string, names: readonly string[]): Promise<SharedFolder> {
    const key = [root, ...names].join('/');
    let shared = this.#open.get(key);
    if (shared === undefined) {
      shared = { opening: walkFrom(root, names, this.#makeMode), users: 0 };
      this.#open.set(key, shared);
    }
    const mine = shared;
    const forget = (): void => {
      if (this.#open.get(key) === mine) this.#open.delete(key);
    };
    mine.users += 1;
    try {
      const folder = await mine.opening;
      const release = async (isDoubtful = false): Promise<void> => {
        mine.users -= 1;
        if (isDoubtful || mine.users === 0) forget();
        if (mine.users === 0) await folder.close().catch(() => {});
      };
      return { folder, release };
    } catch (error) {
      mine.users -= 1;
      forget();
      throw error;
    }
  }
}
