// This machine's own addresses, as far as a peer may reach it there: those of interfaces that are
// up [51, S1000]. Loopback and link-local ones are good for nobody else; IPv6 addresses, temporary
// or not, as the system lists them.

import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { type AddressScope, addressBytes, addressScope } from '../../protocol/address.ts';
import { errorMessage } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/io/log.ts';

/** One address of an interface. */
export interface HostAddress {
  /** As `node:dgram` prints it. */
  readonly host: string;
  /** 4 or 16. */
  readonly bytes: Uint8Array;
  readonly scope: AddressScope;
  readonly interface: string;
}

/** Interfaces by name, as `os.networkInterfaces()` gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const TOLD: readonly AddressScope[] = ['global', 'private', 'shared'];

/**
 * The addresses to tell, global ones first. `first`: goes before its equals, since something is
 * known to answer it.
 */
export function hostAddresses(interfaces: Interfaces, first?: string): readonly HostAddress[] {
  const found: HostAddress[] = [];
  for (const [name, infos] of Object.entries(interfaces)) {
    for (const { address: host, internal } of infos ?? []) {
      const bytes = addressBytes(host);
      const scope = bytes && addressScope(bytes);
      if (internal || bytes === undefined || scope === undefined) continue;
      if (TOLD.includes(scope)) found.push({ host, bytes, scope, interface: name });
    }
  }
  const rank = ({ host, scope }: HostAddress): number =>
    (scope === 'global' ? 0 : 2) + (host === first ? 0 : 1);
  return found.sort((a, b) => rank(a) - rank(b));
}

/** The interfaces of this machine; none where the system does not tell. */
export function ownInterfaces(log?: Pick<Log, 'debug'>): Interfaces {
  try {
    return networkInterfaces();
  } catch (error) {
    log?.debug('interfaces-unknown', { why: errorMessage(error) });
    return {};
  }
}
