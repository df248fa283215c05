// The provisioning file that a person names for a card, read and checked here with the code that
// will read it on the Pi: a slip is told at the desk, not by a card that never appears.

import { readFile } from 'node:fs/promises';
import { parseProvisioning } from '../../device/shell/provision-file.ts';
import { EXIT, NakodoError, UsageError, errorCode } from '../../protocol/errors.ts';

/** What stands in for the Pi's own name and serial number while its name is checked. */
const SOME_PI = { hostname: 'raspberrypi', serial: '10000000deadbeef' } as const;

/**
 * The text of the provisioning file at `path`, which a Pi will understand.
 * @throws NakodoError `bad-provision` that says in which line what is wrong.
 */
export async function readProvisioning(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw refused(path, `it cannot be read (${errorCode(error)})`);
  });
  try {
    if (parseProvisioning(text, SOME_PI) !== undefined) return text;
  } catch (error) {
    if (error instanceof UsageError) throw refused(path, error.message);
    throw error;
  }
  throw refused(path, 'its ticket was used and removed');
}

function refused(path: string, problem: string): NakodoError {
  const next = 'write it as docs/pi.md shows; nakodo ticket makes a ticket';
  return new NakodoError('bad-provision', `${path}: ${problem}`, next, EXIT.usage);
}
