// Names of the system's users and groups, which Node does not know: read from /etc/group and
// /etc/passwd, where a package's own user and group stand (accounts of a directory service do not;
// for them a number will do).

import { readFileNow } from './files.ts';
import { IO_LIMITS } from './limits.ts';

const GROUPS = '/etc/group';
const USERS = '/etc/passwd';
/** Fields of a line: NAME:x:NUMBER:… (group(5), passwd(5)). */
const NAME_FIELD = 0;
const NUMBER_FIELD = 2;
const ID_MAX = 2 ** 32 - 2;

/** The number of a group by its name, or of a number written out; undefined: there is none. */
export function groupNumber(name: string): number | undefined {
  if (/^\d{1,10}$/.test(name)) return idOf(name);
  return idOf(rows(GROUPS).find((fields) => fields[NAME_FIELD] === name)?.[NUMBER_FIELD]);
}

/** The name of a group; its number where it has none here. */
export const groupName = (id: number): string => nameIn(GROUPS, id);

/** The name of a user; its number where it has none here. */
export const userName = (id: number): string => nameIn(USERS, id);

function nameIn(path: string, id: number): string {
  const row = rows(path).find((fields) => fields[NUMBER_FIELD] === String(id));
  return row?.[NAME_FIELD] ?? String(id);
}

function idOf(text: string | undefined): number | undefined {
  const id = Number(text);
  return text !== undefined && Number.isInteger(id) && id >= 0 && id <= ID_MAX ? id : undefined;
}

/** No rows where the file cannot be read, or is longer than any that a device has. */
function rows(path: string): readonly (readonly string[])[] {
  try {
    const bytes = readFileNow(path, IO_LIMITS.accountsBytesMax) ?? new Uint8Array();
    const lines = new TextDecoder().decode(bytes).split('\n');
    return lines.map((line) => line.split(':'));
  } catch {
    return [];
  }
}
