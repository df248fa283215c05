// A server and a crowd of terminals, each in a process of its own, on real TLS: the server's can be
// killed as a power cut does, and started again on the same home and ports.

import { join } from 'node:path';
import type { Test } from 'tap';
import type { BrokerStats } from '../../broker/shell/broker-shell.ts';
import { Child } from '../../broker/test/broker-child.ts';
import type { ManagerCounts } from '../../session-manager/manager-types.ts';

export interface Ports {
  readonly mqtt: number;
  readonly http: number;
}

export type ServerOrder =
  | { readonly kind: 'start'; readonly home: string; readonly ports: Ports }
  | { readonly kind: 'ticket'; readonly uses: number; readonly forSeconds: number }
  | { readonly kind: 'gauges' };

/** What a server says of itself. */
export interface ServerGauges {
  readonly broker: BrokerStats;
  readonly manager: ManagerCounts;
  /** Terminals that registered since its start, and those of them that were seen twice at once. */
  readonly named: number;
  readonly cloned: number;
  /** User and system time since it started, microseconds. */
  readonly cpuMicros: number;
  readonly rssBytes: number;
}

export type CrowdOrder =
  | {
      readonly kind: 'start';
      readonly folder: string;
      /** Names are `C` and a number: so many from this one on. */
      readonly from: number;
      readonly count: number;
      readonly ticket: string;
    }
  | { readonly kind: 'forget' }
  | { readonly kind: 'state' }
  | { readonly kind: 'report' };

/** How one process of a crowd stands; the answer to every order but `report`. */
export interface CrowdState {
  /** Terminals that are registered now. */
  readonly registered: number;
}

/** What has happened to a crowd since `forget`. */
export interface CrowdReport {
  /** Of each terminal that was registered since then: when last, Unix milliseconds. */
  readonly registeredAt: readonly number[];
  /** Links that went or did not come about, by why. */
  readonly troubles: Readonly<Record<string, number>>;
  /** User and system time of its process since it started, microseconds. */
  readonly cpuMicros: number;
}

/** A server that loses its power without a word. */
export class ServerApart {
  readonly #t: Test;
  readonly #home: string;
  #child: Child | undefined;
  #ports: Ports = { mqtt: 0, http: 0 };

  constructor(t: Test, home: string) {
    this.#t = t;
    this.#home = home;
  }

  async start(): Promise<void> {
    const child = new Child(this.#t, join(import.meta.dirname, 'server-process.js'));
    this.#child = child;
    const order: ServerOrder = { kind: 'start', home: this.#home, ports: this.#ports };
    this.#ports = await child.ask<Ports>(order);
  }

  /** SIGKILL; resolves when the process is gone. */
  async cutPower(): Promise<void> {
    await this.#child?.kill();
    this.#child = undefined;
  }

  async ticket(uses: number): Promise<string> {
    const order: ServerOrder = { kind: 'ticket', uses, forSeconds: 3_600 };
    return (await this.#ask<{ ticket: string }>(order)).ticket;
  }

  gauges(): Promise<ServerGauges> {
    return this.#ask<ServerGauges>({ kind: 'gauges' });
  }

  #ask<Answer>(order: ServerOrder): Promise<Answer> {
    if (this.#child === undefined) throw new Error('it has no power');
    return this.#child.ask<Answer>(order);
  }
}

/**
 * Terminals behind one address, in several processes: each terminal has a processor of its own in
 * earnest, so the server is not to be the one that waits.
 */
export class Crowd {
  readonly #children: readonly Child[];

  constructor(t: Test, processes: number) {
    const path = join(import.meta.dirname, 'crowd-process.js');
    this.#children = Array.from({ length: processes }, () => new Child(t, path));
  }

  /** Enrols and starts `count` terminals, which takes a while. */
  async start(folder: string, ticket: string, count: number): Promise<void> {
    const share = Math.ceil(count / this.#children.length);
    await this.#askEach<CrowdState>((at) => ({
      kind: 'start',
      folder,
      ticket,
      from: at * share,
      count: Math.max(0, Math.min(share, count - at * share)),
    }));
  }

  async forget(): Promise<void> {
    await this.#askEach<CrowdState>(() => ({ kind: 'forget' }));
  }

  /** Terminals that are registered now. */
  async registered(): Promise<number> {
    const states = await this.#askEach<CrowdState>(() => ({ kind: 'state' }));
    return states.reduce((all, { registered }) => all + registered, 0);
  }

  async report(): Promise<CrowdReport> {
    const reports = await this.#askEach<CrowdReport>(() => ({ kind: 'report' }));
    const troubles: Record<string, number> = {};
    for (const [why, times] of reports.flatMap((one) => Object.entries(one.troubles)))
      troubles[why] = (troubles[why] ?? 0) + times;
    return {
      registeredAt: reports.flatMap(({ registeredAt }) => registeredAt),
      troubles,
      cpuMicros: reports.reduce((all, { cpuMicros }) => all + cpuMicros, 0),
    };
  }

  #askEach<Answer>(order: (at: number) => CrowdOrder): Promise<Answer[]> {
    return Promise.all(this.#children.map((child, at) => child.ask<Answer>(order(at))));
  }
}
