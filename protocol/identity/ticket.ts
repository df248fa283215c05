// The ticket: what the operator hands to somebody who sets up a terminal (design §3). It says where
// to enrol and whom to trust, and holds a secret of which the manager stores only the hash.

import { base32, fromBase32 } from '../base32.ts';
import { asciiBytes, concatBytes } from '../bytes.ts';
import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import { type Infer, bytes, field, name, optional, record, uint, url } from '../control/schema.ts';
import { type CryptoSuite, KEY_BYTES } from '../crypto.ts';
import { LIMITS } from '../limits.ts';
import { PIN_BYTES } from './server-keys.ts';

const VERSION = 2;
const PREFIX = 'nakodo1';
const HASH_LABEL = asciiBytes('nakodo/1/ticket\0');
/** Bytes of a ticket's secret: chosen by us, nobody tries 2^160 of them. */
export const TICKET_SECRET_BYTES = 20;

/**
 * The inside of a ticket; `url`: where to enrol; `expiresAt`: Unix seconds; `name`: if fixed;
 * `managerKey`: Ed25519, `agreementKey`: X25519; `pin`: of the server's TLS key, absent only where
 * the server runs without TLS.
 */
export const ticket = record({
  version: field(0, uint(255)),
  url: field(1, url),
  managerKey: field(2, bytes(KEY_BYTES)),
  secret: field(3, bytes(TICKET_SECRET_BYTES)),
  expiresAt: field(4, uint(LIMITS.unixSecondsMax)),
  name: optional(5, name),
  agreementKey: field(6, bytes(KEY_BYTES)),
  pin: optional(7, bytes(PIN_BYTES)),
});
type Ticket = Omit<Infer<typeof ticket>, 'version'>;

/** Why a text is not a ticket: not one at all, damaged in copying, or of another release. */
export type TicketFault = 'not-a-ticket' | 'ticket-damaged' | 'ticket-version';

/** A ticket as text: `nakodo1` and lower-case base32. */
export function formatTicket(inside: Ticket): string {
  return PREFIX + base32(encodeCbor(ticket, { version: VERSION, ...inside }));
}

/** Reads a ticket; blanks and line breaks from copying are dropped, capitals accepted. */
export function parseTicket(text: string): Ticket | TicketFault {
  if (text.length > LIMITS.ticketTextMax) return 'not-a-ticket';
  const plain = text.replace(/\s/g, '').toLowerCase();
  if (!plain.startsWith(PREFIX)) {
    return /^nakodo[0-9]/.test(plain) ? 'ticket-version' : 'not-a-ticket';
  }
  const encoded = fromBase32(plain.slice(PREFIX.length));
  const inside = encoded === undefined ? undefined : decodeCbor(ticket, encoded);
  if (inside === undefined) return 'ticket-damaged';
  const { version, ...rest } = inside;
  return version === VERSION ? rest : 'ticket-version';
}

/** What the manager stores of a ticket: BLAKE2s(`nakodo/1/ticket` ‖ 0 ‖ secret), 32 bytes. */
export function ticketHash(suite: CryptoSuite, secret: Uint8Array): Uint8Array {
  return suite.blake2s(concatBytes(HASH_LABEL, secret));
}
