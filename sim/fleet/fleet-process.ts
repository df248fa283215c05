// A process of terminals: holds its share of a fleet, does what it is ordered (`orders.ts`), and
// says every second how far it is. Ends with whoever started it. Run with --expose-gc, so that its
// memory can be told from its garbage.

import { setTimeout as delay } from 'node:timers/promises';
import { errorCode, errorMessage } from '../../protocol/errors.ts';
import { seededRng } from '../../protocol/random.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { Arrivals } from './arrivals.ts';
import { Calls } from './calls.ts';
import { FleetTerminal } from './fleet-terminal.ts';
import { beHostile } from './hostile.ts';
import { FLEET_LIMITS } from './limits.ts';
import {
  type CastOrder,
  type Gauge,
  type Order,
  type Progress,
  type Word,
  planOf,
  rampPatienceMs,
} from './orders.ts';
import { Picks } from './picks.ts';
import { Tally } from './tally.ts';

/** Terminals that were started and are not registered yet: more would only queue. */
const STARTING_MAX = 256;
const LOOK_MS = 20;

class Cast {
  readonly order: CastOrder;
  readonly tally = new Tally();
  readonly terminals: readonly FleetTerminal[];
  readonly #rng;
  readonly #calls: Calls;
  readonly #picks: Picks;
  readonly #plan;
  readonly #lives = new AbortController();
  readonly #halt = new AbortController();
  #enrolled = 0;
  #starting = 0;

