// A broker in a process of its own, so that its memory and its time can be told from those of
// whoever attacks it; and the attacker in another, with file descriptors of its own.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Test } from 'tap';
import { until } from '../../protocol/test/until.ts';
import type { BrokerStats } from '../shell/broker-shell.ts';
import type { TlsOptions } from '../shell/listener.ts';

/** What the broker's process says of itself. */
export interface Gauges {
  readonly rssBytes: number;
  /** User and system time since it started, microseconds. */
  readonly cpuMicros: number;
  /** Absent where there is no broker. */
  readonly stats: BrokerStats | undefined;
}

/** First message to the broker's process. */
export interface BrokerOrder {
  readonly tls: { readonly key: string; readonly cert: string; readonly pin: number[] } | undefined;
  readonly loginMs: number | undefined;
  /** A TLS server of Node's and nothing else: what a handshake alone costs. */
  readonly isBare: boolean;
}

/** A message to the flood's process. */
export interface FloodOrder {
  readonly port: number;
  /** So many connections, not too many in the making at once; `bytes` are sent on each. */
  readonly count: number;
  readonly bytes: number[];
  /** Opened from 127.0.0.2 on, so many to an address; 0: all from 127.0.0.1. */
  readonly perAddress: number;
  /** Handshakes as a TLS client, and says `bytes` inside. */
  readonly isTls: boolean;
}

/** What the flood's process answers. */
export interface FloodState {
  /** Since the start: opened, ended; and those that are there now. */
  readonly opened: number;
  readonly ended: number;
  readonly open: number;
}

/** One question, one answer; both ends in order. */
export class Child {
  readonly #process: ChildProcess;
  readonly #answers: unknown[] = [];

  /** `file`: in this folder, or a whole path. */
  constructor(t: Test, file: string) {
    const path = resolve(import.meta.dirname, file);
    this.#process = fork(path, { execArgv: ['--expose-gc'], stdio: 'inherit' });
    this.#process.on('message', (answer) => this.#answers.push(answer));
    t.teardown(() => this.#process.kill('SIGKILL'));
  }

  get isAlive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Without a chance to say anything; resolves when it is gone. */
  async kill(): Promise<void> {
    const gone = once(this.#process, 'exit');
    if (!this.isAlive) return;
    this.#process.kill('SIGKILL');
    await gone;
  }

  async ask<Answer>(question: object): Promise<Answer> {
    this.#process.send(question);
    await until(() => this.#answers.length > 0 || !this.isAlive, 'the answer of a child');
    if (this.#answers.length === 0) throw new Error('a child process has died');
    return this.#answers.shift() as Answer;
  }
}

/** Starts a broker of its own that knows `manager` of `real-broker.ts`. */
export async function startApart(
  t: Test,
  options: {
    readonly tls?: TlsOptions;
    readonly loginMs?: number;
    readonly isBare?: boolean;
  } = {},
): Promise<{ readonly port: number; readonly gauges: () => Promise<Gauges> }> {
  const child = new Child(t, 'broker-process.js');
  const { tls, loginMs, isBare = false } = options;
  const order: BrokerOrder = { tls: tls && { ...tls, pin: [...tls.pin] }, loginMs, isBare };
  const { port } = await child.ask<{ port: number }>(order);
  return { port, gauges: () => child.ask<Gauges>({}) };
}

/** The attacker's process: `flood` resolves when all of its connections were opened or ended. */
export class Attacker {
  readonly #child: Child;
  readonly #port: number;
  #ordered = 0;

  constructor(t: Test, port: number) {
    this.#child = new Child(t, 'flood-process.js');
    this.#port = port;
  }

  state(): Promise<FloodState> {
    return this.#child.ask<FloodState>({});
  }

  async flood(order: Partial<FloodOrder> & { readonly count: number }): Promise<FloodState> {
    const whole = { port: this.#port, bytes: [], perAddress: 50, isTls: false, ...order };
    this.#ordered += order.count;
    let state = await this.#child.ask<FloodState>(whole);
    await until(async () => {
      state = await this.state();
      return state.opened >= this.#ordered;
    }, 'the flood to be opened');
    return state;
  }
}
