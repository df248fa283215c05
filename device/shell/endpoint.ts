// One end of a talk as the kernel has it: an IPv4 and an IPv6 socket under one number, each on a
// port of its own. A family that this host lacks is left out; a datagram goes by the family of its
// path. A socket on a wildcard address outlives every change of the machine's own addresses.

import { isIpv6Text } from '../../protocol/address.ts';
import type { Path } from '../../protocol/core.ts';
import { NakodoError } from '../../protocol/errors.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import { type BufferPool, type UdpSocket, openUdp } from '../../protocol/io/udp.ts';

/** Binds to all addresses of a family. */
const WILDCARDS = ['0.0.0.0', '::'] as const;

/** Where this terminal may bind. */
export interface Place {
  /** The owner's choice, a literal address; `0.0.0.0` and `::` mean one family. */
  readonly literal?: string | undefined;
  /** From where the broker is or was reached. */
  readonly link?: string | undefined;
}

/** All addresses of a family. */
export const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/**
 * What to bind to: what the owner chose; loopback where the broker is there too; else everything,
 * both families. `to`: only ever sends there, so one socket of that family; none if the owner's
 * address is of the other.
 */
export function bindsFor({ literal, link }: Place, to?: string): readonly string[] {
  const fits = (host: string): boolean => to === undefined || isIpv6Text(host) === isIpv6Text(to);
  if (literal !== undefined) return [literal].filter(fits);
  if (link === undefined || !isLoopback(link)) return WILDCARDS.filter(fits);
  if (fits(link)) return [link];
  return [isIpv6Text(link) ? '127.0.0.1' : '::1'];
}

interface EndpointOptions {
  /** One address of a family at most. */
  readonly binds: readonly string[];
  readonly pool: BufferPool;
  readonly receiveBuffer: 'large' | 'later';
  readonly onDatagram: (path: Path, bytes: Uint8Array) => void;
  readonly onError: (error: Error) => void;
}

/** One or two open sockets. */
export class Endpoint {
  /** IPv4 first; each knows the address that it is bound to. */
  readonly sockets: readonly UdpSocket[];
  readonly #pool: BufferPool;
  readonly #ipv4: UdpSocket | undefined;
  readonly #ipv6: UdpSocket | undefined;

  /** `sockets`: handed over. */
  constructor(sockets: readonly UdpSocket[], pool: BufferPool) {
    this.sockets = sockets;
    this.#pool = pool;
    this.#ipv4 = sockets.find(({ host }) => !isIpv6Text(host));
    this.#ipv6 = sockets.find(({ host }) => isIpv6Text(host));
  }

  /** The socket that reaches a host; undefined: none does. */
  socketFor(host: string): UdpSocket | undefined {
    return isIpv6Text(host) ? this.#ipv6 : this.#ipv4;
  }

  /** Sends the first `size` bytes of a pool buffer and takes it over. Failure is loss. */
  send(path: Path, size: number, buffer: Uint8Array): void {
    const socket = this.socketFor(path.host);
    if (socket === undefined) this.#pool.release(buffer);
    else socket.send({ path, size }, buffer);
  }

  /** Resolves when the ports are free again. */
  async close(): Promise<void> {
    await Promise.all(this.sockets.map((socket) => socket.close()));
  }
}

/**
 * Opens what this host has of the addresses.
 * @throws NakodoError `address-unusable` where it has none of them.
 */
export async function openEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const { binds, pool, receiveBuffer, onDatagram, onError } = options;
  const opened = await Promise.allSettled(
    binds.map((bind) => openUdp({ bind, pool, receiveBuffer, onDatagram, onError })),
  );
  const sockets = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  if (sockets.length > 0) return new Endpoint(sockets, pool);
  const failure = opened.find((one) => one.status === 'rejected');
  throw failure?.reason ?? wrongFamily();
}

function wrongFamily(): NakodoError {
  return new NakodoError(
    'address-unusable',
    'the address that UDP is bound to here is of the other family, IPv4 or IPv6',
    'leave --address away, or give one of the other family',
  );
}
