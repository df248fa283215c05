// The manager's public key as a file: `manager.pub` in a server's home, copied to a broker that
// runs apart and to whoever verifies a log.

import { NakodoError } from '../protocol/errors.ts';

/** `manager.pub`: 32 bytes in base64url. @throws NakodoError `no-manager-key`. */
export async function readManagerKey(path: string): Promise<Uint8Array> {
  const { readFileIfAny } = await import('../protocol/io/files.ts');
  const bytes = await readFileIfAny(path);
  const text = new TextDecoder().decode(bytes).trim();
  if (/^[A-Za-z0-9_-]{43}$/.test(text)) return Uint8Array.from(Buffer.from(text, 'base64url'));
  throw new NakodoError(
    'no-manager-key',
    bytes === undefined ? `there is no file ${path}` : `${path} does not hold a manager's key`,
    'start the session manager once, its home then holds manager.pub',
  );
}
