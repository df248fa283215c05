// The secret that a server shares with its relay, as a file: read once, never shown. On a command
// line every user of the machine would see it (`ps`), so there is no option for it.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { NakodoError, errorCode, errorMessage } from '../protocol/errors.ts';

const { O_NONBLOCK, O_RDONLY } = constants;
const BYTES_MAX = 512;
/** Characters below which guessing is worth it. */
const CHARACTERS_MIN = 16;
/** Nobody else reads it; the group may, so that it can be root's with the service as its group. */
const TOO_OPEN = 0o027;
const SECRET = /^[\x21-\x7e]+$/;

/**
 * The line in the file, as bytes.
 * @throws NakodoError `no-turn-secret` if it cannot be read, is everybody's to read, or is none.
 */
export async function readTurnSecret(path: string): Promise<Uint8Array> {
  const text = await readPrivate(path);
  if (SECRET.test(text) && text.length >= CHARACTERS_MIN) return new TextEncoder().encode(text);
  throw refused(
    `${path} does not hold a secret: one line of at least ${CHARACTERS_MIN} characters`,
    `make one: openssl rand -hex 32 > ${path} — and give the relay the same`,
  );
}

async function readPrivate(path: string): Promise<string> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, O_RDONLY | O_NONBLOCK);
    const facts = await file.stat();
    const isSmall = facts.isFile() && facts.size <= BYTES_MAX;
    if (!isSmall) throw refused(`${path} is no file of one line`, 'check the path');
    if ((facts.mode & TOO_OPEN) !== 0) {
      throw refused(`${path} can be read by others on this machine`, `chmod o-rwx,g-w ${path}`);
    }
    return (await file.readFile('latin1')).trim();
  } catch (error) {
    if (error instanceof NakodoError) throw error;
    if (errorCode(error) === 'ENOENT') throw refused(`there is no file ${path}`, 'check the path');
    throw refused(`${path} cannot be read: ${errorMessage(error)}`, 'check its owner and its mode');
  } finally {
    await file?.close();
  }
}

const refused = (message: string, next: string): NakodoError =>
  new NakodoError('no-turn-secret', message, next);
