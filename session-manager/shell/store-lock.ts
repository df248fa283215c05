// One process a store: a file with the number of the process that has it, which a process that died
// leaves behind and the next one takes over. Process numbers are used again (a container starts
// with 1 each time, a Pi after a power cut with nearly the same ones), so the file also says when
// that process started and in which boot; where the system does not tell, the number alone decides.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NakodoError, errorCode } from '../../protocol/errors.ts';
import { fileError, readFileNow } from '../../protocol/io/files.ts';

const FILE_BYTES_MAX = 256;
/** Fields of /proc/PID/stat behind the name and before the start time (proc_pid_stat(5)). */
const FIELDS_BEFORE_START = 19;

/**
 * Takes a folder for this process; returns how to give it back.
 * @throws NakodoError `store-locked` while another process, or this one, has it; `disk-full`,
 *   `no-permission`.
 */
export function lockStore(folder: string): () => void {
  const path = join(folder, 'pid');
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, ownerLine(process.pid), { flag: 'wx', mode: 0o600 });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw fileError(error, path, 'write');
    }
    const line = new TextDecoder().decode(readFileNow(path, FILE_BYTES_MAX)).trim();
    const owner = Number(line.split(' ')[0]);
    if (isRunning(owner) && (!line.includes(' ') || line === ownerLine(owner))) {
      throw new NakodoError(
        'store-locked',
        `the store in ${folder} is in use by process ${owner}`,
        'stop that server first, or choose another folder with --home',
      );
    }
    rmSync(path, { force: true });
  }
  throw fileError(new Error('another process is starting'), path, 'take');
}

/** `PID START BOOT` of a process, or its number alone where the system does not tell. */
function ownerLine(processId: number): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${processId}/stat`, 'utf8');
    // The name stands in parentheses and may hold anything, blanks and parentheses included.
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[FIELDS_BEFORE_START];
    return `${processId} ${start} ${boot}`;
  } catch {
    return String(processId);
  }
}

/** Whether a process runs; one that we may not signal runs too. */
function isRunning(processId: number): boolean {
  if (!Number.isInteger(processId) || processId < 1) return false;
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}
