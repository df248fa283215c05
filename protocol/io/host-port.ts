// Where something listens, as people write it: a name or an address, and a port. IPv6 addresses
// stand in brackets, as in URLs (RFC 3986 §3.2.2).

import { LIMITS } from '../limits.ts';

/** Splits `HOST:PORT` or `[IPv6]:PORT`; undefined for anything else. */
export function targetOf(
  text: string,
): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const number = Number(match[3]);
  if (number < 1 || number > LIMITS.portMax) return undefined;
  return { host: match[1] ?? match[2], port: number };
}
