// What tells this machine from a copy of its disk: so that an image which was copied before it was
// ever enrolled makes keys of its own on every machine (design §3). The mark goes into
// identity.json and nowhere else; it is a hash, since a machine-id is not to be shown around
// (machine-id(5)).

import { asciiBytes, concatBytes } from '../../protocol/bytes.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import { readFileIfAny } from '../../protocol/io/files.ts';

/** systemd's ID of this installation, and the serial number of a Pi's board. */
const MACHINE_FILES = ['/etc/machine-id', '/proc/device-tree/serial-number'] as const;
const LABEL = asciiBytes('nakodo/1/machine\0');

/**
 * BLAKE2s over `nakodo/1/machine` ‖ 0 and the hashes of what is in the files, as 64 hex digits;
 * undefined on a machine that has none of them.
 */
export async function machineMark(
  suite: CryptoSuite,
  files: readonly string[] = MACHINE_FILES,
): Promise<string | undefined> {
  // A file that may not be read is as good as none: it says the same at the next start.
  const found = await Promise.all(files.map((path) => readFileIfAny(path).catch(() => undefined)));
  if (found.every((content) => content === undefined)) return undefined;
  const hashes = found.map((content) => suite.blake2s(content ?? new Uint8Array()));
  return Buffer.from(suite.blake2s(concatBytes(LABEL, ...hashes))).toString('hex');
}
