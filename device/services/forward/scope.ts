// The names of forwarding services, which are the consent scopes of an allow-list: `port:22` (TCP
// connections to this terminal's port 22), `udp:53` (datagrams to its port 53), `listen:8080` (it
// listens on its port 8080 for the caller).

import { LIMITS } from '../../../protocol/limits.ts';

/** What a forwarding service is about. */
export interface ForwardScope {
  readonly kind: 'port' | 'udp' | 'listen';
  /** 1 to 65535. */
  readonly port: number;
}

const SCOPE = /^(port|udp|listen):([1-9]\d{0,4})$/;

/** Reads a service's name; undefined if it is none of these. */
export function scopeOf(service: string): ForwardScope | undefined {
  const match = SCOPE.exec(service);
  const port = Number(match?.[2]);
  if (match === null || port > LIMITS.portMax) return undefined;
  return { kind: match[1] as ForwardScope['kind'], port };
}

/** The service of a scope: what an allow-list has to name. */
export const serviceOfScope = ({ kind, port }: ForwardScope): string => `${kind}:${port}`;
