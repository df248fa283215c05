// Who is measured where: our own transport and the peers that a place has room for. A peer that is
// not installed is left out with a word about it; nothing fails for it.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atExit } from '../../sim/lab/clean-up.ts';
import type { FlowKind } from './flow.ts';
import { OurSystem } from './ours.ts';
import { has, runOn } from '../../sim/lab/namespaces.ts';
import { DEVICE, type Place } from './places.ts';
import { makeCertificate, modulesMissing, nodeFlows, opensslMissing } from './rivals.ts';
import { nebula, nebulaMissing, wireguard, wireguardMissing } from './tunnels.ts';

/** Our transport and its peers, as bench/README.md tells of them. */
export type Contestant =
  | 'ours'
  | 'udx'
  | 'datachannel'
  | 'ngtcp2'
  | 'nebula'
  | 'wireguard'
  | 'tls'
  | 'tcp'
  | 'tcp-bbr'
  | 'tcp-cubic';

/** What is opened in a place for a contest. */
export interface Contest {
  readonly kinds: ReadonlyMap<Contestant, FlowKind>;
  /** Who is missing, and why. */
  readonly skipped: readonly { readonly name: Contestant; readonly why: string }[];
  close(): Promise<void>;
}

/** Opens what `wanted` names. `root`: where our code is built. */
export async function openContest(
  place: Place,
  wanted: readonly Contestant[],
  root: string,
): Promise<Contest> {
  const kinds = new Map<Contestant, FlowKind>();
  const skipped: { name: Contestant; why: string }[] = [];
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const each of closers.splice(0).reverse()) await each();
  };
  try {
    const ours = await OurSystem.start(place, root);
    closers.push(() => ours.stop());
    const folder = mkdtempSync(join(tmpdir(), 'nk-contest-'));
    const forget = atExit(() => rmSync(folder, { recursive: true, force: true }));
    closers.push(async () => forget());
    for (const name of wanted) {
      const why = missing(name);
      if (why !== undefined) {
        skipped.push({ name, why });
        continue;
      }
      const opened = await open(name, { place, ours, certificate: join(folder, 'tls') });
      kinds.set(name, opened.kind);
      if (opened.close !== undefined) closers.push(opened.close);
    }
    return { kinds, skipped, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Why a contestant is not here, or undefined. */
function missing(name: Contestant): string | undefined {
  switch (name) {
    case 'udx':
      return modulesMissing('udx-native', '@hyperswarm/secret-stream');
    case 'datachannel':
      return modulesMissing('node-datachannel');
    case 'ngtcp2':
      return has('gtlsclient') && has('gtlsserver')
        ? opensslMissing()
        : 'not installed (Debian: ngtcp2-client ngtcp2-server)';
    case 'nebula':
      return nebulaMissing();
    case 'wireguard':
      return wireguardMissing();
    case 'tls':
      return opensslMissing();
    default:
      return undefined;
  }
}

interface With {
  readonly place: Place;
  readonly ours: OurSystem;
  readonly certificate: string;
}

async function open(
  name: Contestant,
  { place, ours, certificate }: With,
): Promise<{ readonly kind: FlowKind; readonly close?: () => Promise<void> }> {
  switch (name) {
    case 'ours':
      return { kind: ours.flows() };
    case 'udx':
    case 'datachannel':
      return { kind: nodeFlows(place, name) };
    case 'ngtcp2':
      makeCertificate(certificate);
      return { kind: { ...nodeFlows(place, name, { certificate }), isWhole: true } };
    case 'nebula':
      return nebula(place);
    case 'wireguard':
      return wireguard(place);
    case 'tls':
      makeCertificate(certificate);
      return { kind: nodeFlows(place, 'tcp', { certificate }) };
    case 'tcp':
      return { kind: nodeFlows(place, 'tcp') };
    case 'tcp-bbr':
    case 'tcp-cubic':
      return { kind: tcpWith(place, name.slice('tcp-'.length)) };
  }
}

/** Kernel TCP with this congestion control: that of the sender's route, which is its alone. */
export function tcpWith(place: Place, control: string): FlowKind {
  const { launch } = nodeFlows(place, 'tcp');
  return {
    launch: (role, plan, hello) => {
      const route = ['route', 'replace', `${place.b.host}/32`, 'dev', DEVICE, 'congctl', control];
      if (role === 'send') runOn(place.a, 'ip', route);
      return launch(role, plan, hello);
    },
  };
}
