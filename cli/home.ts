// Where a terminal or a server keeps its state (design §7): `--home DIR`, else $NAKODO_HOME, else
// the system's state folder if a packaged terminal is there and this user is root, its owner or in
// its group, else ~/.nakodo.

import { mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { NakodoError, errorCode, errorMessage } from '../protocol/errors.ts';
import { becomeOwnerOf } from '../protocol/io/privileges.ts';

/** Where packages put a service's state (FHS 3.0 §5.8). */
const SYSTEM_HOME = '/var/lib/nakodo';

/** The home folder as an absolute path; it need not exist. */
export function homeFolder(option: string | undefined): string {
  const chosen = option ?? process.env.NAKODO_HOME;
  if (chosen !== undefined && chosen !== '') return resolve(chosen);
  return isOurs(SYSTEM_HOME) ? SYSTEM_HOME : join(homedir(), '.nakodo');
}

/**
 * The home folder, made (0700) if it is not there, for a command that writes in it: root's process
 * becomes the folder's owner, so that `sudo nakodo enroll` leaves nothing that the agent of a
 * packaged terminal cannot read. @throws NakodoError `home` if it cannot be.
 */
export function makeHome(option: string | undefined): string {
  const home = homeFolder(option);
  try {
    makeFolders(home);
    becomeOwnerOf(home);
  } catch (error) {
    throw new NakodoError(
      'home',
      `the home ${home} cannot be made: ${errorMessage(error)}`,
      'choose another one with --home DIR or $NAKODO_HOME',
    );
  }
  return home;
}

/** One after the other: Node's own `recursive` never ends in a folder like /proc. */
function makeFolders(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) makeFolders(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another command may have made it in the meantime.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

/** A path as a shell takes it in one word: what stands in a hint is copied and pasted. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./~-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** ` --home DIR` for a hint, or nothing where no home was named. */
export const homeWords = (option: string | undefined): string =>
  option === undefined ? '' : ` --home ${shellWord(option)}`;

/** Whether this user is somebody to the service of that folder. */
function isOurs(folder: string): boolean {
  try {
    const facts = statSync(folder);
    const uid = process.getuid?.();
    const isKnown = uid === 0 || uid === facts.uid || process.getgroups?.().includes(facts.gid);
    return facts.isDirectory() && isKnown === true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EACCES') return false;
    throw error;
  }
}
