// What root does in a home that is another user's, done as that user: `sudo nakodo enroll` must
// leave no file that the agent of a packaged terminal cannot read, and no link in there may lead
// root elsewhere. The program starts itself again as that user: a running one cannot change its
// own, since Node has switched that off where libuv might use io_uring (CVE-2024-22017; Debian).

import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { EXIT } from '../protocol/errors.ts';

/**
 * Returns if this process is not root's, or if the folder is, or is not there. Otherwise runs this
 * very command line again as the folder's owner, in its group and no other, and ends as it ended.
 */
export function becomeOwnerOf(folder: string): void {
  const owner = statSync(folder, { throwIfNoEntry: false });
  if (process.getuid?.() !== 0 || owner === undefined || owner.uid === 0) return;
  const { uid, gid } = owner;
  const words = [...process.execArgv, ...process.argv.slice(1)];
  // A ^C is the terminal's to all of us: the child says what became of it.
  process.on('SIGINT', () => undefined);
  const { status, error } = spawnSync(process.execPath, words, { stdio: 'inherit', uid, gid });
  if (error !== undefined) throw error;
  process.exit(status ?? EXIT.failed);
}
