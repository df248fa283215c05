// Where something listens, as people write it: a name or an address, and a port. IPv6 addresses
// stand in brackets, as in URLs (RFC 3986 §3.2.2). Literal addresses come out as Node's sockets
// print them (RFC 5952 §4), so that an answer is known by its source. A name is as many servers as
// families: the first address of each counts.

import { isIP } from 'node:net';
import { addressBytes, addressText } from '../address.ts';
import { LIMITS } from '../limits.ts';

/** All addresses of a name. */
export type LookUp = (host: string) => Promise<readonly { readonly address: string }[]>;

const TARGET = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]{1,253})):(\d{1,5})$/;

/** Splits `HOST:PORT` or `[IPv6]:PORT`; undefined for anything else. */
export function targetOf(
  text: string,
): { readonly host: string; readonly port: number } | undefined {
  const [, literal, name, digits] = TARGET.exec(text) ?? [];
  const port = Number(digits);
  const host = literal === undefined ? name : ipv6Text(literal);
  if (host === undefined || !(port >= 1 && port <= LIMITS.portMax)) return undefined;
  return { host, port };
}

/**
 * The first IPv4 and the first IPv6 address of a name, in this order; of an address itself.
 * Rejects as the resolver does. `lookUp`: default the system's.
 */
export async function addressesOf(
  host: string,
  lookUp: LookUp = systemLookUp,
): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  const found = (await lookUp(host)).map(({ address }) => address);
  return [4, 6].flatMap((family) => found.filter((each) => isIP(each) === family).slice(0, 1));
}

/** Loaded by those who need it: most programs are told literal addresses. */
async function systemLookUp(host: string): Promise<readonly { readonly address: string }[]> {
  const { lookup } = await import('node:dns/promises');
  return lookup(host, { all: true });
}

function ipv6Text(literal: string): string | undefined {
  const bytes = isIP(literal) === 6 ? addressBytes(literal) : undefined;
  return bytes && addressText(bytes);
}
