// A manager looks at the end of its stored log before it starts: what was cut or changed is not
// written on. Quick; the whole log is for `nakodo log verify`.

import type { CryptoSuite } from '../../protocol/crypto.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { checkLogHead } from '../log-head.ts';
import type { Stored } from '../manager-types.ts';
import type { Store } from './store.ts';

/**
 * Checks that the store's log ends where the manager of this key signed that it ends (S6001).
 * `folder`: of the store, for words; `stored`: what it loaded.
 * @throws NakodoError `store-damaged`.
 */
export function checkStoredLog(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  store: Store,
  { folder, stored }: { readonly folder: string; readonly stored: Stored },
): void {
  const last = store.range('log', { reverse: true, limit: 1 }).at(0)?.value;
  const { devices, names, tickets, sessions, meta, revoked } = stored;
  // Not `meta`: what a start alone writes there (keys, sequences) comes before the first entry.
  const isEmpty = [devices, names, tickets, sessions, revoked].every((rows) => rows.length === 0);
  const wrong = checkLogHead(suite, managerKey, { meta, last, isEmpty });
  if (wrong === undefined) return;
  throw new NakodoError(
    'store-damaged',
    `the store in ${folder} is not as this manager left it: ${wrong}`,
    'keep a copy of it as it is; restore the home from a backup, or begin anew in another one',
  );
}
