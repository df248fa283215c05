// Where a terminal or a server keeps its state (design §7): `--home DIR`, else $NAKODO_HOME, else
// the system's state folder if it exists and is ours (a packaged service), else ~/.nakodo.

import { mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { NakodoError, errorCode, errorMessage } from '../protocol/errors.ts';

/** Where packages put a service's state (FHS 3.0 §5.8). */
const SYSTEM_HOME = '/var/lib/nakodo';

/** The home folder as an absolute path; it need not exist. */
export function homeFolder(option: string | undefined): string {
  const chosen = option ?? process.env.NAKODO_HOME;
  if (chosen !== undefined && chosen !== '') return resolve(chosen);
  return isOurs(SYSTEM_HOME) ? SYSTEM_HOME : join(homedir(), '.nakodo');
}

/** The home folder, made (0700) if it is not there. @throws NakodoError `home` if it cannot be. */
export function makeHome(option: string | undefined): string {
  const home = homeFolder(option);
  try {
    makeFolders(home);
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

function isOurs(folder: string): boolean {
  try {
    const facts = statSync(folder);
    return facts.isDirectory() && facts.uid === process.getuid?.();
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EACCES') return false;
    throw error;
  }
}
