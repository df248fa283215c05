// Who a CONNECT packet proves: a terminal by its own token and the manager's statement about it, a
// manager by its key. The broker keeps no list of either; it needs the managers' public keys only.

import type { CryptoSuite } from '../protocol/crypto.ts';
import { managerClientId } from '../protocol/identity/manager-id.ts';
import type { Membership } from '../protocol/identity/membership.ts';
import { type TokenFault, openManagerToken, openToken } from '../protocol/identity/token.ts';
import { BROKER_LIMITS } from './limits.ts';
import type { Issued } from './revocations.ts';
import type { Party } from './rights.ts';

/** The fields of a CONNECT packet that a login is judged by. */
export interface Login {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
}

/** What of a membership a broker goes by. */
export interface Held extends Issued {
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Who a login proves; `nonce`: of its token. */
export interface Proven {
  readonly party: Party;
  readonly nonce: Uint8Array;
  /** A terminal's. */
  readonly held: Held | undefined;
}

/** Who is believed: the broker's keys, as its options say. */
export interface Trust {
  readonly suite: CryptoSuite;
  /** Ed25519, 32 bytes each. */
  readonly managerKeys: readonly Uint8Array[];
  /** The pin of the broker's own TLS key, NO_PIN without TLS: a token names it. */
  readonly server: Uint8Array;
}

/** Why a login is refused before anything that the broker remembers is asked. */
export type ProofFault = TokenFault | 'username';

/** What a broker keeps of a membership. */
export const heldOf = (manager: number, membership: Membership): Held => {
  const { device, issuedAt, expiresAt } = membership;
  return { device, manager, issuedAt, expiresAt };
};

/**
 * Proves a login against the managers' keys, or says why not. A terminal's client ID is its device
 * ID; a manager's is the hash of its key. `nowSeconds`: Unix time; `notBefore`: that of the oldest
 * token that is taken. Any bytes are answered.
 */
export function proveLogin(
  trust: Trust,
  { nowSeconds, notBefore }: { readonly nowSeconds: number; readonly notBefore: number },
  login: Login,
): Proven | ProofFault {
  const { clientId, username, password } = login;
  if (password === undefined || password.length > BROKER_LIMITS.loginBytesMax) return 'malformed';
  if (username !== 'terminal' && username !== 'manager') return 'username';
  const { suite, managerKeys, server } = trust;
  const check = { nowSeconds, clientId, server, notBefore };
  let fault: ProofFault = 'audience';
  for (const [manager, key] of managerKeys.entries()) {
    const proven =
      username === 'terminal'
        ? openToken(suite, key, password, check)
        : openManagerToken(suite, key, password, check);
    if (typeof proven === 'object') {
      const { nonce } = proven;
      if ('device' in proven) {
        const held = heldOf(manager, proven.membership);
        return { party: { of: 'terminal', device: proven.device }, nonce, held };
      }
      if (proven.client === managerClientId(suite, key)) {
        return { party: { of: 'manager', client: proven.client }, nonce, held: undefined };
      }
      return 'client-id';
    }
    // A token names its audience: what another key says about it is the better reason.
    if (proven !== 'audience') fault = proven;
  }
  return fault;
}
