// What "only on this machine" means: without TLS, nothing of ours goes anywhere else. Literal
// addresses only: what a name like `localhost` stands for is somebody else's to say.

import { isIPv4 } from 'node:net';

/** Whether an address is a loopback literal: 127.0.0.0/8 (RFC 1122 §3.2.1.3) or ::1 (RFC 4291). */
export function isLoopback(host: string): boolean {
  return (isIPv4(host) && host.startsWith('127.')) || host === '::1';
}

/** The host of a URL as sockets take it: IPv6 without its brackets. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '');
