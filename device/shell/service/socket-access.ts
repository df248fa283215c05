// Who may use the commands of an agent: its own user; as a service, also a group, like journald's
// or docker's. A member may do with this terminal what its commands do; what it cannot do is read
// its keys, or have a command of its own run by the agent. The group is named, never guessed from
// the folder's mode: a folder made by hand may belong to a group of everybody.

import { chmod, chown, stat } from 'node:fs/promises';
import { NakodoError, errorMessage } from '../../../protocol/errors.ts';
import { groupNumber } from '../../../protocol/io/accounts.ts';

const OWNER_ONLY = 0o600;
const WITH_GROUP = 0o660;
/** A member passes through the home to the socket; the group reads nothing else there. */
const PASS_BIT = 0o010;
const PERMISSION_BITS = 0o7777;
const OTHERS_BITS = 0o007;
const SAME_USER = -1;

/** How the socket is made. */
interface SocketAccess {
  readonly mode: number;
  readonly group: number | undefined;
}

/**
 * Lets a group through to the socket of a home, if one is named, and no one else.
 * @throws NakodoError `no-such-group`, `not-in-group`.
 */
export async function socketAccess(home: string, group: string | undefined): Promise<SocketAccess> {
  if (group === undefined) return { mode: OWNER_ONLY, group: undefined };
  const number = groupNumber(group);
  if (number === undefined) {
    throw new NakodoError(
      'no-such-group',
      `this machine has no group ${group}`,
      `make it: sudo addgroup --system ${group} — or start the agent without a socket group`,
    );
  }
  try {
    if (!isMember(number)) throw new Error('this process is not in that group');
    const { gid, mode } = await stat(home);
    if (gid !== number) await chown(home, SAME_USER, number);
    const wanted = (mode & PERMISSION_BITS & ~OTHERS_BITS) | PASS_BIT;
    if ((mode & PERMISSION_BITS) !== wanted) await chmod(home, wanted);
  } catch (error) {
    throw new NakodoError(
      'not-in-group',
      `the home ${home} cannot be opened to the group ${group}: ${errorMessage(error)}`,
      `start the agent as a member of ${group}: Group=${group} in its unit`,
    );
  }
  return { mode: WITH_GROUP, group: number };
}

function isMember(group: number): boolean {
  const isRoot = process.getuid?.() === 0;
  return isRoot || process.getgid?.() === group || process.getgroups?.().includes(group) === true;
}
