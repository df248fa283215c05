// Who a CONNECT packet proves: a terminal by its own token and the manager's statement about it, a
// manager by its key. The broker keeps no list of either; it needs the managers' public keys only.

import type { CryptoSuite } from '../protocol/crypto.ts';
import { managerClientId } from '../protocol/identity/manager-id.ts';
import { type TokenFault, openManagerToken, openToken } from '../protocol/identity/token.ts';
import { BROKER_LIMITS } from './limits.ts';
import type { Party } from './rights.ts';

/** The fields of a CONNECT packet that a login is judged by. */
interface Login {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
}

/** Why a login is refused. */
export type LoginFault = TokenFault | 'username';

/**
 * Proves a login against the managers' Ed25519 keys, or says why not. A terminal's client ID is its
 * device ID; a manager's is the hash of its key. `nowSeconds`: Unix time.
 */
export function proveLogin(
  suite: CryptoSuite,
  managerKeys: readonly Uint8Array[],
  nowSeconds: number,
  login: Login,
): Party | LoginFault {
  const { clientId, username, password } = login;
  if (password === undefined || password.length > BROKER_LIMITS.loginBytesMax) return 'malformed';
  if (username !== 'terminal' && username !== 'manager') return 'username';
  const check = { nowSeconds, clientId };
  let fault: LoginFault = 'audience';
  for (const key of managerKeys) {
    const proven =
      username === 'terminal'
        ? openToken(suite, key, password, check)
        : openManagerToken(suite, key, password, check);
    if (typeof proven === 'object') {
      if ('device' in proven) return { of: 'terminal', device: proven.device };
      if (proven.client === managerClientId(suite, key)) {
        return { of: 'manager', client: proven.client };
      }
      return 'client-id';
    }
    // A token names its audience: what another key says about it is the better reason.
    if (proven !== 'audience') fault = proven;
  }
  return fault;
}
