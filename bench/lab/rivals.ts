// The peers that run in Node, as kinds of flows: kernel TCP, TLS 1.3, UDX with secret-stream,
// libdatachannel. Each says why it is missing, if it is.

import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { hasPeerModule } from '../peers/modules.ts';
import type { FlowKind } from './flow.ts';
import { has } from '../../sim/lab/namespaces.ts';
import type { Place } from './places.ts';

const DRIVERS = join(dirname(import.meta.dirname), 'peers');

/** A driver in Node of bench/peers. */
export function nodeFlows(place: Place, driver: string, more: object = {}): FlowKind {
  return {
    launch: (role, plan, hello) => ({
      side: role === 'send' ? place.a : place.b,
      program: process.execPath,
      args: [
        join(DRIVERS, `${driver}.js`),
        role,
        JSON.stringify({ ...plan, ...more }),
        JSON.stringify(hello ?? {}),
      ],
    }),
  };
}

/** Why a peer from bench/peers/node_modules is missing, or undefined. */
export function modulesMissing(...names: readonly string[]): string | undefined {
  const missing = names.filter((name) => !hasPeerModule(name));
  if (missing.length === 0) return undefined;
  return `${missing.join(', ')}: not installed (npm ci in bench/peers)`;
}

/** Makes PATH.key and PATH.crt, for a day. @throws Error without openssl. */
export function makeCertificate(path: string): void {
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-days', '1'];
  const files = ['-keyout', `${path}.key`, '-out', `${path}.crt`];
  const words = ['req', '-x509', '-nodes', '-subj', '/CN=lab', ...kind, ...files];
  execFileSync('openssl', words, { stdio: 'ignore' });
}

/** Why no certificate can be made here, or undefined. */
export const opensslMissing = (): string | undefined =>
  has('openssl') ? undefined : 'needs openssl for a certificate';