  constructor(order: CastOrder) {
    const { active, from, of, folder, seed, permitPercent } = order;
    this.order = order;
    this.#plan = planOf(order.source);
    this.#rng = seededRng(seed);
    const common = { plan: this.#plan, tally: this.tally, rng: this.#rng };
    this.#calls = new Calls({ ...common, ...order });
    const places = Array.from(
      { length: Math.ceil((active - from) / of) },
      (_, at) => from + at * of,
    );
    this.terminals = places.map(
      (at) =>
        new FleetTerminal({
          plan: this.#plan,
          at,
          folder,
          pollSeconds: order.pollSeconds,
          calls: this.#calls,
          onLinkDown: (code) => this.tally.addError(`link: ${code}`),
        }),
    );
    this.#picks = new Picks({
      plan: this.#plan,
      active,
      calls: this.#calls,
      rng: this.#rng,
      permitPercent,
      terminals: this.terminals,
    });
  }

  progress(): Progress {
    let registered = 0;
    for (const { isRegistered } of this.terminals) if (isRegistered) registered += 1;
    return {
      enrolled: this.#enrolled,
      registered,
      underWay: this.#calls.underWay,
      tally: this.tally.record(),
      gauge: gauge(),
    };
  }

  halt(): void {
    this.#halt.abort();
    this.#lives.abort();
  }

  async enrol(): Promise<void> {
    const next = this.terminals.values();
    const worker = async (): Promise<void> => {
      for (const terminal of next) {
        if (this.#halt.signal.aborted) return;
        await terminal.enrol(this.order.ticket);
        this.#enrolled += 1;
      }
    };
    await Promise.all(Array.from({ length: FLEET_LIMITS.atOnce }, worker));
  }

  /** Starts the terminals one after another, whatever becomes of each; then waits for the last. */
  async ramp(perSecond: number): Promise<void> {
    const begun = performance.now();
    const giveUp = begun + rampPatienceMs(this.terminals.length, perSecond);
    const isOver = (): boolean => this.#halt.signal.aborted || performance.now() > giveUp;
    for (const [count, terminal] of this.terminals.entries()) {
      const dueMs = begun + (count / perSecond) * MS_PER_SECOND;
      const isEarly = (): boolean => performance.now() < dueMs || this.#starting >= STARTING_MAX;
      while (!isOver() && isEarly()) await delay(LOOK_MS);
      if (isOver()) return;
      void this.#begin(terminal);
    }
    while (this.#starting > 0 && !isOver()) await delay(LOOK_MS);
  }

  async #begin(terminal: FleetTerminal): Promise<void> {
    this.#starting += 1;
    try {
      await terminal.start();
      await terminal.agent?.registered;
    } catch (error) {
      this.tally.addError(`start: ${errorCode(error)}`);
    } finally {
      this.#starting -= 1;
    }
  }

  /** An open loop for `forMs`; resolves when the last call has come to its end. */
  async call({ perSecond, parallel, forMs }: Extract<Order, { kind: 'call' }>): Promise<void> {
    this.#comeAlive();
    const begun = performance.now();
    if (perSecond > 0) {
      const arrivals = new Arrivals(this.#rng, perSecond);
      while (!this.#halt.signal.aborted && arrivals.nextMs < forMs) {
        await this.#wait(begun + arrivals.nextMs - performance.now());
        const passed = Math.min(performance.now() - begun, forMs);
        while (arrivals.nextMs <= passed) this.#onDue(begun + arrivals.take(), parallel);
      }
    }
    await this.#wait(begun + forMs - performance.now());
    this.#lives.abort();
    await this.#drain();
    for (const { declined } of this.terminals) this.tally.add('busy', declined);
  }

  /** Waits for calls under way: as long as they may take, or not at all long when told to halt. */
  async #drain(): Promise<void> {
    const ended = performance.now();
    const drainMs = FLEET_LIMITS.drainMs + this.order.pollSeconds * MS_PER_SECOND;
    const isOver = (): boolean => {
      const passed = performance.now() - ended;
      if (this.#calls.underWay === 0 || passed > drainMs) return true;
      // Talks with those who come and go break off after half a minute: nothing is learnt by it.
      const isShort = this.#halt.signal.aborted || this.#calls.steadyUnderWay === 0;
      return isShort && passed > FLEET_LIMITS.haltMs;
    };
    while (!isOver()) await delay(LOOK_MS);
    this.#calls.giveUp(this.#halt.signal.aborted);
  }

  /** A call's time has come: it begins now, or is counted as one that could not. */
  #onDue(dueMs: number, parallel: number): void {
    this.tally.add('due');
    const caller = this.#calls.underWay < parallel ? this.#picks.caller() : undefined;
    if (caller?.agent === undefined) {
      this.tally.add('missed');
      return;
    }
    if (performance.now() - dueMs > FLEET_LIMITS.lateMs) this.tally.add('late');
    void this.#calls.make(caller.agent, this.#picks.call(caller.at), dueMs);
  }

  #comeAlive(): void {
    const { signal } = this.#lives;
    const { active, waitMs, seed } = this.order;
    const trouble = (error: unknown): void => this.tally.addError(`life: ${errorCode(error)}`);
    for (const terminal of this.terminals) {
      const rng = seededRng(seed + terminal.at);
      const { profile } = terminal.planned;
      if (profile === 'flaky') terminal.flicker(rng, signal).catch(trouble);
      if (profile !== 'hostile') continue;
      const own = { terminal, plan: this.#plan, active, waitMs };
      beHostile({ ...own, calls: this.#calls, tally: this.tally, rng }, signal).catch(trouble);
    }
  }

  async #wait(ms: number): Promise<void> {
    if (ms <= 0) return;
    await delay(ms, undefined, { signal: this.#halt.signal }).catch(() => undefined);
  }
}

function gauge(): Gauge {
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return { rssBytes: rss, heapBytes: heapUsed + external, cpuMicros: user + system };
}

let cast: Cast | undefined;

async function carryOut(order: Order): Promise<unknown> {
  if (order.kind === 'gauge') {
    // Twice: the first lets go of what finalizers hold.
    globalThis.gc?.();
    globalThis.gc?.();
    return gauge();
  }
  if (order.kind === 'cast') {
    cast = new Cast(order);
    return gauge();
  }
  if (cast === undefined) throw new Error('nobody is cast yet');
  if (order.kind === 'enrol') await cast.enrol();
  if (order.kind === 'ramp') await cast.ramp(order.perSecond);
  if (order.kind === 'call') await cast.call(order);
  return cast.progress();
}

const say = (word: Word): void => void process.send?.(word);

process.on('message', (order: Order) => {
  if (order.kind === 'halt') {
    cast?.halt();
    return;
  }
  carryOut(order).then(
    (answer) => say({ kind: 'answer', answer }),
    (error: unknown) => say({ kind: 'failed', code: errorCode(error), why: errorMessage(error) }),
  );
});
setInterval(() => {
  if (cast !== undefined) say({ kind: 'tick', progress: cast.progress() });
}, MS_PER_SECOND);
process.on('disconnect', () => process.exit());
