// The manager's public key as a file: `manager.pub` in a server's home, copied to a broker that
// runs apart and to whoever verifies a log.

import { KEY_BYTES } from '../protocol/crypto.ts';
import { NakodoError } from '../protocol/errors.ts';
import { fromBase64 } from '../protocol/io/base64.ts';

/** `manager.pub`: 32 bytes in base64url. @throws NakodoError `no-manager-key`. */
export async function readManagerKey(path: string): Promise<Uint8Array> {
  const { readFileIfAny } = await import('../protocol/io/files.ts');
  const bytes = await readFileIfAny(path);
  const text = new TextDecoder().decode(bytes).trim();
  const key = fromBase64(text);
  if (key?.length === KEY_BYTES) return key;
  throw new NakodoError(
    'no-manager-key',
    bytes === undefined ? `there is no file ${path}` : `${path} does not hold a manager's key`,
    'name it with --manager-pub FILE: it lies in the home of a session manager that was started',
  );
}
