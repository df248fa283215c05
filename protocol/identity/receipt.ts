// A receipt for the log (design §6): where its chain stood when a terminal's end was written,
// signed by the manager. Terminals keep the newest: a log that lacks this entry, or has another in
// its place, was cut or changed afterwards.

import { encodeCbor } from '../control/cbor.ts';
import { type Infer, bytes, exactly, field, record, uint } from '../control/schema.ts';
import { type CryptoSuite, HASH_BYTES, type SigningKey } from '../crypto.ts';
import { LIMITS } from '../limits.ts';
import { openWrapped, wrap } from './signed.ts';

const VERSION = 1;

/** `hash`: BLAKE2s of entry number `sequence`; `at`: Unix milliseconds. */
export const receipt = record({
  version: field(0, exactly(VERSION)),
  sequence: field(1, uint(Number.MAX_SAFE_INTEGER)),
  hash: field(2, bytes(HASH_BYTES)),
  at: field(3, uint(Number.MAX_SAFE_INTEGER)),
});
export type Receipt = Infer<typeof receipt>;

/** Signs a receipt; at most LIMITS.receiptBytesMax bytes. */
export function makeReceipt(key: SigningKey, statement: Omit<Receipt, 'version'>): Uint8Array {
  return wrap(key, 'receipt', encodeCbor(receipt, { version: VERSION, ...statement }));
}

/** Reads a receipt that this manager signed; undefined for anything else. */
export function openReceipt(
  suite: CryptoSuite,
  managerKey: Uint8Array,
  encoded: Uint8Array,
): Receipt | undefined {
  return openWrapped(suite, encoded, {
    publicKey: managerKey,
    label: 'receipt',
    type: receipt,
    bytesMax: LIMITS.receiptBytesMax,
  });
}
