// Where files arrive: a folder with its owner's rules, the same for an agent's inbox and for what a
// command fetches. No path leads out of it.

import { makeFolder } from '../../../protocol/io/files.ts';
import { Arrival, type ComingFile, type LandingRules } from './arrival.ts';
import { JailedFolder, walkFrom } from './jailed-folder.ts';
import { isFilePath } from './names.ts';
import { prunePartials } from './partial-file.ts';
import { type Room, refuseIfFull } from './room.ts';
import { type SharedFolder, SharedFolders } from './shared-folders.ts';
import { transferCode, transferError } from './transfer-error.ts';

/** A folder where files arrive. */
export class Landing {
  readonly #rules: LandingRules;
  readonly #room: Room;
  readonly #folders: SharedFolders;

  /** `room`: of this process. */
  constructor(rules: LandingRules, room: Room) {
    this.#rules = rules;
    this.#room = room;
    this.#folders = new SharedFolders(rules.folderMode);
  }

  /** Makes the folder if it is missing, and takes away what is left of transfers long ago. */
  async clean(): Promise<void> {
    await makeFolder(this.#rules.folder);
    const root = await JailedFolder.open(this.#rules.folder);
    try {
      await prunePartials(root);
    } finally {
      await root.close();
    }
  }

  /** Makes a folder in it, and those on the way. @throws NakodoError of transfer-error.ts */
  async folder(path: string): Promise<void> {
    if (!isFilePath(path)) throw transferError('bad-name', path);
    try {
      await refuseIfFull(this.#rules.folder, 0, this.#rules.keepFree);
      const made = await walkFrom(this.#rules.folder, path.split('/'), this.#rules.folderMode);
      await made.close();
    } catch (error) {
      throw transferError(transferCode(error, 'not-stored'), path);
    }
  }

  /**
   * Lets a file begin to arrive: looks at the rules, makes its folders, opens its partial file.
   * @throws NakodoError of transfer-error.ts; nothing of the file is left then.
   */
  async begin(coming: ComingFile): Promise<Arrival> {
    const { path, size } = coming;
    const rules = this.#rules;
    if (!isFilePath(path)) throw transferError('bad-name', path);
    if (size > (rules.fileMax ?? Infinity)) throw transferError('too-large', path);
    const names = path.split('/').slice(0, -1);
    let root: SharedFolder | undefined;
    let arrival: Arrival | undefined;
    try {
      root = await this.#folders.use(rules.folder, []);
      // Before its folders are made: they cost room as well.
      if (names.length > 0) await refuseIfFull(rules.folder, size, rules.keepFree);
      const folder = await this.#folders.use(rules.folder, names);
      arrival = new Arrival({ root, folder, rules, room: this.#room }, coming);
      await arrival.open();
      return arrival;
    } catch (error) {
      if (arrival !== undefined) await arrival.giveUp();
      else await root?.release(true);
      throw transferError(transferCode(error, 'not-stored'), path);
    }
  }
}
