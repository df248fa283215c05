// What a socket's first link allows a talk on it: how large its datagrams may become and how much
// may wait in the kernel, probed when the socket opens (design §5, "Datagram size"). Node cannot
// set don't-fragment, so no probe may be larger than what the interface carries whole.

import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import type { ConnectionConfig } from '../../protocol/data/connection-types.ts';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';

/** Bytes of the IP header (RFC 791, RFC 8200) and the UDP header. */
const IPV4_OVERHEAD = 28;
const IPV6_OVERHEAD = 48;
/** Ethernet's; where the system does not say, nothing larger is tried. */
const ETHERNET_MTU = 1500;
/** What PPPoE leaves of Ethernet for IPv4, a VLAN or two included: tried before the full size. */
const CAUTIOUS_BYTES = 1452;
/** Loopback's datagrams, by how many the receive buffer holds. */
const LOOPBACK_LARGE = { datagramBytes: 65_507, fromBufferBytes: 2 * 1024 * 1024 };
const LOOPBACK_SMALL = { datagramBytes: 32_768, fromBufferBytes: 256 * 1024 };
const LOOPBACK_WINDOW_BYTES = 2 * 1024 * 1024;
const LOOPBACK_STREAM_WINDOW_BYTES = 1024 * 1024;
/** What the kernel charges for a waiting datagram, by its bytes: up to an Ethernet MTU, above. */
const KERNEL_CHARGE_SMALL = 2;
const KERNEL_CHARGE_LARGE = 1.25;

/** One socket's link as the system describes it. */
interface Link {
  /**
   * The local address that the socket is bound to; of one that is bound to all, `::` if it may send
   * over IPv6, whose header is the longer one.
   */
  readonly host: string;
  /** As `getsockopt(SO_RCVBUF)` counts it. */
  readonly receiveBufferBytes: number;
  /**
   * Bytes of an IP packet on this interface; undefined: not known. Asked only where it matters: it
   * takes 0.1 ms of a call's set-up.
   */
  readonly mtu: () => number | undefined;
}

/**
 * The part of a talk's configuration that its link decides: sizes to probe, windows. On loopback
 * a round trip is shorter than this process may be late, so no more may be under way than the
 * kernel's receive buffer holds, and little is faster than much, because it stays in the
 * processor's cache. Elsewhere the path holds what is under way, and the defaults fit.
 */
export function linkConfig(link: Link): Partial<ConnectionConfig> {
  const datagramBytesProbes = probeSizes(link);
  if (!isLoopback(link.host)) return { datagramBytesProbes };
  const charge = datagramBytesProbes.length > 0 ? KERNEL_CHARGE_LARGE : KERNEL_CHARGE_SMALL;
  const held = Math.floor(link.receiveBufferBytes / charge);
  const windowBytes = Math.max(Math.min(held, LOOPBACK_WINDOW_BYTES), DATA_LIMITS.initialMaxData);
  const streamWindowBytes = Math.min(windowBytes, LOOPBACK_STREAM_WINDOW_BYTES);
  const sendBufferBytesMax = LOOPBACK_STREAM_WINDOW_BYTES;
  return { datagramBytesProbes, windowBytes, streamWindowBytes, sendBufferBytesMax };
}

function probeSizes({ host, receiveBufferBytes, mtu }: Link): readonly number[] {
  if (isLoopback(host)) {
    const fits = [LOOPBACK_LARGE, LOOPBACK_SMALL].find(
      ({ fromBufferBytes }) => receiveBufferBytes >= fromBufferBytes,
    );
    return fits === undefined ? [] : [fits.datagramBytes];
  }
  const overhead = isIPv6(host) ? IPV6_OVERHEAD : IPV4_OVERHEAD;
  const largest = Math.min((mtu() ?? ETHERNET_MTU) - overhead, DATA_LIMITS.datagramBytesMax);
  const sizes = [CAUTIOUS_BYTES, ETHERNET_MTU - overhead, largest];
  const usable = sizes.filter((size) => size <= largest && size > DATA_LIMITS.datagramBytesMin);
  return [...new Set(usable)].sort((a, b) => a - b);
}

/** The MTU of the interface that holds this address (Linux: sysfs), or undefined. */
export function mtuOf(host: string): number | undefined {
  const name = interfaceOf(host);
  return name === undefined ? undefined : interfaceMtu(name);
}

/**
 * The smallest MTU of these interfaces, for a socket that may send through any of them; undefined:
 * not known of any.
 */
export function smallestMtu(names: readonly string[]): number | undefined {
  const known = [...new Set(names)].map(interfaceMtu).filter((mtu) => mtu !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

function interfaceMtu(name: string): number | undefined {
  try {
    const mtu = Number(readFileSync(`/sys/class/net/${name}/mtu`, 'utf8'));
    return Number.isInteger(mtu) && mtu > 0 ? mtu : undefined;
  } catch {
    // Another system than Linux, or an interface that has just gone.
    return undefined;
  }
}

function interfaceOf(host: string): string | undefined {
  const holds = ({ address }: NetworkInterfaceInfo): boolean => address === host;
  const all = Object.entries(networkInterfaces());
  return all.find(([, addresses]) => addresses?.some(holds) === true)?.[0];
}
