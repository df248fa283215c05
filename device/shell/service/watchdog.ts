// The agent as a service: tells systemd that it is ready, how it is, that it is alive and that it
// stops (Type=notify). Alive is said after a self-check, at half of the time that the unit allows,
// so rarely that an idle agent stays idle: with WatchdogSec=3min a child of 5 ms each 90 s.

import type { Log } from '../../../protocol/io/log.ts';
import type { ServiceManager } from './notify.ts';
import { type AgentHealth, selfCheck } from './self-check.ts';

/** After a self-check that failed it is repeated in this part of the watchdog's time. */
const AGAIN_PARTS = 8;

/** What the watchdog asks of whoever it speaks for. */
export interface Watched {
  /** How it is; `loopLateMs` is ours to measure. */
  health(): Omit<AgentHealth, 'loopLateMs'>;
  /** One line for people. */
  status(): string;
}

/** Speaks for a running agent until it stops. */
export class Watchdog {
  readonly #manager: ServiceManager;
  readonly #watched: Watched;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #fault: string | undefined;

  constructor(manager: ServiceManager, watched: Watched, log: Log) {
    this.#manager = manager;
    this.#watched = watched;
    this.#log = log;
  }

  /** The service is up; from here on it says that it is alive. */
  async ready(): Promise<void> {
    const { watchdogMs } = this.#manager;
    if (watchdogMs !== undefined) this.#arm(watchdogMs / 2);
    await this.#manager.tell({ ready: true, status: this.#watched.status() });
  }

  /** Says how it is, out of turn. */
  tellStatus(): void {
    void this.#manager.tell({ status: this.#watched.status() });
  }

  /** The service goes down: nothing more is checked. */
  async stopping(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#manager.tell({ stopping: true, status: 'ends its talks' });
  }

  #arm(afterMs: number): void {
    const due = performance.now() + afterMs;
    this.#timer = setTimeout(() => this.#check(performance.now() - due), afterMs);
  }

  #check(loopLateMs: number): void {
    const watchdogMs = this.#manager.watchdogMs ?? 0;
    const fault = selfCheck({ ...this.#watched.health(), loopLateMs });
    if (fault !== undefined && fault !== this.#fault) {
      this.#log.error('self-check-failed', { why: fault });
    } else if (fault === undefined && this.#fault !== undefined) {
      this.#log.info('self-check-passed');
    }
    this.#fault = fault;
    // A fault may pass by itself before the time is up: asked again sooner, and said no sooner.
    this.#arm(fault === undefined ? watchdogMs / 2 : watchdogMs / AGAIN_PARTS);
    if (fault === undefined) {
      void this.#manager.tell({ alive: true, status: this.#watched.status() });
    }
  }
}
