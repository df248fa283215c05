// Where a terminal or a server keeps its state (design §7): `--home DIR`, else $NAKODO_HOME, else
// the system's state folder if it exists and is ours (a packaged service), else ~/.nakodo. To a
// terminal's commands the packaged service is also theirs if their user is in its group, or root.

import { type Stats, accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { NakodoError, errorMessage } from '../protocol/errors.ts';
import { groupName, userName } from '../protocol/io/accounts.ts';
import { becomeOwnerOf } from './as-owner.ts';

/** Where packages put a service's state (FHS 3.0 §5.8). */
export const SYSTEM_HOME = '/var/lib/nakodo';
/** The bit of a folder's mode that lets its group pass. */
const GROUP_PASSES = 0o010;

/** The home folder of a server as an absolute path; it need not exist. */
export function homeFolder(option: string | undefined): string {
  return named(option) ?? (isOurs(factsOf(SYSTEM_HOME)) ? SYSTEM_HOME : ownFolder());
}

/** The home folder of a terminal as an absolute path; it need not exist. */
export function terminalFolder(option: string | undefined): string {
  return named(option) ?? (mayUse(SYSTEM_HOME) ? SYSTEM_HOME : ownFolder());
}

/** A server's home folder, made (0700) if it is not there. @throws NakodoError `home` */
export function makeHome(option: string | undefined): string {
  return made(homeFolder(option));
}

/**
 * A terminal's home folder to write in, made (0700) if it is not there. Root's command goes on as
 * the user that it belongs to: what root wrote there the agent could not read. Where a package has
 * a terminal, a user outside its group gets no second one by mistake: a ticket would be used up by
 * it, a list read by nobody.
 * @throws NakodoError `home`, `home-of-another`
 */
export function makeTerminalHome(option: string | undefined): string {
  refuseSecond(option);
  const home = made(terminalFolder(option));
  const facts = factsOf(home);
  if (facts === undefined || isOurs(facts)) return home;
  becomeOwnerOf(home);
  throw homeOfAnother(home);
}

/** The same for an agent, which runs long and as itself: root is told who has to start it. */
export function makeAgentHome(option: string | undefined): string {
  refuseSecond(option);
  const home = made(terminalFolder(option));
  const facts = factsOf(home);
  if (facts === undefined || isOurs(facts)) return home;
  throw homeOfAnother(home);
}

/** Whether this user may write in a home, and so needs no agent to do it. */
export function isOwnHome(home: string): boolean {
  const facts = factsOf(home);
  return facts === undefined || isOurs(facts) || process.getuid?.() === 0;
}

/** The error for a home that is another user's, which says how to come to be let in. */
export function homeOfAnother(home: string): NakodoError {
  const facts = factsOf(home);
  const message = `the agent in ${home} belongs to another user`;
  const isRoot = process.getuid?.() === 0;
  const isShut = facts === undefined || (facts.mode & GROUP_PASSES) === 0;
  if (isShut || isRoot || isMember(facts.gid)) {
    const owner = facts === undefined ? 'its owner' : userName(facts.uid);
    const next = `do it as ${owner}: sudo -u ${owner} nakodo … --home ${shellWord(home)}`;
    return new NakodoError('home-of-another', message, next);
  }
  const group = groupName(facts.gid);
  const next = `add yourself to its group: sudo adduser $USER ${group} — then log in again`;
  return new NakodoError('home-of-another', message, next);
}

/** A packaged agent that is there, and not for this user; undefined: none is, or it may be used. */
export function agentNotForUs(option: string | undefined): NakodoError | undefined {
  if (named(option) !== undefined || mayUse(SYSTEM_HOME)) return undefined;
  const isThere = factsOf(SYSTEM_HOME)?.isDirectory() === true;
  return isThere && factsOf(ownFolder()) === undefined ? homeOfAnother(SYSTEM_HOME) : undefined;
}

/** A home of one's own beside a packaged terminal is one that is there, or that is named. */
function refuseSecond(option: string | undefined): void {
  const error = agentNotForUs(option);
  if (error === undefined) return;
  const next = `sudo nakodo … for this machine's terminal; for one of yours --home ${ownFolder()}`;
  throw new NakodoError(error.code, error.message, next);
}

const ownFolder = (): string => join(homedir(), '.nakodo');

function named(option: string | undefined): string | undefined {
  const chosen = option ?? process.env.NAKODO_HOME;
  return chosen === undefined || chosen === '' ? undefined : resolve(chosen);
}

function made(home: string): string {
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

const isOurs = (facts: Stats | undefined): boolean =>
  facts?.isDirectory() === true && facts.uid === process.getuid?.();

const isMember = (group: number): boolean =>
  process.getgid?.() === group || process.getgroups?.().includes(group) === true;

/** It is ours, or its group is, or we are root; and its folder lets us through. */
function mayUse(folder: string): boolean {
  const facts = factsOf(folder);
  if (facts === undefined || !facts.isDirectory()) return false;
  try {
    accessSync(folder, constants.X_OK);
  } catch {
    return false;
  }
  return isOurs(facts) || process.getuid?.() === 0 || isMember(facts.gid);
}

/** Undefined for a folder that is not there, or of which we may not even know. */
function factsOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
